"""What the vehicle does in each row, and the charge and energy that flow in the step before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from packwatch.analyze.conditioning import (
    CHARGING,
    DRIVING,
    PARKED,
    UNKNOWN,
    Booleans,
    Floats,
    Integers,
    Rows,
    Specs,
    Steps,
)
from packwatch.analyze.ranges import previous_known

REST, CHARGE, DRIVE = 0, 1, 2

# Without a reported state: more than this into the pack while standing still is a charger, A.
CHARGE_CURRENT_A = 2.0
STANDING_SPEED_KMH = 1.0
# Without a reported state: more than this in either direction is driving (or a load as large), A.
DRIVE_CURRENT_A = 5.0
# A vehicle that says "charging" and draws less than this is plugged in and idle, A.
IDLE_CURRENT_A = 0.5
# While resting the current is close to zero, so a longer step can be bridged, s.
REST_GAP_S = 3600.0

AS_PER_AH = 3600.0
MS_PER_H = 3_600_000.0
W_PER_KW = 1000.0


@dataclass(frozen=True)
class Flows:
    """Activity of each row; charge and energy of the step that ends in it, 0 where the step cannot be integrated."""

    activity: Integers
    guessed: Booleans
    """A charge that only the current tells of."""
    gap: Booleans
    """The step is too long to belong to one activity."""
    charge_ah: Floats
    """Net, into the pack."""
    inflow_ah: Floats
    """The part into the pack alone."""
    power_kw: Floats
    """Into the pack; NaN where current or voltage is unknown."""
    energy_kwh: Floats
    """Net, into the pack; NaN-free: 0 where neither a voltage nor a nominal voltage is known."""
    noise_ah2: Floats
    """Variance of charge_ah from what the current did between the two samples."""
    blind: Booleans
    """Known currents on both sides, but too far apart to integrate."""
    voltage_known: Booleans
    """A voltage was measured or could be carried on or assumed."""
    voltage_assumed: Booleans


def classify(rows: Rows) -> tuple[Integers, Booleans]:
    """Return the activity of each row, and whether a charge is a guess from the current.

    The reported state decides where there is one. Two exceptions: "charging" without current is a rest (plugged in,
    finished), and a standing vehicle that says "parked" while current flows in is charging.
    """
    current = rows.pack_current_a
    standing = ~(rows.speed_kmh >= STANDING_SPEED_KMH)
    inward = (current > CHARGE_CURRENT_A) & standing & ((rows.state == UNKNOWN) | (rows.state == PARKED))
    charging = (rows.state == CHARGING) & ~(np.abs(current) < IDLE_CURRENT_A)
    moving = (rows.speed_kmh > 0) | (np.abs(current) > DRIVE_CURRENT_A)
    driving = (rows.state == DRIVING) | ((rows.state == UNKNOWN) & moving & ~inward)
    activity = np.zeros(len(rows), dtype=np.int8)
    activity[driving] = DRIVE
    activity[charging | inward] = CHARGE
    return activity, inward


def integrate(rows: Rows, steps: Steps, specs: Specs) -> Flows:
    """Integrate current and power over each step by the trapezoidal rule.

    q = (I1 + I2) / 2 * dt and e = (I1 V1 + I2 V2) / 2 * dt, between neighboring rows with a known current. Rows
    without a current are bridged as long as the step stays below the gap limit. Assumes that the current is about
    linear between samples; `noise_ah2` is the variance of that assumption, (dI dt)^2 / 12.
    """
    activity, guessed = classify(rows)
    current = rows.pack_current_a
    known = ~np.isnan(current)
    here, before = _pairs(rows, known)
    dt_ms = rows.time_ms[here] - rows.time_ms[before]
    resting = (activity[here] == REST) & (activity[before] == REST)
    limit = np.where(resting, np.maximum(steps.limit_ms[here], REST_GAP_S * 1000), steps.limit_ms[here])
    same = rows.vehicle[here] == rows.vehicle[before]
    hours = np.where(same & (dt_ms <= limit), dt_ms / MS_PER_H, 0.0)
    voltage, assumed = fill_voltage(rows, specs)
    i_here, i_before = current[here], current[before]
    power = current * voltage / W_PER_KW
    countable = np.nan_to_num(power)
    count = len(rows)
    return Flows(
        activity=activity,
        guessed=guessed,
        gap=_gaps(activity, steps),
        charge_ah=_scatter(0.5 * (i_here + i_before) * hours, here, count),
        inflow_ah=_scatter(0.5 * (np.maximum(i_here, 0) + np.maximum(i_before, 0)) * hours, here, count),
        power_kw=power,
        energy_kwh=_scatter(0.5 * (countable[here] + countable[before]) * hours, here, count),
        noise_ah2=_scatter(((i_here - i_before) * hours) ** 2 / 12, here, count),
        blind=_scatter(same & (dt_ms > limit), here, count),
        voltage_known=~np.isnan(voltage),
        voltage_assumed=assumed,
    )


def _pairs(rows: Rows, known: Booleans) -> tuple[Integers | slice, Integers | slice]:
    """Return the rows with a known current but the first, and for each the one before it, maybe of another vehicle."""
    if known.all():
        return slice(1, None), slice(0, -1)  # views are several times as fast as gathered copies
    place = np.flatnonzero(known)
    return place[1:], place[:-1]


def _scatter(values: npt.NDArray, rows: Integers | slice, count: int) -> npt.NDArray:
    result = np.zeros(count, dtype=values.dtype)
    result[rows] = values
    return result


def _gaps(activity: Integers, steps: Steps) -> Booleans:
    resting = np.zeros(len(activity), dtype=bool)
    resting[1:] = (activity[1:] == REST) & (activity[:-1] == REST)
    return steps.dt_ms > np.where(resting, np.maximum(steps.limit_ms, REST_GAP_S * 1000), steps.limit_ms)


def fill_voltage(rows: Rows, specs: Specs) -> tuple[Floats, Booleans]:
    """Return the pack voltage with gaps filled, V, and where it was filled.

    A missing voltage is the last one of the same vehicle and day, else the nominal voltage of the type: the voltage of
    a pack moves by some per cent within hours. NaN where neither exists.
    """
    voltage = rows.pack_voltage_v
    missing = np.isnan(voltage)
    if not missing.any():
        return voltage, missing
    holes = np.flatnonzero(missing)
    source = previous_known(~missing)[holes]
    usable = (source >= 0) & (rows.vehicle[source] == rows.vehicle[holes]) & (rows.day[source] == rows.day[holes])
    filled = voltage.copy()
    filled[holes] = np.where(usable, voltage[source], specs.nominal_voltage_v[rows.vehicle[holes]])
    return filled, missing & ~np.isnan(filled)
