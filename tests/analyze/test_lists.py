"""Ragged lists of cells and probes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from packwatch.analyze import lists

VALID = (0.5, 5.0)


def column(values: Sequence[object]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.list_(pa.float32()))])


def test_lists_of_every_kind_in_one_column() -> None:
    values = column([[3.5, 3.75], None, [3.5, 4.0, 4.5], [], [None, 3.0], [0.0, 5.0]])
    rows, items = lists.summarize(values, np.zeros(6, dtype=np.int64), VALID, second=True)
    assert rows.count.tolist() == [2, 0, 3, 0, 1, 0]
    np.testing.assert_array_equal(rows.mean, [3.625, np.nan, 4.0, np.nan, 3.0, np.nan])
    np.testing.assert_array_equal(rows.low, [3.5, np.nan, 3.5, np.nan, 3.0, np.nan])
    np.testing.assert_array_equal(rows.high, [3.75, np.nan, 4.5, np.nan, 3.0, np.nan])
    np.testing.assert_array_equal(rows.second, [3.5, np.nan, 4.0, np.nan, np.nan, np.nan])
    assert items.item.tolist() == [1, 2, 3]
    assert items.count.tolist() == [2, 3, 1]
    # Cell 2: 3.75 + 4.0 + 3.0; deviations 0.125 + 0.0 + 0.0.
    assert items.total.tolist() == [7.0, 10.75, 4.5]
    assert items.deviation.tolist() == pytest.approx([-0.125 - 0.5, 0.125, 0.5])
    assert (items.low[1], items.high[1]) == (3.0, 4.0)


def test_buckets_keep_apart_and_rows_without_one_are_left_out() -> None:
    values = column([[1.0], [2.0], [4.0], [3.0]])
    _, items = lists.summarize(values, np.array([0, -1, 7, 7]), VALID)
    assert items.bucket.tolist() == [0, 7]
    assert items.total.tolist() == [1.0, 7.0]


def test_watched_rows_are_compared_with_the_limits() -> None:
    values = column([[3.0, 3.0, 3.3]] * 3 + [[3.0, 3.0, 3.0]])
    watched = np.array([True, True, False, True])
    _, items = lists.summarize(values, np.zeros(4, dtype=np.int64), VALID, watched, (0.05, 0.15))
    # Mean 3.1 V: deviations -0.1, -0.1, +0.2 in two watched rows, none in the third.
    assert items.watched.tolist() == [3, 3, 3]
    assert items.beyond.tolist() == [[2, 2, 2], [0, 0, 2]]
    assert items.watched_deviation.tolist() == pytest.approx([-0.2, -0.2, 0.4], abs=1e-6)


def test_nothing_gives_nothing() -> None:
    for values in (column([]), column([None, None]), column([[], []])):
        rows, items = lists.summarize(values, np.zeros(len(values), dtype=np.int64), VALID, None, (0.1,))
        assert not rows.count.any()
        assert items.beyond.shape == (1, 0)


def test_an_absurd_list_is_left_out() -> None:
    values = column([[3.0] * (lists.ITEMS_MAX + 1), [3.5]])
    rows, _ = lists.summarize(values, np.zeros(2, dtype=np.int64), VALID)
    assert rows.count.tolist() == [0, 1]


def test_values_behind_a_null_do_not_shift_the_others() -> None:
    hidden = pa.ListArray.from_arrays(
        pa.array([0, 2, 4, 6], pa.int32()),
        pa.array([1.0, 1.0, 9.0, 9.0, 2.0, 2.0], pa.float32()),
        mask=pa.array([False, True, False]),
    )
    rows, _ = lists.summarize(pa.chunked_array([hidden]), np.zeros(3, dtype=np.int64), VALID)
    np.testing.assert_array_equal(rows.mean, [1.0, np.nan, 2.0])


def test_figures_do_not_depend_on_chunks_blocks_or_neighbors() -> None:
    generator = np.random.default_rng(3)
    count = 3 * lists.BLOCK_ROWS // 2
    values = [generator.normal(3.7, 0.01, 96).astype(np.float32).tolist() for _ in range(count)]
    bucket = np.repeat(np.arange(3), count // 3)
    watched = generator.random(count) < 0.5
    _, whole = lists.summarize(column(values), bucket, VALID, watched, (0.01,))
    pieces = pa.chunked_array(
        [pa.array(values[:7], pa.list_(pa.float32())), pa.array(values[7:], pa.list_(pa.float32()))]
    )
    _, chunked = lists.summarize(pieces, bucket, VALID, watched, (0.01,))
    # A flawed neighbor takes the block through the slower path.
    middle = slice(count // 3, 2 * count // 3)
    flawed = [[0.0, *values[0][1:]], *values[middle]]
    flags = np.concatenate([[True], watched[middle]])
    _, mixed = lists.summarize(column(flawed), np.array([0] + [1] * (count // 3)), VALID, flags, (0.01,))
    for name in vars(whole):
        assert getattr(whole, name).tobytes() == getattr(chunked, name).tobytes(), name
        part = getattr(whole, name)[..., whole.bucket == 1]
        assert getattr(mixed, name)[..., mixed.bucket == 1].tobytes() == part.tobytes(), name


def test_extremes_of_wanted_rows() -> None:
    low, high = lists.extremes(column([[1.0, 3.0], [2.0, 9.0], None]), np.array([False, True, True]), VALID)
    np.testing.assert_array_equal(low, [np.nan, 2.0, np.nan])
    np.testing.assert_array_equal(high, [np.nan, 2.0, np.nan])


def test_pick_and_medians() -> None:
    values = column([[1.0, 2.0, 4.0], None, [3.0]])
    picked = lists.pick(values, np.array([0, 0, 1, 2]), np.array([3, 1, 1, 2]))
    np.testing.assert_array_equal(picked, [4.0, 1.0, np.nan, np.nan])
    np.testing.assert_array_equal(lists.medians(values, np.array([0, 1, 2]), VALID), [2.0, np.nan, 3.0])
    assert lists.highest_item(values, np.array([0, 1, 2]), (0.5, 3.5)).tolist() == [2, 0, 1]
