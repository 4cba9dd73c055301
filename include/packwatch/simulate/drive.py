"""A drive: speed over time from random stretches of road, and the battery current that it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from packwatch.simulate.pack import CHARGE_LIMIT_ABOVE_OCV_V, look_up, temperature_factor

if TYPE_CHECKING:
    from packwatch.simulate.pack import Pack
    from packwatch.simulate.vehicle_types import VehicleType

STEP_S = 2
GRAVITY = 9.81
ROLLING = 0.0105
AIR_KG_M3 = 1.2
DRIVETRAIN_EFFICIENCY = 0.86
REGEN_EFFICIENCY = 0.62
REGEN_MAX_SHARE = 0.45  # of the motor's power
REGEN_FADE_FROM_SOC = 0.9
AUXILIARY_W = 450.0
COMFORT_C = 20.0
HEATER_W_PER_K, COOLER_W_PER_K = 70.0, 55.0
HEATER_MAX_W = 2800.0
SLOPE_SPREAD = 0.012
CELL_RESERVE_V = 0.15  # the power limit keeps every cell this far above its lower alarm limit
TRAFFIC_SPREAD = 0.025
TRAFFIC_STEPS = 6
SMOOTH_SAMPLES = 9  # applied twice: about 20 s from one speed to the next
URBAN_KM, RURAL_KM = 4.0, 12.0
# (chance, lowest km/h, highest km/h, shortest s, longest s) of the stretches a road is made of; 0 km/h is a stop.
URBAN = ((0.22, 0, 0, 8, 45), (0.48, 25, 50, 15, 60), (0.30, 10, 30, 10, 40))
RURAL = ((0.06, 0, 0, 6, 25), (0.64, 55, 85, 30, 120), (0.30, 30, 60, 20, 60))
MOTORWAY = ((0.85, 95, 122, 60, 300), (0.15, 70, 95, 30, 90))


def _road(stretches: tuple[tuple[float, ...], ...], km: float, rng: np.random.Generator) -> np.ndarray:
    """Return target speeds, km/h per step, for at least `km` of a kind of road."""
    chance, low, high, shortest, longest = np.array(stretches).T
    mean_m = float((chance * (low + high) / 2 / 3.6 * (shortest + longest) / 2).sum())
    count = int(km * 1000 / mean_m * 2) + 12
    kind = rng.choice(len(chance), count, p=chance)
    speed = rng.uniform(low[kind], high[kind])
    steps = (rng.uniform(shortest[kind], longest[kind]) / STEP_S).astype(int) + 1
    target = np.repeat(speed, steps)
    reached = np.cumsum(target) / 3600 * STEP_S
    return target[: int(np.searchsorted(reached, km)) + 1]


def speed_profile(distance_km: float, rng: np.random.Generator) -> np.ndarray:
    """Return the speed in km/h every 2 s of a trip from standstill to standstill: town, country, motorway, town."""
    urban = min(distance_km, URBAN_KM)
    rural = min(distance_km - urban, RURAL_KM)
    motorway = distance_km - urban - rural
    parts = [_road(URBAN, urban / 2, rng)]
    if rural > 0:
        parts.append(_road(RURAL, rural, rng))
    if motorway > 0:
        parts.append(_road(MOTORWAY, motorway, rng))
    parts.append(_road(URBAN, urban / 2, rng))
    still = np.zeros(SMOOTH_SAMPLES)
    target = np.concatenate([still, *parts, still])
    window = np.full(SMOOTH_SAMPLES, 1 / SMOOTH_SAMPLES)
    smooth = np.convolve(np.convolve(target, window, mode="same"), window, mode="same")
    # Traffic: nobody holds a speed to the km/h.
    knots = rng.normal(0, TRAFFIC_SPREAD, len(smooth) // TRAFFIC_STEPS + 2)
    traffic = 1 + np.interp(np.arange(len(smooth)) / TRAFFIC_STEPS, np.arange(len(knots)), knots)
    return np.where(smooth < 1.5, 0.0, smooth * traffic)


def drive_profile(
    kind: VehicleType, pack: Pack, soc: float, distance_km: float, outside_c: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return seconds, speed (km/h) and battery current (A, negative when it discharges) of a trip.

    Force is rolling + air + slope + inertia; the battery gives force × speed / 0.86 and takes back 62 % of what
    braking offers, plus what the cabin and the 12 V network need. The current solves P = (OCV - I·R)·I.
    """
    speed = speed_profile(distance_km, rng)
    seconds = np.arange(len(speed)) * STEP_S
    v = speed / 3.6
    acceleration = np.gradient(v, STEP_S)
    knots = rng.normal(0, SLOPE_SPREAD, len(speed) // 45 + 3)
    slope = np.interp(np.arange(len(speed)) / 45, np.arange(len(knots)), knots)
    force = (
        kind.mass_kg * (GRAVITY * (ROLLING + slope) + 1.05 * acceleration) + 0.5 * AIR_KG_M3 * kind.drag_area_m2 * v**2
    )
    wheel_w = np.where(v > 0, force * v, 0.0)
    climate_w = min(
        max(COMFORT_C - outside_c, 0) * HEATER_W_PER_K + max(outside_c - COMFORT_C, 0) * COOLER_W_PER_K, HEATER_MAX_W
    )
    flicker = 1 + 0.15 * rng.standard_normal(len(speed))
    other_w = (AUXILIARY_W + climate_w) * flicker
    drawn_w = np.where(wheel_w > 0, wheel_w / DRIVETRAIN_EFFICIENCY, wheel_w * REGEN_EFFICIENCY)
    drawn_w = np.clip(drawn_w, -REGEN_MAX_SHARE * kind.motor_kw * 1000, kind.motor_kw * 1000)
    level = soc - np.cumsum(drawn_w + other_w) * STEP_S / 3.6e6 / _energy_kwh(pack)
    fade = np.clip((1 - level) / (1 - REGEN_FADE_FROM_SOC), 0, 1)
    power_w = np.where(drawn_w < 0, drawn_w * fade, drawn_w) + other_w
    return seconds, speed, -_discharge_current(kind, pack, level, power_w, outside_c)


def _energy_kwh(pack: Pack) -> float:
    """Return what the pack holds, kWh, at the voltage of half a charge."""
    return float(look_up(pack.curve_v, np.array([0.5]))[0]) * pack.cells * pack.capacity_ah / 1000


def _discharge_current(
    kind: VehicleType, pack: Pack, level: np.ndarray, power_w: np.ndarray, outside_c: float
) -> np.ndarray:
    """Return the current (A, positive out of the battery) for a power, inside the limits of the cell voltage."""
    ocv = look_up(pack.curve_v, np.clip(level, 0.01, 1)).astype(float)
    ohm = (pack.r0_ohm + pack.r1_ohm + pack.r2_ohm) * float(temperature_factor(outside_c))
    open_v = ocv * pack.cells
    root = np.sqrt(np.maximum(open_v**2 - 4 * ohm * pack.cells * power_w, (0.3 * open_v) ** 2))
    current = (open_v - root) / (2 * ohm * pack.cells)
    out_limit = np.maximum(ocv - kind.cell_min_v - CELL_RESERVE_V, 0.02) / ohm
    full_v = float(look_up(pack.curve_v, np.array([1.0]))[0]) + CHARGE_LIMIT_ABOVE_OCV_V
    in_limit = np.maximum(full_v - ocv, 0.0) / ohm
    return np.clip(current, -in_limit, out_limit)
