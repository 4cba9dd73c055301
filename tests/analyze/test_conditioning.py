"""Duplicates, sentinels, spikes, steps and vehicle types."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from packwatch.analyze import conditioning
from packwatch.errors import DataError
from packwatch.schema import CLEAN_SCHEMA

MakeLog = Callable[..., pa.Table]


def test_the_first_object_of_an_instant_stays(clean_log: MakeLog) -> None:
    late = clean_log([0, 10], source="raw/b", pack_current_a=[1.0, 2.0])
    early = clean_log([10, 20], source="raw/a", pack_current_a=[3.0, 4.0])
    table, duplicate = conditioning.deduplicate(pa.concat_tables([late, early]))
    # At second 10 both objects have a row; raw/a sorts first, so row 2 of raw/b is the duplicate.
    assert duplicate.to_pylist() == [False, True, False, False]
    assert table["pack_current_a"].to_pylist() == [1.0, 3.0, 4.0]
    assert table["source_object"].to_pylist() == ["raw/b", "raw/a", "raw/a"]


def test_within_an_object_the_first_row_stays(clean_log: MakeLog) -> None:
    table, duplicate = conditioning.deduplicate(clean_log([5, 5, 5], pack_current_a=[1.0, 2.0, 3.0]))
    assert duplicate.to_pylist() == [False, True, True]
    assert table["pack_current_a"].to_pylist() == [1.0]


def test_rows_out_of_order_and_vehicles_out_of_order_are_sorted(clean_log: MakeLog) -> None:
    mixed = pa.concat_tables([clean_log([20, 0], vehicle_id="b"), clean_log([5], vehicle_id="a")])
    table, duplicate = conditioning.deduplicate(mixed)
    assert table["vehicle_id"].to_pylist() == ["a", "b", "b"]
    assert table["source_row"].to_pylist() == [1, 2, 1]
    assert not any(duplicate.to_pylist())


def test_sorted_rows_come_back_unchanged(clean_log: MakeLog) -> None:
    table = clean_log([0, 1, 2])
    assert conditioning.deduplicate(table)[0] is table
    assert conditioning.is_sorted(table)


def test_nothing_is_nothing() -> None:
    empty = CLEAN_SCHEMA.empty_table()
    table, duplicate = conditioning.deduplicate(empty)
    assert (len(table), len(duplicate)) == (0, 0)
    rows, names = conditioning.read_rows(empty)
    assert (len(rows), len(names)) == (0, 0)


def test_a_row_without_time_is_refused(clean_log: MakeLog) -> None:
    table = clean_log([0, 1])
    times = pa.array([None, 1], pa.timestamp("ms", "UTC"))
    broken = table.set_column(table.column_names.index("recorded_at"), "recorded_at", times)
    with pytest.raises(DataError, match="1 vehicle_id or recorded_at are null"):
        conditioning.deduplicate(broken)


def test_dictionary_encoded_vehicles_are_read(clean_log: MakeLog) -> None:
    table = pa.concat_tables([clean_log([0], vehicle_id="b"), clean_log([0], vehicle_id="a")])
    encoded = table.set_column(0, "vehicle_id", table["vehicle_id"].dictionary_encode())
    rows, names = conditioning.read_rows(conditioning.deduplicate(encoded)[0])
    assert names.tolist() == ["a", "b"]
    assert rows.vehicle.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("column", "sentinel", "good"),
    [
        ("temperature_max_c", -40.0, 20.0),
        ("temperature_max_c", 215.0, -39.0),
        ("pack_current_a", -800.0, -799.5),
        ("pack_current_a", 1000.0, 999.0),
        ("pack_voltage_v", 0.0, 355.0),
        ("cell_voltage_max_v", 5.0, 4.2),
    ],
)
def test_sentinels_become_missing_and_leave_a_bit(
    clean_log: MakeLog, column: str, sentinel: float, good: float
) -> None:
    rows, _ = conditioning.read_rows(clean_log([0, 1], **{column: [sentinel, good]}))
    values = getattr(rows, column)
    assert np.isnan(values[0])
    assert values[1] == good
    assert rows.quality.tolist() == [conditioning.SENTINEL_REMOVED, 0]


def test_a_single_leap_of_soc_is_removed_a_lasting_one_stays(clean_log: MakeLog) -> None:
    rows, _ = conditioning.read_rows(clean_log(range(6), soc_percent=[50, 0, 50, 50, 70, 70]))
    assert np.isnan(rows.soc_percent[1])
    assert rows.soc_percent[4] == 70
    assert rows.quality[1] == conditioning.SOC_SPIKE_REMOVED


def test_a_leap_over_hours_is_no_spike(clean_log: MakeLog) -> None:
    # Driven empty and charged again between uploads.
    rows, _ = conditioning.read_rows(clean_log([0, 7200, 14400], soc_percent=[80, 20, 80]))
    assert rows.soc_percent.tolist() == [80, 20, 80]


def test_a_temperature_spike_is_removed(clean_log: MakeLog) -> None:
    rows, _ = conditioning.read_rows(clean_log(range(3), temperature_max_c=[25, 90, 26]))
    assert np.isnan(rows.temperature_max_c[1])
    assert rows.quality[1] == conditioning.TEMPERATURE_SPIKE_REMOVED


def test_lists_complete_missing_extremes(clean_log: MakeLog) -> None:
    table = clean_log(
        range(4),
        cell_voltages_v=[[3.5, 3.75, 0.0], None, [], [4.0]],
        cell_voltage_max_v=[None, None, None, 3.9],
        temperatures_c=[[20, 22, 215], [-40], None, [30]],
    )
    rows, _ = conditioning.read_rows(table)
    # 0.0 V, 215 °C and -40 °C are no readings; a reported extreme is kept.
    np.testing.assert_array_equal(rows.cell_voltage_min_v, [3.5, np.nan, np.nan, 4.0])
    np.testing.assert_array_equal(rows.cell_voltage_max_v, [3.75, np.nan, np.nan, 3.9])
    np.testing.assert_array_equal(rows.temperature_max_c, [22, np.nan, np.nan, 30])


def test_states_are_numbered(clean_log: MakeLog) -> None:
    rows, _ = conditioning.read_rows(clean_log(range(4), charge_state=["charging", None, "driving", "parked"]))
    assert rows.state.tolist() == [1, 0, 2, 3]


def test_days_end_at_midnight_utc(clean_log: MakeLog) -> None:
    rows, _ = conditioning.read_rows(clean_log([-1, 0, 1], start="2026-03-11T00:00"))
    days = conditioning.vehicle_days(rows)
    assert (days.first.tolist(), days.stop.tolist()) == ([0, 1], [1, 3])
    # One row has no step; two rows have one of 1 s.
    assert np.isnan(days.step_median_ms[0])
    assert days.step_median_ms[1] == 1000


def test_the_gap_limit_is_five_steps_within_a_minute_and_two_hours(clean_log: MakeLog) -> None:
    table = pa.concat_tables(
        [
            clean_log([0, 1, 2, 3], vehicle_id="fast"),
            clean_log([0, 302, 604, 906], vehicle_id="slow"),
            clean_log([0, 3600, 7200], vehicle_id="hourly"),
        ]
    )
    rows, names = conditioning.read_rows(table)
    steps = conditioning.measure_steps(rows, conditioning.vehicle_days(rows))
    limit = {names[vehicle]: limit / 1000 for vehicle, limit in zip(rows.vehicle, steps.limit_ms, strict=True)}
    # 5 x 302 s = 1510 s; 5 x 3600 s is more than the two hours allowed.
    assert limit == {"fast": 60.0, "slow": 1510.0, "hourly": 7200.0}


def test_a_day_with_one_row_goes_by_its_neighbor(clean_log: MakeLog) -> None:
    rows, _ = conditioning.read_rows(clean_log([-604, -302, 0], start="2026-03-11T00:00"))
    steps = conditioning.measure_steps(rows, conditioning.vehicle_days(rows))
    assert steps.limit_ms[2] == 5 * 302_000
    assert steps.dt_ms.tolist() == [0, 302_000, 302_000]


def test_an_unknown_vehicle_has_neutral_figures() -> None:
    vehicles = pd.DataFrame(
        {
            "vehicle_id": ["known"],
            "chemistry": ["LFP"],
            "cells_in_series": [106.0],
            "capacity_nominal_ah": [0.0],
            "nominal_voltage_v": [340.0],
            "cell_voltage_limit_max_v": [3.65],
        }
    )
    specs = conditioning.read_specs(vehicles, np.array(["known", "stranger"], dtype=object))
    assert specs.chemistry.tolist() == ["LFP", "unknown"]
    assert specs.cell_limit_max_v.tolist() == [3.65, conditioning.NEUTRAL_CELL_LIMIT_MAX_V]
    # No pack holds 0 Ah: unknown.
    assert np.isnan(specs.capacity_ah).all()
    assert np.isnan(specs.cells_in_series[1])
