"""Timelines: charging profiles, drives and the order of events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pytest

from packwatch.simulate.behavior import charge_profile, plan_timeline
from packwatch.simulate.drive import drive_profile, speed_profile
from packwatch.simulate.fleet import DELIVERY, FLEET_SIZE, TAXI, draw_fleet, draw_vehicle
from packwatch.simulate.pack import AC, DC, DRIVING, Pack, build_pack, look_up
from packwatch.simulate.vehicle_types import TYPES

FIRST_DAY, FIRST_S, SEED = date(2026, 1, 5), 1_767_571_200, 5
I3 = next(kind for kind in TYPES if kind.model == "i3 120 Ah")


@pytest.fixture(scope="module")
def i3_pack() -> Pack:
    return build_pack(draw_vehicle(0, I3, "parquet", SEED, FIRST_DAY), 0, SEED)


def test_slow_charge_moves_the_charge_it_should(i3_pack: Pack) -> None:
    seconds, current = charge_profile(i3_pack, 0.2, 0.8, 7400, AC, 20.0, 10)
    moved_ah = float(np.trapezoid(current, seconds)) / 3600
    assert moved_ah == pytest.approx(0.6 * i3_pack.capacity_ah, rel=0.003)
    # 7.4 kW · 0.9 into 96 cells of 3.56 V at rest (20 %): 6660 W / 342 V = 19.5 A, a little less with the resistance
    assert current[0] == pytest.approx(19.3, abs=0.3)
    assert (np.diff(current) <= 1e-9).all()  # constant power into a rising voltage


def test_full_charge_tapers_at_constant_voltage(i3_pack: Pack) -> None:
    seconds, current = charge_profile(i3_pack, 0.5, 1.0, 11_000, AC, 20.0, 10)
    assert current[-1] < 0.3 * current[0]
    charged = (
        0.5 + np.concatenate(([0.0], np.cumsum(0.5 * (current[1:] + current[:-1]) * 10 / 3600))) / i3_pack.capacity_ah
    )
    resistance = i3_pack.r0_ohm + i3_pack.r1_ohm + i3_pack.r2_ohm
    cell_v = look_up(i3_pack.curve_v, charged) + current * resistance * 1.15  # 20 °C is 15 % above the 25 °C value
    assert cell_v.max() < 4.16  # full at rest is 4.15 V, the charger stops 6 mV above
    tail = charged > 0.985
    assert np.ptp(cell_v[tail]) < 0.006  # constant to some millivolts
    assert seconds[tail][-1] - seconds[tail][0] > 600


def test_fast_charge_tapers_and_suffers_from_cold(i3_pack: Pack) -> None:
    _, warm = charge_profile(i3_pack, 0.2, 0.9, 49_000, DC, 20.0, 10)
    _, cold = charge_profile(i3_pack, 0.2, 0.9, 49_000, DC, -10.0, 10)
    assert warm[0] == pytest.approx(135, abs=6)  # 49 kW / 350 V = 140 A less the drop over the resistance
    assert warm[-1] < 0.5 * warm[0]
    assert cold[0] < 0.5 * warm[0]


def test_no_charge_when_the_target_is_reached(i3_pack: Pack) -> None:
    seconds, current = charge_profile(i3_pack, 0.9, 0.8, 7400, AC, 20.0, 30)
    assert len(seconds) == len(current) == 0


@pytest.mark.parametrize("distance_km", [3.0, 12.0, 60.0])
def test_a_trip_starts_and_ends_at_rest_and_covers_its_distance(distance_km: float) -> None:
    speed = speed_profile(distance_km, np.random.default_rng(1))
    assert speed[0] == speed[-1] == 0
    assert speed.max() < 140
    driven = speed.sum() * 2 / 3600
    assert driven == pytest.approx(distance_km, rel=0.2)
    # gentle traffic: nobody brakes or accelerates by more than 4 m/s²
    assert np.abs(np.diff(speed)).max() / 3.6 / 2 < 4


def test_a_drive_takes_and_gives_back_energy(i3_pack: Pack) -> None:
    _, speed, current = drive_profile(I3, i3_pack, 0.7, 25.0, 15.0, np.random.default_rng(2))
    assert current.min() < -20  # discharges: negative
    assert current.max() > 5  # regenerates: positive
    kwh_per_100km = -current.sum() * 2 / 3600 * 96 * 3.85 / 1000 / (speed.sum() * 2 / 3600) * 100
    assert 9 < kwh_per_100km < 20


def test_no_regeneration_into_a_full_battery(i3_pack: Pack) -> None:
    _, _, half = drive_profile(I3, i3_pack, 0.6, 8.0, 15.0, np.random.default_rng(3))
    _, _, full = drive_profile(I3, i3_pack, 1.0, 8.0, 15.0, np.random.default_rng(3))
    assert full.max() < 0.35 * half.max()


@pytest.mark.parametrize("habit", [DELIVERY, TAXI])
def test_events_are_in_order_and_charge_stays_in_range(simulated: Callable[..., Any], habit: object) -> None:
    made = simulated("Kona 64", habit=habit)
    assert (np.diff(made.log.time_s) > 0).all()
    assert made.log.soc.min() > 0.04
    assert made.log.soc.max() < 1.005
    charging = (made.log.state == AC) | (made.log.state == DC)
    assert (made.log.current_a[charging] > 0).all()
    speed = made.numbers("speed_kmh")
    assert (speed[made.log.state != DRIVING] == 0).all()


def test_rows_stay_inside_the_simulated_days(simulated: Callable[..., Any]) -> None:
    made = simulated("i3 120 Ah", days=2)
    assert made.log.time_s[0] >= FIRST_S
    assert made.log.time_s[0] < FIRST_S + 600
    assert FIRST_S + 2 * 86_400 - 600 <= made.log.time_s[-1] < FIRST_S + 2 * 86_400


def test_night_charges_cross_midnight_and_windows_are_wide() -> None:
    """Most vehicles must deliver evidence: several charges of 40 points and more in a week."""
    wide, crossing = [], 0
    fleet = draw_fleet(FLEET_SIZE, 1, FIRST_DAY, 7)[::4]
    for vehicle in fleet:
        packs = (build_pack(vehicle, 0, 1), build_pack(vehicle, 1, 1))
        trace = plan_timeline(vehicle, packs, FIRST_S, 7, 1)
        charging = np.isin(trace.state, (AC, DC)) & trace.logged
        edges = np.flatnonzero(np.diff(charging.astype(int), prepend=0, append=0))
        starts, ends = edges[::2], edges[1::2] - 1
        moved = np.cumsum(trace.current_a * np.diff(trace.time_s, prepend=trace.time_s[0])) / 3600
        points = (moved[ends] - moved[starts]) / vehicle.capacity_ah * 100
        wide.append(int((points >= 40).sum()))
        crossing += int((trace.time_s[starts] // 86_400 != trace.time_s[ends] // 86_400).sum())
    assert np.median(wide) >= 2
    assert crossing >= len(fleet)
