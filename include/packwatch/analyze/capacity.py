"""How much charge the pack holds, seen through one charge session.

Capacity = charge between two ticks of the reported SoC / difference of the SoC. Ticks, because a SoC that is
displayed in steps of 1 % is off by up to 1 % at the ends of the session but right at the moment it changes. The charge
is taken where the tick falls between two samples: half-way for a single step, later the more steps were skipped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from packwatch.analyze.conditioning import Floats, Integers, Rows, Steps
from packwatch.analyze.flows import Flows
from packwatch.analyze.ranges import at, expand, last_known, range_any, range_max, range_min, range_sum, starts_of

# Error (1 sd) of the SoC a BMS reports, at one end of a window, percentage points. From ten packs with a measured
# capacity, whose Ah/dSoC was off by a near constant 3.4 points of SoC difference = sqrt(2) * 2.4.
SOC_END_SIGMA_PERCENT = 2.4
# LFP between its knees: 3 to 6 points, because voltage says next to nothing there.
SOC_END_SIGMA_LFP_PERCENT = 5.0
LFP_KNEE_SOC_PERCENT = 12.0

# Windows below this carry no weight (20 % error at 5 to 15 points of SoC).
SOC_DELTA_MIN_PERCENT = 10.0
# Share of rows that must have a current.
CURRENT_SHARE_MIN = 0.9

# Steps in which a SoC is displayed, points: a decimal one that all values are multiples of ...
SOC_GRIDS_PERCENT = (1.0, 0.5, 0.1)
# ... give or take what a 32-bit float loses, points ...
SOC_GRID_TOLERANCE_PERCENT = 1e-5
# ... or else the smallest rise seen, if it is below that of an 8-bit value; a larger one is slow sampling.
SOC_STEP_MAX_PERCENT = 0.5
# A SoC that moves in steps below this is used as it is: a tick would save less than its sampling jitter, points.
FINE_SOC_STEP_PERCENT = 0.05
# So is one whose first rise skips this many steps: the sample before is then closer to the truth than the tick.
FINE_SKIPPED_STEPS = 10

# SoC is compared in whole millionths of a percent.
SOC_UNITS = 1_000_000

# A step of the SoC that differs from the charge that flowed by more than this is a correction by the BMS, points.
SOC_JUMP_PERCENT = 3.0
SOC_JUMP_STEP_MAX_S = 60.0

# A gap that was bridged: the current in between is known to about a tenth.
GAP_ERROR_SHARE = 0.1
# With more than a minute between samples an interrupted or stepped current goes unseen: a fifth of the charge of one
# step. At 5 minutes and 70 A that is 1.2 Ah; five charges of a real Leaf polled so were off by 0.6 Ah (rms).
SLOW_SAMPLING_S = 60.0
SLOW_SAMPLING_STEP_SHARE = 0.2

# Constant-voltage phase: the current has fallen below this share of its maximum, at or above this SoC.
TAPER_CURRENT_SHARE = 0.3
FULL_SOC_PERCENT = 97.0


@dataclass(frozen=True)
class CapacityObservations:
    """One entry a charge session; NaN where the session cannot tell."""

    capacity_ah: Floats
    sigma_ah: Floats
    soc_delta_percent: Floats
    full_charge: npt.NDArray[np.bool_]
    soc_jump: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Anchors:
    """First and last SoC tick of each session; rows are -1 where there are not two."""

    first_row: Integers
    last_row: Integers
    soc_delta_percent: Floats
    correction_ah: Floats
    """Charge between the ticks minus charge between the rows, Ah."""
    jitter_ah2: Floats
    """Variance of the position of both ticks, Ah²."""


def observe_capacity(
    rows: Rows,
    flows: Flows,
    steps: Steps,
    first: Integers,
    stop: Integers,
    *,
    sampling_s: Floats,
    lfp: npt.NDArray[np.bool_],
    nominal_ah: Floats,
) -> CapacityObservations:
    """Observe the capacity in each charge session [first, stop).

    Where the current is missing for longer than the gap limit, the widest stretch without such a hole is used.

    Args:
        rows: all loaded rows.
        flows: charge of each step.
        steps: length of each step.
        first: first row of each session, ascending.
        stop: row after the last of each session.
        sampling_s: median step of each session, s.
        lfp: whether the pack is LFP.
        nominal_ah: nominal capacity, NaN unknown; only used to find jumps of the SoC.

    Returns:
        Capacity and its standard deviation. sigma² = capacity² (sx²/x² + sy²/y²) with x the SoC difference and y the
        charge; sx holds the SoC error of both ends and any jump, sy the jitter of the ticks, what the current did
        between samples, bridged gaps and slow sampling. Systematic errors of the current sensor are not in it.
    """
    stretch_first, stretch_stop, session = _stretches(flows, first, stop)
    anchors = find_anchors(rows, flows, stretch_first, stretch_stop)
    inner_first = np.where(anchors.first_row >= 0, anchors.first_row + 1, stretch_first)
    inner_stop = np.where(anchors.first_row >= 0, anchors.last_row + 1, stretch_first)
    delta = anchors.soc_delta_percent
    charge = range_sum(flows.charge_ah, inner_first, inner_stop) + anchors.correction_ah
    jump = _soc_jumps(rows, flows, steps, inner_first, inner_stop, nominal_ah[session])
    noise = range_sum(flows.noise_ah2, inner_first, inner_stop) + anchors.jitter_ah2
    gap_charge = np.where(steps.dt_ms > 5 * steps.usual_ms, np.abs(flows.charge_ah), 0.0)
    gap_error = GAP_ERROR_SHARE * range_sum(gap_charge, inner_first, inner_stop)
    row_count = np.maximum(inner_stop - inner_first, 1)
    known_share = range_sum(~np.isnan(rows.pack_current_a), inner_first, inner_stop) / row_count
    slow = sampling_s[session] > SLOW_SAMPLING_S
    slow_error = np.where(slow, SLOW_SAMPLING_STEP_SHARE * charge / row_count, 0.0)
    ends = at(rows.soc_percent, anchors.first_row), at(rows.soc_percent, anchors.last_row)
    soc_variance = _soc_variance(*ends, lfp[session]) + jump**2
    eligible = (delta >= SOC_DELTA_MIN_PERCENT) & (charge > 0) & (known_share >= CURRENT_SHARE_MIN)
    with np.errstate(invalid="ignore", divide="ignore"):
        capacity = charge / (delta / 100)
        relative = soc_variance / delta**2 + (noise + gap_error**2 + slow_error**2) / charge**2
    best, chosen = _widest(np.where(eligible, delta, -1.0), session)
    best, chosen = best[eligible[best]], chosen[eligible[best]]
    empty = np.full(len(first), np.nan)
    result = CapacityObservations(
        capacity_ah=empty.copy(),
        sigma_ah=empty.copy(),
        soc_delta_percent=empty.copy(),
        full_charge=_reached_taper(rows, first, stop),
        soc_jump=np.zeros(len(first), dtype=bool),
    )
    result.capacity_ah[chosen] = capacity[best]
    result.sigma_ah[chosen] = capacity[best] * np.sqrt(relative[best])
    result.soc_delta_percent[chosen] = delta[best]
    result.soc_jump[session[jump > 0]] = True
    return result


def _stretches(flows: Flows, first: Integers, stop: Integers) -> tuple[Integers, Integers, Integers]:
    """Divide sessions where the current is missing for longer than the gap limit.

    Returns:
        First and stop row of each stretch, and the number of its session.
    """
    row = expand(first, stop)
    session = np.repeat(np.arange(len(first)), stop - first)
    begins, ends = starts_of((np.diff(session, prepend=-1) != 0) | flows.blind[row] | flows.gap[row])
    return row[begins], row[ends - 1] + 1, session[begins]


def _widest(delta: Floats, session: Integers) -> tuple[Integers, Integers]:
    """Return the stretch with the largest SoC difference of each session (the last of equals), and the session."""
    order = np.lexsort((delta, session))
    _, stop = starts_of(np.diff(session[order], prepend=-1) != 0)
    best = order[stop - 1]
    return best, session[best]


def find_anchors(rows: Rows, flows: Flows, first: Integers, stop: Integers) -> Anchors:
    """Find the first and the last tick of the SoC in each session.

    A tick is a row whose SoC exceeds everything before it in the session, so that flicker at a threshold and a
    correction downwards are no ticks. It jumped by j since the sample before, that is by m = j/q displayed steps q;
    the threshold of its value was then crossed at the fraction 1 - 1/(2 m) of the interval, with a standard
    deviation of 1/(sqrt(12) m) of it. A finely resolved SoC is anchored at the first row instead.
    """
    count = len(first)
    row = expand(first, stop)
    session = np.repeat(np.arange(count), stop - first)
    # Charge is only known between rows with a current, so only those can hold a tick.
    known = ~np.isnan(rows.soc_percent[row]) & ~np.isnan(rows.pack_current_a[row])
    row, session = row[known], session[known]
    # In whole millionths of a percent the arithmetic is exact. SoC is at most 100, so that the running maximum of this
    # key starts anew with each session.
    soc = np.round(rows.soc_percent[row] * SOC_UNITS).astype(np.int64)
    peak = np.maximum.accumulate(1000 * SOC_UNITS * session + soc)
    follows = np.flatnonzero(np.diff(session) == 0) + 1
    rise = (peak[follows] - peak[follows - 1]) / SOC_UNITS
    tick = follows[rise > 0]
    rise = rise[rise > 0]
    group_first, group_stop = starts_of(np.diff(session[tick], prepend=-1) != 0)
    owner = session[tick[group_first]]
    quantum = _displayed_step(soc[tick], range_min(rise, group_first, group_stop), group_first, group_stop)
    session_first, _ = starts_of(np.diff(session, prepend=-1) != 0)
    start = np.full(count, -1)
    start[session[session_first]] = session_first
    fine = (quantum < FINE_SOC_STEP_PERCENT) | (rise[group_first] >= FINE_SKIPPED_STEPS * quantum)
    begin = np.where(fine, start[owner], tick[group_first])
    end = tick[group_stop - 1]
    late_begin, variance_begin = _tick_offset(flows, row, begin, rise[group_first], quantum)
    late_end, variance_end = _tick_offset(flows, row, end, rise[group_stop - 1], quantum)
    late_begin, variance_begin = np.where(fine, 0.0, late_begin), np.where(fine, 0.0, variance_begin)
    several = end > begin
    owner = owner[several]
    result = Anchors(
        np.full(count, -1), np.full(count, -1), np.full(count, np.nan), np.full(count, np.nan), np.full(count, np.nan)
    )
    result.first_row[owner] = row[begin[several]]
    result.last_row[owner] = row[end[several]]
    result.soc_delta_percent[owner] = (soc[end] - soc[begin])[several] / SOC_UNITS
    result.correction_ah[owner] = (late_begin - late_end)[several]
    result.jitter_ah2[owner] = (variance_begin + variance_end)[several]
    return result


def _displayed_step(soc: Integers, smallest: Floats, first: Integers, stop: Integers) -> Floats:
    """Return the step in which the SoC of each session is displayed, points; next to nothing if it is fine."""
    step = np.where(smallest <= SOC_STEP_MAX_PERCENT, smallest, 1 / SOC_UNITS)
    tolerance = SOC_GRID_TOLERANCE_PERCENT * SOC_UNITS
    for grid in reversed(SOC_GRIDS_PERCENT):
        rest = soc % round(grid * SOC_UNITS)
        off_grid = (rest > tolerance) & (rest < grid * SOC_UNITS - tolerance)
        step = np.where(range_any(off_grid, first, stop), step, grid)
    return step


def _tick_offset(flows: Flows, row: Integers, tick: Integers, rise: Floats, quantum: Floats) -> tuple[Floats, Floats]:
    """Return the charge between a tick and its row, Ah, and the variance of it, Ah²."""
    before = row[np.maximum(tick - 1, 0)]
    interval = range_sum(flows.charge_ah, before + 1, row[tick] + 1)
    skipped = np.maximum(np.round(rise / quantum), 1)
    return interval / (2 * skipped), interval**2 / (12 * skipped**2)


def _soc_variance(soc_first: Floats, soc_last: Floats, lfp: npt.NDArray[np.bool_]) -> Floats:
    """Return the variance of the SoC difference, points²: both ends by their place on the curve."""
    flat_first = lfp & (soc_first >= LFP_KNEE_SOC_PERCENT) & (soc_first < FULL_SOC_PERCENT)
    flat_last = lfp & (soc_last >= LFP_KNEE_SOC_PERCENT) & (soc_last < FULL_SOC_PERCENT)
    flat, steep = SOC_END_SIGMA_LFP_PERCENT**2, SOC_END_SIGMA_PERCENT**2
    return np.where(flat_first, flat, steep) + np.where(flat_last, flat, steep)


def _soc_jumps(rows: Rows, flows: Flows, steps: Steps, first: Integers, stop: Integers, nominal_ah: Floats) -> Floats:
    """Return the sum of the jumps of the SoC that no charge explains, points."""
    row = expand(first, stop)
    stretch = np.repeat(np.arange(len(first)), stop - first)
    moved = rows.soc_percent[row] - rows.soc_percent[row - 1]
    explained = 100 * flows.charge_ah[row] / nominal_ah[stretch]
    excess = np.abs(moved - explained)
    jump = (excess > SOC_JUMP_PERCENT) & (steps.dt_ms[row] <= SOC_JUMP_STEP_MAX_S * 1000)
    return np.bincount(stretch[jump], excess[jump], minlength=len(first)).astype(np.float64)


def _reached_taper(rows: Rows, first: Integers, stop: Integers) -> npt.NDArray[np.bool_]:
    """Tell whether the session ended in the constant-voltage phase at a SoC of FULL_SOC_PERCENT or more."""
    current = rows.pack_current_a
    end_current = at(current, last_known(current, first, stop))
    end_soc = at(rows.soc_percent, last_known(rows.soc_percent, first, stop))
    return (end_soc >= FULL_SOC_PERCENT) & (end_current < TAPER_CURRENT_SHARE * range_max(current, first, stop))
