"""Cells that lie apart from the others while hardly any current flows.

Deviation of a cell = its voltage - mean of the cells of the same row, in quasi-static rows (below 0.15 C) at a SoC
where the voltage tells (30-90 %; LFP only below 12 % and at the top of a charge). A mean, not a median: twice as fast,
and one bad cell among 96 shifts it by a hundredth.
"""

from __future__ import annotations

import numpy as np

from packwatch.analyze.cells import CELL_LIMITS_V, MV_PER_V, is_lfp
from packwatch.analyze.conditioning import CELL_VOLTAGE_RANGE_V, Floats, Integers
from packwatch.analyze.findings import (
    WATCH,
    Evidence,
    Findings,
    count_by_day,
    fill_in,
    is_persistent,
    mark_days,
    since,
)
from packwatch.analyze.lists import ItemFigures, join_entries, pick, summarize, take_rows
from packwatch.analyze.ranges import expand, group_median, range_max, range_sum, starts_of

CODE = "severe_voltage_imbalance"
GROUP_CODE = "voltage_groups"

# When more than this share of the cells deviates, modules differ (age, temperature, calibration), not single cells.
GROUP_SHARE = 0.08

# Where modules differ a cell is only named if at most one other lies this close to it, V.
GROUP_GAP_V = 0.020

# Distance between highest and lowest cell: watch, warning, severe, mV. In the steep ends of LFP (limits that
# Battery-Emulator uses for packs of that kind), and for logs that only hold the extremes.
LFP_SPREAD_LIMITS_MV = (150.0, 250.0, 400.0)
SPREAD_LIMITS_MV = (60.0, 120.0, 200.0)
# A cell that explains at least this share of the limit names the spread.
NAMING_SHARE = 0.5

UV_PER_V = 1_000_000
UV_PER_MV = 1000

ACTIONS = (
    "Watch: see whether the deviation grows over the next weeks.",
    "Have the cell and its connections checked, and balanced, at the next service.",
    "Have the cell or its module checked in a workshop before the vehicle is charged fully or fast again.",
)
GROUP_ACTION = "Compare the modules: balance the pack, and look at cooling and module replacements."


def find_imbalance(evidence: Evidence) -> list[Findings]:
    """Find single cells, groups of cells, and packs whose extremes lie too far apart."""
    cells = _daily_cells(evidence)
    return [*_from_lists(evidence, cells), _from_spread(evidence)]


def _daily_cells(evidence: Evidence) -> ItemFigures:
    """Return the figures of each cell over each vehicle-day that has a deviation beyond the first limit."""
    cells, per_day = evidence.readings.cells, evidence.readings.buckets.per_day
    day = cells.bucket // per_day
    busy = np.bincount(day, cells.beyond[0], minlength=len(evidence.days.first)) > 0
    chosen = np.flatnonzero(busy[day])
    order = chosen[np.lexsort((cells.item[chosen], day[chosen]))]
    fresh = (np.diff(day[order], prepend=-1) != 0) | (np.diff(cells.item[order], prepend=-1) != 0)
    daily = ItemFigures(**{**vars(cells), "bucket": day})
    return join_entries(daily, order, fresh) if len(order) else _nothing(daily)


def _nothing(items: ItemFigures) -> ItemFigures:
    return ItemFigures(**{name: values[..., :0] for name, values in vars(items).items()})


def _from_lists(evidence: Evidence, cells: ItemFigures) -> list[Findings]:
    seen = cells.watched > 0
    count = np.bincount(cells.bucket[seen], minlength=len(evidence.days.first))
    level = np.full(len(cells.bucket), -1)
    group_level, group_size = np.full(len(count), -1), np.zeros(len(count), dtype=np.int64)
    for number, beyond in enumerate(cells.beyond):
        persistent = is_persistent(beyond, cells.watched) & seen
        affected = np.bincount(cells.bucket[persistent], minlength=len(count))
        grouped = affected > np.maximum(GROUP_SHARE * count, 1)
        group_level[grouped], group_size[grouped] = number, affected[grouped]
        level[persistent & ~grouped[cells.bucket]] = number
    mean_v = np.divide(cells.watched_deviation, cells.watched, out=np.zeros(len(level)), where=seen)
    mean_uv = np.round(mean_v * UV_PER_V).astype(np.int64)
    normal = group_median(np.abs(mean_uv), cells.bucket, len(count)) * MV_PER_V / UV_PER_V
    alone = (group_level[cells.bucket] < 0) | (_close_cells(cells.bucket, mean_uv) <= 2)
    named = np.flatnonzero((level >= 0) & alone)
    return [
        _single_cells(evidence, cells.bucket[named], cells.item[named], level[named], normal),
        _groups(evidence, cells, mean_v, group_level, group_size, normal),
    ]


