"""What a vehicle does: a timeline of driving, charging and parking with current and speed.

The plan goes event by event, because whether a driver plugs in depends on the charge that is left. Within an event
everything is array code: a drive has a step of 2 s, a charge is solved on a grid of charge and read off in time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from packwatch.simulate.drive import drive_profile
from packwatch.simulate.fleet import TAXI, Vehicle
from packwatch.simulate.pack import (
    AC,
    CHARGE_LIMIT_ABOVE_OCV_V,
    DC,
    DRIVING,
    PARKED,
    Pack,
    look_up,
    temperature_factor,
)

DAY_S = 86_400
HOUR_S = 3600
STANDBY_A = -0.04
FLOOR = 0.09  # drivers do not go below this charge
DRIFT_MARGIN = 0.08  # how far above its weakest cell a vehicle with a drifting cell is kept
CHARGER_EFFICIENCY = 0.9
CHARGE_END_C_RATE = 1 / 40
CHARGE_GRID = 400
DC_TARGET = 0.8
# Fast charging: full power up to the first charge, then falling linearly to the given part of it at 100 %.
DC_TAPER_FROM, DC_TAPER_TO = 0.5, 0.12
COLD_DC_FULL_C, COLD_DC_NONE_C = 15.0, -25.0
AFTER_CHARGE_S = (60, 180)  # two rows soon after an event, before the slow heartbeat
NIGHT_CHARGE_H = 10.0
EVENT_CHARGE_BELOW, EVENT_CHARGE_TO = 0.65, 0.95  # a fast charge of more than a quarter of an hour
WORKSHOP_H = 8
SWAPPED_PACK_CHARGE = 0.55


@dataclass(frozen=True)
class Trace:
    """A vehicle's timeline on its internal steps; `logged` marks the rows that the vehicle sends.

    `pack` is 0 for the first battery and 1 after a swap, `start_soc` the charge each battery began with.
    """

    time_s: np.ndarray
    current_a: np.ndarray
    speed_kmh: np.ndarray
    state: np.ndarray
    logged: np.ndarray
    pack: np.ndarray
    start_soc: tuple[float, ...]


@dataclass(frozen=True)
class Event:
    """A stretch of one kind of use."""

    time_s: np.ndarray
    current_a: np.ndarray
    speed_kmh: np.ndarray
    state: int
    logged: np.ndarray


class Plan:
    """The clock and the charge of one vehicle while its days are laid out."""

    def __init__(self, vehicle: Vehicle, packs: tuple[Pack, ...], start_s: int, soc: float) -> None:
        self.vehicle = vehicle
        self.packs = packs
        self.number = 0
        self.clock = start_s
        self.soc = soc
        self.start_soc = [soc]
        self.events: list[tuple[int, Event]] = []

    @property
    def pack(self) -> Pack:
        """The battery now in the vehicle."""
        return self.packs[self.number]

    def add(self, event: Event) -> None:
        """Append an event and move clock and charge to its end."""
        if not len(event.time_s):
            return
        step_ah = 0.5 * (event.current_a[1:] + event.current_a[:-1]) * np.diff(event.time_s) / 3600
        self.soc += float(step_ah.sum()) / self.pack.capacity_ah
        self.events.append((self.number, event))
        self.clock = int(event.time_s[-1])

    def park_until(self, end_s: int, *, logged: bool = True) -> None:
        """Stand still until `end_s`; the first rows come soon, then the heartbeat."""
        every = self.vehicle.type.sampling.parked_s
        first = [self.clock + offset for offset in AFTER_CHARGE_S]
        times = np.array([*first, *range(self.clock + every, end_s, every)], dtype=np.int64)
        times = np.unique(times[times < end_s])
        # One row that is not sent closes the stretch, so that the step to the next current is a second long.
        times = np.append(times, end_s - 1) if end_s - 1 > self.clock else times
        times = np.unique(times)
        shown = np.full(len(times), logged)
        if len(times):
            shown[-1] = False
        self.add(Event(times, np.full(len(times), STANDBY_A), np.zeros(len(times)), PARKED, shown))
        self.clock = max(end_s, self.clock)

    def charge(self, target: float, power_kw: float, state: int, latest_s: int) -> None:
        """Charge from now on to `target` (0 to 1) or until `latest_s`."""
        sampling = self.vehicle.type.sampling
        step = sampling.ac_s if state == AC else sampling.dc_s
        outside = self.vehicle.climate.mean_c
        seconds, current = charge_profile(self.pack, self.soc, target, power_kw * 1000, state, outside, step)
        kept = self.clock + seconds <= latest_s
        if kept.sum() < 3:
            return
        times = self.clock + seconds[kept]
        self.add(self._framed(times, current[kept], np.zeros(int(kept.sum())), state, np.ones(int(kept.sum()), bool)))

    def drive(self, distance_km: float, rng: np.random.Generator) -> None:
        """Drive from now on; the trip is cut short when the charge runs out."""
        outside = self.vehicle.climate.mean_c
        seconds, speed, current = drive_profile(self.vehicle.type, self.pack, self.soc, distance_km, outside, rng)
        used = np.cumsum(current) * (seconds[1] - seconds[0]) / 3600 / self.pack.capacity_ah
        enough = self.soc + used > floor_of(self.vehicle) * 0.6
        length = len(enough) if enough.all() else int(np.argmin(enough))
        if length < 30:
            return
        times = self.clock + seconds[:length]
        logged = (seconds[:length] % self.vehicle.type.sampling.drive_s) == 0
        self.add(self._framed(times, current[:length], speed[:length], DRIVING, logged))

    def swap_pack(self, until_s: int) -> None:
        """Stand in the workshop without sending rows, and come out with the replacement battery."""
        self.park_until(until_s, logged=False)
        self.number += 1
        self.soc = SWAPPED_PACK_CHARGE
        self.start_soc.append(self.soc)

    def _framed(
        self, times: np.ndarray, current: np.ndarray, speed: np.ndarray, state: int, logged: np.ndarray
    ) -> Event:
        """Close an event with one unsent row at rest a second after it."""
        return Event(
            np.append(times, times[-1] + 1).astype(np.int64),
            np.append(current, STANDBY_A),
            np.append(speed, 0.0),
            state,
            np.append(logged, False),
        )


def charge_profile(
    pack: Pack, soc: float, target: float, power_w: float, state: int, outside_c: float, step_s: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return seconds and current (A) of a charge at constant power, then at constant voltage.

    The current is known at every charge: what the power gives, at most what the cell's voltage limit leaves. Time
    is the integral of Q/I over charge; reading that backwards at the sampling steps gives current over time.
    """
    grid = np.linspace(soc, max(target, soc), CHARGE_GRID)
    ocv = look_up(pack.curve_v, grid).astype(float)
    # The battery warms up while it charges, so its resistance lies between that at the outside air and at 20 °C.
    factor = float(temperature_factor(0.5 * (outside_c + 20)))
    resistance = (pack.r0_ohm + pack.r1_ohm + pack.r2_ohm) * factor
    if state == DC:
        fall = np.clip((grid - DC_TAPER_FROM) / (1 - DC_TAPER_FROM), 0, 1)
        cold = np.clip((outside_c - COLD_DC_NONE_C) / (COLD_DC_FULL_C - COLD_DC_NONE_C), 0.25, 1)
        power = power_w * cold * (1 - (1 - DC_TAPER_TO) * fall)
    else:
        power = np.full(CHARGE_GRID, power_w * CHARGER_EFFICIENCY)
    open_v, ohm = pack.cells * ocv, pack.cells * resistance
    by_power = (np.sqrt(open_v**2 + 4 * ohm * power) - open_v) / (2 * ohm)
    limit_v = float(look_up(pack.curve_v, np.array([1.0]))[0]) + CHARGE_LIMIT_ABOVE_OCV_V
    by_voltage = (limit_v - ocv) / resistance
    current = np.maximum(np.minimum(by_power, by_voltage), pack.capacity_ah * CHARGE_END_C_RATE)
    pace = pack.capacity_ah * 3600 / current
    seconds = np.concatenate(([0.0], np.cumsum(0.5 * (pace[1:] + pace[:-1]) * np.diff(grid))))
    times = np.arange(0, seconds[-1], step_s)
    return times, np.interp(times, seconds, current)


