"""The battery: cells in series with two relaxation times each, and one thermal mass with several probes.

Cell voltage is OCV(state of charge of the cell) + I·R0 + two first-order overpotentials. Displayed state of charge 0
to 1 spans the whole capacity (state of health times nominal Ah). Temperature follows I²R heating and exchange with
the air or the coolant. All of it is array code over time; nothing steps through rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from packwatch.simulate.faults import drift_share
from packwatch.simulate.fleet import Climate, Vehicle

# Open-circuit voltage of one cell, V, over the displayed state of charge in percent (typical 25 °C curves).
OCV_POINTS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "NMC": (
        (-10, 0, 3, 6, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110),
        (2.75, 3.24, 3.34, 3.41, 3.47, 3.52, 3.56, 3.62, 3.67, 3.73, 3.82, 3.91, 3.99, 4.07, 4.15, 4.23),
    ),
    "NCA": (
        (-10, 0, 3, 6, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110),
        (2.70, 3.18, 3.29, 3.36, 3.42, 3.48, 3.53, 3.60, 3.65, 3.73, 3.82, 3.90, 3.98, 4.05, 4.13, 4.21),
    ),
    "LMO": (
        (-10, 0, 3, 6, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110),
        (2.80, 3.36, 3.50, 3.58, 3.64, 3.69, 3.73, 3.79, 3.84, 3.89, 3.93, 3.97, 4.01, 4.06, 4.12, 4.19),
    ),
    "LFP": (
        (-10, 0, 2, 5, 10, 15, 20, 30, 40, 50, 60, 65, 70, 80, 90, 96, 98.5, 100, 110),
        (2.30, 2.90, 3.06, 3.15, 3.20, 3.225, 3.25, 3.283, 3.292, 3.296, 3.302, 3.315, 3.328, 3.332, 3.335, 3.340, 3.36,
         3.43, 3.60),
    ),
}  # fmt: skip
SOC_LOW, SOC_HIGH, SOC_STEP = -0.10, 1.10, 0.0005
OCV_SMOOTHING_STEPS = 15  # 0.75 % of charge: rounds the corners of the point list

# Resistance times capacity of a new cell at 25 °C, Ω·Ah: the first two add up to 0.071, the median of real packs.
R0_OHM_AH, R1_OHM_AH, R2_OHM_AH = 0.045, 0.026, 0.045
TAU1_S, TAU2_S = 40.0, 1200.0
RESISTANCE_B_K = 2500.0
RESISTANCE_REFERENCE_K = 298.15
RESISTANCE_GROWTH = 2.0  # relative growth of resistance per relative loss of capacity
CHARGE_LIMIT_ABOVE_OCV_V = 0.006  # the charger's constant-voltage level above the full cell's rest voltage

# Spread of healthy cells, standard deviations; draws are cut at two of them as a maker's selection would.
CELL_CAPACITY_SPREAD = 0.003
CELL_CHARGE_SPREAD = 0.0015
CELL_RESISTANCE_SPREAD = 0.02
CELL_SENSE_OFFSET_V = 0.0008
CELL_NOISE_V = 0.0006

HEAT_CAPACITY_J_PER_K_KWH = 6000.0  # about 6.5 kg of pack per kWh at 950 J/(kg·K)
# Exchange time constants in hours: parked, driving, charging slowly, charging fast.
EXCHANGE_HOURS: dict[str, tuple[float, float, float, float]] = {
    "none": (14.0, 7.0, 12.0, 12.0),
    "air": (14.0, 4.0, 4.0, 2.5),
    "liquid": (16.0, 1.0, 2.0, 0.6),
}
COOLANT_RANGE_C = (17.0, 29.0)
PROBE_GRADIENT = 0.035
PROBE_OFFSET_K = 0.35
PROBE_NOISE_K = 0.04
HOT_SPOT_TAU_S = 480.0
HOT_SPOT_FULL_C_RATE = 0.25

PARKED, DRIVING, AC, DC = 0, 1, 2, 3


@dataclass(frozen=True)
class Pack:
    """True parameters of one battery; arrays are per cell or per probe."""

    cells: int
    capacity_ah: float
    soh_percent: float
    curve_v: np.ndarray
    cell_capacity_ah: np.ndarray
    cell_charge_offset: np.ndarray
    cell_resistance_factor: np.ndarray
    cell_sense_offset_v: np.ndarray
    r0_ohm: float
    r1_ohm: float
    r2_ohm: float
    probe_gradient: np.ndarray
    probe_offset_k: np.ndarray

    @property
    def resistance_ohm(self) -> float:
        """Resistance of the whole pack at 25 °C within some seconds, in Ω."""
        return self.cells * (self.r0_ohm + self.r1_ohm)


def ocv_curve(chemistry: str) -> np.ndarray:
    """Return the open-circuit voltage of a cell in V on the grid `SOC_LOW` to `SOC_HIGH` in steps of `SOC_STEP`."""
    percent, volts = OCV_POINTS[chemistry]
    half = OCV_SMOOTHING_STEPS // 2
    grid = np.arange(SOC_LOW - half * SOC_STEP, SOC_HIGH + (half + 0.5) * SOC_STEP, SOC_STEP)
    window = np.full(OCV_SMOOTHING_STEPS, 1 / OCV_SMOOTHING_STEPS)
    return np.convolve(np.interp(grid * 100, percent, volts), window, mode="valid").astype(np.float32)


def look_up(curve: np.ndarray, soc: np.ndarray) -> np.ndarray:
    """Return the open-circuit voltage in V at states of charge (0 to 1), linear between grid points."""
    position = np.clip((soc - SOC_LOW) / SOC_STEP, 0, len(curve) - 2)
    index = position.astype(np.int32)
    left = curve[index]
    return left + (curve[index + 1] - left) * (position - index)


def temperature_factor(temperature_c: np.ndarray | float) -> np.ndarray:
    """Return resistance relative to 25 °C, Arrhenius with B = 2500 K."""
    kelvin = np.asarray(temperature_c, dtype=float) + 273.15
    return np.exp(RESISTANCE_B_K * (1 / kelvin - 1 / RESISTANCE_REFERENCE_K))


def first_order(decay: np.ndarray, drive: np.ndarray, start: float) -> np.ndarray:
    """Solve y[k] = decay[k]·y[k-1] + drive[k] with y[-1] = `start`, without stepping through k.

    Two steps in a row are again a step of the same form, so doubling the span log2(n) times gives all of them.
    """
    a = np.array(decay, dtype=float)
    b = np.array(drive, dtype=float)
    span = 1
    while span < len(a) and a.max() > 0:
        b[span:] += a[span:] * b[:-span]
        a[span:] *= a[:-span].copy()
        a[a < 1e-15] = 0  # long forgotten; keeps the products out of the subnormal range
        span *= 2
    return b + a * start


def relax(time_s: np.ndarray, target: np.ndarray, tau_s: np.ndarray | float, start: float) -> np.ndarray:
    """Return a first-order lag behind `target`, which holds its value since the sample before."""
    decay = np.exp(-np.diff(time_s, prepend=time_s[0]) / tau_s)
    return first_order(decay, (1 - decay) * target, start)


def state_of_charge(time_s: np.ndarray, current_a: np.ndarray, capacity_ah: float, start: float) -> np.ndarray:
    """Return the true state of charge (0 to 1): the trapezoid integral of the current over the capacity."""
    step_ah = 0.5 * (current_a[1:] + current_a[:-1]) * np.diff(time_s) / 3600
    return start + np.concatenate(([0.0], np.cumsum(step_ah))) / capacity_ah


def build_pack(vehicle: Vehicle, serial: int, seed: int) -> Pack:
    """Draw the battery of a vehicle; `serial` 1 is the replacement after a pack swap."""
    rng = np.random.default_rng([seed, vehicle.index, 10 + serial])
    kind = vehicle.type
    swap = vehicle.fault("pack_swap")
    soh = swap.value if swap and serial else vehicle.soh_percent
    capacity = kind.capacity_ah * soh / 100

    def spread(scale: float, size: int = kind.cells) -> np.ndarray:
        return scale * np.clip(rng.standard_normal(size), -2, 2)

    # The pack is as large as its smallest cell, so every cell holds at least the pack's capacity.
    relative = spread(CELL_CAPACITY_SPREAD)
    cell_capacity = capacity * (1 + relative - relative.min())
    offset = spread(CELL_CHARGE_SPREAD)
    resistance = 1 + spread(CELL_RESISTANCE_SPREAD)
    age_factor = 1 + RESISTANCE_GROWTH * (1 - soh / 100)
    if weak := vehicle.fault("weak_cell"):
        cell_capacity = capacity * (1 + relative - relative.min()) / (1 - weak.value)
        cell_capacity[weak.number - 1] = capacity
        age_factor = 1 + RESISTANCE_GROWTH * (1 - soh / 100 / (1 - weak.value))
        resistance[weak.number - 1] *= 1.1
    if poor := vehicle.fault("high_resistance_cell"):
        resistance[poor.number - 1] *= poor.value
    scale = age_factor / kind.capacity_ah
    return Pack(
        cells=kind.cells,
        capacity_ah=capacity,
        soh_percent=soh,
        curve_v=ocv_curve(kind.chemistry),
        cell_capacity_ah=cell_capacity,
        cell_charge_offset=offset,
        cell_resistance_factor=resistance,
        cell_sense_offset_v=spread(CELL_SENSE_OFFSET_V),
        r0_ohm=R0_OHM_AH * scale,
        r1_ohm=R1_OHM_AH * scale,
        r2_ohm=R2_OHM_AH * scale,
        probe_gradient=spread(PROBE_GRADIENT, kind.probes),
        probe_offset_k=spread(PROBE_OFFSET_K, kind.probes),
    )


def ambient_c(climate: Climate, time_s: np.ndarray, seed: int, index: int) -> np.ndarray:
    """Return the outside temperature in °C: warmest at 15 h local time, each day a little different.

    Vehicles stand in different streets: a constant part per vehicle is added to the climate's mean.
    """
    rng = np.random.default_rng([seed, index, 20])
    street = rng.normal(0, 1.5)
    days = rng.normal(0, climate.day_spread_c, 8)
    local_h = time_s / 3600 + climate.utc_offset_h
    day = local_h / 24
    weather = np.interp(day % 8, np.arange(9), np.append(days, days[0]))
    return climate.mean_c + street + weather + climate.swing_c * np.cos(2 * np.pi * (local_h - 15) / 24)


def pack_temperature(
    vehicle: Vehicle, pack: Pack, time_s: np.ndarray, current_a: np.ndarray, state: np.ndarray, outside_c: np.ndarray
) -> np.ndarray:
    """Return the mean temperature of the battery in °C.

    C·dT/dt = I²R(T) - C·(T - T_sink)/τ; the sink is the air, or coolant held between 17 and 29 °C while a liquid
    cooled vehicle is in use. R(T) needs T: a first pass with the outside temperature gives it closely enough.
    """
    kind = vehicle.type
    tau_s = np.array(EXCHANGE_HOURS[kind.cooling])[state] * 3600
    sink = outside_c
    if kind.cooling == "liquid":
        sink = np.where(state == PARKED, outside_c, np.clip(outside_c, *COOLANT_RANGE_C))
    capacity = HEAT_CAPACITY_J_PER_K_KWH * kind.capacity_ah * kind.cells * 3.6 / 1000
    resistance = pack.cells * (pack.r0_ohm + pack.r1_ohm + pack.r2_ohm)
    temperature = outside_c
    for _ in range(2):
        heat_w = current_a**2 * resistance * temperature_factor(temperature)
        temperature = relax(time_s, sink + heat_w / capacity * tau_s, tau_s, float(outside_c[0]) + 1)
    return temperature


def probe_temperatures(
    vehicle: Vehicle,
    pack: Pack,
    temperature_c: np.ndarray,
    outside_c: np.ndarray,
    load: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return what each probe truly sees, °C, rows × probes; `load` (0 to 1) drives a hot spot."""
    gap = (temperature_c - outside_c)[:, None]
    noise = PROBE_NOISE_K * rng.standard_normal((len(temperature_c), len(pack.probe_gradient)))
    probes = temperature_c[:, None] + gap * pack.probe_gradient + pack.probe_offset_k + noise
    if spot := vehicle.fault("hot_spot"):
        probes[:, spot.number - 1] += spot.value * load
    return probes


