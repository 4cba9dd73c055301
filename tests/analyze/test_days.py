"""Statistics of vehicle-days."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from packwatch.analyze import DayAnalysis

MakeLog = Callable[..., pa.Table]
Analyze = Callable[..., DayAnalysis]


def test_fifty_in_and_fifty_out_of_a_hundred_are_half_a_cycle(clean_log: MakeLog, analyze: Analyze) -> None:
    # An hour at +50 A, an hour at -50 A, a row every 36 s; between them one step of 36 s from +50 to -50 A.
    seconds = np.concatenate([np.arange(0, 3601, 36), np.arange(3636, 7237, 36)])
    current = np.where(seconds <= 3600, 50.0, -50.0)
    day = analyze(clean_log(seconds, pack_current_a=current)).days.iloc[0]
    # 50 A * 1 h each; that step adds (50 + 0)/2 A * 36 s = 0.25 Ah to either side.
    assert day["charge_throughput_ah"] == pytest.approx(50.25)
    assert day["discharge_throughput_ah"] == pytest.approx(50.25)
    # (50.25 + 50.25) / (2 * 100).
    assert day["equivalent_full_cycles"] == pytest.approx(0.5025)


def test_an_unknown_capacity_has_no_cycles(
    clean_log: MakeLog, analyze: Analyze, vehicles: Callable[..., pd.DataFrame]
) -> None:
    table = clean_log([0, 36], pack_current_a=50.0)
    assert analyze(table, types=vehicles(capacity_nominal_ah=np.nan)).days["equivalent_full_cycles"].isna().all()
    assert analyze(table, types=vehicles("other")).days["equivalent_full_cycles"].isna().all()


def test_without_current_throughput_is_unknown_not_zero(clean_log: MakeLog, analyze: Analyze) -> None:
    day = analyze(clean_log([0, 36], soc_percent=50.0)).days.iloc[0]
    assert np.isnan(day["charge_throughput_ah"])
    assert np.isnan(day["discharge_throughput_ah"])


def test_a_step_over_midnight_counts_for_the_day_it_ends_in(clean_log: MakeLog, analyze: Analyze) -> None:
    table = clean_log([-54, -18, 18], start="2026-03-11T00:00", pack_current_a=100.0)
    days = analyze(table, date(2026, 3, 10), date(2026, 3, 11)).days
    # 100 A over 36 s = 1 Ah each.
    assert days["charge_throughput_ah"].tolist() == pytest.approx([1.0, 1.0])
    assert days["row_count"].tolist() == [2, 1]


def test_extremes_means_and_last_values(clean_log: MakeLog, analyze: Analyze) -> None:
    table = clean_log(
        [0, 10, 20],
        soc_percent=[50, 49, None],
        odometer_km=[100.0, 101.0, None],
        temperature_min_c=[18.0, 19.0, None],
        temperature_max_c=[22.0, 25.0, None],
        bms_soh_percent=[95.0, 94.5, None],
        bms_capacity_ah=[None, 98.0, None],
    )
    day = analyze(table).days.iloc[0]
    assert (day["soc_min_percent"], day["soc_max_percent"]) == (49, 50)
    assert day["odometer_km"] == 101.0
    # Middles 20 and 22 °C.
    assert (day["temperature_max_c"], day["temperature_mean_c"]) == (25.0, 21.0)
    assert (day["bms_soh_percent"], day["bms_capacity_ah"]) == (94.5, 98.0)
    assert day["first_recorded_at"] == pd.Timestamp("2026-03-10T08:00:00Z")
    assert day["last_recorded_at"] == pd.Timestamp("2026-03-10T08:00:20Z")
    assert day["log_date"] == date(2026, 3, 10)


def test_completeness_is_the_share_of_seven_signals(clean_log: MakeLog, analyze: Analyze) -> None:
    table = clean_log(
        [0, 10], pack_voltage_v=350.0, pack_current_a=[1.0, None], soc_percent=50.0, cell_voltages_v=[[3.6], None]
    )
    # Voltage 1, current 0.5, SoC 1, speed 0, odometer 0, cells 0.5, temperature 0: 3 of 7.
    assert analyze(table).days["completeness"].tolist() == pytest.approx([3 / 7])


def test_the_spread_is_judged_in_quiet_rows(clean_log: MakeLog, analyze: Analyze) -> None:
    table = clean_log(
        [0, 100, 200, 300],
        pack_current_a=[0.0, 0.0, 0.0, 80.0],
        cell_voltage_min_v=[3.600, 3.600, 3.600, 3.400],
        cell_voltage_max_v=[3.610, 3.612, 3.650, 3.600],
    )
    day = analyze(table).days.iloc[0]
    # Quiet: 10, 12, 50 mV; under load 200 mV.
    assert day["cell_spread_median_mv"] == pytest.approx(12.0)
    assert day["cell_spread_max_mv"] == pytest.approx(200.0)


def test_a_list_of_cells_goes_before_reported_extremes(clean_log: MakeLog, analyze: Analyze) -> None:
    table = clean_log(
        [0], pack_current_a=0.0, cell_voltages_v=[[3.5, 3.75]], cell_voltage_min_v=3.0, cell_voltage_max_v=4.0
    )
    assert analyze(table).days["cell_spread_median_mv"].tolist() == [250.0]
