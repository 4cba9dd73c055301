"""Heat: how hot the pack was, and signs of a thermal runaway.

Levels 4 and 3 follow GB 38031-2025 C.5.3.7 and engineering defaults. All rules look at the hottest probe; a single
sample of a single probe never counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from packwatch.analyze.conditioning import TEMPERATURE_SENTINELS_C, Booleans, Floats, Integers
from packwatch.analyze.findings import (
    CRITICAL,
    EMERGENCY,
    NOT_AN_ALARM,
    Evidence,
    Findings,
    confirmed,
    fill_in,
    mark_days,
    since,
)
from packwatch.analyze.flows import REST
from packwatch.analyze.lists import highest_item, medians
from packwatch.analyze.ranges import at, last_known, range_max, range_min, range_sum, starts_of

HOT_CODE = "high_temperature"
RUNAWAY_CODE = "thermal_runaway_risk"

# Watch, warning, critical, °C. Watch is where packs without active cooling get on a hot day of fast charging.
HOT_LIMITS_C = (50.0, 55.0, 60.0)
# Up to here a pack is used every day, °C.
NORMAL_TEMPERATURE_C = 45.0
HOT_ACTIONS = (
    "Let the pack cool before the next fast charge; watch how often this happens.",
    "Avoid fast charging until it has cooled; have cooling and airflow checked.",
    "Take the vehicle out of use until a workshop has checked the pack and its cooling.",
)

# Runaway, level 4 (GB 38031-2025 C.5.3.7): (voltage drop or maker's highest operating temperature) and heating rate.
RUNAWAY_RATE_K_PER_S = 1.0
# Heating must last longer than this; where samples are further apart, dT >= max(3 K, dt * 1 K/s) between two samples.
RUNAWAY_RATE_S = 3.0
RUNAWAY_TEMPERATURE_C = 65.0
# A voltage below this share of the one a minute before has dropped by more than a quarter.
RUNAWAY_VOLTAGE_SHARE = 0.75

# Level 3: heating for a minute or more that the current does not explain.
HEATING_RATE_K_PER_S = 0.05
HEATING_S = 60.0
# Steps this long say nothing about a rate.
HEATING_STEP_MAX_S = 600.0
# Each half of the rise must hold this share of it: a sensor that starts up late steps once and stays.
HEATING_HALF_SHARE = 0.25
# Heating by the current itself, K/s at 1 C: R*Q = 0.071 ohm*Ah per cell (median of ten packs) times I² over the heat
# capacity of a cell of 3.65 V, 200 Wh/kg and 1000 J/(kg K), that is 18 J/K per Ah.
JOULE_K_PER_S = 0.0039
# Probes sit near the tabs: in the first minute of a fast charge all 24 of a real car warmed six times as fast.
JOULE_MARGIN = 8.0
# Under this load and above, a rise that the coldest probe shares is heat of the current, C.
SHARED_HEAT_C_RATE = 0.3

# Level 3: one probe this far above the median of the pack, and further than ten minutes before, K.
HOT_SPOT_K = 10.0
HOT_SPOT_GROWTH_K = 2.0
HOT_SPOT_S = 600.0
HOT_SPOT_PROBES_MIN = 4

# Level 3: self-heating at rest, K in half an hour, after at least half an hour of rest.
SELF_HEATING_K = 2.0
SELF_HEATING_MS = 1_800_000
SELF_HEATING_CURRENT_A = 2.0

RUNAWAY_ACTION = "Keep the vehicle outdoors, away from others and uncharged until a workshop has checked the pack."
# What each kind of sign is called in the message, in the order in which it wins.
SIGNS = (
    "{probe} rose by {value:.0f} K in {seconds:.0f} s to {top:.0f} °C together with {company}",
    "{probe} rose by {value:.0f} K in {seconds:.0f} s to {top:.0f} °C, more than the current explains",
    "{probe} ran {value:.0f} K above the middle of the pack, at {top:.0f} °C, and drew away",
    "the pack warmed by {value:.0f} K in half an hour of rest, to {top:.0f} °C, while its surroundings did not",
)
HOT_SPOT_KIND = 2
SIGN_LIMITS = (RUNAWAY_RATE_S * RUNAWAY_RATE_K_PER_S, HEATING_RATE_K_PER_S * HEATING_S, HOT_SPOT_K, SELF_HEATING_K)


def find_heat(evidence: Evidence) -> list[Findings]:
    """Find hot packs and signs of thermal runaway."""
    track = _track(evidence)
    return [_high_temperature(evidence, track), *_runaway(evidence, track)]


@dataclass(frozen=True)
class Track:
    """The rows of the target days with a known temperature, in order."""

    row: Integers
    day: Integers
    time_ms: Integers
    hottest: Floats
    second: Floats
    key: Integers
    """Day and time in one ascending number."""

    def lookback(self, places: Integers, seconds: float) -> Integers:
        """Return for each place the last one at least `seconds` before it on the same day, or -1."""
        found = np.searchsorted(self.key, self.key[places] - round(seconds * 1000), side="right") - 1
        return np.where((found >= 0) & (self.day[found] == self.day[places]), found, -1)

    def neighbor(self, places: Integers, offset: int) -> Integers:
        """Return the place `offset` samples away on the same day, or -1."""
        there = np.clip(places + offset, 0, len(self.row) - 1)
        return np.where((there == places + offset) & (self.day[there] == self.day[places]), there, -1)


def _track(evidence: Evidence) -> Track:
    group = evidence.group
    row = np.flatnonzero((group >= 0) & ~np.isnan(evidence.rows.temperature_max_c))
    time_ms = evidence.rows.time_ms[row]
    return Track(
        row,
        group[row],
        time_ms,
        evidence.rows.temperature_max_c[row],
        evidence.readings.probe_rows.second[row],
        # 2**40 ms are 34 years, so the numbers of two days cannot overlap.
        (group[row] << 40) + time_ms % (1 << 40),
    )


def _high_temperature(evidence: Evidence, track: Track) -> Findings:
    everything = np.ones(len(track.row), dtype=bool)
    level = np.full(len(evidence.days.first), -1)
    over = np.zeros(len(evidence.rows), dtype=bool)
    for number, limit in enumerate(HOT_LIMITS_C):
        flags = confirmed(track.hottest >= limit, everything, track.day) | (track.second >= limit)
        days = np.unique(track.day[flags])
        level[days] = number
        # Rows beyond the highest limit that the day reaches replace those beyond a lower one.
        over[track.row[np.isin(track.day, days)]] = False
        over[track.row[flags]] = True
    marks = mark_days(evidence, over)
    day = marks.day
    flagged = evidence.rows.temperature_max_c[marks.rows]
    peak = range_max(flagged, marks.begins, marks.ends)
    at_peak = np.flatnonzero(flagged == np.repeat(peak, marks.row_count))
    peak_row = marks.rows[at_peak[np.searchsorted(at_peak, marks.begins)]]
    limit = np.array(HOT_LIMITS_C)[level[day]]
    severity = level[day] + 1
    return Findings(
        code=HOT_CODE,
        day=day,
        severity=severity,
        subject=["pack"] * len(day),
        first_row=marks.first_row,
        last_row=marks.last_row,
        row_count=marks.row_count,
        value=peak,
        unit="°C",
        normal_value=np.full(len(day), NORMAL_TEMPERATURE_C),
        limit_value=limit,
        message=fill_in(
            "{probe} reached {peak:.1f} °C; the pack was at {limit:.0f} °C or more in {count} readings since "
            "{start} (normal: up to {normal:.0f} °C).{note}",
            probe=_probe_names(evidence, peak_row, capital=True),
            peak=peak,
            limit=limit,
            count=marks.row_count,
            start=since(evidence, marks.first_row),
            normal=np.full(len(day), NORMAL_TEMPERATURE_C),
            note=np.where(severity >= CRITICAL, NOT_AN_ALARM, ""),
        ),
        action=[HOT_ACTIONS[number] for number in level[day]],
    )


def _probe_names(evidence: Evidence, rows: Integers, *, capital: bool = False) -> list[str]:
    """Name the hottest probe of each row by its number, where the log lists the probes."""
    numbers = highest_item(evidence.table["temperatures_c"], rows, TEMPERATURE_SENTINELS_C)
    names = [f"probe {number}" if number else "the hottest probe" for number in numbers.tolist()]
    return [name[0].upper() + name[1:] for name in names] if capital else names


@dataclass(frozen=True)
class Sign:
    """Rows (places in the track) that show one kind of sign, with what was measured."""

    kind: int
    severity: int
    place: Integers
    value: Floats
    seconds: Floats
    company: list[str]


def _runaway(evidence: Evidence, track: Track) -> list[Findings]:
    if not len(track.row):
        return []
    candidates = _rising_rows(track)
    signs = [
        _fast_heating(evidence, track, candidates),
        _unexplained_heating(evidence, track, candidates),
        _hot_spot(evidence, track),
        _self_heating(evidence, track),
    ]
    return [_report(evidence, track, sign) for sign in signs]


def _rising_rows(track: Track) -> Integers:
    """Return the places where the temperature may have risen by 3 K within two minutes or from sample to sample."""
    minute = track.time_ms // 60_000
    first, stop = starts_of((np.diff(track.day, prepend=-1) != 0) | (np.diff(minute, prepend=-1) != 0))
    high, low = range_max(track.hottest, first, stop), range_min(track.hottest, first, stop)
    same_day = track.day[first[1:]] == track.day[first[:-1]]
    floor = low.copy()
    floor[1:] = np.where(same_day, np.minimum(low[1:], low[:-1]), low[1:])
    rising = high - floor >= HEATING_RATE_K_PER_S * HEATING_S
    return np.flatnonzero(np.repeat(rising, stop - first))


def _stays(track: Track, place: Integers, base: Floats) -> Booleans:
    """Tell whether a rise from `base` is more than one sample of one probe: next, previous or second probe agree."""
    middle = (base + track.hottest[place]) / 2
    after = at(track.hottest, track.neighbor(place, 1))
    before = at(track.hottest, track.neighbor(place, -1))
    return (after >= middle) | (np.isnan(after) & (before >= middle)) | (track.second[place] >= middle)


def _fast_heating(evidence: Evidence, track: Track, candidates: Integers) -> Sign:
    """Level 4: 1 K/s for more than 3 s, with a hot pack or a voltage that broke down."""
    before = track.lookback(candidates, RUNAWAY_RATE_S)
    place, before = candidates[before >= 0], before[before >= 0]
    seconds = (track.time_ms[place] - track.time_ms[before]) / 1000
    rise = track.hottest[place] - track.hottest[before]
    fast = (rise >= RUNAWAY_RATE_K_PER_S * seconds) & _stays(track, place, track.hottest[before])
    dropped = _voltage_dropped(evidence, track, place)
    hot = track.hottest[place] >= RUNAWAY_TEMPERATURE_C
    chosen = fast & (hot | dropped)
    company = np.where(dropped, "a voltage that fell by more than a quarter", "a pack at its highest temperature")
    return Sign(0, EMERGENCY, place[chosen], rise[chosen], seconds[chosen], company[chosen].tolist())


def _voltage_dropped(evidence: Evidence, track: Track, place: Integers) -> Booleans:
    first_of_day = np.searchsorted(track.day, track.day[place])
    before = track.lookback(place, HEATING_S)
    before = np.where(before >= 0, before, first_of_day)
    dropped = np.zeros(len(place), dtype=bool)
    for voltage in (evidence.rows.pack_voltage_v, evidence.rows.cell_voltage_min_v):
        dropped |= voltage[track.row[place]] < RUNAWAY_VOLTAGE_SHARE * voltage[track.row[before]]
    return dropped


def _unexplained_heating(evidence: Evidence, track: Track, candidates: Integers) -> Sign:
    """Level 3: more than 0.05 K/s for a minute or more, and more than the current explains."""
    before = track.lookback(candidates, HEATING_S)
    place, before = candidates[before >= 0], before[before >= 0]
    seconds = (track.time_ms[place] - track.time_ms[before]) / 1000
    rise = track.hottest[place] - track.hottest[before]
    rate = rise / seconds
    plausible = (rate > HEATING_RATE_K_PER_S) & (seconds <= HEATING_STEP_MAX_S)
    place, before = place[plausible], before[plausible]
    seconds, rise, rate = seconds[plausible], rise[plausible], rate[plausible]
    middle = track.lookback(place, HEATING_S / 2)
    # Slower sampling than that has no sample in between: the step before must have gone up as well.
    apart = middle > before
    start = np.where(apart, before, track.neighbor(before, -1))
    first_half = track.hottest[middle] - at(track.hottest, start)
    second_half = track.hottest[place] - track.hottest[middle]
    steady = np.fmin(first_half, second_half) >= HEATING_HALF_SHARE * rise
    steady &= ~np.isnan(first_half)
    c_rate = _strongest_c_rate(evidence, track, before, place)
    coldest = evidence.rows.temperature_min_c[track.row]
    shared = np.where(c_rate >= SHARED_HEAT_C_RATE, np.fmax(coldest[place] - coldest[before], 0.0), 0.0)
    unexplained = rate - shared / seconds > HEATING_RATE_K_PER_S + JOULE_MARGIN * JOULE_K_PER_S * c_rate**2
    chosen = steady & unexplained & _stays(track, place, track.hottest[before])
    return Sign(1, CRITICAL, place[chosen], rise[chosen], seconds[chosen], [""] * int(chosen.sum()))


def _strongest_c_rate(evidence: Evidence, track: Track, before: Integers, place: Integers) -> Floats:
    """Return the largest C-rate at start and end of each rise; 0 where current or capacity is unknown."""
    capacity = evidence.specs.capacity_ah[evidence.rows.vehicle[track.row[place]]]
    current = np.abs(evidence.rows.pack_current_a)
    strongest = np.fmax(current[track.row[before]], current[track.row[place]])
    return np.nan_to_num(strongest / capacity)


def _hot_spot(evidence: Evidence, track: Track) -> Sign:
    """Level 3: one probe far above the median of the pack and drawing away from it, in two samples running."""
    figures = evidence.readings.probe_rows
    if not figures.count.any():
        return Sign(HOT_SPOT_KIND, CRITICAL, np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0), [])
    above_mean = figures.high[track.row] - figures.mean[track.row]
    listed = figures.count[track.row] >= HOT_SPOT_PROBES_MIN
    # The median is at most this much further away: half of the probes could be as hot.
    near = np.unique(track.day[listed & (above_mean > HOT_SPOT_K / 2)])
    looked = np.flatnonzero(np.isin(track.day, near) & listed)
    excess = np.full(len(track.row), np.nan)
    middle = medians(evidence.table["temperatures_c"], track.row[looked], TEMPERATURE_SENTINELS_C)
    excess[looked] = figures.high[track.row[looked]] - middle
    place = looked[excess[looked] > HOT_SPOT_K]
    before = track.lookback(place, HOT_SPOT_S)
    grown = excess[place] - at(excess, before) >= HOT_SPOT_GROWTH_K
    flags = np.zeros(len(track.row), dtype=bool)
    flags[place[grown]] = True
    chosen = np.flatnonzero(confirmed(flags, listed, track.day))
    return Sign(HOT_SPOT_KIND, CRITICAL, chosen, excess[chosen], np.full(len(chosen), HOT_SPOT_S), [""] * len(chosen))


def _self_heating(evidence: Evidence, track: Track) -> Sign:
    """Level 3: warmer by 2 K after half an hour, the third half hour of rest in a row, while the surroundings cool."""
    rows = evidence.rows
    half_hour = track.time_ms // SELF_HEATING_MS
    first, stop = starts_of((np.diff(track.day, prepend=-1) != 0) | (np.diff(half_hour, prepend=-1) != 0))
    last = stop - 1
    now = np.arange(2, len(first))
    now = now[track.hottest[last[now]] - track.hottest[last[now - 1]] >= SELF_HEATING_K]
    begin = first[now - 2]
    now = now[(track.day[first[now]] == track.day[begin]) & (half_hour[first[now]] - half_hour[begin] == 2)]
    ago = now - 1
    if not len(now):
        return Sign(3, CRITICAL, now, np.zeros(0), np.zeros(0), [])
    current = rows.pack_current_a[track.row]
    busy = (evidence.flows.activity[track.row] != REST) | (np.abs(current) >= SELF_HEATING_CURRENT_A)
    resting = range_sum(busy, first, stop) == 0
    surroundings = rows.ambient_temperature_c[track.row]
    ambient = at(surroundings, last_known(surroundings, first, stop))
    coldest = rows.temperature_min_c[track.row][last]
    cooling = np.where(
        np.isnan(ambient[now] - ambient[ago]), coldest[now] <= coldest[ago], ambient[now] <= ambient[ago]
    )
    stays = _stays(track, last[now], track.hottest[last[ago]])
    chosen = resting[now] & resting[ago] & resting[now - 2] & cooling & stays
    place = last[now[chosen]]
    rise = track.hottest[place] - track.hottest[last[ago[chosen]]]
    return Sign(3, CRITICAL, place, rise, np.full(len(place), SELF_HEATING_MS / 1000), [""] * len(place))


def _report(evidence: Evidence, track: Track, sign: Sign) -> Findings:
    """Report the strongest row of each day; a hot spot under the name of its probe, all else under the pack's."""
    begins, ends = starts_of(np.diff(track.day[sign.place], prepend=-1) != 0)
    order = np.lexsort((sign.value, track.day[sign.place]))
    best = order[ends - 1]
    place, row = sign.place[best], track.row[sign.place]
    limit = SIGN_LIMITS[sign.kind]
    probe = _probe_names(evidence, track.row[place])
    text = fill_in(
        SIGNS[sign.kind],
        probe=probe,
        value=sign.value[best],
        seconds=sign.seconds[best],
        top=track.hottest[place],
        company=[sign.company[number] for number in best],
    )
    start = since(evidence, row[begins])
    return Findings(
        code=RUNAWAY_CODE,
        day=track.day[place],
        severity=np.full(len(best), sign.severity),
        subject=probe if sign.kind == HOT_SPOT_KIND else ["pack"] * len(best),
        first_row=row[begins],
        last_row=row[ends - 1],
        row_count=ends - begins,
        value=sign.value[best],
        unit="K",
        normal_value=np.zeros(len(best)),
        limit_value=np.full(len(best), limit),
        message=[
            f"Sign of a thermal runaway since {when}: {what} (limit {limit:.0f} K).{NOT_AN_ALARM}"
            for when, what in zip(start, text, strict=True)
        ],
        action=[RUNAWAY_ACTION] * len(best),
    )