def floor_of(vehicle: Vehicle) -> float:
    """Return the charge (0 to 1) below which this vehicle is not driven."""
    drift = vehicle.fault("drifting_cell")
    return drift.value + DRIFT_MARGIN if drift else FLOOR


def plan_timeline(vehicle: Vehicle, packs: tuple[Pack, ...], first_s: int, days: int, seed: int) -> Trace:
    """Lay out the use of a vehicle from the day before `first_s` to the end of the last day (UTC)."""
    rng = np.random.default_rng([seed, vehicle.index, 1])
    offset_s = int(vehicle.climate.utc_offset_h * HOUR_S)
    plan = Plan(vehicle, packs, first_s - DAY_S, float(rng.uniform(0.5, 0.8)))
    habit = vehicle.habit
    lfp = vehicle.type.chemistry == "LFP"
    below = float(rng.uniform(0.15, 0.35) if lfp else rng.uniform(*habit.plug_in_below))
    share = float(rng.uniform(*habit.daily_share))
    swap = vehicle.fault("pack_swap")
    last_s = first_s + days * DAY_S
    charges = 0
    for day in range(-1, days + 2):
        morning = first_s + day * DAY_S - offset_s  # local midnight
        if swap and plan.number == 0 and morning + 8 * HOUR_S > swap.onset_s:
            plan.park_until(morning + 8 * HOUR_S)
            plan.swap_pack(morning + (8 + WORKSHOP_H) * HOUR_S)
        weekend = (morning + offset_s) // DAY_S % 7 in (2, 3)  # 1 January 1970 was a Thursday
        _drive_day(plan, morning, share * (habit.weekend_share if weekend else 1), rng)
        hour = float(rng.uniform(21.5, 23.5))
        target = 1.0 if lfp or charges % habit.full_every == habit.full_every - 1 else float(rng.choice(habit.target))
        if plan.soc < max(below, floor_of(vehicle) + 0.12):
            start = max(plan.clock + 300, morning + int(hour * HOUR_S))
            plan.park_until(start)
            plan.charge(target, vehicle.home_kw, AC, start + int(NIGHT_CHARGE_H * HOUR_S))
            charges += 1
        if plan.clock > last_s:
            break
    plan.park_until(max(last_s + 60, plan.clock + 60))
    return _join(plan, first_s, last_s)


