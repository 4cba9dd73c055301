"""Rows to charge and discharge sessions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from packwatch.analyze import DayAnalysis, sessions
from packwatch.ingest.identity import make_id

MakeLog = Callable[..., pa.Table]
Analyze = Callable[..., DayAnalysis]


def soc_of(current: np.ndarray, step_s: float, start: float, capacity_ah: float = 100.0) -> np.ndarray:
    """SoC that the current leads to, %."""
    charge = np.concatenate([[0], np.cumsum(0.5 * (current[1:] + current[:-1]) * step_s / 3600)])
    return start + 100 * charge / capacity_ah


def one_charge(clean_log: MakeLog, start: str = "2026-03-10T08:00", **columns: object) -> pa.Table:
    """An hour at 50 A and 400 V, a row a minute: 50 Ah, 20 kWh, 20 to 70 % of 100 Ah."""
    seconds = np.arange(0, 3601, 60)
    values: dict[str, object] = {
        "pack_current_a": 50.0,
        "pack_voltage_v": 400.0,
        "soc_percent": 20 + seconds / 72,
        "charge_state": "charging",
    }
    return clean_log(seconds, start=start, **(values | columns))


def test_a_charge_is_measured(clean_log: MakeLog, analyze: Analyze) -> None:
    table = one_charge(clean_log, temperature_min_c=20.0, temperature_max_c=[24.0] * 60 + [30.0], odometer_km=1234.5)
    charge = analyze(table).sessions.iloc[0]
    assert len(analyze(table).sessions) == 1
    # 50 A * 1 h = 50 Ah; 50 A * 400 V * 1 h = 20 kWh; 50 A * 400 V = 20 kW, and 0.5 C is above 0.35 C: DC.
    assert charge["charge_ah"] == pytest.approx(50.0, rel=1e-12)
    assert charge["energy_kwh"] == pytest.approx(20.0, rel=1e-12)
    assert (charge["kind"], charge["charge_type"]) == ("charge", "DC")
    assert charge["power_max_kw"] == 20.0
    assert (charge["duration_s"], charge["row_count"], charge["sampling_interval_s"]) == (3600.0, 61, 60.0)
    assert (charge["soc_start_percent"], charge["soc_end_percent"]) == (20.0, 70.0)
    # Middle of 20 and 24 °C at the start.
    assert (charge["temperature_start_c"], charge["temperature_max_c"]) == (22.0, 30.0)
    assert (charge["odometer_start_km"], charge["odometer_end_km"]) == (1234.5, 1234.5)
    assert (charge["gap_s"], charge["quality_flags"]) == (0.0, 0)
    assert charge["log_date"] == date(2026, 3, 10)
    assert charge["started_at"] == pd.Timestamp("2026-03-10T08:00Z")
    assert charge["ended_at"] == pd.Timestamp("2026-03-10T09:00Z")
    assert charge["session_id"] == make_id("car", "charge", "2026-03-10T08:00:00.000Z")


def test_a_wallbox_is_ac(clean_log: MakeLog, analyze: Analyze) -> None:
    # 20 A * 400 V = 8 kW and 0.2 C.
    assert analyze(one_charge(clean_log, pack_current_a=20.0)).sessions["charge_type"].tolist() == ["AC"]


def test_without_current_a_charge_has_only_its_soc(clean_log: MakeLog, analyze: Analyze) -> None:
    charge = analyze(one_charge(clean_log, pack_current_a=None)).sessions.iloc[0]
    assert np.isnan(charge["charge_ah"])
    assert np.isnan(charge["energy_kwh"])
    assert pd.isna(charge["charge_type"])
    assert charge["soc_end_percent"] == 70.0
    assert charge["quality_flags"] & sessions.CURRENT_MISSING


def test_without_soc_a_charge_has_its_energy(clean_log: MakeLog, analyze: Analyze) -> None:
    charge = analyze(one_charge(clean_log, soc_percent=None)).sessions.iloc[0]
    assert charge["energy_kwh"] == pytest.approx(20.0)
    assert np.isnan(charge["soc_start_percent"])
    assert charge["quality_flags"] & sessions.SOC_MISSING


def test_a_reversed_current_is_flagged_not_believed(clean_log: MakeLog, analyze: Analyze) -> None:
    charge = analyze(one_charge(clean_log, pack_current_a=-50.0)).sessions.iloc[0]
    assert (charge["kind"], charge["charge_ah"]) == ("charge", pytest.approx(50.0))
    assert charge["quality_flags"] & sessions.SIGN_CONFLICT
    assert np.isnan(charge["observed_capacity_ah"])


def test_a_charger_that_empties_the_pack_makes_a_discharge(clean_log: MakeLog, analyze: Analyze) -> None:
    seconds = np.arange(0, 3601, 60)
    table = one_charge(clean_log, pack_current_a=-10.0, soc_percent=60 - seconds / 360)
    assert analyze(table).sessions["kind"].tolist() == ["discharge"]


def test_a_drive_is_net_of_braking(clean_log: MakeLog, analyze: Analyze) -> None:
    # A second each: 30 rows at -100 A, 10 at +50 A, for 10 minutes; trapezoids at the edges do not change the mean
    # much: (30 * -100 + 10 * 50) / 40 = -62.5 A for 600 s is 10.4 Ah.
    current = np.tile(np.repeat([-100.0, 50.0], [30, 10]), 15)
    table = clean_log(
        np.arange(600), pack_current_a=current, pack_voltage_v=360.0, speed_kmh=60.0, soc_percent=soc_of(current, 1, 80)
    )
    drive = analyze(table).sessions.iloc[0]
    assert len(analyze(table).sessions) == 1
    assert drive["kind"] == "discharge"
    assert drive["charge_ah"] == pytest.approx(10.4, rel=0.01)
    assert drive["energy_kwh"] == pytest.approx(10.4 * 0.36, rel=0.01)
    # The strongest discharge, not the braking: 100 A * 360 V.
    assert drive["power_max_kw"] == 36.0
    assert pd.isna(drive["charge_type"])


def test_braking_without_speed_or_state_is_not_a_charger(clean_log: MakeLog, analyze: Analyze) -> None:
    current = np.tile(np.repeat([-80.0, 40.0], [40, 20]), 10)
    found = analyze(clean_log(np.arange(600), pack_current_a=current, pack_voltage_v=360.0)).sessions
    assert found["kind"].tolist() == ["discharge"]
    assert found["row_count"].tolist() == [600]


def test_a_red_light_does_not_end_a_drive_a_parking_lot_does(clean_log: MakeLog, analyze: Analyze) -> None:
    def drive_twice(pause_s: int) -> pd.DataFrame:
        seconds = np.arange(0, 1200 + pause_s, 10)
        moving = (seconds < 600) | (seconds >= 600 + pause_s)
        return analyze(
            clean_log(
                seconds,
                pack_current_a=np.where(moving, -60.0, -1.0),
                pack_voltage_v=360.0,
                speed_kmh=np.where(moving, 50.0, 0.0),
            )
        ).sessions

    assert len(drive_twice(120)) == 1
    assert drive_twice(120)["quality_flags"].iloc[0] & sessions.PAUSED
    assert len(drive_twice(900)) == 2


def test_flicker_belongs_to_what_was_before(clean_log: MakeLog, analyze: Analyze) -> None:
    # Two rows (20 s) of a wheel speed sensor that twitches while charging.
    speed = np.zeros(361)
    speed[100:102] = 3.0
    current = np.full(361, 50.0)
    found = analyze(
        clean_log(np.arange(361) * 10, pack_current_a=current, pack_voltage_v=400.0, speed_kmh=speed)
    ).sessions
    assert found["kind"].tolist() == ["charge"]
    assert found["charge_ah"].tolist() == pytest.approx([50.0])


@pytest.mark.parametrize(("pause_min", "leak", "count"), [(20, 0.5, 1), (20, 1.5, 2), (40, 0.0, 2)])
def test_a_charge_goes_on_after_a_short_pause_at_the_same_soc(
    clean_log: MakeLog, analyze: Analyze, pause_min: int, leak: float, count: int
) -> None:
    first = one_charge(clean_log)
    pause = clean_log(
        np.arange(60, pause_min * 60, 60), start="2026-03-10T09:00", pack_current_a=0.0, soc_percent=70.0 - leak
    )
    second = one_charge(
        clean_log,
        start=f"2026-03-10T09:{pause_min:02d}",
        soc_percent=70 - leak + np.arange(61) * 0.3,
        pack_current_a=30.0,
    )
    found = analyze(pa.concat_tables([first, pause, second])).sessions
    assert len(found) == count
    # 50 Ah + 30 Ah, and half a minute of slope at each side of the pause when it is bridged.
    assert found["charge_ah"].sum() == pytest.approx(80.0, abs=0.8)


def test_a_plugged_in_vehicle_stops_charging_when_the_current_stops(clean_log: MakeLog, analyze: Analyze) -> None:
    charge = one_charge(clean_log)
    idle = clean_log(
        np.arange(60, 7200, 60), start="2026-03-10T09:00", pack_current_a=0.0, soc_percent=70.0, charge_state="charging"
    )
    found = analyze(pa.concat_tables([charge, idle])).sessions
    assert found["ended_at"].tolist() == [pd.Timestamp("2026-03-10T09:00Z")]


def test_small_things_are_no_sessions(clean_log: MakeLog, analyze: Analyze) -> None:
    # 10 A * 400 V for 6 minutes: 0.4 kWh, 1 %.
    assert analyze(clean_log(np.arange(0, 361, 10), pack_current_a=10.0, pack_voltage_v=400.0)).sessions.empty
    # -6 A * 350 V for 100 s: 0.06 kWh.
    assert analyze(clean_log(np.arange(0, 101, 10), pack_current_a=-6.0, pack_voltage_v=350.0)).sessions.empty


def test_one_row_is_no_session(clean_log: MakeLog, analyze: Analyze) -> None:
    assert analyze(clean_log([0], pack_current_a=50.0, pack_voltage_v=400.0)).sessions.empty


def test_slow_polling_still_gives_sensible_sessions(clean_log: MakeLog, analyze: Analyze) -> None:
    # A row every 302 s, as real Leaf logs have: seven rows of charging at 70 A between two drives.
    current = np.array([-60.0] * 5 + [70.0] * 7 + [-50.0] * 5)
    state = ["driving"] * 5 + ["charging"] * 7 + ["driving"] * 5
    soc = soc_of(current, 302, 60)
    table = clean_log(
        np.arange(17) * 302, pack_current_a=current, pack_voltage_v=360.0, soc_percent=soc, charge_state=state
    )
    found = analyze(table).sessions
    assert found["kind"].tolist() == ["discharge", "charge", "discharge"]
    charge = found.iloc[1]
    # Six whole steps: 70 A * 6 * 302 s = 35.2 Ah.
    assert charge["charge_ah"] == pytest.approx(70 * 6 * 302 / 3600)
    assert charge["sampling_interval_s"] == 302.0
    assert charge["quality_flags"] == sessions.SLOW_SAMPLING


def test_a_bridged_gap_is_counted(clean_log: MakeLog, analyze: Analyze) -> None:
    # 1 s sampling with one hole of 40 s, which is below the limit of a minute.
    seconds = np.concatenate([np.arange(0, 1000), np.arange(1039, 2000)])
    charge = analyze(clean_log(seconds, pack_current_a=60.0, pack_voltage_v=400.0)).sessions.iloc[0]
    assert charge["gap_s"] == 40.0
    assert charge["quality_flags"] & sessions.GAP_BRIDGED
    assert charge["charge_ah"] == pytest.approx(60 * 1999 / 3600)


def test_an_overnight_charge_belongs_to_the_day_it_ends_in(clean_log: MakeLog, analyze: Analyze) -> None:
    table = one_charge(clean_log, start="2026-03-10T23:30")
    assert analyze(table, date(2026, 3, 10)).sessions.empty
    found = analyze(table, date(2026, 3, 11)).sessions
    assert found["charge_ah"].tolist() == pytest.approx([50.0])
    assert found["log_date"].tolist() == [date(2026, 3, 11)]


def test_slow_polling_over_midnight_is_one_session(clean_log: MakeLog, analyze: Analyze) -> None:
    # Only one row lies in the new day: its gap limit comes from the day before.
    current = np.full(8, 70.0)
    table = clean_log(
        np.arange(8) * 302,
        start="2026-03-10T23:28",
        pack_current_a=current,
        pack_voltage_v=360.0,
        soc_percent=soc_of(current, 302, 20),
        charge_state="charging",
    )
    found = analyze(table, date(2026, 3, 11)).sessions
    assert found["row_count"].tolist() == [8]


def test_a_session_longer_than_the_context_says_so(clean_log: MakeLog, analyze: Analyze) -> None:
    # 10 A from the 8th to the 10th at noon: 52 h. The context begins with the 9th.
    hours = np.arange(0, 52.01, 0.25)
    table = clean_log(
        hours * 3600, start="2026-03-08T08:00", pack_current_a=10.0, pack_voltage_v=400.0, charge_state="charging"
    )
    found = analyze(table).sessions.iloc[0]
    assert found["started_at"] == pd.Timestamp("2026-03-09T00:00Z")
    assert found["charge_ah"] == pytest.approx(360.0)
    assert found["quality_flags"] & sessions.CUT_AT_START


def test_v2l_while_parked_is_no_session_of_its_own(clean_log: MakeLog, analyze: Analyze) -> None:
    table = clean_log(np.arange(0, 600, 10), pack_current_a=-4.0, pack_voltage_v=350.0, charge_state="parked")
    assert analyze(table).sessions.empty


def test_sessions_of_many_vehicles_keep_apart(
    clean_log: MakeLog, analyze: Analyze, vehicles: Callable[..., pd.DataFrame]
) -> None:
    names = [f"car{number:02d}" for number in range(20)]
    table = pa.concat_tables([one_charge(clean_log, vehicle_id=name) for name in names])
    found = analyze(table, types=vehicles(*names)).sessions
    assert found["vehicle_id"].tolist() == names
    assert found["charge_ah"].tolist() == pytest.approx([50.0] * 20)
    assert found["session_id"].is_unique
