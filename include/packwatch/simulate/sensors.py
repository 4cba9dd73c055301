"""What a vehicle logs: the true state seen through its sensors, its BMS and its quantisation.

Turns the true timeline of one vehicle into a table of `schema.LOG_SCHEMA`, and says what was true.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from packwatch.schema import CHARGE_STATES, LOG_SCHEMA
from packwatch.simulate import pack as battery
from packwatch.simulate.behavior import Trace
from packwatch.simulate.faults import (
    DAY_S,
    STUCK_MARGIN_S,
    Fault,
    break_current,
    break_probe,
    hold_probe,
    insulation_kohm,
    placed,
    thermal_event,
)
from packwatch.simulate.fleet import Vehicle
from packwatch.simulate.pack import AC, DC, DRIVING, PARKED, Pack

CURRENT_NOISE_A = 0.08
CURRENT_STEP_A = 0.1
VOLTAGE_NOISE_V = 0.08
VOLTAGE_STEP_V = 0.1
CELL_STEP_V = 0.001
AMBIENT_STEP_C = 0.5
ODOMETER_STEP_KM = 1.0
INSULATION_STEP_KOHM = 1.0
# The BMS's error in state of charge wanders with two slow periods, in hours, and depends on the charge itself, because
# its map of the battery is not that of this battery. It is gone at a full charge.
SOC_ERROR_PERIODS_H = ((36.0, 90.0), (11.0, 20.0))
SOC_ERROR_SHARES = (0.5, 0.25)
SOC_MAP_ERROR_SHARE = 0.45
SOC_ANCHOR_FROM = 0.94
# charge_state of each internal state: parked, driving, charging slowly, charging fast
STATE_NAMES = np.array([CHARGE_STATES[2], CHARGE_STATES[1], CHARGE_STATES[0], CHARGE_STATES[0]])
LONG_CHARGE_S = 720  # a charge has to last this long to carry a fault
EVENT_LEAD_S = 600  # the rise can be seen about ten minutes before its peak


@dataclass(frozen=True)
class VehicleLog:
    """All rows a vehicle logs, in time order, and what was true in each of them.

    `table` is in `schema.LOG_SCHEMA`; the arrays beside it have one entry per row. `state` tells slow from fast
    charging, which a LeafSpy file writes. `faults` carry the onset and end that came out of the simulation.
    """

    table: pa.Table
    time_s: np.ndarray
    soc: np.ndarray
    current_a: np.ndarray
    state: np.ndarray
    temperature_c: np.ndarray
    throughput_ah: float
    packs: tuple[Pack, ...]
    faults: tuple[Fault, ...]


def _quantise(values: np.ndarray, step: float) -> np.ndarray:
    """Round to a step and to the decimals that the step has, so that text files show no binary tails."""
    decimals = max(0, -int(np.floor(np.log10(step))))
    return np.round(np.round(values / step) * step, decimals)


def _lists(values: np.ndarray, decimals: int) -> pa.ListArray:
    """Return a rows × n array as an Arrow list column of float32."""
    rows, width = values.shape
    flat = np.round(values.astype(np.float32), decimals).reshape(-1)
    offsets = np.arange(0, (rows + 1) * width, width, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, pa.float32()))


def record(vehicle: Vehicle, trace: Trace, packs: tuple[Pack, ...], first_s: int, days: int, seed: int) -> VehicleLog:
    """Run the battery along a timeline and return what the vehicle logs of it."""
    end_s = first_s + days * DAY_S
    rng = np.random.default_rng([seed, vehicle.index, 2])
    outside = battery.ambient_c(vehicle.climate, trace.time_s, seed, vehicle.index)
    parts = [
        _physics(
            vehicle, packs[number], trace, trace.pack == number, trace.start_soc[number], outside, rng, first_s, end_s
        )
        for number in range(len(trace.start_soc))
    ]
    soc, temperature, probes, cells, pack_v = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    shown = trace.logged
    time_s, state, current = trace.time_s[shown], trace.state[shown], trace.current_a[shown]
    vehicle = replace(vehicle, faults=_place_faults(vehicle.faults, trace))
    if (event := vehicle.fault("thermal_event")) and event.end_s is not None:
        probes = thermal_event(probes, time_s, event, event.end_s)
    held = [hold_probe(fault, probes, time_s) if fault.kind == "probe_stuck" else fault for fault in vehicle.faults]
    vehicle = replace(vehicle, faults=tuple(held))
    kilometres = (
        np.cumsum(np.where(trace.state == DRIVING, trace.speed_kmh, 0) * np.diff(trace.time_s, prepend=0)) / 3600
    )
    return VehicleLog(
        table=_table(
            vehicle, packs, trace, soc[shown], cells, probes, pack_v, outside[shown], kilometres[shown], rng, end_s
        ),
        time_s=time_s,
        soc=soc[shown],
        current_a=current,
        state=state,
        temperature_c=temperature[shown],
        throughput_ah=_throughput_ah(trace, first_s, end_s),
        packs=packs[: len(trace.start_soc)],
        faults=vehicle.faults,
    )


def _physics(
    vehicle: Vehicle,
    pack: Pack,
    trace: Trace,
    mine: np.ndarray,
    start_soc: float,
    outside_c: np.ndarray,
    rng: np.random.Generator,
    first_s: int,
    end_s: int,
) -> tuple[np.ndarray, ...]:
    """Return charge and temperature on all steps of one battery; probes, cells and voltage on its logged rows."""
    time_s, current, state = trace.time_s[mine], trace.current_a[mine], trace.state[mine]
    shown, outside = trace.logged[mine], outside_c[mine]
    soc = battery.state_of_charge(time_s, current, pack.capacity_ah, start_soc)
    temperature = battery.pack_temperature(vehicle, pack, time_s, current, state, outside)
    ohmic, relaxing = battery.overpotentials(pack, time_s, current, temperature)
    load = battery.hot_spot_load(pack, time_s, current)
    probes = battery.probe_temperatures(vehicle, pack, temperature[shown], outside[shown], load[shown], rng)
    over = ohmic + relaxing
    cells = battery.cell_voltages(vehicle, pack, time_s[shown], soc[shown], over[shown], (first_s, end_s))
    pack_v = cells.sum(axis=1, dtype=np.float64)
    cells += pack.cell_sense_offset_v.astype(np.float32)
    cells += battery.CELL_NOISE_V * rng.standard_normal(cells.shape, dtype=np.float32)
    return soc, temperature, probes, cells, pack_v


def _place_faults(faults: tuple[Fault, ...], trace: Trace) -> tuple[Fault, ...]:
    """Move the faults that belong to a charge to one that took place; a fault without such a charge does not happen.

    A thermal event ends with its charge, whose last row is its peak; a stuck current covers a whole charge. A pack
    swap begins with the first row of the new pack.
    """
    placed_faults = []
    for fault in faults:
        if fault.kind == "pack_swap":
            renewed = trace.time_s[trace.logged & (trace.pack == 1)]
            placed_faults += [placed(fault, int(renewed[0]), None)] if len(renewed) else []
            continue
        if fault.kind not in ("thermal_event", "current_stuck"):
            placed_faults.append(fault)
            continue
        wanted = trace.state == DC if fault.kind == "thermal_event" else (trace.state == AC) | (trace.state == DC)
        charge = _charge_after(trace, wanted, fault.onset_s)
        if charge is None:
            continue
        start, end = charge
        event = fault.kind == "thermal_event"
        placed_faults.append(
            placed(fault, end - EVENT_LEAD_S, end)
            if event
            else placed(fault, start - STUCK_MARGIN_S, end + STUCK_MARGIN_S)
        )
    return tuple(placed_faults)


def _charge_after(trace: Trace, wanted: np.ndarray, onset_s: int) -> tuple[int, int] | None:
    """Return first and last logged second of the first long charge after `onset_s`, else of the last one there is."""
    marked = wanted & trace.logged
    steps = np.flatnonzero(np.diff(marked.astype(int), prepend=0, append=0))
    starts, ends = trace.time_s[steps[::2]], trace.time_s[steps[1::2] - 1]
    long = ends - starts >= LONG_CHARGE_S
    late = np.flatnonzero(long & (starts >= onset_s))
    chosen = late[:1] if len(late) else np.flatnonzero(long)[-1:]
    return (int(starts[chosen[0]]), int(ends[chosen[0]])) if len(chosen) else None


def _throughput_ah(trace: Trace, first_s: int, end_s: int) -> float:
    """Return the charge moved in and out within the simulated days, Ah."""
    step_s = np.diff(trace.time_s)
    mean_a = 0.5 * np.abs(trace.current_a[1:] + trace.current_a[:-1])
    inside = (trace.time_s[:-1] >= first_s) & (trace.time_s[1:] < end_s)
    return float((mean_a * step_s)[inside].sum() / 3600)


def displayed_soc(vehicle: Vehicle, time_s: np.ndarray, soc: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the state of charge the dashboard shows, %: the truth plus a wandering error of one or two points.

    Near a full charge the BMS knows better, the error fades to nothing between 94 and 100 %.
    """
    hours = time_s / 3600
    error = np.zeros(len(time_s))
    for share, limits in zip(SOC_ERROR_SHARES, SOC_ERROR_PERIODS_H, strict=True):
        error += share * np.sin(2 * np.pi * (hours / rng.uniform(*limits) + rng.uniform()))
    error += SOC_MAP_ERROR_SHARE * np.sin(2 * np.pi * (0.9 * soc + rng.uniform()))
    fade = np.clip((1 - soc) / (1 - SOC_ANCHOR_FROM), 0, 1)
    return np.clip(
        _quantise(100 * soc + vehicle.soc_error_percent * error * fade, vehicle.type.soc_step_percent), 0, 100
    )


