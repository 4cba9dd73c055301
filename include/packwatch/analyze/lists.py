"""Arithmetic on list columns (every cell, every probe) without turning lists into Python objects.

A block of rows is laid out as one flat array; rows with lists of the same length form a matrix. Packs of different
size, and lists that are null, empty or of changing length within a vehicle, may be mixed. Every figure of a row or a
bucket depends on its own rows alone, down to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from packwatch.analyze.ranges import Booleans, Floats, Integers, expand, starts_of

# Rows worked on at once; a matrix of 3 MB mostly stays in the cache of the processor.
BLOCK_ROWS = 4096
# No pack has more cells or probes; a longer list is not one.
ITEMS_MAX = 1000


@dataclass(frozen=True)
class RowFigures:
    """Figures of the list of each row over its valid items; NaN (count 0) where there is none."""

    count: Integers
    mean: Floats
    low: Floats
    high: Floats
    second: Floats
    """The second highest item; NaN with less than two."""


@dataclass(frozen=True)
class ItemFigures:
    """Figures of each item (cell, probe) in each bucket of rows, sorted by bucket and item."""

    bucket: Integers
    item: Integers
    """Place in the list; the first is 1."""
    count: Integers
    total: Floats
    deviation: Floats
    """Sum of the differences from the row's mean."""
    low: Floats
    high: Floats
    watched: Integers
    """Readings in watched rows."""
    watched_deviation: Floats
    beyond: Integers
    """Shape (limits, entries): watched readings that deviate by at least each limit, on either side."""


@dataclass(frozen=True)
class _Matrix:
    rows: Integers
    values: npt.NDArray[np.float32]


def summarize(
    column: pa.ChunkedArray,
    bucket: Integers,
    valid: tuple[float, float],
    watched: Booleans | None = None,
    limits: tuple[float, ...] = (),
    *,
    second: bool = False,
) -> tuple[RowFigures, ItemFigures]:
    """Summarize a list column by row, and by bucket and item.

    Args:
        column: the lists, one a row.
        bucket: the bucket of each row, each bucket one run of neighboring rows; -1 leaves a row out.
        valid: open interval outside which an item counts as missing.
        watched: rows whose deviations are compared with the limits.
        limits: deviations to count, in the unit of the items.
        second: also find the second highest item of each row.
    """
    count = len(column)
    watched = np.zeros(count, dtype=bool) if watched is None else watched
    figures = RowFigures(np.zeros(count, dtype=np.int32), *(np.full(count, np.nan) for _ in range(4)))
    parts = [
        _summarize_matrix(matrix, bucket, valid, watched, limits, figures, second)
        for matrix in _matrices(column, bucket)
    ]
    if not parts:
        none = np.zeros(0)
        whole = none.astype(np.int64)
        return figures, ItemFigures(
            whole, whole, whole, none, none, none, none, whole, none, np.zeros((len(limits), 0), int)
        )
    columns = [np.concatenate(column, axis=-1) for column in zip(*parts, strict=True)]
    return figures, _merge(ItemFigures(*columns))


