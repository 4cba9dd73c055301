"""Who is in the demo fleet: vehicles with their ages, climates, habits, health and faults, drawn from a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from packwatch.simulate.faults import Fault, assign_faults
from packwatch.simulate.vehicle_types import TYPES, VehicleType

KM_PER_YEAR = (9_000.0, 24_000.0)
# Capacity lost per year of age, points; the loss slows down with age (exponent below). Field studies of mixed
# fleets report 1 to 3 points a year, the first passively cooled packs 3 to 4.
LOSS_POINTS_PER_YEAR: dict[str, tuple[float, float]] = {
    "NMC": (1.4, 2.6),
    "NCA": (1.6, 2.8),
    "LFP": (1.0, 2.0),
    "LMO": (2.3, 3.1),
}
LOSS_EXPONENT = 0.85
HOT_EXTRA_POINTS_PER_YEAR = 0.4
# Consumption over the life so far; it only sets the cycles done before the first row.
LIFETIME_KWH_PER_KM = 0.17
VIN_CHARACTERS = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"  # I, O and Q are not allowed in a VIN
VIN_LENGTH = 17


FLEET_SIZE = sum(vehicle_type.share for vehicle_type in TYPES)


@dataclass(frozen=True)
class Climate:
    """Outside temperature of a late autumn week: mean, daily swing and spread between days, in °C."""

    name: str
    fleet: str
    mean_c: float
    swing_c: float
    day_spread_c: float
    utc_offset_h: float


TEMPERATE = Climate("temperate", "rhine", 11, 4, 2.5, 1)
COLD = Climate("cold", "nordic", -5, 3, 3.0, 1)
HOT = Climate("hot", "sonora", 31, 7, 2.0, -7)
CLIMATES = (TEMPERATE, COLD, HOT)
CLIMATE_SHARES = (0.6, 0.22, 0.18)


@dataclass(frozen=True)
class Habit:
    """How a vehicle is used.

    `daily_share` is the part of the full charge driven on a working day, `plug_in_below` the charge (0 to 1) under
    which the driver plugs in at night, `target` the charge the vehicle stops at, `full_every` every how many home
    charges it is filled to 100 %, `dc_share` the chance that a charge is a fast one.
    """

    name: str
    trips: int
    daily_share: tuple[float, float]
    weekend_share: float
    plug_in_below: tuple[float, float]
    target: tuple[float, ...]
    full_every: int
    dc_share: float


COMMUTER = Habit("commuter", 2, (0.24, 0.38), 0.6, (0.35, 0.50), (0.8, 0.9), 4, 0.05)
FAMILY = Habit("family", 4, (0.18, 0.32), 1.2, (0.32, 0.45), (0.8, 0.9, 1.0), 3, 0.10)
DELIVERY = Habit("delivery", 5, (0.38, 0.52), 0.4, (0.45, 0.65), (0.9, 1.0), 3, 0.10)
TAXI = Habit("taxi", 6, (0.45, 0.65), 0.9, (0.50, 0.65), (0.8, 0.9), 5, 0.60)
HABITS = (COMMUTER, FAMILY, DELIVERY, TAXI)
HABIT_SHARES = (0.4, 0.25, 0.2, 0.15)


@dataclass(frozen=True)
class Vehicle:
    """One vehicle of the fleet with everything that is true about it before its first kilometre of the log."""

    index: int
    vin: str
    type: VehicleType
    year: int
    age_years: float
    climate: Climate
    habit: Habit
    home_kw: float
    odometer_km: float
    soh_percent: float
    cycles_before: float
    current_gain: float
    current_offset_a: float
    bms_soh_error: float
    soc_error_percent: float
    file_format: str
    faults: tuple[Fault, ...] = ()

    @property
    def capacity_ah(self) -> float:
        """Charge between displayed 0 and 100 %, in Ah: the state of health times the nominal capacity."""
        return self.type.capacity_ah * self.soh_percent / 100

    def fault(self, kind: str) -> Fault | None:
        """Return this vehicle's fault of a kind, if it has one."""
        return next((fault for fault in self.faults if fault.kind == kind), None)


# Most vehicles deliver Parquet; each pattern position is one vehicle that is not a Leaf.
FORMAT_PATTERN = ("parquet", "parquet", "csv.gz", "parquet", "jsonl.zst", "parquet", "parquet", "jsonl.gz")


