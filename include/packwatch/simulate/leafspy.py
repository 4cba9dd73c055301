"""Write a log the way the LeafSpy app does: one wide CSV with scaled integers and discharge positive.

State of charge and capacity are multiplied by 10 000, cells are in millivolts (a negative one is being balanced),
`epoch time` is the time to trust and `Date/Time` is local. A Leaf has no third battery probe. Speed and outside
temperature come as the user likes them, in America in mph and °F; `Speed1` is the wheels' speed in 1/100 km/h.
"""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from packwatch.simulate.pack import AC, DC, DRIVING

CELLS = 96
WH_PER_GID = 77.5
BALANCING_FROM_PERCENT = 70
AUXILIARY_W = 400
KM_PER_MILE = 1.609344
HEADER = (
    "Date/Time,Lat,Long,Elv,Speed,Gids,SOC,AHr,Pack Volts,Pack Amps,Max CP mV,Min CP mV,Avg CP mV,CP mV Diff,"
    "Judgment Value,Pack T1 F,Pack T1 C,Pack T2 F,Pack T2 C,Pack T3 F,Pack T3 C,Pack T4 F,Pack T4 C,"
    + ",".join(f"CP{number}" for number in range(1, CELLS + 1))
    + ",12v Bat Amps,VIN,Hx,12v Bat Volts,Odo(km),QC,L1/L2,TP-FL,TP-FR,TP-RR,TP-RL,Ambient,SOH,RegenWh,BLevel,"
    "epoch time,Motor Pwr(w),Aux Pwr(100w),A/C Pwr(250w),A/C Comp(0.1MPa),Est Pwr A/C(50w),Est Pwr Htr(250w),"
    "Plug State,Charge Mode,OBC Out Pwr,Gear,HVolt1,HVolt2,GPS Status,Power SW,BMS,OBC,Debug,Motor Temp,"
    "Inverter 2 Temp,Inverter 4 Temp, Speed1, Speed2,Wiper Status,Torque Nm"
)


def encode_leafspy(table: pa.Table, state: np.ndarray, utc_offset_h: float, rng: np.random.Generator) -> bytes:
    """Return a LeafSpy CSV of canonical rows; `state` tells slow from fast charging, which the log shows."""
    rows = len(table)
    number = {name: table[name].to_numpy() for name in table.column_names if pa.types.is_floating(table[name].type)}
    seconds = table["recorded_at"].cast(pa.int64()).to_numpy() // 1000
    cells = _matrix(table["cell_voltages_v"], rows)
    probes = _matrix(table["temperatures_c"], rows)
    millivolts = np.round(cells * 1000).astype(np.int64)
    balanced = (rng.uniform(size=CELLS) < 0.3) & (number["soc_percent"] > BALANCING_FROM_PERCENT)[:, None]
    signed = np.where(balanced, -millivolts, millivolts)
    highest = np.round(number["cell_voltage_max_v"] * 1000).astype(np.int64)
    lowest = np.round(number["cell_voltage_min_v"] * 1000).astype(np.int64)
    warm = np.round(probes.astype(float), 1)
    american = utc_offset_h < 0
    speed = number["speed_kmh"] / (KM_PER_MILE if american else 1)
    outside = number["ambient_temperature_c"]
    power_w = -number["pack_voltage_v"] * number["pack_current_a"]
    known: dict[str, object] = {
        "Date/Time": pc.strftime(pa.array(seconds + int(utc_offset_h * 3600), pa.timestamp("s")), "%d/%m/%Y %H:%M"),
        "Lat": _constant("0 0.00000", rows),
        "Long": _constant("0 0.00000", rows),
        "Elv": np.full(rows, 120),
        "Speed": np.round(speed).astype(np.int64),
        "Gids": np.round(number["soc_percent"] / 100 * number["bms_capacity_ah"] * CELLS * 3.65 / WH_PER_GID).astype(
            np.int64
        ),
        "SOC": np.round(number["soc_percent"] * 10_000).astype(np.int64),
        "AHr": np.round(number["bms_capacity_ah"] * 10_000).astype(np.int64),
        "Pack Volts": number["pack_voltage_v"],
        "Pack Amps": 0.0 - number["pack_current_a"],
        "Max CP mV": highest,
        "Min CP mV": lowest,
        "Avg CP mV": np.round(millivolts.mean(axis=1)).astype(np.int64),
        "CP mV Diff": highest - lowest,
        "Pack T1 C": warm[:, 0],
        "Pack T2 C": warm[:, 1],
        "Pack T3 F": _constant("none", rows),
        "Pack T3 C": _constant("none", rows),
        "Pack T4 C": warm[:, 2],
        "12v Bat Amps": np.round(rng.uniform(-0.3, 0.9, rows), 2),
        "VIN": table["vin"].combine_chunks(),
        "Hx": np.round(number["bms_soh_percent"] * 0.97, 2),
        "12v Bat Volts": np.round(rng.uniform(12.9, 14.4, rows), 2),
        "Odo(km)": number["odometer_km"].astype(np.int64),
        "Ambient": np.round(outside * 1.8 + 32, 1) if american else outside,
        "SOH": number["bms_soh_percent"],
        "BLevel": np.full(rows, 97),
        "epoch time": seconds,
        "Motor Pwr(w)": np.where(state == DRIVING, np.round(power_w / 40) * 40, 0).astype(np.int64),
        "Aux Pwr(100w)": np.full(rows, AUXILIARY_W // 100),
        "Plug State": np.where((state == AC) | (state == DC), 2, 0),
        "Charge Mode": np.select([state == AC, state == DC], [2, 3], 0),
        "OBC Out Pwr": np.where(state == AC, np.round(-power_w / 100) * 100, 0).astype(np.int64),
        "Gear": np.where(state == DRIVING, 4, 1),
        "HVolt1": number["pack_voltage_v"],
        "HVolt2": number["pack_voltage_v"],
        "GPS Status": _constant("7F", rows),
        "Power SW": np.ones(rows, np.int64),
        "BMS": np.ones(rows, np.int64),
        "OBC": np.ones(rows, np.int64),
        "Debug": np.full(rows, 80),
        " Speed1": np.round(number["speed_kmh"] * 100).astype(np.int64),
    }
    known |= {f"Pack T{place} F": np.round(warm[:, column] * 1.8 + 32, 1) for column, place in enumerate((1, 2, 4))}
    known |= {f"CP{column + 1}": signed[:, column] for column in range(CELLS)}
    zero = np.zeros(rows, np.int64)
    columns = [pa.array(known.get(name, zero)) for name in HEADER.split(",")]
    return _csv(pa.Table.from_arrays(columns, names=[str(place) for place in range(len(columns))]))


def _matrix(column: pa.ChunkedArray, rows: int) -> np.ndarray:
    """Return a list column of equal lengths as a rows × n array."""
    return column.combine_chunks().flatten().to_numpy().reshape(rows, -1)


def _constant(text: str, rows: int) -> pa.Array:
    return pa.array([text]).take(pa.array(np.zeros(rows, np.int8)))


def _csv(table: pa.Table) -> bytes:
    """Return the rows as CSV text under LeafSpy's own header, whose names carry blanks."""
    sink = io.BytesIO()
    sink.write(HEADER.encode() + b"\n")
    pacsv.write_csv(table, sink, pacsv.WriteOptions(include_header=False, quoting_style="none"))
    return sink.getvalue()
