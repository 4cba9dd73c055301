"""Arithmetic over contiguous ranges of sorted rows: sums, extremes, first and last values, medians.

A range is a pair of row numbers (first, stop), stop excluded; ranges are ascending and do not overlap. Every result
depends on the rows inside its range alone, down to the last bit: that is why sums use `reduceat` and not the
difference of one long running sum, whose rounding would depend on what else happens to be loaded.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Booleans = npt.NDArray[np.bool_]


def _reduce(ufunc: np.ufunc, values: npt.NDArray, first: Integers, stop: Integers, empty: float) -> npt.NDArray:
    filled = stop > first
    result = np.full(len(first), empty, dtype=values.dtype)
    if filled.any():
        if (stop[:-1] == len(values)).any():  # overlapping ranges: give reduceat a row to stop at
            values = np.append(values, values[-1:])
        # Pairs (first, stop): reduceat also reduces what lies between two ranges; every second result is dropped.
        edges = np.column_stack([first[filled], stop[filled]]).ravel()
        edges = edges[:-1] if edges[-1] == len(values) else edges
        result[filled] = ufunc.reduceat(values, edges)[::2]
    return result


def range_sum(values: npt.NDArray, first: Integers, stop: Integers) -> npt.NDArray:
    """Sum `values` over each range; 0 for an empty one. Booleans are counted."""
    counted = values.astype(np.int64) if values.dtype == np.bool_ else values
    return _reduce(np.add, counted, first, stop, 0)


def range_max(values: Floats, first: Integers, stop: Integers) -> Floats:
    """Return the largest value of each range, NaN ignored; NaN where there is none."""
    return _reduce(np.fmax, values, first, stop, np.nan)


def range_min(values: Floats, first: Integers, stop: Integers) -> Floats:
    """Return the smallest value of each range, NaN ignored; NaN where there is none."""
    return _reduce(np.fmin, values, first, stop, np.nan)


def range_any(flags: Booleans, first: Integers, stop: Integers) -> Booleans:
    """Tell whether any flag of each range is set."""
    return _reduce(np.logical_or, flags, first, stop, False)


def range_or(bits: Integers, first: Integers, stop: Integers) -> Integers:
    """Return the bitwise or of each range; 0 for an empty one."""
    return _reduce(np.bitwise_or, bits, first, stop, 0)


def first_known(values: Floats, first: Integers, stop: Integers) -> Integers:
    """Return the row of the first value of each range that is not NaN, or -1."""
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return np.full(len(first), -1)
    row = known[np.minimum(np.searchsorted(known, first), len(known) - 1)]
    return np.where((row >= first) & (row < stop), row, -1)


def last_known(values: Floats, first: Integers, stop: Integers) -> Integers:
    """Return the row of the last value of each range that is not NaN, or -1."""
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return np.full(len(first), -1)
    row = known[np.maximum(np.searchsorted(known, stop) - 1, 0)]
    return np.where((row >= first) & (row < stop), row, -1)


def at(values: Floats, rows: Integers) -> Floats:
    """Return `values` at `rows`; NaN where the row is -1."""
    if not len(values):
        return np.full(len(rows), np.nan)
    return np.where(rows >= 0, values[rows], np.nan)


def expand(first: Integers, stop: Integers) -> Integers:
    """Return the row numbers of all ranges, one range after the other."""
    length = stop - first
    offset = np.repeat(first - (np.cumsum(length) - length), length)
    return np.arange(len(offset)) + offset


def previous_known(known: Booleans) -> Integers:
    """Return for each row the nearest earlier row that is known, or -1."""
    newest = np.maximum.accumulate(np.where(known, np.arange(len(known)), -1))
    return np.concatenate([[-1], newest[:-1]]) if len(known) else newest


def starts_of(changes: Booleans) -> tuple[Integers, Integers]:
    """Return (first, stop) of the runs that begin where `changes` is set; its first element counts as set."""
    first = np.flatnonzero(changes)
    if len(changes) and (not len(first) or first[0] > 0):
        first = np.concatenate([[0], first])
    return first, np.append(first[1:], len(changes))[: len(first)]


def group_median(values: Integers, group: Integers, groups: int, *, lower: bool = False) -> Floats:
    """Return the median of the integers 0 <= `values` < 2**32 in each of `groups` groups; NaN for an empty one.

    One sort of a combined key instead of one sort a group. `lower` takes the smaller of the two middle values of an
    even count, which a single outlier among two cannot drag away.
    """
    keys = np.sort((group.astype(np.int64) << 32) | values.astype(np.int64))
    count = np.bincount(group, minlength=groups)
    start = np.cumsum(count) - count
    result = np.full(groups, np.nan)
    some = count > 0
    low = keys[(start + (count - 1) // 2)[some]] & 0xFFFFFFFF
    high = low if lower else keys[(start + count // 2)[some]] & 0xFFFFFFFF
    result[some] = (low + high) / 2
    return result
