"""Battery model: closed forms against numbers worked out by hand."""

from __future__ import annotations

import dataclasses
from datetime import date

import numpy as np
import pytest

from packwatch.simulate import pack as battery
from packwatch.simulate.fleet import draw_vehicle
from packwatch.simulate.vehicle_types import TYPES

FIRST_DAY, FIRST_S, SEED = date(2026, 1, 5), 1_767_571_200, 5
I3 = next(kind for kind in TYPES if kind.model == "i3 120 Ah")


@pytest.fixture
def i3_pack() -> battery.Pack:
    vehicle = dataclasses.replace(draw_vehicle(0, I3, "parquet", SEED, FIRST_DAY), soh_percent=90.0)
    return battery.build_pack(vehicle, 0, SEED)


def test_first_order_equals_the_recursion_step_by_step() -> None:
    rng = np.random.default_rng(0)
    decay, drive = rng.uniform(0, 1, 1000), rng.normal(0, 1, 1000)
    expected, value = [], 0.7
    for a, b in zip(decay, drive, strict=True):
        value = a * value + b
        expected.append(value)
    np.testing.assert_allclose(battery.first_order(decay, drive, 0.7), expected, rtol=1e-12, atol=1e-12)


def test_first_order_leaves_its_arguments_alone() -> None:
    decay, drive = np.full(5, 0.5), np.ones(5)
    battery.first_order(decay, drive, 0.0)
    assert decay.tolist() == [0.5] * 5
    assert drive.tolist() == [1.0] * 5


def test_first_order_of_one_row() -> None:
    # 0.5 · 2 + 3 = 4
    assert battery.first_order(np.array([0.5]), np.array([3.0]), 2.0).tolist() == [4.0]


def test_relax_covers_63_percent_of_a_step_in_one_time_constant() -> None:
    # 1 - e^-1 = 0.6321 after tau, 1 - e^-2 = 0.8647 after twice that
    lagged = battery.relax(np.array([0, 40, 80]), np.ones(3), 40.0, 0.0)
    assert lagged == pytest.approx([0.0, 0.63212, 0.86466], abs=1e-5)


def test_relax_does_not_depend_on_how_finely_time_is_cut() -> None:
    coarse = battery.relax(np.array([0, 3600]), np.array([1.0, 1.0]), 1200.0, 0.0)[-1]
    fine = battery.relax(np.arange(0, 3601), np.ones(3601), 1200.0, 0.0)[-1]
    assert fine == pytest.approx(coarse, abs=1e-9)


def test_state_of_charge_is_the_trapezoid_integral() -> None:
    # mean of 0 and 10 A for 0.1 h is 0.5 Ah, then 10 A for 0.2 h is 2 Ah: 2.5 Ah of 50 Ah is 5 points
    soc = battery.state_of_charge(np.array([0, 360, 1080]), np.array([0.0, 10.0, 10.0]), 50.0, 0.4)
    assert soc == pytest.approx([0.40, 0.41, 0.45])


@pytest.mark.parametrize("chemistry", ["NMC", "NCA", "LMO", "LFP"])
def test_open_circuit_voltage_rises_with_charge(chemistry: str) -> None:
    curve = battery.ocv_curve(chemistry)
    assert (np.diff(curve) >= 0).all()
    assert len(curve) == round((battery.SOC_HIGH - battery.SOC_LOW) / battery.SOC_STEP) + 1


def test_look_up_meets_the_points_of_the_curve() -> None:
    # 50 % of NMC lies between 3.67 V (40 %) and 3.82 V (60 %); smoothing moves a corner by less than 2 mV
    assert battery.look_up(battery.ocv_curve("NMC"), np.array([0.5]))[0] == pytest.approx(3.73, abs=0.002)
    assert battery.look_up(battery.ocv_curve("LFP"), np.array([0.5]))[0] == pytest.approx(3.296, abs=0.002)


def test_resistance_of_an_aged_pack(i3_pack: battery.Pack) -> None:
    # (0.045 + 0.026) Ω·Ah / 120 Ah = 0.5917 mΩ new; 10 % capacity lost adds 20 %: 0.71 mΩ, times 96 = 68.2 mΩ
    assert i3_pack.resistance_ohm == pytest.approx(0.0682, abs=0.0001)
    assert battery.temperature_factor(25.0) == pytest.approx(1.0)
    # exp(2500 · (1/273.15 - 1/298.15)) = exp(0.76745) = 2.154
    assert battery.temperature_factor(0.0) == pytest.approx(2.154, abs=0.001)


def test_pack_is_as_large_as_its_smallest_cell(i3_pack: battery.Pack) -> None:
    assert i3_pack.capacity_ah == pytest.approx(108.0)  # 90 % of 120 Ah
    assert i3_pack.cell_capacity_ah.min() == pytest.approx(108.0)
    assert i3_pack.cell_capacity_ah.max() < 108.0 * 1.015


def test_cells_follow_ohms_law(i3_pack: battery.Pack) -> None:
    """At full charge all cells are alike: their mean is the OCV plus the overpotential."""
    vehicle = draw_vehicle(0, I3, "parquet", SEED, FIRST_DAY)
    even = dataclasses.replace(
        i3_pack,
        cell_charge_offset=np.zeros(96),
        cell_capacity_ah=np.full(96, 108.0),
        cell_resistance_factor=np.ones(96),
    )
    times = np.array([FIRST_S, FIRST_S + 60])
    cells = battery.cell_voltages(
        vehicle, even, times, np.array([0.5, 0.5]), np.array([0.0, 0.1]), (FIRST_S, FIRST_S + 60)
    )
    assert cells.shape == (2, 96)
    # 3.73 V at half charge, 3.83 V with 0.1 V on top
    assert cells[0] == pytest.approx(np.full(96, 3.73), abs=0.002)
    assert cells[1] - cells[0] == pytest.approx(np.full(96, 0.1), abs=1e-5)


def test_heat_of_a_known_current(i3_pack: battery.Pack) -> None:
    """A pack parked at 25 °C heated by 100 A for an hour, against the energy balance."""
    vehicle = draw_vehicle(0, I3, "parquet", SEED, FIRST_DAY)
    seconds = np.arange(0, 3601, 10)
    current, outside = np.full(len(seconds), 100.0), np.full(len(seconds), 25.0)
    state = np.full(len(seconds), battery.PARKED)
    temperature = battery.pack_temperature(vehicle, i3_pack, seconds, current, state, outside)
    # 96 · (0.045 + 0.026 + 0.045)/120 · 1.2 = 0.1114 Ω, 1114 W, 4.01 MJ in an hour; the pack holds
    # 6000 J/(K·kWh) · 120 Ah · 96 · 3.6 V = 41.5 kWh -> 249 kJ/K: 16.1 K at the resistance of 25 °C. On the way from
    # 26 to 38 °C it is on average exp(2500·(1/305.2 - 1/298.2)) = 0.83 of that: 13.3 K, less 6 K/16 h · 1 h of loss.
    assert temperature[-1] - temperature[0] == pytest.approx(12.9, abs=0.8)