def _close_cells(day: Integers, mean_uv: Integers) -> Integers:
    """Count the cells of the same day within GROUP_GAP_V of each cell, itself included."""
    # No cell deviates by 10 V, so the keys of two days cannot meet.
    key = day * 20 * UV_PER_V + mean_uv
    ordered = np.sort(key)
    gap = round(GROUP_GAP_V * UV_PER_V)
    return np.searchsorted(ordered, key + gap, side="right") - np.searchsorted(ordered, key - gap, side="left")


def _single_cells(evidence: Evidence, day: Integers, cell: Integers, level: Integers, normal: Floats) -> Findings:
    """Look up when and how far each named cell was beyond its limit."""
    first, stop = evidence.days.first[day], evidence.days.stop[day]
    row, owner = expand(first, stop), np.repeat(np.arange(len(day)), stop - first)
    watched = evidence.readings.telling[row] & (evidence.readings.cell_rows.count[row] > 0)
    row, owner = row[watched], owner[watched]
    deviation = pick(evidence.table["cell_voltages_v"], row, cell[owner]) - evidence.readings.cell_rows.mean[row]
    limit = np.array(CELL_LIMITS_V)[level]
    watched_count = np.bincount(owner[~np.isnan(deviation)], minlength=len(day))
    beyond = np.abs(deviation) >= limit[owner]
    row, owner, deviation = row[beyond], owner[beyond], deviation[beyond]
    begins, ends = starts_of(np.diff(owner, prepend=-1) != 0)
    # The median, so that a few garbled readings do not set the amount; shifted because it takes positive numbers.
    shifted = np.round((deviation + CELL_VOLTAGE_RANGE_V[1]) * UV_PER_V).astype(np.int64)
    value = MV_PER_V * (group_median(shifted, owner, len(day)) / UV_PER_V - CELL_VOLTAGE_RANGE_V[1])
    return Findings(
        code=CODE,
        day=day,
        severity=level + 1,
        subject=fill_in("cell {cell}", cell=cell),
        first_row=row[begins],
        last_row=row[ends - 1],
        row_count=ends - begins,
        value=value,
        unit="mV",
        normal_value=normal[day],
        limit_value=limit * MV_PER_V,
        message=fill_in(
            "Cell {cell} lies {size:.0f} mV {side} the mean of the cells in {count} of {of} readings with hardly any "
            "current since {start} (the other cells: {normal:.0f} mV; limit {limit:.0f} mV).",
            cell=cell,
            size=np.abs(value),
            side=np.where(value < 0, "below", "above"),
            count=ends - begins,
            of=watched_count,
            start=since(evidence, row[begins]),
            normal=normal[day],
            limit=limit * MV_PER_V,
        ),
        action=[ACTIONS[number] for number in level],
    )


def _groups(
    evidence: Evidence, cells: ItemFigures, mean_v: Floats, group_level: Integers, group_size: Integers, normal: Floats
) -> Findings:
    """Report vehicle-days on which too many cells deviate to blame one."""
    day = np.flatnonzero(group_level >= 0)
    limit_v = np.array(CELL_LIMITS_V)
    flags = evidence.readings.telling & (evidence.readings.cell_rows.count > 0)
    marks = mark_days(evidence, flags & np.isin(evidence.group, day))
    first, stop = starts_of(np.diff(cells.bucket, prepend=-1) != 0)
    largest = np.zeros(len(group_level))
    largest[cells.bucket[first]] = range_max(np.abs(mean_v), first, stop)
    count = np.bincount(cells.bucket, minlength=len(group_level))
    limit = limit_v[group_level[day]] * MV_PER_V
    return Findings(
        code=GROUP_CODE,
        day=day,
        severity=np.full(len(day), WATCH),
        subject=["pack"] * len(day),
        first_row=marks.first_row,
        last_row=marks.last_row,
        row_count=marks.row_count,
        value=largest[day] * MV_PER_V,
        unit="mV",
        normal_value=normal[day],
        limit_value=limit,
        message=fill_in(
            "The cells fall into groups of different voltage: {affected} of {count} lie {limit:.0f} mV or more from "
            "their mean in a tenth of the readings or more since {start}, the furthest {largest:.0f} mV on average "
            "(half of all cells: within {normal:.0f} mV). Modules differ, no single cell.",
            affected=group_size[day],
            count=count[day],
            limit=limit,
            largest=largest[day] * MV_PER_V,
            start=since(evidence, marks.first_row),
            normal=normal[day],
        ),
        action=[GROUP_ACTION] * len(day),
    )


