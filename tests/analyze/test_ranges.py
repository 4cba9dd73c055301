"""Sums, extremes and medians over ranges of rows."""

from __future__ import annotations

import numpy as np

from packwatch.analyze import ranges


def test_sums_leave_out_what_lies_between_ranges() -> None:
    values = np.array([1.0, 2, 4, 8, 16])
    # Rows 0-1: 1 + 2; rows 3-4: 8 + 16; row 2 belongs to no range.
    assert ranges.range_sum(values, np.array([0, 3]), np.array([2, 5])).tolist() == [3.0, 24.0]


def test_an_empty_range_sums_to_zero_and_has_no_extreme() -> None:
    values = np.array([1.0, 2.0])
    assert ranges.range_sum(values, np.array([1, 1]), np.array([1, 2])).tolist() == [0.0, 2.0]
    assert np.isnan(ranges.range_max(values, np.array([1]), np.array([1])))
    assert ranges.range_sum(values, np.zeros(0, int), np.zeros(0, int)).tolist() == []


def test_overlapping_ranges_at_the_end_are_each_summed() -> None:
    values = np.array([1.0, 2, 4])
    assert ranges.range_sum(values, np.array([0, 1]), np.array([3, 3])).tolist() == [7.0, 6.0]


def test_a_sum_does_not_depend_on_what_is_loaded_around_it() -> None:
    values = np.random.default_rng(1).normal(size=1001) * 0.1
    alone = ranges.range_sum(values, np.array([0]), np.array([1001]))
    between = np.concatenate([np.full(13, 1e9), values, np.full(5, -1e9)])
    assert ranges.range_sum(between, np.array([13]), np.array([1014])).tobytes() == alone.tobytes()


def test_booleans_are_counted_and_nan_ignored() -> None:
    assert ranges.range_sum(np.array([True, True, False]), np.array([0]), np.array([3])).tolist() == [2]
    values = np.array([np.nan, 3.0, 5.0, np.nan])
    assert ranges.range_max(values, np.array([0]), np.array([4])).tolist() == [5.0]
    assert ranges.range_min(values, np.array([0]), np.array([4])).tolist() == [3.0]
    assert np.isnan(ranges.range_min(values, np.array([3]), np.array([4])))


def test_flags_and_bits_are_joined() -> None:
    assert ranges.range_any(np.array([False, True, False]), np.array([0, 2]), np.array([2, 3])).tolist() == [
        True,
        False,
    ]
    assert ranges.range_or(np.array([1, 4, 2]), np.array([0]), np.array([2])).tolist() == [5]


def test_first_and_last_known_stay_inside_the_range() -> None:
    values = np.array([7.0, np.nan, 3.0, np.nan, 9.0])
    first, stop = np.array([1, 3]), np.array([4, 4])
    assert ranges.first_known(values, first, stop).tolist() == [2, -1]
    assert ranges.last_known(values, first, stop).tolist() == [2, -1]
    assert ranges.first_known(np.full(3, np.nan), np.array([0]), np.array([3])).tolist() == [-1]
    assert ranges.last_known(np.full(3, np.nan), np.array([0]), np.array([3])).tolist() == [-1]


def test_at_gives_nan_for_no_row() -> None:
    assert ranges.at(np.array([5.0, 6.0]), np.array([1])).tolist() == [6.0]
    assert np.isnan(ranges.at(np.array([5.0]), np.array([-1]))).all()
    assert np.isnan(ranges.at(np.zeros(0), np.array([-1]))).all()


def test_expand_lists_the_rows_of_all_ranges() -> None:
    assert ranges.expand(np.array([2, 7]), np.array([4, 8])).tolist() == [2, 3, 7]
    assert ranges.expand(np.zeros(0, int), np.zeros(0, int)).tolist() == []


def test_starts_of_counts_the_first_row_as_a_start() -> None:
    first, stop = ranges.starts_of(np.array([False, False, True]))
    assert (first.tolist(), stop.tolist()) == ([0, 2], [2, 3])
    first, stop = ranges.starts_of(np.zeros(0, dtype=bool))
    assert (first.tolist(), stop.tolist()) == ([], [])


def test_medians_of_groups() -> None:
    # Group 0: 1, 3, 9; group 1: empty; group 2: 4, 6.
    values, group = np.array([9, 1, 3, 4, 6]), np.array([0, 0, 0, 2, 2])
    assert ranges.group_median(values, group, 3).tolist()[::2] == [3.0, 5.0]
    assert np.isnan(ranges.group_median(values, group, 3)[1])
    assert ranges.group_median(values, group, 3, lower=True)[2] == 4.0


def test_previous_known_looks_back_only() -> None:
    assert ranges.previous_known(np.array([True, False, True, True])).tolist() == [-1, 0, 0, 2]
    assert ranges.previous_known(np.zeros(0, dtype=bool)).tolist() == []