def _table(
    vehicle: Vehicle,
    packs: tuple[Pack, ...],
    trace: Trace,
    soc: np.ndarray,
    cells: np.ndarray,
    probes: np.ndarray,
    pack_v: np.ndarray,
    outside_c: np.ndarray,
    kilometres: np.ndarray,
    rng: np.random.Generator,
    end_s: int,
) -> pa.Table:
    """Return the logged rows in the canonical schema."""
    kind = vehicle.type
    shown = trace.logged
    rows = int(shown.sum())
    time_s, state, serial = trace.time_s[shown], trace.state[shown], trace.pack[shown]
    measured = trace.current_a[shown] * vehicle.current_gain + vehicle.current_offset_a
    measured = measured + CURRENT_NOISE_A * rng.standard_normal(rows)
    measured = np.where(
        state == PARKED, trace.current_a[shown], measured
    )  # the contactors are open: no offset, no noise
    current = break_current(_quantise(measured, CURRENT_STEP_A), time_s, vehicle)
    voltage = _quantise(pack_v + VOLTAGE_NOISE_V * rng.standard_normal(rows), VOLTAGE_STEP_V)
    cells = np.round(cells / np.float32(CELL_STEP_V)) * np.float32(CELL_STEP_V)
    reported = _quantise(break_probe(probes, time_s, vehicle), kind.probe_step_c)
    healthy_kohm = rng.uniform(1800, 4500) * (1 + 0.04 * rng.standard_normal(rows))
    insulation = insulation_kohm(healthy_kohm, vehicle.fault("insulation_decay"), time_s, end_s)
    health = np.array([pack.soh_percent for pack in packs])[serial]
    told = np.clip(health + np.where(serial == 0, vehicle.bms_soh_error, 0), 40, 100)
    nominal = kind.capacity_ah
    columns: dict[str, pa.Array] = {
        "vin": pa.array([vehicle.vin]).take(pa.array(np.zeros(rows, np.int8))),
        "make": pa.array([kind.make]).take(pa.array(np.zeros(rows, np.int8))),
        "model": pa.array([kind.model]).take(pa.array(np.zeros(rows, np.int8))),
        "year": pa.array(np.full(rows, vehicle.year, np.int16)),
        "recorded_at": pa.array(time_s * 1000, pa.int64()).cast(LOG_SCHEMA.field("recorded_at").type),
        "pack_voltage_v": pa.array(voltage),
        "pack_current_a": pa.array(current + 0.0),
        "soc_percent": pa.array(displayed_soc(vehicle, time_s, soc, rng)),
        "speed_kmh": pa.array(np.round(trace.speed_kmh[shown])),
        "odometer_km": pa.array(np.floor((vehicle.odometer_km + kilometres) / ODOMETER_STEP_KM) * ODOMETER_STEP_KM),
        "cell_voltage_min_v": pa.array(np.round(cells.min(axis=1).astype(float), 3)),
        "cell_voltage_max_v": pa.array(np.round(cells.max(axis=1).astype(float), 3)),
        "temperature_min_c": pa.array(reported.min(axis=1)),
        "temperature_max_c": pa.array(reported.max(axis=1)),
        "ambient_temperature_c": pa.array(_quantise(outside_c + 0.3 * rng.standard_normal(rows), AMBIENT_STEP_C)),
    }
    if kind.cell_lists:
        columns["cell_voltages_v"] = _lists(cells, 3)
        columns["temperatures_c"] = _lists(reported, 1)
    if kind.charge_state:
        columns["charge_state"] = pa.array(STATE_NAMES[state])
    if kind.insulation:
        columns["insulation_resistance_kohm"] = pa.array(_quantise(insulation, INSULATION_STEP_KOHM))
    if kind.bms_soh:
        columns["bms_soh_percent"] = pa.array(_quantise(told, 0.01 if kind.leafspy else 1.0))
    if kind.bms_capacity or kind.leafspy:
        columns["bms_capacity_ah"] = pa.array(np.round(told / 100 * nominal, 1))
    return pa.table(
        [columns[field.name] if field.name in columns else pa.nulls(rows, field.type) for field in LOG_SCHEMA],
        schema=LOG_SCHEMA,
    )