def hot_spot_load(pack: Pack, time_s: np.ndarray, current_a: np.ndarray) -> np.ndarray:
    """Return how far a poor contact has warmed up, 0 to 1: the lagged square of the current at C/4 and above."""
    heating = np.minimum((current_a / (HOT_SPOT_FULL_C_RATE * pack.capacity_ah)) ** 2, 1)
    return relax(time_s, heating, HOT_SPOT_TAU_S, 0.0)


def overpotentials(
    pack: Pack, time_s: np.ndarray, current_a: np.ndarray, temperature_c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ohmic and the relaxing part of a mean cell's overpotential, V, positive while charging."""
    factor = temperature_factor(temperature_c)
    fast = relax(time_s, current_a * pack.r1_ohm * factor, TAU1_S, 0.0)
    slow = relax(time_s, current_a * pack.r2_ohm * factor, TAU2_S, 0.0)
    return current_a * pack.r0_ohm * factor, fast + slow


def cell_voltages(
    vehicle: Vehicle,
    pack: Pack,
    time_s: np.ndarray,
    soc: np.ndarray,
    over_v: np.ndarray,
    period_s: tuple[int, int],
) -> np.ndarray:
    """Return the true voltage of every cell, V, rows × cells, float32.

    All cells pass the same charge and are balanced at full: cell i holds 1 - (1 - s)·Q/Qi, plus its own offset.
    """
    ratio = (pack.capacity_ah / pack.cell_capacity_ah).astype(np.float32)
    cell_soc = 1 - (1 - soc.astype(np.float32))[:, None] * ratio + pack.cell_charge_offset.astype(np.float32)
    if drift := vehicle.fault("drifting_cell"):
        cell_soc[:, drift.number - 1] -= drift_share(drift, time_s, *period_s)
    volts = look_up(pack.curve_v, cell_soc)
    volts += over_v.astype(np.float32)[:, None] * pack.cell_resistance_factor.astype(np.float32)
    return volts
