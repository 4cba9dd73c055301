"""From the clean table to arrays: one row an instant, sentinels removed, vehicle-days marked, limits for gaps.

Everything here is worked out from a row itself or from rows of the same vehicle and UTC day, so that it does not
depend on which other days are loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from packwatch.analyze.lists import extremes
from packwatch.analyze.ranges import group_median
from packwatch.errors import DataError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Booleans = npt.NDArray[np.bool_]

DAY_MS = 86_400_000

# What the vehicle says it does; 0 when it says nothing.
UNKNOWN, CHARGING, DRIVING, PARKED = 0, 1, 2, 3

# Exact values that telematics units send for "no value" inside the plausible range: the lowest and highest code of a
# byte with an offset of -40 °C, the lowest code of a current with an offset of 800 or 1000 A (either sign convention),
# and a cell input at the end of its range.
TEMPERATURE_SENTINELS_C = (-40.0, 215.0)
CURRENT_SENTINELS_A = (800.0, 1000.0)
CELL_VOLTAGE_RANGE_V = (0.5, 5.0)  # open interval
# Below this the contactors are open and the reading says nothing of the pack.
PACK_VOLTAGE_MIN_V = 10.0

# Columns that lists can complete: lowest, highest, list, valid items.
EXTREMES = (
    ("cell_voltage_min_v", "cell_voltage_max_v", "cell_voltages_v", CELL_VOLTAGE_RANGE_V),
    ("temperature_min_c", "temperature_max_c", "temperatures_c", TEMPERATURE_SENTINELS_C),
)

# A gap is a step longer than 5 times the usual step of that day, but never less than a minute (lost packets) ...
GAP_FACTOR = 5.0
GAP_MIN_S = 60.0
# ... and never more than two hours, whatever the usual step: nothing can be said of the current in between.
GAP_MAX_S = 7200.0

# Row quality bits; `sessions` continues the numbering.
SENTINEL_REMOVED = 1
SOC_SPIKE_REMOVED = 2
TEMPERATURE_SPIKE_REMOVED = 4

# A single row that leaves by more than the first figure and is back in the next row within the second one is an error
# of sensor or transmission: no pack cools by 20 K or regains 10 % of charge between two samples.
SPIKES = {
    "soc_percent": (10.0, 3.0, SOC_SPIKE_REMOVED),
    "temperature_min_c": (20.0, 10.0, TEMPERATURE_SPIKE_REMOVED),
    "temperature_max_c": (20.0, 10.0, TEMPERATURE_SPIKE_REMOVED),
}
# Over longer steps anything may have happened, s.
SPIKE_STEP_MAX_S = 1800.0


@dataclass(frozen=True)
class VehicleDays:
    """The runs of rows of one vehicle on one UTC day, in row order."""

    first: Integers
    stop: Integers
    vehicle: Integers
    day: Integers
    step_median_ms: Floats
    """Median step inside the day, ms; NaN with less than two rows."""


@dataclass(frozen=True)
class Rows:
    """The loaded rows as arrays, sorted by vehicle and time."""

    vehicle: Integers
    """Number of the vehicle in the sorted vehicle ids."""
    time_ms: Integers
    day: Integers
    """Days since 1970-01-01 UTC."""
    state: Integers
    pack_voltage_v: Floats
    pack_current_a: Floats
    soc_percent: Floats
    speed_kmh: Floats
    odometer_km: Floats
    cell_voltage_min_v: Floats
    cell_voltage_max_v: Floats
    temperature_min_c: Floats
    temperature_max_c: Floats
    ambient_temperature_c: Floats
    insulation_resistance_kohm: Floats
    bms_soh_percent: Floats
    bms_capacity_ah: Floats
    quality: Integers

    def __len__(self) -> int:
        return len(self.time_ms)

    def take(self, rows: Integers) -> Rows:
        """Return the rows with these numbers; itself when they are all rows in order."""
        if len(rows) == len(self):
            return self
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def deduplicate(table: pa.Table) -> tuple[pa.Table, pa.Array]:
    """Sort clean rows by vehicle and time and keep the first of each instant, by source_object and source_row.

    Returns:
        The sorted table, and for each row of the argument, in its order, whether it was left out as a duplicate.

    Raises:
        DataError: a row has no vehicle_id or no recorded_at.
    """
    missing = table["vehicle_id"].null_count + table["recorded_at"].null_count
    if missing:
        raise DataError(
            f"clean rows: {missing} vehicle_id or recorded_at are null; validate must quarantine such rows, "
            "so write the slice again with `packwatch replay`"
        )
    key = _instant_key(table)
    if (np.diff(key) > 0).all():
        return table, pa.array(np.zeros(len(table), dtype=bool))
    source, _ = _sorted_codes(table["source_object"])
    row = table["source_row"].fill_null(np.iinfo(np.int64).max).to_numpy()
    order = np.lexsort((row, source, key))
    repeated = np.concatenate([[False], np.diff(key[order]) == 0])
    duplicate = np.zeros(len(table), dtype=bool)
    duplicate[order[repeated]] = True
    return table.take(pa.array(order[~repeated])), pa.array(duplicate)


def _instant_key(table: pa.Table) -> Integers:
    """Return one sortable integer a row: the vehicle, then the time."""
    vehicle, _ = _sorted_codes(table["vehicle_id"])
    time_ms = table["recorded_at"].cast(pa.int64()).to_numpy()
    if not len(time_ms):
        return time_ms
    # 2**44 ms are 557 years, and 2**19 vehicles fit above them.
    return (vehicle.astype(np.int64) << 44) + (time_ms - time_ms.min())


def _sorted_codes(column: pa.ChunkedArray) -> tuple[Integers, npt.NDArray[np.object_]]:
    """Number the distinct strings of a column in sorted order; return the numbers of the rows and the strings."""
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    chunks = encoded.unify_dictionaries().chunks
    if not chunks:
        return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=object)
    names = chunks[0].dictionary.to_numpy(zero_copy_only=False).astype(object)
    codes = np.concatenate([chunk.indices.fill_null(len(names)).to_numpy(zero_copy_only=False) for chunk in chunks])
    used = np.flatnonzero(np.bincount(codes, minlength=len(names) + 1)[: len(names)])
    order = used[np.argsort(names[used])]
    rank = np.full(len(names) + 1, len(order), dtype=np.int32)
    rank[order] = np.arange(len(order))
    return rank[codes], names[order]


def is_sorted(table: pa.Table) -> bool:
    """Tell whether the rows ascend by vehicle and time without a repetition."""
    return bool((np.diff(_instant_key(table)) > 0).all())


def read_rows(table: pa.Table) -> tuple[Rows, npt.NDArray[np.object_]]:
    """Turn deduplicated clean rows into arrays without sentinels; also return the vehicle ids, sorted.

    Missing values become NaN. Each removal leaves a bit in `quality`.
    """
    vehicle, names = _sorted_codes(table["vehicle_id"])
    time_ms = table["recorded_at"].cast(pa.int64()).to_numpy()
    day = (time_ms // DAY_MS).astype(np.int32)
    quality = np.zeros(len(table), dtype=np.int32)
    signals = {
        name: _floats(table, name)
        for name in (field.name for field in fields(Rows))
        if name not in ("vehicle", "time_ms", "day", "state", "quality")
    }
    cleaned = {
        name: _without(values, _sentinels(name, values), quality, SENTINEL_REMOVED) for name, values in signals.items()
    }
    for low, high, lists, valid in EXTREMES:
        _fill_extremes(cleaned, low, high, table[lists], valid)
    vehicle_day = np.cumsum(np.diff(vehicle, prepend=-1) | np.diff(day, prepend=-1) != 0)
    for name, (leap, back, bit) in SPIKES.items():
        spikes = single_row_spikes(cleaned[name], time_ms, vehicle_day, leap, back)
        cleaned[name] = _without(cleaned[name], spikes, quality, bit)
    return Rows(vehicle, time_ms, day, _states(table), **cleaned, quality=quality), names


def _fill_extremes(
    signals: dict[str, Floats], low: str, high: str, lists: pa.ChunkedArray, valid: tuple[float, float]
) -> None:
    """Take a missing lowest or highest value from the list of all values of the row."""
    missing = np.isnan(signals[low]) | np.isnan(signals[high])
    wanted = missing & lists.is_valid().to_numpy()
    if wanted.any():
        lowest, highest = extremes(lists, wanted, valid)
        signals[low] = np.where(np.isnan(signals[low]), lowest, signals[low])
        signals[high] = np.where(np.isnan(signals[high]), highest, signals[high])


def _floats(table: pa.Table, name: str) -> Floats:
    return table[name].to_numpy().astype(np.float64, copy=False)


def _states(table: pa.Table) -> Integers:
    column = table["charge_state"]
    codes = pc.index_in(column, pa.array(["charging", "driving", "parked"]))
    return pc.add(codes, 1).fill_null(UNKNOWN).to_numpy().astype(np.int8)


def _sentinels(name: str, values: Floats) -> Booleans | None:
    if name in ("temperature_min_c", "temperature_max_c", "ambient_temperature_c"):
        return (values == TEMPERATURE_SENTINELS_C[0]) | (values == TEMPERATURE_SENTINELS_C[1])
    if name == "pack_current_a":
        magnitude = np.abs(values)
        return (magnitude == CURRENT_SENTINELS_A[0]) | (magnitude == CURRENT_SENTINELS_A[1])
    if name == "pack_voltage_v":
        return values < PACK_VOLTAGE_MIN_V
    if name in ("cell_voltage_min_v", "cell_voltage_max_v"):
        return (values <= CELL_VOLTAGE_RANGE_V[0]) | (values >= CELL_VOLTAGE_RANGE_V[1])
    return None


def _without(values: Floats, wrong: Booleans | None, quality: Integers, bit: int) -> Floats:
    """Return `values` with NaN where they are wrong, and note `bit` in `quality` there."""
    if wrong is None or not wrong.any():
        return values
    quality[wrong] |= bit
    return np.where(wrong, np.nan, values)


def single_row_spikes(values: Floats, rows_time_ms: Integers, group: Integers, leap: float, back: float) -> Booleans:
    """Mark single rows that leave by more than `leap` and are back within `back` in the next row of the same group."""
    spikes = np.zeros(len(values), dtype=bool)
    step = np.diff(values)
    far = np.abs(step) > leap
    if not far.any():
        return spikes
    near = np.diff(rows_time_ms) <= SPIKE_STEP_MAX_S * 1000
    same = group[2:] == group[:-2]
    spikes[1:-1] = same & (far & near)[:-1] & (far & near)[1:] & (np.abs(step[:-1] + step[1:]) < back)
    return spikes


def vehicle_days(rows: Rows) -> VehicleDays:
    """Find the vehicle-days of the rows and the median step inside each."""
    fresh = np.ones(len(rows), dtype=bool)
    fresh[1:] = (np.diff(rows.vehicle) != 0) | (np.diff(rows.day) != 0)
    first = np.flatnonzero(fresh)
    stop = np.append(first[1:], len(rows))[: len(first)]
    group = np.cumsum(fresh) - 1
    inner = ~fresh
    step = np.minimum(rows.time_ms[inner] - rows.time_ms[np.flatnonzero(inner) - 1], DAY_MS)
    median = group_median(step, group[inner], len(first), lower=True)
    return VehicleDays(first, stop, rows.vehicle[first], rows.day[first], median)


@dataclass(frozen=True)
class Steps:
    """The step that leads to each row from the row before it."""

    dt_ms: Integers
    """0 for the first row of a vehicle."""
    usual_ms: Floats
    """The usual step around here, ms; NaN when unknown."""
    limit_ms: Floats
    """A longer step is a gap while the vehicle charges or drives."""


def measure_steps(rows: Rows, days: VehicleDays) -> Steps:
    """Return length and gap limit of the step before each row.

    The limit is GAP_FACTOR times the median step of the vehicle-day, within GAP_MIN_S and GAP_MAX_S. A step over
    midnight goes by the larger median of the two days, so that a day with a single row does not cut a session.
    """
    dt_ms = np.zeros(len(rows), dtype=np.int64)
    dt_ms[1:] = np.where(np.diff(rows.vehicle) == 0, np.diff(rows.time_ms), 0)
    usual = np.repeat(days.step_median_ms, days.stop - days.first)
    if len(days.first) > 1:
        follows = np.flatnonzero(np.diff(days.vehicle) == 0) + 1
        usual[days.first[follows]] = np.fmax(days.step_median_ms[follows], days.step_median_ms[follows - 1])
    limit = np.clip(GAP_FACTOR * np.nan_to_num(usual), GAP_MIN_S * 1000, GAP_MAX_S * 1000)
    return Steps(dt_ms, usual, limit)


@dataclass(frozen=True)
class Specs:
    """What is known of each vehicle's type, in the order of the sorted vehicle ids; NaN where unknown."""

    chemistry: npt.NDArray[np.object_]
    cells_in_series: Floats
    capacity_ah: Floats
    nominal_voltage_v: Floats
    cell_limit_max_v: Floats


# The neutral limit of a type that is not in the catalogue, V per cell.
NEUTRAL_CELL_LIMIT_MAX_V = 4.35


def read_specs(vehicles: pd.DataFrame, names: npt.NDArray[np.object_]) -> Specs:
    """Pick from the vehicles frame what the analysis needs; a vehicle that is not in it has neutral values."""
    known = vehicles.drop_duplicates("vehicle_id").set_index("vehicle_id").reindex(names)
    positive = {
        name: pd.to_numeric(known[name]).astype("float64").where(lambda values: values > 0).to_numpy()
        for name in ("cells_in_series", "capacity_nominal_ah", "nominal_voltage_v", "cell_voltage_limit_max_v")
    }
    limit = positive["cell_voltage_limit_max_v"]
    return Specs(
        chemistry=known["chemistry"].astype("object").where(known["chemistry"].notna(), "unknown").to_numpy(),
        cells_in_series=positive["cells_in_series"],
        capacity_ah=positive["capacity_nominal_ah"],
        nominal_voltage_v=positive["nominal_voltage_v"],
        cell_limit_max_v=np.where(np.isnan(limit), NEUTRAL_CELL_LIMIT_MAX_V, limit),
    )