def _drive_day(plan: Plan, morning: int, share: float, rng: np.random.Generator) -> None:
    """Lay out one day's trips; `share` is the part of a full charge they take together."""
    vehicle, habit = plan.vehicle, plan.vehicle.habit
    floor = floor_of(vehicle)
    range_km = 5.6 * vehicle.type.energy_kwh * vehicle.soh_percent / 100
    hours = np.sort(np.linspace(7.2, 18.2, habit.trips) + rng.normal(0, 0.5, habit.trips))
    parts = rng.dirichlet(np.full(habit.trips, 8.0)) * share * float(rng.uniform(0.8, 1.2))
    for hour, part in zip(hours, parts, strict=True):
        depart = max(plan.clock + 900, morning + int(hour * HOUR_S) // 10 * 10)
        if _owes_fast_charge(plan, depart) and _charge_under_way(plan, depart, EVENT_CHARGE_TO):
            depart = plan.clock + 300
        if plan.soc - part * 1.3 < floor:
            if rng.uniform() < max(habit.dc_share, 0.35) and _charge_under_way(plan, depart):
                depart = plan.clock + 300
            part = min(part, max(plan.soc - floor, 0) / 1.3)
        elif habit is TAXI and plan.soc < 0.45 and rng.uniform() < habit.dc_share and _charge_under_way(plan, depart):
            depart = plan.clock + 300
        if part * range_km < 2:
            continue
        plan.park_until(depart)
        plan.drive(part * range_km, rng)


def _owes_fast_charge(plan: Plan, depart: int) -> bool:
    """Tell whether a vehicle's thermal event still waits for the fast charge that carries it."""
    event = plan.vehicle.fault("thermal_event")
    if event is None or depart < event.onset_s or plan.soc > EVENT_CHARGE_BELOW:
        return False
    return not any(past.state == DC and past.time_s[0] >= event.onset_s for _, past in plan.events)


def _charge_under_way(plan: Plan, depart: int, target: float = DC_TARGET) -> bool:
    """Charge at a public station before the next trip; True when the vehicle did."""
    kind = plan.vehicle.type
    plan.park_until(depart)
    before = len(plan.events)
    if kind.dc_kw > 0:
        plan.charge(target, kind.dc_kw, DC, depart + 2 * HOUR_S)
    else:
        plan.charge(target, kind.ac_kw, AC, depart + 2 * HOUR_S)
    return len(plan.events) > before


def _join(plan: Plan, first_s: int, last_s: int) -> Trace:
    """Put the events in one timeline; only rows inside the simulated days are logged."""
    events = [event for _, event in plan.events]
    time_s = np.concatenate([event.time_s for event in events])
    logged = np.concatenate([event.logged for event in events])
    lengths = [len(event.time_s) for event in events]
    return Trace(
        time_s=time_s,
        current_a=np.concatenate([event.current_a for event in events]),
        speed_kmh=np.concatenate([event.speed_kmh for event in events]),
        state=np.repeat([event.state for event in events], lengths),
        logged=logged & (time_s >= first_s) & (time_s < last_s),
        pack=np.repeat([number for number, _ in plan.events], lengths),
        start_soc=tuple(plan.start_soc),
    )
