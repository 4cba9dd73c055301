"""Sensors that cannot be right: probes that stick, drift or jump, voltages that disagree, a current that is frozen."""

from __future__ import annotations

import numpy as np

from packwatch.analyze.conditioning import TEMPERATURE_SPIKE_REMOVED, Booleans, Floats, Integers
from packwatch.analyze.findings import (
    WARNING,
    WATCH,
    Evidence,
    Findings,
    count_by_day,
    fill_in,
    is_persistent,
    mark_days,
    since,
)
from packwatch.analyze.lists import ItemFigures, join_entries
from packwatch.analyze.ranges import range_max, range_min, range_sum

CODE = "sensor_fault"

# A probe is stuck if it does not move at all while the middle one of the others moves by this much in a day, K.
STUCK_OTHERS_MOVE_K = 5.0
STUCK_ROWS = 10
# With more than this share of the probes standing still it is the pack, or the way it is logged, not a probe.
STUCK_SHARE = 1 / 3

# A probe is offset if it is this far from the mean of the others in every interval of the day, K, ...
OFFSET_K = 6.0
# ... within a band that a real gradient would leave as the pack warms and cools, K, in so many intervals or more, ...
OFFSET_BAND_K = 4.0
OFFSET_INTERVALS = 3
# ... while the others agree to within this (sd), K.
OFFSET_OTHERS_SIGMA_K = 2.0
PROBES_MIN = 3

# Sum of the cells and pack voltage must agree to this share; more is a broken sensor or a wrong number of cells.
VOLTAGE_MISMATCH_SHARE = 0.03

# A current that reads zero at both ends of so many steps in which the SoC rises, or moves while the vehicle does,
# adding up to this many percent. A parked pack may lose charge at a current too small to see; it cannot gain any.
FROZEN_CURRENT_A = 0.05
FROZEN_SOC_PERCENT = 5.0
FROZEN_SOC_STEPS = 3
MOVING_SPEED_KMH = 1.0
# A larger step is a correction by the BMS, which may happen at rest, %.
FROZEN_STEP_MAX_PERCENT = 3.0

PROBE_ACTION = "Have the probe and its wiring checked; until then its readings say nothing about the pack."
VOLTAGE_ACTION = "Check the number of cells in the vehicle type first, then the voltage sensing."
CURRENT_ACTION = "Have the current sensor and the logger checked; charge and energy of that day are not usable."
SPIKE_ACTION = "Have the connectors of the temperature sensing checked if this goes on."


def find_sensor_faults(evidence: Evidence) -> list[Findings]:
    """Find sensors whose readings contradict physics or each other."""
    return [
        _stuck_probes(evidence),
        _offset_probes(evidence),
        _voltage_mismatch(evidence),
        _temperature_spikes(evidence),
        _frozen_current(evidence),
    ]


def _by_day_and_item(items: ItemFigures, key: Integers) -> tuple[ItemFigures, Integers]:
    """Join the entries of `items` by day (`key`) and item; also return the order of the entries that was used."""
    order = np.lexsort((items.bucket, items.item, key))
    fresh = (np.diff(key[order], prepend=-1) != 0) | (np.diff(items.item[order], prepend=-1) != 0)
    return join_entries(ItemFigures(**{**vars(items), "bucket": key}), order, fresh), order


def _day_of_entries(evidence: Evidence) -> Integers:
    return evidence.readings.probes.bucket // evidence.readings.buckets.per_day


def _probe_findings(
    evidence: Evidence, day: Integers, probe: Integers, value: Floats, limit: float, message: list[str], count: Integers
) -> Findings:
    first, stop = evidence.days.first[day], evidence.days.stop[day]
    return Findings(
        code=CODE,
        day=day,
        severity=np.full(len(day), WATCH),
        subject=fill_in("probe {probe}", probe=probe),
        first_row=first,
        last_row=stop - 1,
        row_count=count,
        value=value,
        unit="K",
        normal_value=np.zeros(len(day)),
        limit_value=np.full(len(day), limit),
        message=message,
        action=[PROBE_ACTION] * len(day),
    )


