"""Hot packs and signs of thermal runaway."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from packwatch.analyze import DayAnalysis

MakeLog = Callable[..., pa.Table]
Analyze = Callable[..., DayAnalysis]


def of_code(found: DayAnalysis, code: str) -> pd.DataFrame:
    return found.anomalies[found.anomalies["code"] == code].reset_index(drop=True)


def probes(rows: Sequence[Sequence[float]]) -> pa.Array:
    return pa.array(rows, pa.list_(pa.float32()))


@pytest.mark.parametrize(("peak", "severity"), [(49.9, None), (50.0, 1), (55.0, 2), (60.0, 3)])
def test_heat_has_three_levels(clean_log: MakeLog, analyze: Analyze, peak: float, severity: int | None) -> None:
    found = of_code(analyze(clean_log(np.arange(3) * 302, temperature_max_c=[45, peak, peak])), "high_temperature")
    if severity is None:
        assert found.empty
        return
    row = found.iloc[0]
    assert (row["severity"], row["subject"], row["value"], row["unit"]) == (severity, "pack", peak, "°C")
    assert row["row_count"] == 2
    assert row["started_at"] == pd.Timestamp("2026-03-10T08:05:02Z")
    assert row["message"].startswith(f"The hottest probe reached {peak:.1f} °C")
    assert ("a nightly batch is not a safety alarm" in row["message"]) == (severity >= 3)


def test_one_hot_sample_is_a_sensor_not_a_pack(clean_log: MakeLog, analyze: Analyze) -> None:
    found = analyze(clean_log(range(5), temperature_max_c=[30, 30, 90, 30, 30]))
    assert found.anomalies["code"].tolist() == ["sensor_fault"]
    assert found.days["temperature_max_c"].tolist() == [30]
    # A slow one too, which could be real but is alone.
    assert analyze(clean_log(range(3), temperature_max_c=[45, 51, 45])).anomalies.empty


def test_two_hot_probes_in_one_sample_count(clean_log: MakeLog, analyze: Analyze) -> None:
    table = clean_log(range(3), temperatures_c=probes([[45, 45, 45], [51, 52, 45], [45, 45, 45]]))
    found = of_code(analyze(table), "high_temperature")
    assert found["value"].tolist() == [52.0]
    assert found["message"].iloc[0].startswith("Probe 2 reached 52.0 °C")


def test_the_row_before_midnight_is_another_day(clean_log: MakeLog, analyze: Analyze) -> None:
    table = clean_log([-1, 1], start="2026-03-10T00:00", temperature_max_c=[51, 51])
    assert analyze(table).anomalies.empty


def runaway(seconds: np.ndarray) -> np.ndarray:
    """30 °C until second 60, then 2 K/s up to 150 °C."""
    return np.clip(30 + 2 * (seconds - 60), 30, 150)


def test_runaway_hot_and_fast(clean_log: MakeLog, analyze: Analyze) -> None:
    seconds = np.arange(0, 150)
    found = of_code(analyze(clean_log(seconds, temperature_max_c=runaway(seconds))), "thermal_runaway_risk")
    row = found.iloc[0]
    assert (len(found), row["severity"], row["subject"]) == (1, 4, "pack")
    # 65 °C are reached 17.5 s after second 60: first whole second 78.
    assert row["started_at"] == pd.Timestamp("2026-03-10T08:01:18Z")
    assert "is not a safety alarm" in row["message"]
    assert "uncharged" in row["action"]


def test_runaway_with_a_voltage_that_breaks_down_below_65_degrees(clean_log: MakeLog, analyze: Analyze) -> None:
    seconds = np.arange(0, 80)
    temperature = np.clip(30 + 1.5 * (seconds - 60), 30, 60)
    voltage = np.where(seconds < 65, 360.0, 260.0)  # 28 % down
    table = clean_log(seconds, temperature_max_c=temperature, pack_voltage_v=voltage)
    assert 4 in of_code(analyze(table), "thermal_runaway_risk")["severity"].tolist()
    # The same heat with a steady voltage is level 3: 1.5 K/s for too short a time to be unexplained for a minute.
    steady = clean_log(seconds, temperature_max_c=temperature, pack_voltage_v=360.0)
    assert 4 not in of_code(analyze(steady), "thermal_runaway_risk")["severity"].tolist()


@pytest.mark.parametrize(("rise", "found"), [(29.0, 0), (31.0, 1)])
def test_runaway_at_slow_sampling_needs_a_kelvin_a_second(
    clean_log: MakeLog, analyze: Analyze, rise: float, found: int
) -> None:
    # Samples 30 s apart: 30 K between two of them.
    table = clean_log(np.arange(6) * 30, temperature_max_c=[40, 40, 40, 40 + rise, 42 + rise, 44 + rise])
    levels = of_code(analyze(table), "thermal_runaway_risk")["severity"].tolist()
    assert levels.count(4) == found


def test_a_sensor_that_starts_late_is_no_runaway(clean_log: MakeLog, analyze: Analyze) -> None:
    table = clean_log(np.arange(300), temperature_max_c=[0.0] * 5 + [28.0] * 295)
    assert of_code(analyze(table), "thermal_runaway_risk").empty


def heating(rate_k_per_s: float) -> tuple[np.ndarray, np.ndarray]:
    seconds = np.arange(0, 600, 5)
    return seconds, 25 + rate_k_per_s * np.clip(seconds - 200, 0, 120)


@pytest.mark.parametrize(("rate", "found"), [(0.04, 0), (0.08, 1)])
def test_heating_at_rest_for_a_minute(clean_log: MakeLog, analyze: Analyze, rate: float, found: int) -> None:
    seconds, temperature = heating(rate)
    table = clean_log(seconds, temperature_max_c=temperature, temperature_min_c=25.0, pack_current_a=0.0)
    risk = of_code(analyze(table), "thermal_runaway_risk")
    assert risk["severity"].tolist() == [3] * found


def test_the_current_explains_heat(clean_log: MakeLog, analyze: Analyze) -> None:
    # 0.08 K/s at 200 A of 100 Ah (2 C): 0.05 + 8 * 0.0039 * 4 = 0.17 K/s are allowed.
    seconds, temperature = heating(0.08)
    table = clean_log(seconds, temperature_max_c=temperature, temperature_min_c=25.0, pack_current_a=200.0)
    assert of_code(analyze(table), "thermal_runaway_risk").empty


def test_heat_that_all_probes_share_under_load_is_the_current(clean_log: MakeLog, analyze: Analyze) -> None:
    # 0.12 K/s at 1 C: 0.081 K/s are allowed, but the coldest probe rises as well.
    seconds, temperature = heating(0.12)
    shared = clean_log(seconds, temperature_max_c=temperature, temperature_min_c=temperature - 2, pack_current_a=100.0)
    alone = clean_log(seconds, temperature_max_c=temperature, temperature_min_c=25.0, pack_current_a=100.0)
    assert of_code(analyze(shared), "thermal_runaway_risk").empty
    assert of_code(analyze(alone), "thermal_runaway_risk")["severity"].tolist() == [3]


def test_a_probe_that_draws_away_is_a_hot_spot(clean_log: MakeLog, analyze: Analyze) -> None:
    count = 60
    spot = np.linspace(25, 40, count)
    lists = probes([[25, 25, 26, value] for value in spot])
    found = of_code(analyze(clean_log(np.arange(count) * 60, temperatures_c=lists)), "thermal_runaway_risk")
    # More than 10 K above the middle of the probes, (25 + 26)/2, and growing by 2 K in ten minutes.
    assert (found["severity"].tolist(), found["subject"].tolist()) == ([3], ["probe 4"])
    assert found["value"].iloc[0] == pytest.approx(14.5, abs=0.3)
    assert "probe 4 ran 14 K above the middle of the pack, at 40 °C" in found["message"].iloc[0]


def test_a_constant_offset_is_no_hot_spot(clean_log: MakeLog, analyze: Analyze) -> None:
    lists = probes([[25, 25, 26, 40]] * 60)
    assert of_code(analyze(clean_log(np.arange(60) * 60, temperatures_c=lists)), "thermal_runaway_risk").empty


@pytest.mark.parametrize(("ambient", "current", "found"), [(10.0, 0.0, 1), (None, 0.0, 1), (10.0, -3.0, 0)])
def test_self_heating_at_rest(
    clean_log: MakeLog, analyze: Analyze, ambient: float | None, current: float, found: int
) -> None:
    # Half an hour steady, then 2.5 K in each half hour; the coldest probe stays.
    seconds = np.arange(0, 3 * 3600, 60)
    temperature = 20 + np.clip(seconds - 1800, 0, None) * 2.5 / 1800
    table = clean_log(
        seconds,
        temperature_max_c=temperature,
        temperature_min_c=20.0,
        ambient_temperature_c=ambient,
        pack_current_a=current,
        charge_state="parked",
    )
    assert of_code(analyze(table), "thermal_runaway_risk")["severity"].tolist() == [3] * found


def test_a_day_that_warms_up_is_no_self_heating(clean_log: MakeLog, analyze: Analyze) -> None:
    seconds = np.arange(0, 3 * 3600, 60)
    table = clean_log(
        seconds,
        temperature_max_c=20 + seconds / 600,
        temperature_min_c=19 + seconds / 600,
        ambient_temperature_c=15 + seconds / 500,
        pack_current_a=0.0,
    )
    assert of_code(analyze(table), "thermal_runaway_risk").empty
