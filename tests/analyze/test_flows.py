"""What a row says the vehicle does, and the trapezoidal rule."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from packwatch.analyze import conditioning, flows
from packwatch.analyze.flows import CHARGE, DRIVE, REST

MakeLog = Callable[..., pa.Table]


def integrate(table: pa.Table, vehicles: pd.DataFrame) -> flows.Flows:
    rows, names = conditioning.read_rows(table)
    steps = conditioning.measure_steps(rows, conditioning.vehicle_days(rows))
    return flows.integrate(rows, steps, conditioning.read_specs(vehicles, names))


@pytest.mark.parametrize(
    ("state", "current", "speed", "activity"),
    [
        ("charging", 16.0, 0.0, CHARGE),
        ("charging", None, None, CHARGE),
        ("charging", 0.1, 0.0, REST),  # plugged in, finished
        ("driving", 0.0, 0.0, DRIVE),  # at the lights
        ("driving", 30.0, 0.0, DRIVE),  # braking to a stop
        ("parked", -6.0, 0.0, REST),  # heater
        ("parked", 16.0, 0.0, CHARGE),
        (None, 2.1, 0.0, CHARGE),
        (None, 2.0, 0.0, REST),
        (None, 40.0, 30.0, DRIVE),  # braking
        (None, 40.0, None, CHARGE),
        (None, -5.1, None, DRIVE),
        (None, None, 0.5, DRIVE),
        (None, None, None, REST),
    ],
)
def test_activity(
    clean_log: MakeLog, state: str | None, current: float | None, speed: float | None, activity: int
) -> None:
    rows, _ = conditioning.read_rows(clean_log([0], charge_state=[state], pack_current_a=[current], speed_kmh=[speed]))
    assert flows.classify(rows)[0].tolist() == [activity]


def test_fifty_amperes_for_an_hour_are_fifty_amperehours(
    clean_log: MakeLog, vehicles: Callable[..., pd.DataFrame]
) -> None:
    table = clean_log(np.arange(0, 3601, 60), pack_current_a=50.0, pack_voltage_v=400.0)
    flow = integrate(table, vehicles())
    # 50 A * 3600 s / 3600 = 50 Ah; 50 A * 400 V * 1 h = 20 kWh.
    assert flow.charge_ah.sum() == pytest.approx(50.0, rel=1e-12)
    assert flow.energy_kwh.sum() == pytest.approx(20.0, rel=1e-12)
    assert flow.inflow_ah.sum() == pytest.approx(50.0, rel=1e-12)


def test_a_ramp_is_its_mean_and_leaves_its_variance(clean_log: MakeLog, vehicles: Callable[..., pd.DataFrame]) -> None:
    flow = integrate(clean_log([0, 36], pack_current_a=[-20.0, 40.0], pack_voltage_v=400.0), vehicles())
    # Mean (-20 + 40)/2 = 10 A over 36 s = 0.01 h: 0.1 Ah net; into the pack (0 + 40)/2 * 0.01 = 0.2 Ah.
    assert flow.charge_ah[1] == pytest.approx(0.1)
    assert flow.inflow_ah[1] == pytest.approx(0.2)
    # (60 A * 0.01 h)^2 / 12 = 0.03 Ah².
    assert flow.noise_ah2[1] == pytest.approx(0.03)


def test_missing_currents_are_bridged_up_to_the_gap_limit(
    clean_log: MakeLog, vehicles: Callable[..., pd.DataFrame]
) -> None:
    short = integrate(
        clean_log([0, 10, 20, 30], pack_current_a=[36.0, None, None, 36.0], charge_state="charging"), vehicles()
    )
    # 36 A over 30 s = 0.3 Ah, entered where the current is known again.
    assert short.charge_ah.tolist() == pytest.approx([0, 0, 0, 0.3])
    currents = [36.0, *[None] * 7, 36.0]
    hole = integrate(clean_log(np.arange(9) * 10, pack_current_a=currents, charge_state="charging"), vehicles())
    # 80 s are more than the limit of a minute at 10 s sampling.
    assert hole.charge_ah.sum() == 0
    assert hole.blind.tolist() == [False] * 8 + [True]


def test_a_rest_is_bridged_for_an_hour_a_drive_is_not(
    clean_log: MakeLog, vehicles: Callable[..., pd.DataFrame]
) -> None:
    seconds = [0, 10, 20, 1820]
    rest = integrate(clean_log(seconds, pack_current_a=-1.0, pack_voltage_v=350.0), vehicles())
    drive = integrate(clean_log(seconds, pack_current_a=-10.0, pack_voltage_v=350.0), vehicles())
    assert rest.charge_ah.sum() == pytest.approx(-1820 / 3600)
    assert drive.charge_ah.sum() == pytest.approx(-10 * 20 / 3600)
    assert drive.gap.tolist() == [False, False, False, True]


def test_nothing_flows_between_vehicles(clean_log: MakeLog, vehicles: Callable[..., pd.DataFrame]) -> None:
    table = pa.concat_tables(
        [clean_log([0], vehicle_id="a", pack_current_a=100.0), clean_log([10], vehicle_id="b", pack_current_a=100.0)]
    )
    assert integrate(table, vehicles("a", "b")).charge_ah.tolist() == [0.0, 0.0]


def test_a_missing_voltage_is_the_last_one_else_the_nominal_one(
    clean_log: MakeLog, vehicles: Callable[..., pd.DataFrame]
) -> None:
    table = clean_log([0, 36, 72, 108], pack_current_a=100.0, pack_voltage_v=[None, 400.0, None, None])
    flow = integrate(table, vehicles())
    # 100 A * 0.01 h = 1 Ah a step; 350 V (nominal) to 400 V, then 400 V: 0.375, 0.4, 0.4 kWh.
    assert flow.energy_kwh.tolist() == pytest.approx([0, 0.375, 0.4, 0.4])
    assert flow.voltage_assumed.tolist() == [True, False, True, True]
    unknown = integrate(clean_log([0, 36], pack_current_a=100.0), vehicles(nominal_voltage_v=np.nan))
    assert unknown.energy_kwh.tolist() == [0, 0]
    assert not unknown.voltage_known.any()