def _stuck_probes(evidence: Evidence) -> Findings:
    """Find probes that stand still while the others move."""
    days = len(evidence.days.first)
    entries = evidence.readings.probes
    if not len(entries.bucket):
        return _probe_findings(evidence, *_no_probes(), STUCK_OTHERS_MOVE_K, [], np.zeros(0, dtype=np.int64))
    daily, _ = _by_day_and_item(entries, _day_of_entries(evidence))
    moved = daily.high - daily.low
    still = (moved == 0) & (daily.count >= STUCK_ROWS)
    count = np.bincount(daily.bucket, minlength=days)
    still_count = np.bincount(daily.bucket, still, minlength=days)
    # Middle one of the probes that move.
    lively = np.flatnonzero(moved > 0)
    order = lively[np.lexsort((moved[lively], daily.bucket[lively]))]
    number = np.bincount(daily.bucket[lively], minlength=days)
    start = np.cumsum(number) - number
    middle = np.zeros(days)
    middle[number > 0] = moved[order[(start + (number - 1) // 2)[number > 0]]]
    suspicious = (count >= PROBES_MIN) & (still_count <= STUCK_SHARE * count) & (middle >= STUCK_OTHERS_MOVE_K)
    found = np.flatnonzero(still & suspicious[daily.bucket])
    day, probe = daily.bucket[found], daily.item[found]
    message = fill_in(
        "Probe {probe} reads {value:.1f} °C in all {count} readings since {start}, while the other probes moved by "
        "{moved:.0f} K.",
        probe=probe,
        value=daily.low[found],
        count=daily.count[found],
        start=since(evidence, evidence.days.first[day]),
        moved=middle[day],
    )
    return _probe_findings(evidence, day, probe, middle[day], STUCK_OTHERS_MOVE_K, message, daily.count[found])


def _no_probes() -> tuple[Integers, Integers, Floats]:
    return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0)


def _offset_probes(evidence: Evidence) -> Findings:
    """Find probes that are off by the same amount in every interval of a day, while the others agree."""
    entries = evidence.readings.probes
    if not len(entries.bucket):
        return _probe_findings(evidence, *_no_probes(), OFFSET_K, [], np.zeros(0, dtype=np.int64))
    deviation = entries.deviation / entries.count
    number = np.bincount(entries.bucket)[entries.bucket]
    squares = np.bincount(entries.bucket, deviation**2)[entries.bucket]
    # Leaving a probe out: distance d n/(n-1) from the mean of the others, whose squares sum to S - d² n/(n-1).
    share = number / np.maximum(number - 1, 1)
    distance = deviation * share
    variance = np.maximum(squares - deviation**2 * share, 0) / np.maximum(number - 2, 1)
    off = (np.abs(distance) >= OFFSET_K) & (number >= PROBES_MIN) & (variance <= OFFSET_OTHERS_SIGMA_K**2)
    daily, order = _by_day_and_item(entries, _day_of_entries(evidence))
    intervals = _entry_counts(daily, entries, evidence)
    stop = np.cumsum(intervals)
    first = stop - intervals
    low, high = range_min(distance[order], first, stop), range_max(distance[order], first, stop)
    always = range_sum(off[order], first, stop) == intervals
    found = np.flatnonzero(always & (intervals >= OFFSET_INTERVALS) & (high - low <= OFFSET_BAND_K))
    value = range_sum(distance[order], first, stop)[found] / intervals[found]
    day, probe = daily.bucket[found], daily.item[found]
    message = fill_in(
        "Probe {probe} reads {size:.1f} K {side} than the mean of the other probes all day, since {start}, whatever "
        "the pack does (limit {limit:.0f} K).",
        probe=probe,
        size=np.abs(value),
        side=np.where(value < 0, "less", "more"),
        start=since(evidence, evidence.days.first[day]),
        limit=np.full(len(day), OFFSET_K),
    )
    return _probe_findings(evidence, day, probe, value, OFFSET_K, message, daily.count[found])


def _entry_counts(daily: ItemFigures, entries: ItemFigures, evidence: Evidence) -> Integers:
    """Return how many intervals each daily entry was joined from."""
    width = int(entries.item.max()) + 1
    joined = np.bincount(_day_of_entries(evidence) * width + entries.item)
    return joined[daily.bucket * width + daily.item]


def _voltage_mismatch(evidence: Evidence) -> Findings:
    """Find packs whose cells do not add up to the pack voltage, with hardly any current."""
    rows, figures = evidence.rows, evidence.readings.cell_rows
    usable = evidence.readings.quiet & (figures.count > 0) & ~np.isnan(rows.pack_voltage_v)
    row = np.flatnonzero(usable)
    mean, pack = figures.mean[row], rows.pack_voltage_v[row]
    # Some cells of a list may be missing, and the number of the type may be wrong: one of the two must fit.
    listed, typical = (
        mean * figures.count[row] / pack - 1,
        mean * evidence.specs.cells_in_series[rows.vehicle[row]] / pack - 1,
    )
    mismatch = np.zeros(len(rows))
    mismatch[row] = np.where(np.abs(typical) < np.abs(listed), typical, listed)
    wrong = np.abs(mismatch) > VOLTAGE_MISMATCH_SHARE
    found = is_persistent(count_by_day(evidence, wrong), count_by_day(evidence, usable))
    marks = mark_days(evidence, wrong & _on(evidence, found))
    value = 100 * range_sum(mismatch[marks.rows], marks.begins, marks.ends) / marks.row_count
    limit = np.full(len(marks.day), 100 * VOLTAGE_MISMATCH_SHARE)
    return Findings(
        code=CODE,
        day=marks.day,
        severity=np.full(len(marks.day), WARNING),
        subject=["pack voltage"] * len(marks.day),
        first_row=marks.first_row,
        last_row=marks.last_row,
        row_count=marks.row_count,
        value=value,
        unit="%",
        normal_value=np.zeros(len(marks.day)),
        limit_value=limit,
        message=fill_in(
            "The cell voltages add up to {size:.1f} % {side} than the pack voltage in {count} readings since {start} "
            "(limit {limit:.0f} %).",
            size=np.abs(value),
            side=np.where(value < 0, "less", "more"),
            count=marks.row_count,
            start=since(evidence, marks.first_row),
            limit=limit,
        ),
        action=[VOLTAGE_ACTION] * len(marks.day),
    )


def _on(evidence: Evidence, days: Booleans) -> Booleans:
    """Mark the rows of the flagged target vehicle-days."""
    return (evidence.group >= 0) & days[evidence.group]


def _temperature_spikes(evidence: Evidence) -> Findings:
    """Report temperatures that left and came back within single samples; conditioning has removed them."""
    marks = mark_days(evidence, (evidence.rows.quality & TEMPERATURE_SPIKE_REMOVED) > 0)
    number = len(marks.day)
    return Findings(
        code=CODE,
        day=marks.day,
        severity=np.full(number, WATCH),
        subject=["pack temperature"] * number,
        first_row=marks.first_row,
        last_row=marks.last_row,
        row_count=marks.row_count,
        value=marks.row_count.astype(np.float64),
        unit="readings",
        normal_value=np.zeros(number),
        limit_value=np.zeros(number),
        message=fill_in(
            "{count} temperature readings since {start} jumped by more than 20 K for a single sample, which no pack "
            "can do; they were left out.",
            count=marks.row_count,
            start=since(evidence, marks.first_row),
        ),
        action=[SPIKE_ACTION] * number,
    )


def _frozen_current(evidence: Evidence) -> Findings:
    """Find days on which the current reads zero although the SoC moves as it only does when current flows."""
    rows, steps = evidence.rows, evidence.steps
    row = np.flatnonzero((steps.dt_ms[1:] > 0) & (steps.dt_ms[1:] <= steps.limit_ms[1:])) + 1
    row = row[(evidence.group[row] >= 0) & (evidence.group[row] == evidence.group[row - 1])]
    zero = np.abs(rows.pack_current_a) < FROZEN_CURRENT_A
    row = row[zero[row] & zero[row - 1]]
    moved = rows.soc_percent[row] - rows.soc_percent[row - 1]
    driven = rows.speed_kmh[row] > MOVING_SPEED_KMH
    suspicious = ((moved > 0) | (driven & (moved < 0))) & (np.abs(moved) <= FROZEN_STEP_MAX_PERCENT)
    row, moved = row[suspicious], np.abs(moved[suspicious])
    number = len(evidence.days.first)
    count = np.bincount(evidence.group[row], minlength=number)
    total = np.bincount(evidence.group[row], moved, minlength=number).astype(np.float64)
    flags = np.zeros(len(rows), dtype=bool)
    flags[row] = True
    frozen = (total >= FROZEN_SOC_PERCENT) & (count >= FROZEN_SOC_STEPS)
    marks = mark_days(evidence, flags & _on(evidence, frozen))
    day = marks.day
    return Findings(
        code=CODE,
        day=day,
        severity=np.full(len(day), WARNING),
        subject=["pack current"] * len(day),
        first_row=marks.first_row,
        last_row=marks.last_row,
        row_count=marks.row_count,
        value=total[day],
        unit="%",
        normal_value=np.zeros(len(day)),
        limit_value=np.full(len(day), FROZEN_SOC_PERCENT),
        message=fill_in(
            "The current reads zero since {start} although the state of charge moved by {total:.0f} % in "
            "{count} steps.",
            start=since(evidence, marks.first_row),
            total=total[day],
            count=marks.row_count,
        ),
        action=[CURRENT_ACTION] * len(day),
    )
