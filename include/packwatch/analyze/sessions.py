"""From rows to charge and discharge sessions.

A session is reported on the UTC day of its last row. It is built from the rows of that day, the day before and the day
after, whatever else is loaded, so that a day analyzed alone and a day analyzed among many give the same sessions. One
that runs for longer than those days begins, as reported, where they begin, and says so in `quality_flags`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from packwatch.analyze.capacity import observe_capacity
from packwatch.analyze.conditioning import DAY_MS, Booleans, Floats, Integers, Rows, Specs, Steps, VehicleDays
from packwatch.analyze.flows import CHARGE, DRIVE, REST, REST_GAP_S, Flows
from packwatch.analyze.frames import SESSION_COLUMNS, build_frame
from packwatch.analyze.ranges import (
    at,
    expand,
    first_known,
    group_median,
    last_known,
    range_any,
    range_max,
    range_min,
    range_or,
    range_sum,
    starts_of,
)
from packwatch.ingest.identity import make_ids

# Runs of rows shorter than both are flicker around a threshold and count as what the vehicle did before.
FLICKER_S = 60.0
FLICKER_ROWS = 4
# Charging pauses (thermal management, a load step, a balancing stop) of one and the same charge.
CHARGE_PAUSE_S = 1800.0
CHARGE_PAUSE_SOC_PERCENT = 1.0
# Traffic lights and short stops of one and the same drive.
DRIVE_PAUSE_S = 300.0

# What is worth a session.
CHARGE_MIN_SOC_PERCENT = 2.0
CHARGE_MIN_KWH = 1.0
DISCHARGE_MIN_SOC_PERCENT = 1.0
DISCHARGE_MIN_KWH = 0.1

# A charger is DC if more than a twentieth of the rows (the 95th percentile) is above one of these. AC chargers with
# 22 kW on a battery below 30 kWh exceed the second one and are taken for DC.
DC_POWER_KW = 25.0
DC_C_RATE = 0.35
DC_ROW_SHARE = 0.05

# Counting charge from samples further apart than this is poor while driving (sd of the error over real trips: 0.5 % at
# 1 s, 5.9 % at 5 s, 31 % at 30 s), s.
DRIVE_SAMPLING_S = 2.0
CHARGE_SAMPLING_S = 60.0

# quality_flags of a session. The first three are those of its rows (conditioning).
GAP_BRIDGED = 8  # a step longer than 5 times the usual one lies inside
CURRENT_MISSING = 16  # rows without a current, or a stretch too long to integrate
VOLTAGE_ASSUMED = 32  # rows whose voltage was carried on or taken from the type
SOC_MISSING = 64  # rows without a SoC
SOC_JUMP = 128  # the SoC moved by more than the charge explains
SLOW_SAMPLING = 256  # samples too far apart for good integration
SIGN_CONFLICT = 512  # charge flowed against the kind of session, or against the change of SoC
PAUSED = 1024  # joined over a pause
CUT_AT_START = 2048  # begins where the context begins


@dataclass(frozen=True)
class Spans:
    """Where sessions lie in the rows, before anything is measured."""

    first: Integers
    stop: Integers
    charging: Booleans
    paused: Booleans
    cut: Booleans

    def take(self, chosen: npt.NDArray) -> Spans:
        """Return the spans with these numbers or flags."""
        return Spans(
            self.first[chosen], self.stop[chosen], self.charging[chosen], self.paused[chosen], self.cut[chosen]
        )


def find_sessions(rows: Rows, steps: Steps, flows: Flows, days: VehicleDays, target_days: Iterable[int]) -> Spans:
    """Find the sessions whose last row lies in one of `target_days` (days since 1970), in row order."""
    block_first, block_stop = _blocks(rows, steps)
    found = [
        _sessions_of_day(rows, steps, flows, *_window(days, block_first, block_stop, day), day) for day in target_days
    ]
    if not found:
        nothing = np.zeros(0, dtype=np.int64)
        return Spans(nothing, nothing, *(nothing.astype(bool) for _ in range(3)))
    names = ("first", "stop", "charging", "paused", "cut")
    spans = Spans(**{name: np.concatenate([getattr(part, name) for part in found]) for name in names})
    return spans.take(np.argsort(spans.first, kind="stable"))


def _blocks(rows: Rows, steps: Steps) -> tuple[Integers, Integers]:
    """Return for each row where its block begins and ends: nothing that makes a session reaches over such a gap."""
    broken = steps.dt_ms > np.maximum(steps.limit_ms, REST_GAP_S * 1000)
    broken[1:] |= rows.vehicle[1:] != rows.vehicle[:-1]
    first, stop = starts_of(broken)
    return np.repeat(first, stop - first), np.repeat(stop, stop - first)


def _window(days: VehicleDays, block_first: Integers, block_stop: Integers, day: int) -> tuple[Integers, Integers]:
    """Return the row ranges that decide the sessions of `day`: its rows and the blocks they are part of.

    The ranges end with the neighboring days.
    """
    group = np.flatnonzero(days.day == day)
    before, after = np.maximum(group - 1, 0), np.minimum(group + 1, len(days.day) - 1)
    joins_before = (days.vehicle[before] == days.vehicle[group]) & (days.day[before] == day - 1)
    joins_after = (days.vehicle[after] == days.vehicle[group]) & (days.day[after] == day + 1)
    earliest = np.where(joins_before, days.first[before], days.first[group])
    latest = np.where(joins_after, days.stop[after], days.stop[group])
    return np.maximum(block_first[days.first[group]], earliest), np.minimum(block_stop[days.stop[group] - 1], latest)


def _sessions_of_day(
    rows: Rows, steps: Steps, flows: Flows, range_first: Integers, range_stop: Integers, day: int
) -> Spans:
    row = expand(range_first, range_stop)
    fresh = np.zeros(len(row), dtype=bool)
    fresh[np.cumsum(range_stop - range_first) - (range_stop - range_first)] = True
    cut = fresh | flows.gap[row]
    first, stop, activity, separate = _segments(row, cut, rows, steps, flows)
    busy = np.flatnonzero(activity != REST)
    joined = _joins(row[first], row[stop - 1], activity, separate, busy, rows)
    begins, ends = starts_of(~joined)
    session_first = row[first[busy[begins]]]
    session_stop = row[stop[busy[ends - 1]] - 1] + 1
    # A session that is already running when the context begins has lost its beginning.
    near_start = rows.time_ms[session_first] - (day - 1) * DAY_MS <= steps.limit_ms[session_first]
    spans = Spans(
        session_first,
        session_stop,
        charging=activity[busy[begins]] == CHARGE,
        paused=ends - begins > 1,
        cut=near_start & (rows.day[session_first] == day - 1),
    )
    return spans.take((rows.day[session_stop - 1] == day) & (session_stop - session_first > 1))


def _segments(
    row: Integers, cut: Booleans, rows: Rows, steps: Steps, flows: Flows
) -> tuple[Integers, Integers, Integers, Booleans]:
    """Divide rows into segments of one activity.

    Returns:
        First and stop (places in `row`), the activity, and whether a gap lies before the segment.
    """
    activity = flows.activity[row]
    changes = cut.copy()
    changes[1:] |= activity[1:] != activity[:-1]
    first, stop = starts_of(changes)
    run_cut = cut[first]
    time = rows.time_ms[row[first]], rows.time_ms[row[stop - 1]]
    lasts_ms = time[1] - time[0] + np.nan_to_num(steps.usual_ms[row[first]])
    # Braking pushes current into the pack for seconds; without a reported state only time tells it from a charger.
    guessed = (activity[first] == CHARGE) & flows.guessed[row[first]]
    flicker = (lasts_ms < FLICKER_S * 1000) & ((stop - first < FLICKER_ROWS) | guessed) & ~run_cut
    source = np.maximum.accumulate(np.where(flicker, 0, np.arange(len(first))))
    settled = activity[first][source]
    begins, ends = starts_of(run_cut | (np.diff(settled, prepend=-1) != 0))
    return first[begins], stop[ends - 1], settled[begins], run_cut[begins]


def _joins(
    first_row: Integers, last_row: Integers, activity: Integers, separate: Booleans, busy: Integers, rows: Rows
) -> Booleans:
    """Tell which busy segments continue the busy segment before them."""
    joined = np.zeros(len(busy), dtype=bool)
    here, before = busy[1:], busy[:-1]
    start, end = first_row[here], last_row[before]
    pause_ms = rows.time_ms[start] - rows.time_ms[end]
    same = (activity[here] == activity[before]) & (rows.vehicle[start] == rows.vehicle[end])
    gaps = np.cumsum(separate)
    unbroken = gaps[here] == gaps[before]
    soc = rows.soc_percent
    soc_start = at(soc, first_known(soc, first_row[busy], last_row[busy] + 1))[1:]
    soc_end = at(soc, last_known(soc, first_row[busy], last_row[busy] + 1))[:-1]
    moved = np.abs(soc_start - soc_end) >= CHARGE_PAUSE_SOC_PERCENT
    charge = (activity[here] == CHARGE) & (pause_ms < CHARGE_PAUSE_S * 1000) & ~moved
    drive = (activity[here] == DRIVE) & (pause_ms < DRIVE_PAUSE_S * 1000) & unbroken
    joined[1:] = same & (charge | drive)
    return joined


@dataclass(frozen=True)
class Balance:
    """What flowed in each session; positive into the pack, NaN where unknown."""

    charge_ah: Floats
    energy_kwh: Floats
    soc_start_percent: Floats
    soc_end_percent: Floats


def measure_sessions(
    rows: Rows, steps: Steps, flows: Flows, specs: Specs, names: npt.NDArray[np.object_], spans: Spans
) -> pd.DataFrame:
    """Measure each session and keep those worth reporting; columns as in `frames.SESSION_COLUMNS`.

    Energy and charge are net over the session and positive in both directions.
    """
    balance = _balance(rows, flows, spans)
    gained = balance.soc_end_percent - balance.soc_start_percent
    # A charger that takes energy out of the pack (vehicle to grid) makes a discharge.
    returned = (balance.charge_ah < 0) & (gained <= -DISCHARGE_MIN_SOC_PERCENT)
    charging = spans.charging & ~returned
    sign = np.where(charging, 1.0, -1.0)
    enough_soc = sign * gained >= np.where(charging, CHARGE_MIN_SOC_PERCENT, DISCHARGE_MIN_SOC_PERCENT)
    enough_energy = np.abs(balance.energy_kwh) >= np.where(charging, CHARGE_MIN_KWH, DISCHARGE_MIN_KWH)
    worth = np.flatnonzero(enough_soc | enough_energy)

    kept = spans.take(worth)
    first, stop, charging, sign, gained = kept.first, kept.stop, charging[worth], sign[worth], gained[worth]
    charge, energy = balance.charge_ah[worth], balance.energy_kwh[worth]
    vehicle = rows.vehicle[first]
    sampling_s = _sampling_s(steps, first, stop)
    long_steps = np.where(steps.dt_ms > 5 * steps.usual_ms, steps.dt_ms, 0)
    gap_s = range_sum(long_steps, first + 1, stop) / 1000
    slow = sampling_s > np.where(charging, CHARGE_SAMPLING_S, DRIVE_SAMPLING_S)
    against_soc = (charge * gained < 0) & (np.abs(gained) >= DISCHARGE_MIN_SOC_PERCENT)
    current = rows.pack_current_a
    odometer = rows.odometer_km
    observable = np.flatnonzero(charging)
    observed = observe_capacity(
        rows,
        flows,
        steps,
        first[observable],
        stop[observable],
        sampling_s=sampling_s[observable],
        lfp=specs.chemistry[vehicle[observable]] == "LFP",
        nominal_ah=specs.capacity_ah[vehicle[observable]],
    )
    flags = (
        range_or(rows.quality, first, stop)
        + GAP_BRIDGED * (gap_s > 0)
        + CURRENT_MISSING * (range_any(np.isnan(current), first, stop) | range_any(flows.blind, first + 1, stop))
        + VOLTAGE_ASSUMED * range_any(flows.voltage_assumed, first, stop)
        + SOC_MISSING * range_any(np.isnan(rows.soc_percent), first, stop)
        + SOC_JUMP * _spread(observed.soc_jump, observable, len(first), False)
        + SLOW_SAMPLING * slow
        + SIGN_CONFLICT * ((sign * charge < 0) | against_soc)
        + PAUSED * kept.paused
        + CUT_AT_START * kept.cut
    )
    vehicle_id = names[vehicle]
    kind = np.where(charging, "charge", "discharge").astype(object)
    started_ms = rows.time_ms[first]
    ended_ms = rows.time_ms[stop - 1]
    power_in, power_out = range_max(flows.power_kw, first, stop), -range_min(flows.power_kw, first, stop)
    warm = mean_temperature(rows)
    return build_frame(
        {
            "session_id": make_ids(vehicle_id, kind, instant_text(started_ms)),
            "vehicle_id": vehicle_id,
            "log_date": rows.day[stop - 1],
            "kind": kind,
            "started_at": started_ms,
            "ended_at": ended_ms,
            "duration_s": (ended_ms - started_ms) / 1000,
            "row_count": stop - first,
            "soc_start_percent": balance.soc_start_percent[worth],
            "soc_end_percent": balance.soc_end_percent[worth],
            "energy_kwh": np.abs(energy),
            "charge_ah": np.abs(charge),
            "power_max_kw": np.where(charging, power_in, power_out),
            "charge_type": _charge_type(rows, flows, specs, first, stop, charging),
            "temperature_start_c": at(warm, first_known(warm, first, stop)),
            "temperature_max_c": range_max(rows.temperature_max_c, first, stop),
            "sampling_interval_s": sampling_s,
            "gap_s": gap_s,
            "odometer_start_km": at(odometer, first_known(odometer, first, stop)),
            "odometer_end_km": at(odometer, last_known(odometer, first, stop)),
            "observed_capacity_ah": _spread(observed.capacity_ah, observable, len(first), np.nan),
            "observed_capacity_sigma_ah": _spread(observed.sigma_ah, observable, len(first), np.nan),
            "observed_soc_delta_percent": _spread(observed.soc_delta_percent, observable, len(first), np.nan),
            "full_charge": _spread(observed.full_charge, observable, len(first), False),
            "quality_flags": flags,
        },
        SESSION_COLUMNS,
    )


def _balance(rows: Rows, flows: Flows, spans: Spans) -> Balance:
    first, stop = spans.first, spans.stop
    known = ~np.isnan(rows.pack_current_a)
    # The step that ends in the first current of the session began before it.
    begin = first_known(rows.pack_current_a, first, stop)
    begin = np.where(begin >= 0, begin, stop - 1) + 1
    counted = range_sum(known, first, stop) > 1
    powered = range_any(flows.voltage_known & known, first, stop)
    soc = rows.soc_percent
    return Balance(
        charge_ah=np.where(counted, range_sum(flows.charge_ah, begin, stop), np.nan),
        energy_kwh=np.where(counted & powered, range_sum(flows.energy_kwh, begin, stop), np.nan),
        soc_start_percent=at(soc, first_known(soc, first, stop)),
        soc_end_percent=at(soc, last_known(soc, first, stop)),
    )


def _sampling_s(steps: Steps, first: Integers, stop: Integers) -> Floats:
    """Return the median step inside each session, s."""
    row = expand(first + 1, stop)
    session = np.repeat(np.arange(len(first)), stop - first - 1)
    return group_median(np.minimum(steps.dt_ms[row], DAY_MS), session, len(first)) / 1000


def _charge_type(
    rows: Rows, flows: Flows, specs: Specs, first: Integers, stop: Integers, charging: Booleans
) -> npt.NDArray[np.object_]:
    """Return "AC" or "DC" for charges whose power or C-rate is known, else None."""
    rate = rows.pack_current_a / specs.capacity_ah[rows.vehicle]
    strong = range_sum((flows.power_kw > DC_POWER_KW) | (rate > DC_C_RATE), first, stop)
    known = range_sum(~(np.isnan(flows.power_kw) & np.isnan(rate)), first, stop)
    answer = np.where(strong > DC_ROW_SHARE * known, "DC", "AC").astype(object)
    answer[(known == 0) | ~charging] = None
    return answer


def mean_temperature(rows: Rows) -> Floats:
    """Return the middle of coldest and hottest probe of each row, °C, or the one of them that is known."""
    low, high = rows.temperature_min_c, rows.temperature_max_c
    return np.where(np.isnan(low), high, np.where(np.isnan(high), low, 0.5 * (low + high)))


def instant_text(time_ms: Integers) -> npt.NDArray[np.str_]:
    """Return times as ISO 8601 text with milliseconds, for use in ids."""
    return np.datetime_as_string(time_ms.astype("datetime64[ms]"), unit="ms", timezone="UTC")


def _spread(values: npt.NDArray, places: Integers, count: int, default: float) -> npt.NDArray:
    result = np.full(count, default, dtype=values.dtype)
    result[places] = values
    return result
