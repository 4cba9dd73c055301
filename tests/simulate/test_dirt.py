"""Dirty rows: every kind is bad as declared, and everything is counted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from packwatch.schema import BY_NAME
from packwatch.simulate.dirt import BAD_KINDS, Dirt, cut_line, petrol_log, soil

FIRST_S = 1_767_571_200  # 5 January 2026, 00:00 UTC


def times(table: pa.Table) -> np.ndarray:
    """Return the seconds since 1970 of every row."""
    return table["recorded_at"].cast(pa.int64()).to_numpy() / 1000


def is_bad(table: pa.Table, reason: str) -> np.ndarray:
    """Return which rows break the rule that a reason stands for, by the limits of the schema."""
    if reason == "time_too_early":
        return times(table) < datetime(2008, 1, 1, tzinfo=UTC).timestamp()
    if reason == "time_in_future":
        return times(table) > datetime(2099, 1, 1, tzinfo=UTC).timestamp() - 1
    column = BY_NAME[reason.removesuffix("_out_of_range")]
    assert column.maximum is not None
    return table[column.name].to_numpy() > column.maximum


@pytest.fixture(scope="module")
def day(simulated: Callable[..., Any]) -> pa.Table:
    """Return the clean rows of one vehicle's day."""
    log = simulated("i3 120 Ah").log
    return log.table.slice(0, int(np.searchsorted(log.time_s, FIRST_S + 86_400)))


def test_counts_match_the_rows_over_many_files(day: pa.Table) -> None:
    seen = Dirt()
    for seed in range(30):
        rows, dirt = soil(day, np.random.default_rng(seed), FIRST_S, gaps=True, leafspy=False)
        assert len(rows) == len(day) + dirt.duplicate_rows - dirt.lost_rows
        found = {reason: int(is_bad(rows, reason).sum()) for reason in BAD_KINDS.values()}
        assert {reason: count for reason, count in found.items() if count} == dirt.bad_rows
        broken = np.logical_or.reduce([is_bad(rows, reason) for reason in BAD_KINDS.values()])
        assert broken.sum() == sum(dirt.bad_rows.values())  # a row is bad in one way only
        stamps = times(rows)
        assert len(stamps) - len(np.unique(stamps)) == dirt.duplicate_rows
        backwards = int((np.diff(stamps[~broken]) < 0).sum())
        assert (backwards > 0) == (dirt.out_of_order_rows > 0 or dirt.duplicate_rows > 1)
        for name, count in dirt.bad_rows.items():
            seen.bad_rows[name] = seen.bad_rows.get(name, 0) + count
        seen.duplicate_rows += dirt.duplicate_rows
        seen.lost_rows += dirt.lost_rows
        seen.out_of_order_rows += dirt.out_of_order_rows
    assert set(seen.bad_rows) == set(BAD_KINDS.values())
    assert min(seen.duplicate_rows, seen.lost_rows, seen.out_of_order_rows) > 0
    assert 0.005 < sum(seen.bad_rows.values()) / (30 * len(day)) < 0.03


def test_no_file_comes_near_the_gate(day: pa.Table) -> None:
    worst = 0.0
    for seed in range(60):
        rows, dirt = soil(day, np.random.default_rng(seed), FIRST_S, gaps=False, leafspy=False)
        worst = max(worst, sum(dirt.bad_rows.values()) / len(rows))
    assert 0.01 < worst < 0.12


def test_sentinels_stand_in_the_lists_too(day: pa.Table) -> None:
    for seed in range(30):
        rows, _ = soil(day, np.random.default_rng(seed), FIRST_S, gaps=False, leafspy=False)
        hottest = np.array([max(values) for values in rows["temperatures_c"].to_pylist()])
        highest = np.array([max(values) for values in rows["cell_voltages_v"].to_pylist()])
        assert np.array_equal(hottest == 255, is_bad(rows, "temperature_max_c_out_of_range"))
        assert np.array_equal(highest > 65, is_bad(rows, "cell_voltage_max_v_out_of_range"))


def test_zero_odometer_where_the_format_has_it(day: pa.Table) -> None:
    counts = []
    for seed in range(10):
        rows, dirt = soil(day, np.random.default_rng(seed), FIRST_S, gaps=False, leafspy=True)
        counts.append(dirt.zero_odometer_rows)
        zeros = int((rows["odometer_km"].to_numpy() == 0).sum())
        # a zero may be overwritten by another defect or sent twice
        assert abs(zeros - dirt.zero_odometer_rows) <= dirt.zero_odometer_rows
        assert (zeros > 0) <= (dirt.zero_odometer_rows > 0)
    assert 0 < sum(counts) < 80


def test_the_clean_rows_are_left_alone(day: pa.Table) -> None:
    before = day.slice(0)
    soil(day, np.random.default_rng(3), FIRST_S, gaps=True, leafspy=True)
    assert day.equals(before)


def test_a_file_of_few_rows_stays_clean(day: pa.Table) -> None:
    rows, dirt = soil(day.slice(0, 5), np.random.default_rng(0), FIRST_S, gaps=True, leafspy=True)
    assert rows.equals(day.slice(0, 5))
    assert dirt == Dirt()


def test_petrol_log_is_a_sound_csv_without_a_battery() -> None:
    lines = petrol_log(np.random.default_rng(0)).decode().splitlines()
    assert len(lines) == 121
    assert {line.count(",") for line in lines} == {5}
    assert "RPM" in lines[0]
    assert "soc" not in lines[0].lower()


def test_cut_line_halves_one_line() -> None:
    assert cut_line(b"a,b,c,d\n1,2,3,4\n5,6,7,8\n", 1) == b"a,b,c,d\n1,2\n5,6,7,8\n"