def roster(vehicles: int) -> list[VehicleType]:
    """Return the types of the first `vehicles` vehicles, mixed evenly so that a small fleet is varied too."""
    order = sorted(
        ((turn + 0.5) / kind.share, position) for position, kind in enumerate(TYPES) for turn in range(kind.share)
    )
    types = [TYPES[position] for _, position in order]
    return [types[index % len(types)] for index in range(vehicles)]


def draw_vin(kind: VehicleType, rng: np.random.Generator) -> str:
    """Return a made-up VIN: the maker's prefix, TST, and eleven random characters."""
    prefix = kind.wmi + "TST"
    return prefix + "".join(rng.choice(list(VIN_CHARACTERS), VIN_LENGTH - len(prefix)))


def draw_vehicle(index: int, kind: VehicleType, file_format: str, seed: int, today: date) -> Vehicle:
    """Draw one vehicle; it depends on the seed and its own number only."""
    rng = np.random.default_rng([seed, index, 0])
    vin = draw_vin(kind, rng)
    newest = max(min(kind.years[1], today.year - 1), kind.years[0])
    year = int(rng.integers(kind.years[0], newest + 1))
    age = max(today.year - year + (today.timetuple().tm_yday / 365.25) - rng.uniform(0.2, 0.8), 0.3)
    climate = CLIMATES[int(rng.choice(len(CLIMATES), p=CLIMATE_SHARES))]
    habit = HABITS[int(rng.choice(len(HABITS), p=HABIT_SHARES))]
    odometer = age * rng.uniform(*KM_PER_YEAR)
    loss = rng.uniform(*LOSS_POINTS_PER_YEAR[kind.chemistry]) + (HOT_EXTRA_POINTS_PER_YEAR if climate is HOT else 0)
    soh = 100 - loss * age**LOSS_EXPONENT + rng.normal(0, 0.8)
    home_kw = min(kind.ac_kw, float(rng.choice([7.4, 11.0])))
    return Vehicle(
        index=index,
        vin=vin,
        type=kind,
        year=year,
        age_years=round(float(age), 2),
        climate=climate,
        habit=habit,
        home_kw=home_kw,
        odometer_km=round(float(odometer), 1),
        soh_percent=round(float(soh), 2),
        cycles_before=round(float(odometer * LIFETIME_KWH_PER_KM / kind.energy_kwh), 1),
        current_gain=1 + float(rng.normal(0, 0.003)),
        current_offset_a=float(rng.normal(0, 0.05)),
        bms_soh_error=float(rng.normal(0, 1.5)),
        soc_error_percent=float(rng.uniform(1.0, 2.0)),
        file_format=file_format,
    )


def draw_fleet(vehicles: int, seed: int, first_day: date, days: int) -> list[Vehicle]:
    """Draw the whole fleet with its faults; the VINs are distinct."""
    fleet: list[Vehicle] = []
    others = 0
    for index, kind in enumerate(roster(vehicles)):
        file_format = "leafspy.csv" if kind.leafspy else FORMAT_PATTERN[others % len(FORMAT_PATTERN)]
        others += not kind.leafspy
        fleet.append(draw_vehicle(index, kind, file_format, seed, first_day))
    rng = np.random.default_rng([seed, math.ceil(len(fleet) / FLEET_SIZE), 99])
    return [
        suit(vehicle, faults) for vehicle, faults in zip(fleet, assign_faults(fleet, rng, first_day, days), strict=True)
    ]


def suit(vehicle: Vehicle, faults: tuple[Fault, ...]) -> Vehicle:
    """Give a vehicle its faults, and what each needs to show: an age, a habit, a charge never too low."""
    kinds = {fault.kind for fault in faults}
    changed = replace(vehicle, faults=faults)
    if "aged" in kinds:
        changed = replace(changed, soh_percent=round(70 + vehicle.soh_percent % 1 - 0.5, 2), bms_soh_error=3.5)
    if "weak_cell" in kinds:
        # The weakest cell ends both charge and discharge: the vehicle loses what that cell has lost.
        weakness = next(fault.value for fault in faults if fault.kind == "weak_cell")
        changed = replace(changed, soh_percent=round(vehicle.soh_percent * (1 - weakness), 2))
    if "pack_swap" in kinds:
        changed = replace(changed, soh_percent=min(vehicle.soh_percent, 76.0))
    if "thermal_event" in kinds:
        changed = replace(changed, habit=TAXI)
    return changed