def _matrices(column: pa.ChunkedArray, bucket: Integers) -> Iterator[_Matrix]:
    """Yield the rows with a bucket as matrices of lists of equal length; a bucket is never divided between blocks."""
    if column.null_count == len(column):
        return
    first, stop = starts_of(np.diff(bucket, prepend=-2) != 0)
    block_first, block_stop = starts_of(np.diff(first // BLOCK_ROWS, prepend=-1) != 0)
    for begin, end in zip(first[block_first].tolist(), stop[block_stop - 1].tolist(), strict=True):
        rows = np.flatnonzero(bucket[begin:end] >= 0)
        if not len(rows):
            continue
        values, start, length = _flatten(column.slice(begin, end - begin))
        rows = rows[(length[rows] > 0) & (length[rows] <= ITEMS_MAX)]
        for width in np.unique(length[rows]).tolist():
            same = rows[length[rows] == width]
            place = start[same]
            whole = place[-1] - place[0] == width * (len(same) - 1)
            flat = values[place[0] : place[-1] + width] if whole else values[expand(place, place + width)]
            yield _Matrix(begin + same, flat.reshape(len(same), width))


def _flatten(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.float32], Integers, Integers]:
    """Return the items of all lists one after the other, and start and length of each list."""
    lists = column.combine_chunks()
    lists = pa.concat_arrays(lists.chunks) if isinstance(lists, pa.ChunkedArray) else lists
    length = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    values = lists.flatten().to_numpy(zero_copy_only=False)  # leaves out what a null list may hide
    return values.astype(np.float32, copy=False), np.cumsum(length) - length, length


def _summarize_matrix(
    matrix: _Matrix,
    bucket: Integers,
    valid: tuple[float, float],
    watched: Booleans,
    limits: tuple[float, ...],
    figures: RowFigures,
    second: bool,
) -> tuple[npt.NDArray, ...]:
    rows, raw = matrix.rows, matrix.values
    width = raw.shape[1]
    good = (raw > valid[0]) & (raw < valid[1])
    flawless = bool(good.all())
    values = raw.astype(np.float64)
    values = values if flawless else np.where(good, values, 0.0)
    count = np.full(len(rows), width) if flawless else good.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(count > 0, values.sum(axis=1) / count, np.nan)
    # What each item's readings would add up to if it were the mean cell of each of its rows.
    par = mean[:, None] if flawless else np.where(good, mean[:, None], 0.0)
    floor = raw if flawless else np.where(good, raw, np.float32(np.inf))
    ceiling = raw if flawless else np.where(good, raw, np.float32(-np.inf))
    figures.count[rows], figures.mean[rows] = count, mean
    figures.low[rows] = _finite(floor.min(axis=1))
    figures.high[rows] = _finite(ceiling.max(axis=1))
    if second and width > 1:
        figures.second[rows] = _finite(np.partition(ceiling, width - 2, axis=1)[:, width - 2])

    first, stop = starts_of(np.diff(bucket[rows], prepend=-1) != 0)
    readings = (
        np.repeat((stop - first)[:, None], width, axis=1)
        if flawless
        else np.add.reduceat(good, first, axis=0, dtype=np.int64)
    )
    seen, drift, beyond = _watch(good, flawless, values, par, watched[rows], first, stop, limits)
    total = np.add.reduceat(values, first, axis=0)
    entries = (
        np.repeat(bucket[rows[first]].astype(np.int64), width),
        np.tile(np.arange(1, width + 1), len(first)),
        readings.ravel(),
        total.ravel(),
        (total - np.add.reduceat(par, first, axis=0)).ravel(),
        _finite(np.minimum.reduceat(floor, first, axis=0)).ravel(),
        _finite(np.maximum.reduceat(ceiling, first, axis=0)).ravel(),
        seen.ravel(),
        drift.ravel(),
        beyond.reshape(len(limits), len(first) * width),
    )
    filled = entries[2] > 0
    return entries if filled.all() else tuple(entry[..., filled] for entry in entries)


def _watch(
    good: Booleans,
    flawless: bool,
    values: Floats,
    par: Floats,
    watched: Booleans,
    first: Integers,
    stop: Integers,
    limits: tuple[float, ...],
) -> tuple[Integers, Floats, Integers]:
    """Count by bucket and item the watched readings, their deviations, and those beyond each limit."""
    shape = (len(first), values.shape[1])
    seen, drift = np.zeros(shape, dtype=np.int64), np.zeros(shape)
    beyond = np.zeros((len(limits), *shape), dtype=np.int64)
    if not limits or not watched.any():
        return seen, drift, beyond
    rows = np.flatnonzero(watched)
    bucket = np.searchsorted(stop, rows, side="right")
    group_first, group_stop = starts_of(np.diff(bucket, prepend=-1) != 0)
    place = bucket[group_first]
    part = values[rows] - par[rows]
    sizes = (group_stop - group_first)[:, None]
    seen[place] = sizes if flawless else np.add.reduceat(good[rows], group_first, axis=0, dtype=np.int64)
    drift[place] = np.add.reduceat(part, group_first, axis=0)
    size = np.abs(part)
    for number, limit in enumerate(limits):
        outside = size >= limit
        if not outside.any():
            break  # limits ascend
        beyond[number, place] = np.add.reduceat(outside, group_first, axis=0, dtype=np.int64)
    return seen, drift, beyond


def _finite(values: npt.NDArray) -> Floats:
    return np.where(np.isinf(values), np.nan, values).astype(np.float64)


def _merge(items: ItemFigures) -> ItemFigures:
    """Sort by bucket and item, and join the entries of one item that came from lists of different length."""
    key = items.bucket * (ITEMS_MAX + 1) + items.item
    if (np.diff(key) > 0).all():
        return items
    # Stable: what is joined below is joined in the order of list lengths, whatever else is in the block.
    order = np.argsort(key, kind="stable")
    return join_entries(items, order, np.diff(key[order], prepend=-1) != 0)


def join_entries(items: ItemFigures, order: Integers, fresh: Booleans) -> ItemFigures:
    """Add up neighboring entries of `items` in this order; each result begins where `fresh` is set."""
    first, _ = starts_of(fresh)

    def added(values: npt.NDArray) -> npt.NDArray:
        return np.add.reduceat(values[..., order], first, axis=-1)

    return ItemFigures(
        items.bucket[order][first],
        items.item[order][first],
        added(items.count),
        added(items.total),
        added(items.deviation),
        np.fmin.reduceat(items.low[order], first),
        np.fmax.reduceat(items.high[order], first),
        added(items.watched),
        added(items.watched_deviation),
        added(items.beyond),
    )


def extremes(column: pa.ChunkedArray, wanted: Booleans, valid: tuple[float, float]) -> tuple[Floats, Floats]:
    """Return the lowest and highest valid item of the list of each wanted row; NaN elsewhere."""
    low, high = np.full(len(column), np.nan), np.full(len(column), np.nan)
    for matrix in _matrices(column, np.where(wanted, np.arange(len(column)) // BLOCK_ROWS, -1)):
        good = (matrix.values > valid[0]) & (matrix.values < valid[1])
        low[matrix.rows] = _finite(np.where(good, matrix.values, np.float32(np.inf)).min(axis=1))
        high[matrix.rows] = _finite(np.where(good, matrix.values, np.float32(-np.inf)).max(axis=1))
    return low, high


def take_rows(column: pa.ChunkedArray, rows: Integers) -> pa.ChunkedArray:
    """Return the lists of `rows`; Arrow would join the whole column even for none."""
    return column.take(pa.array(rows)) if len(rows) else column.slice(0, 0)


def pick(column: pa.ChunkedArray, rows: Integers, item: Integers) -> Floats:
    """Return item number `item` of the list of each of `rows`; NaN where the list is shorter."""
    distinct, place = np.unique(rows, return_inverse=True)
    values, start, length = _flatten(take_rows(column, distinct))
    inside = item <= length[place]
    result = np.full(len(rows), np.nan)
    result[inside] = values[start[place[inside]] + item[inside] - 1]
    return result


def highest_item(column: pa.ChunkedArray, rows: Integers, valid: tuple[float, float]) -> Integers:
    """Return the number of the highest valid item of the list of each of `rows`; 0 where there is none."""
    result = np.zeros(len(rows), dtype=np.int64)
    for matrix in _matrices(take_rows(column, rows), np.arange(len(rows))):
        good = (matrix.values > valid[0]) & (matrix.values < valid[1])
        place = np.where(good, matrix.values, np.float32(-np.inf)).argmax(axis=1) + 1
        result[matrix.rows] = np.where(good.any(axis=1), place, 0)
    return result


def medians(column: pa.ChunkedArray, rows: Integers, valid: tuple[float, float]) -> Floats:
    """Return the median of the valid items of the list of each of `rows`; NaN where there is none."""
    result = np.full(len(rows), np.nan)
    for matrix in _matrices(take_rows(column, rows), np.arange(len(rows))):
        good = (matrix.values > valid[0]) & (matrix.values < valid[1])
        some = good.any(axis=1)
        result[matrix.rows[some]] = np.nanmedian(np.where(good, matrix.values, np.nan)[some], axis=1)
    return result