def _from_spread(evidence: Evidence) -> Findings:
    """Judge the distance of the extremes: of LFP at its knees, and of packs whose log has no list of cells."""
    days, group, spread = evidence.days, evidence.group, evidence.readings.spread_mv
    listed = count_by_day(evidence, evidence.readings.cell_rows.count > 0) > 0
    lfp = is_lfp(evidence.specs, days.vehicle)
    limits = np.where(lfp[:, None], LFP_SPREAD_LIMITS_MV, SPREAD_LIMITS_MV)
    usable = np.flatnonzero(evidence.readings.telling & ~np.isnan(spread) & (group >= 0) & (lfp | ~listed)[group])
    day = group[usable]
    of = np.bincount(day, minlength=len(lfp))
    level = np.full(len(lfp), -1)
    for number in range(limits.shape[1]):
        beyond = spread[usable] >= limits[day, number]
        level[is_persistent(np.bincount(day[beyond], minlength=len(lfp)), of)] = number
    normal = group_median(np.round(spread[usable] * UV_PER_MV).astype(np.int64), day, len(lfp)) / UV_PER_MV
    flags = np.zeros(len(group), dtype=bool)
    flags[usable] = (level[day] >= 0) & (spread[usable] >= limits[day, np.maximum(level[day], 0)])
    marks = mark_days(evidence, flags)
    day = marks.day
    value = range_sum(spread[marks.rows], marks.begins, marks.ends) / marks.row_count
    limit = limits[day, level[day]]
    subject, place = _name_cell(evidence, marks.rows, np.repeat(np.arange(len(day)), marks.row_count), limit)
    return Findings(
        code=CODE,
        day=day,
        severity=level[day] + 1,
        subject=subject,
        first_row=marks.first_row,
        last_row=marks.last_row,
        row_count=marks.row_count,
        value=value,
        unit="mV",
        normal_value=normal[day],
        limit_value=limit,
        message=fill_in(
            "Highest and lowest cell lie {value:.0f} mV apart in {count} of {of} readings with hardly any current "
            "since {start} (limit {limit:.0f} mV){place}.",
            value=value,
            count=marks.row_count,
            of=of[day],
            start=since(evidence, marks.first_row),
            limit=limit,
            place=place,
        ),
        action=[ACTIONS[number] for number in level[day]],
    )


def _name_cell(evidence: Evidence, rows: Integers, owner: Integers, limit_mv: Floats) -> tuple[list[str], list[str]]:
    """Name the one cell that explains the spread of each finding, else the side that the extremes lie on."""
    count = len(limit_mv)
    column = take_rows(evidence.table["cell_voltages_v"], rows)
    _, cells = summarize(column, owner, CELL_VOLTAGE_RANGE_V)
    mean_mv = MV_PER_V * cells.deviation / cells.count
    far = np.abs(mean_mv) >= NAMING_SHARE * limit_mv[cells.bucket]
    order = np.lexsort((cells.item, np.abs(mean_mv), cells.bucket))
    _, stop = starts_of(np.diff(cells.bucket[order], prepend=-1) != 0)
    worst = order[stop - 1]
    several = np.bincount(cells.bucket, far, minlength=count) > np.maximum(
        GROUP_SHARE * np.bincount(cells.bucket, minlength=count), 1
    )
    worst = worst[far[worst] & ~several[cells.bucket[worst]]]
    subject, place = ["pack"] * count, _sides(evidence, rows, owner, count)
    for finding, cell, deviation in zip(
        cells.bucket[worst].tolist(), cells.item[worst].tolist(), mean_mv[worst].tolist(), strict=True
    ):
        subject[finding] = f"cell {cell}"
        place[finding] = f"; cell {cell} lies {abs(deviation):.0f} mV {'below' if deviation < 0 else 'above'} the mean"
    return subject, place


def _sides(evidence: Evidence, rows: Integers, owner: Integers, count: int) -> list[str]:
    """Say how far the extremes lie from the mean cell = pack voltage / cells in series, where both are known."""
    mean = evidence.rows.pack_voltage_v[rows] / evidence.specs.cells_in_series[evidence.rows.vehicle[rows]]
    low, high = mean - evidence.rows.cell_voltage_min_v[rows], evidence.rows.cell_voltage_max_v[rows] - mean
    known = ~np.isnan(low) & ~np.isnan(high)
    number = np.maximum(np.bincount(owner[known], minlength=count), 1)
    below = MV_PER_V * np.bincount(owner[known], low[known], minlength=count) / number
    above = MV_PER_V * np.bincount(owner[known], high[known], minlength=count) / number
    has = np.bincount(owner[known], minlength=count) > 0
    text = fill_in("; {below:.0f} mV below and {above:.0f} mV above the mean", below=below, above=above)
    return [side if there else "" for side, there in zip(text, has, strict=True)]
