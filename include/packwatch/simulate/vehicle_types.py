"""The vehicle types of the demo fleet: battery, body, charging power, and what and how often they log.

The table is frozen here on purpose: the pipeline looks vehicles up in its own catalogue, and a simulator that shared
that catalogue could never reveal a wrong row in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Chemistry = Literal["NMC", "NCA", "LFP", "LMO"]
Cooling = Literal["liquid", "air", "none"]


@dataclass(frozen=True)
class Sampling:
    """Seconds between two logged rows, by what the vehicle is doing."""

    drive_s: int
    ac_s: int
    dc_s: int
    parked_s: int


@dataclass(frozen=True)
class VehicleType:
    """What all vehicles of a type have in common; `share` is their number in a fleet of 48."""

    make: str
    model: str
    years: tuple[int, int]
    chemistry: Chemistry
    cells: int
    capacity_ah: float
    energy_kwh: float
    cell_min_v: float
    cell_max_v: float
    cooling: Cooling
    mass_kg: float
    drag_area_m2: float
    ac_kw: float
    dc_kw: float
    motor_kw: float
    probes: int
    sampling: Sampling
    soc_step_percent: float
    share: int
    wmi: str
    leafspy: bool = False
    cell_lists: bool = True
    insulation: bool = False
    charge_state: bool = True
    bms_soh: bool = False
    bms_capacity: bool = False
    probe_step_c: float = 1.0


# fmt: off
TYPES: tuple[VehicleType, ...] = (
    VehicleType("Tesla", "Model 3 LR", (2019, 2023), "NCA", 96, 235, 75.5, 2.97, 4.20, "liquid", 1850, 0.51, 11, 150,
                200, 4, Sampling(10, 30, 10, 300), 0.5, 5, "5YJ", cell_lists=False, probe_step_c=0.5),
    VehicleType("BMW", "i3 120 Ah", (2018, 2022), "NMC", 96, 120, 37.9, 2.79, 4.21, "liquid", 1350, 0.69, 11, 49,
                100, 8, Sampling(10, 30, 10, 300), 0.5, 5, "WBY", insulation=True, bms_soh=True),
    VehicleType("Hyundai", "Kona 64", (2018, 2023), "NMC", 98, 185, 64, 2.95, 4.25, "liquid", 1770, 0.72, 11, 75,
                145, 5, Sampling(10, 30, 10, 300), 0.5, 5, "KMH", insulation=True, bms_soh=True),
    VehicleType("Volkswagen", "ID.3 Pro", (2020, 2023), "NMC", 108, 156, 58, 2.70, 4.25, "liquid", 1830, 0.66, 11, 100,
                145, 6, Sampling(10, 60, 20, 600), 1.0, 5, "WVW", insulation=True),
    VehicleType("Nissan", "Leaf 40", (2018, 2022), "NMC", 96, 113.8, 39, 2.50, 4.22, "none", 1640, 0.64, 6.6, 46,
                100, 3, Sampling(20, 30, 20, 600), 0.01, 4, "SJN", leafspy=True, bms_soh=True, probe_step_c=0.1),
    VehicleType("Renault", "Zoe ZE40", (2016, 2019), "NMC", 96, 131, 41, 2.70, 4.22, "air", 1550, 0.75, 22, 0,
                75, 6, Sampling(30, 30, 30, 600), 1.0, 4, "VF1", insulation=True, charge_state=False, bms_soh=True),
    VehicleType("Renault", "Zoe ZE50", (2019, 2023), "NMC", 96, 156, 52, 2.70, 4.25, "air", 1590, 0.75, 22, 46,
                90, 6, Sampling(20, 30, 10, 300), 1.0, 4, "VF1", insulation=True, charge_state=False, bms_soh=True),
    VehicleType("Tesla", "Model 3 RWD LFP", (2022, 2023), "LFP", 108, 172, 60, 2.80, 3.65, "liquid", 1780, 0.51, 11,
                120, 150, 6, Sampling(10, 30, 10, 300), 0.5, 3, "LRW", bms_capacity=True, probe_step_c=0.5),
    VehicleType("Nissan", "Leaf e+ 62", (2019, 2022), "NMC", 96, 172.5, 59, 2.50, 4.22, "none", 1780, 0.64, 6.6, 70,
                150, 3, Sampling(20, 30, 20, 600), 0.01, 3, "SJN", leafspy=True, bms_soh=True, probe_step_c=0.1),
    VehicleType("BYD", "Atto 3", (2022, 2024), "LFP", 126, 150, 60.5, 2.80, 3.65, "liquid", 1830, 0.75, 7, 80,
                140, 8, Sampling(30, 30, 10, 600), 1.0, 3, "LGX", insulation=True, bms_soh=True),
    VehicleType("Nissan", "Leaf 24", (2013, 2016), "LMO", 96, 65.5, 21.3, 2.50, 4.22, "none", 1530, 0.68, 3.6, 44,
                75, 3, Sampling(20, 30, 20, 600), 0.01, 3, "SJN", leafspy=True, bms_soh=True, probe_step_c=0.1),
    VehicleType("Tesla", "Model 3 RWD LFP", (2021, 2021), "LFP", 106, 161, 53, 2.80, 3.65, "liquid", 1760, 0.51, 11,
                120, 150, 6, Sampling(10, 30, 10, 300), 0.5, 2, "LRW", bms_capacity=True, probe_step_c=0.5),
    # No catalogue knows this one: the pipeline must cope with a type it has no specification for.
    VehicleType("Vireo", "Lumo 52", (2021, 2023), "NMC", 100, 142, 52, 2.80, 4.25, "liquid", 1650, 0.66, 11, 80,
                120, 4, Sampling(20, 60, 20, 600), 1.0, 2, "XA9"),
)
# fmt: on
