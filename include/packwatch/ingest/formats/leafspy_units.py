"""Units that LeafSpy does not write down: found from the values themselves, or left open.

The app shows speed, distance and air temperature as its user likes them and logs them as shown, without a unit.
Three physical facts tell them apart: the wheels' speed in km/h is logged beside it (Speed1), or follows from the speed
of the motor; the car reports air temperature in steps of 0.5 °C; and a pack is about as warm as the air around it.
"""

from __future__ import annotations

import numpy as np

KM_PER_MILE = 1.609344
# Motor turns a minute at 1 km/h: reduction 8.193 and 1.985 m rolled a turn of the wheel, 1000 / 60 / 1.985 x 8.193.
# On six days of a real log the wheel distance so found is 0.98 to 1.01 of the odometer's.
MOTOR_RPM_PER_KMH = 68.8

# The car's byte for air temperature is 2 x (°C + 40); 254 and 255 (87 and 87.5 °C) say that it has none yet. Logs in
# whole degrees round them, and some versions show 95 °C, hence everything from here on.
AMBIENT_UNREAD_FROM_C = 85.0
# Steps of that byte in the unit of the log.
_CELSIUS_STEP, _FAHRENHEIT_STEP = 0.5, 0.9
# Logs hold one decimal, so a value on its grid is off by at most 0.05.
_GRID_TOLERANCE = 0.051
# Of the values with a decimal, at least this share must lie on a grid: one in five to ten does so by chance.
_GRID_SHARE_MIN = 0.9
# Air is at most this much warmer than a pack that heats up slowly, and colder than one after fast charging, K.
_AIR_ABOVE_PACK_K, _AIR_BELOW_PACK_K = 20.0, 45.0
_AIR_HOTTEST_C, _AIR_COLDEST_C = 57.0, -50.0

# Two records further apart say nothing about the way between them, s.
_STEP_MAX_S = 600.0
# Whole numbers on the odometer are off by up to 1; over this distance that cannot pass for the 1.6 of a mile, km.
_EVIDENCE_MIN_KM = 10.0
# Half-way (in ratio) between 1 and 1.609, and as far on the other sides.
_RATIO_LOW, _RATIO_MIDDLE, _RATIO_HIGH = 0.79, 1.27, 2.04


def ambient_celsius(ambient: np.ndarray, pack_c: np.ndarray) -> np.ndarray:
    """Return air temperature in °C; all NaN when the unit of the log cannot be told.

    First the grid: values with a decimal that lie on the 0.5 °C steps only, or on their Fahrenheit equivalents only,
    decide. Then plausibility: a unit is out when it makes the air hotter than any weather or far from the pack.

    Args:
        ambient: as logged, NaN where missing.
        pack_c: mean temperature of the pack's probes in the same rows, °C.
    """
    celsius, fahrenheit = _blank_unread(ambient), _blank_unread((ambient - 32) / 1.8)
    broken = ambient[np.isfinite(ambient) & (ambient != np.round(ambient))]
    on_celsius = _share_on_grid(broken, _CELSIUS_STEP)
    on_fahrenheit = _share_on_grid(broken - 32, _FAHRENHEIT_STEP)
    if max(on_celsius, on_fahrenheit) >= _GRID_SHARE_MIN and on_celsius != on_fahrenheit:
        return celsius if on_celsius > on_fahrenheit else fahrenheit
    possible = [values for values in (celsius, fahrenheit) if _plausible(values, pack_c)]
    return possible[0] if len(possible) == 1 else np.full(len(ambient), np.nan)


def wheel_speed_kmh(speed1: np.ndarray, rpm: np.ndarray) -> np.ndarray:
    """Return the speed of the wheels, km/h: Speed1 (1/100 km/h), or from the motor where a file has no Speed1.

    A column that is 0 throughout was not read; all NaN when that is so for both.
    """
    if np.nansum(np.abs(speed1)) > 0:
        return speed1 / 100
    if np.nansum(np.abs(rpm)) > 0:
        return np.abs(rpm) / MOTOR_RPM_PER_KMH
    return np.full(len(speed1), np.nan)


def gps_speed_kmh(speed: np.ndarray, odometer_km: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """Return the phone's speed in km/h, its unit told by the odometer; untold, only standstill is known."""
    travelled, shown = _distances(speed, odometer_km, time_s)
    unit = _unit_factor(travelled, shown)
    return np.where(speed == 0, 0.0, np.nan) if unit is None else speed * unit


def odometer_km(odometer: np.ndarray, wheel_kmh: np.ndarray, time_s: np.ndarray, *, may_be_miles: bool) -> np.ndarray:
    """Return the odometer in km; all NaN when the unit cannot be told.

    The column is called Odo(km), and older versions of the app keep to it. Newer ones (those that log RPM) write miles
    for users of miles; there the distance the wheels rolled decides.

    Args:
        odometer: as logged, NaN where missing.
        wheel_kmh: speed of the wheels, km/h.
        time_s: time of each row, s.
        may_be_miles: the file is of a version that follows the user's unit.
    """
    shown, rolled = _distances(wheel_kmh, odometer, time_s)
    unit = _unit_factor(rolled, shown)
    if unit is None:
        return np.full(len(odometer), np.nan) if may_be_miles else odometer
    return odometer * unit


def _distances(speed: np.ndarray, odometer: np.ndarray, time_s: np.ndarray) -> tuple[float, float]:
    """Return how far the odometer and the integral of speed moved over the same short steps."""
    step_s, step = np.diff(time_s), np.diff(odometer)
    with np.errstate(invalid="ignore"):
        rolled = (speed[1:] + speed[:-1]) / 2 * step_s / 3600
        usable = (step_s > 0) & (step_s <= _STEP_MAX_S) & (step >= 0) & np.isfinite(rolled)
    return float(step[usable].sum()), float(rolled[usable].sum())


def _unit_factor(true: float, shown: float) -> float | None:
    """Return what to multiply `shown` by: 1, the mile in km, or None when the distances do not tell."""
    if true < _EVIDENCE_MIN_KM or shown <= 0 or not _RATIO_LOW < true / shown < _RATIO_HIGH:
        return None
    return 1.0 if true / shown < _RATIO_MIDDLE else KM_PER_MILE


def _share_on_grid(values: np.ndarray, step: float) -> float:
    """Return the share of values that are whole steps, but for the rounding to one decimal."""
    if not len(values):
        return 0.0
    steps = values / step
    return float((np.abs(steps - np.round(steps)) * step < _GRID_TOLERANCE).mean())


def _blank_unread(celsius: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.where(celsius < AMBIENT_UNREAD_FROM_C, celsius, np.nan)


def _plausible(air_c: np.ndarray, pack_c: np.ndarray) -> bool:
    """Tell whether these could be temperatures of the air around the pack, by their medians."""
    known = np.isfinite(air_c)
    if not known.any():
        return False
    air = float(np.median(air_c[known]))
    both = known & np.isfinite(pack_c)
    near = True
    if both.any():
        above = float(np.median(air_c[both] - pack_c[both]))
        near = -_AIR_BELOW_PACK_K < above < _AIR_ABOVE_PACK_K
    return near and _AIR_COLDEST_C < air < _AIR_HOTTEST_C
