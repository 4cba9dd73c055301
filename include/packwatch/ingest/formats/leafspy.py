"""LeafSpy Pro logs of the Nissan Leaf: what each column means and in which unit.

Sign: LeafSpy counts discharge as positive; here a positive current charges.
Time: `epoch time` is trusted. Without it a row keeps a null recorded_at, because Date/Time is local time without a
zone; validation then sets the row aside with its reason.
Car: the model follows from the full capacity when new, AHr / (SOH / 100), nearest among the packs of the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from packwatch.errors import UnreadableLog
from packwatch.ingest.formats.convert import epoch, make_lists
from packwatch.ingest.formats.leafspy_lines import CELLS, PROBES, Records, layout_of, read_records, split_leafspy
from packwatch.ingest.formats.leafspy_units import ambient_celsius, gps_speed_kmh, odometer_km, wheel_speed_kmh
from packwatch.ingest.formats.parsed import ParsedLog, Reject, assemble
from packwatch.vehicles.catalogue import nearest_by_capacity

MAKE = "Nissan"
# SOC and AHr are whole numbers of ten-thousandths.
_TEN_THOUSAND = 10_000.0
# A cell the BMS did not read is 0 or all ones; no cell comes near 65 V.
_CELL_UNREAD_MV = 65_000.0
# The Leaf's van has the same packs and its own vehicle identification numbers, from the Spanish plant.
_VAN_PREFIX = "VSK"
_PARKED_GEAR = 1
_DRIVING_GEARS = (2, 3, 4, 7)  # reverse, neutral, drive, eco/brake
_PLUGGED = 2
# Below this the wheels stand still, km/h.
_STANDSTILL_KMH = 0.5
_HEAD_BYTES = 1 << 16
_STATES = np.array(["charging", "driving", "parked", None], dtype=object)


def recognizes(data: bytes) -> bool:
    """Tell whether `data` begins with a LeafSpy header, or with a record of a known generation."""
    return layout_of(split_leafspy(data[:_HEAD_BYTES])) is not None


def parse(data: bytes, name: str, hints: Mapping[str, str]) -> ParsedLog:
    """Read a LeafSpy log of any generation.

    Records that cannot be read are set aside: field_count (a line cut short or too long), glued_record (two records in
    one line of which this one is incomplete), unreadable_number (a word where a number belongs).

    Raises:
        UnreadableLog: unknown_format (no LeafSpy columns) or header_without_rows.
    """
    lines = split_leafspy(data)
    layout = layout_of(lines)
    if layout is None:
        raise UnreadableLog(
            "unknown_format", f"{name}: neither a LeafSpy header nor a record of a known LeafSpy version."
        )
    records = read_records(lines, layout)
    if not len(records.order) and not records.broken:
        raise UnreadableLog("header_without_rows", f"{name}: a LeafSpy header without records. Check the export.")
    # Rows are numbered through the file, each of several glued records with a number of its own.
    places = np.concatenate([records.order, np.array([order for order, _, _ in records.broken], dtype=np.int64)])
    number = np.empty(len(places), dtype=np.int64)
    number[np.argsort(places)] = np.arange(1, len(places) + 1)
    count = len(records.order)
    rejects = [
        Reject(row, reason, text)
        for row, (_, reason, text) in zip(number[count:].tolist(), records.broken, strict=True)
    ]
    return assemble("leafspy", name, to_canonical(records), number[:count], rejects, hints)


def to_canonical(records: Records) -> dict[str, pa.Array]:
    """Convert the records to canonical columns."""
    count = len(records.order)
    value = {name: _plain(column) for name, column in records.columns.items() if name != "VIN"}

    def column(name: str) -> np.ndarray:
        return value.get(name, np.full(count, np.nan))

    def read(name: str) -> np.ndarray:
        """Return a column in which 0 says that it was not read."""
        return np.where(column(name) == 0, np.nan, column(name))

    time_s = read("epoch time")
    volts, amps = _without_echo(read("Pack Volts"), column("Pack Amps"))
    cells_v = _cells(value, count)
    probes_c = _probes(value, count)
    wheel_kmh = wheel_speed_kmh(column("Speed1"), column("RPM"))
    distance_km = odometer_km(read("Odo(km)"), wheel_kmh, time_s, may_be_miles="RPM" in value)
    speed = wheel_kmh if np.isfinite(wheel_kmh).any() else gps_speed_kmh(column("Speed"), distance_km, time_s)
    capacity_ah, health = read("AHr") / _TEN_THOUSAND, read("SOH")
    pack_c = np.divide(np.nansum(probes_c, axis=1), np.isfinite(probes_c).sum(axis=1).clip(min=1))
    pack_c[~np.isfinite(probes_c).any(axis=1)] = np.nan
    vin = _vins(records, count)
    given = {
        "pack_voltage_v": volts,
        "pack_current_a": -amps,
        # Nothing of the battery was read when capacity is missing too; a true 0 % keeps its value.
        "soc_percent": np.where(np.isnan(capacity_ah) & (column("SOC") == 0), np.nan, column("SOC") / _TEN_THOUSAND),
        "speed_kmh": speed,
        "odometer_km": distance_km,
        "cell_voltage_min_v": _first_known(np.fmin.reduce(cells_v, axis=1), read("Min CP mV") / 1000),
        "cell_voltage_max_v": _first_known(np.fmax.reduce(cells_v, axis=1), read("Max CP mV") / 1000),
        "temperature_min_c": np.fmin.reduce(probes_c, axis=1),
        "temperature_max_c": np.fmax.reduce(probes_c, axis=1),
        "ambient_temperature_c": ambient_celsius(column("Ambient"), pack_c),
        "bms_soh_percent": health,
        "bms_capacity_ah": capacity_ah,
    }
    columns = {name: pa.array(values, pa.float64(), from_pandas=True) for name, values in given.items()}
    return columns | {
        "vin": vin,
        "make": pa.repeat(pa.scalar(MAKE), count),
        "model": _models(vin, capacity_ah, health),
        "recorded_at": epoch(time_s),
        "cell_voltages_v": _lists(cells_v),
        "temperatures_c": _lists(probes_c),
        "charge_state": _charge_states(value, amps, wheel_kmh, speed, count),
    }


def _without_echo(volts: np.ndarray, amps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Blank rows in which one reading was written to both fields: equal to the last decimal is no coincidence."""
    echo = np.abs(volts) == np.abs(amps)
    return np.where(echo, np.nan, volts), np.where(echo, np.nan, amps)


def _cells(value: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """Return cell voltages in V, one column a cell; a minus sign only says that the cell is being balanced."""
    present = [np.abs(value[cell]) for cell in CELLS if cell in value]
    if not present:
        return np.full((count, 1), np.nan)
    millivolts = np.column_stack(present)
    with np.errstate(invalid="ignore"):
        return np.where((millivolts > 0) & (millivolts < _CELL_UNREAD_MV), millivolts / 1000, np.nan)


def _probes(value: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """Return probe temperatures in °C, one column a probe; a probe the car does not have stays NaN at its place."""
    missing = np.full(count, np.nan)
    return np.column_stack(
        [
            _first_known(value.get(f"{probe} C", missing), (value.get(f"{probe} F", missing) - 32) / 1.8)
            for probe in PROBES
        ]
    )


def _charge_states(
    value: Mapping[str, np.ndarray], amps: np.ndarray, wheel_kmh: np.ndarray, speed_kmh: np.ndarray, count: int
) -> pa.Array:
    """Say what the car does: a charge mode at standstill, a driving gear or motion, or the parking gear.

    Plug State alone is no charge: logs of moving cars show it, left over from the night before. It counts together with
    current into the pack while the gear is not a driving one. A phone's speed is not asked where the wheels' is known.
    """
    missing = np.full(count, np.nan)
    gear = value.get("Gear", missing)
    with np.errstate(invalid="ignore"):
        moving = np.where(np.isfinite(wheel_kmh), wheel_kmh, speed_kmh) > _STANDSTILL_KMH
        driving_gear = np.isin(gear, _DRIVING_GEARS)
        mode = value.get("Charge Mode", missing) > 0
        fed = (value.get("Plug State", missing) == _PLUGGED) & (amps < 0) & ~driving_gear
        charging = (mode | fed) & ~moving
        states = np.select([charging, moving | driving_gear, gear == _PARKED_GEAR], [0, 1, 2], default=3)
    return pa.array(_STATES[states], pa.string())


def _vins(records: Records, count: int) -> pa.Array:
    """Return the VIN column; rows before the app has read it take the file's only one."""
    vin = records.columns.get("VIN", pa.nulls(count, pa.string()))
    known = pc.unique(vin).drop_null()
    return pc.fill_null(vin, known[0]) if len(known) == 1 else vin


def _models(vin: pa.Array, capacity_ah: np.ndarray, health: np.ndarray) -> pa.Array:
    """Name the pack of each car in the file by the median of its capacity when new; null when none is near."""
    cars = pd.DataFrame({"vin": vin.to_pandas(), "new_ah": capacity_ah / (health / 100)})
    new_ah = cars.groupby("vin", dropna=False)["new_ah"].median()
    named = {car: _model(car, capacity) for car, capacity in new_ah.items()}
    return pa.array(cars["vin"].map(named).astype(object), pa.string(), from_pandas=True)


def _model(vin: object, new_ah: float) -> str | None:
    family = "e-NV200" if str(vin).upper().startswith(_VAN_PREFIX) else "Leaf"
    specs = nearest_by_capacity(MAKE, family, new_ah)
    return specs.model if specs else None


def _first_known(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(first), second, first)


def _lists(table: np.ndarray) -> pa.Array:
    """Return one list a row of float32 with null for NaN; a row without any value is null."""
    known = np.isfinite(table)
    some = known.any(axis=1)
    kept = table[some].astype(np.float32).ravel()
    values = pa.array(kept, mask=np.isnan(kept))
    return make_lists(values, np.where(some, table.shape[1], 0))


def _plain(column: pa.Array) -> np.ndarray:
    return column.to_numpy(zero_copy_only=False)
