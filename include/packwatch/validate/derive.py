"""Turn a parsed log into the `checkable` frame: one scalar a row and column, all that the rules look at."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from packwatch.ingest.identity import vehicle_ids
from packwatch.schema import BY_NAME, LISTS, SCALAR_SIGNALS

MS_PER_DAY = 86_400_000
# Loggers that could not read the VIN fill all 17 places with one character, which would merge strangers' vehicles.
VIN_PATTERN = re.compile(r"(?!(.)\1{16})[A-Z0-9]{1,17}", re.IGNORECASE)
# The first mass-produced lithium-ion car was sold in this year; the schema's range of model years starts with it.
FIRST_YEAR = int(BY_NAME["year"].minimum or 0)
# Differences of voltages are rounded to this many digits (0.1 mV, below any sensor's step), so that a value that
# lies exactly on a limit keeps it whatever binary fractions do.
VOLTAGE_DIGITS = 4


@dataclass(frozen=True)
class _ListStatistics:
    """Per row of a list column: number of elements, number of NaN or infinite ones, and what the finite ones are."""

    count: np.ndarray
    not_finite: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    mean: np.ndarray


def derive(parsed: pa.Table, vehicles: pd.DataFrame, arrival_day: dt.date) -> pd.DataFrame:
    """Return what the rules check: the scalar signals as they are, and one scalar for each relation.

    Args:
        parsed: rows of schema.PARSED_SCHEMA.
        vehicles: one row a vehicle_id with year, cells_in_series, cell_voltage_limit_min_v and
            cell_voltage_limit_max_v. A vehicle that is not listed has no type, and rules on its type pass.
        arrival_day: the day (UTC) the rows were uploaded. There is no other clock.

    Returns:
        One row for each row of `parsed`, in its order. Numbers are float64 (int64 for counts) with NaN where missing.
        Beside the scalar signals:
        source_object, vehicle_id, vin (categories; vehicle_id is null where the VIN is missing or malformed),
        vin_malformed; recorded_at, days_since_earliest, log_days_after_arrival; signal_count, not_finite_count;
        <list>_lowest and <list>_highest; cell_lowest_v, cell_highest_v, temperature_lowest_c, temperature_highest_c
        (over the scalar and the list signal); cell_lowest_above_type_min_v, cell_highest_above_type_max_v;
        cell_count_difference (listed minus expected); how far the pack voltage is off the sum of its cells:
        pack_off_listed_cells_percent (rows that list their cells), pack_off_type_percent (rows that know only the
        lowest and the highest), pack_off_cells_percent (both).
    """
    columns: dict[str, Any] = {"source_object": _category(parsed["source_object"])}
    numbers = [name for name in SCALAR_SIGNALS if name != "charge_state"]
    columns |= {name: _float(parsed[name]) for name in (*numbers, "year")}
    columns["charge_state"] = _category(parsed["charge_state"])

    identity, specs = _identity(parsed["vin"], vehicles)
    columns |= identity
    year = np.where(np.isnan(columns["year"]), specs["year"], columns["year"])
    columns |= _times(parsed["recorded_at"], year, arrival_day)

    lists = {name: _list_statistics(parsed[name]) for name in LISTS}
    columns |= {f"{name}_lowest": lists[name].lowest for name in LISTS}
    columns |= {f"{name}_highest": lists[name].highest for name in LISTS}
    columns |= _presence(parsed, columns, lists)
    columns |= _cells(columns, lists["cell_voltages_v"], specs)
    columns["temperature_lowest_c"] = np.fmin(columns["temperature_min_c"], columns["temperatures_c_lowest"])
    columns["temperature_highest_c"] = np.fmax(columns["temperature_max_c"], columns["temperatures_c_highest"])
    # Without copy=False pandas would copy every column into one block, and each rule would read it with a stride.
    return pd.DataFrame(columns, index=pd.RangeIndex(len(parsed)), copy=False)


def _float(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Return a numeric Arrow column as float64 with NaN for null; integers beyond 2**53 lose their last digits."""
    return column.cast(pa.float64(), safe=False).to_numpy()


def _category(column: pa.ChunkedArray) -> pd.Categorical:
    """Return a text column as codes and distinct values, so that no Python string is made for each row."""
    encoded = column.combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    categories = pd.Index(encoded.dictionary.to_pylist(), dtype="str")
    return pd.Categorical.from_codes(codes, categories)


def _identity(vins: pa.ChunkedArray, vehicles: pd.DataFrame) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the identity columns and, per row, the facts on the vehicle's type (NaN where unknown)."""
    raw = _category(vins)
    distinct = pd.Series(raw.categories, dtype="str").str.strip()
    blank = (distinct == "").to_numpy(dtype=bool)
    well_formed = np.fromiter((VIN_PATTERN.fullmatch(vin) is not None for vin in distinct), bool, len(distinct))
    ids = pd.Series(pd.NA, index=distinct.index, dtype="str")
    if well_formed.any():
        ids[well_formed] = vehicle_ids(distinct[well_formed])

    # The last place of each table answers for the code -1, a null VIN.
    missing = np.append(blank, True)[raw.codes]
    malformed = np.append(~well_formed & ~blank, False)[raw.codes]
    # Two spellings of one VIN are one vehicle, so ids are coded anew.
    id_codes, id_values = pd.factorize(ids)
    identity: dict[str, Any] = {
        "vin": pd.Categorical.from_codes(np.where(missing, -1, raw.codes), raw.categories),
        "vin_malformed": malformed,
        "vehicle_id": pd.Categorical.from_codes(np.append(id_codes, -1)[raw.codes], pd.Index(id_values, dtype="str")),
    }
    names = ("year", "cells_in_series", "cell_voltage_limit_min_v", "cell_voltage_limit_max_v")
    known = vehicles.set_index("vehicle_id").reindex(columns=names).reindex(ids)
    tables = {name: known[name].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan) for name in names}
    return identity, {name: np.append(table, np.nan)[raw.codes] for name, table in tables.items()}


def _times(recorded_at: pa.ChunkedArray, year: np.ndarray, arrival_day: dt.date) -> dict[str, Any]:
    """Return recorded_at, the days since the earliest time its vehicle can have logged, and its day minus arrival's.

    The earliest time is the start of 2008, or of the year before the model year: cars are sold as next year's model.
    A model year after the year that follows the arrival is itself wrong and moves nothing.
    """
    days = _float(recorded_at.cast(pa.int64())) / MS_PER_DAY
    believable = (year > FIRST_YEAR) & (year <= arrival_day.year + 1)
    first_year = np.where(believable, year - 1, FIRST_YEAR).astype(np.int64)
    first_day = (first_year - 1970).astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
    arrival = np.datetime64(arrival_day, "D").astype(np.int64)
    return {
        "recorded_at": recorded_at.to_pandas(),
        "days_since_earliest": days - first_day,
        "log_days_after_arrival": np.floor(days) - arrival,
    }


def _list_statistics(column: pa.ChunkedArray) -> _ListStatistics:
    """Summarize each row's list from its flat values; an empty or null list gives NaN."""
    rows = column.combine_chunks()
    count = pc.list_value_length(rows).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    flat = pc.list_flatten(rows)
    filled = count > 0
    starts = (np.cumsum(count) - count)[filled]
    empty = np.full(len(rows), np.nan)
    lowest, highest, mean, not_finite = empty, empty.copy(), empty.copy(), np.zeros(len(rows), dtype=np.int64)
    if len(starts):
        values = flat.to_numpy(zero_copy_only=False)  # null elements become NaN
        finite = np.isfinite(values)
        if finite.all():
            lowest[filled] = np.minimum.reduceat(values, starts)
            highest[filled] = np.maximum.reduceat(values, starts)
            # float32 sums of some hundred cells are good to 1e-5; the rules ask for 3e-2.
            mean[filled] = np.add.reduceat(values, starts) / count[filled]
        else:
            present = pc.is_valid(flat).to_numpy(zero_copy_only=False)
            not_finite[filled] = np.add.reduceat((present & ~finite).astype(np.int64), starts)
            number = np.add.reduceat(finite.astype(np.int64), starts)
            some = number > 0
            target = np.flatnonzero(filled)[some]
            lowest[target] = np.minimum.reduceat(np.where(finite, values, np.inf), starts)[some]
            highest[target] = np.maximum.reduceat(np.where(finite, values, -np.inf), starts)[some]
            mean[target] = np.add.reduceat(np.where(finite, values, 0), starts)[some] / number[some]
    return _ListStatistics(count, not_finite, lowest, highest, mean)


def _presence(parsed: pa.Table, columns: dict[str, Any], lists: dict[str, _ListStatistics]) -> dict[str, np.ndarray]:
    """Return how many signals a row has, and how many of its numbers are NaN or infinite."""
    signals = np.zeros(len(parsed), dtype=np.int64)
    not_finite = np.zeros(len(parsed), dtype=np.int64)
    for name in SCALAR_SIGNALS:
        signals += ~pd.isna(columns[name])
        if pa.types.is_floating(parsed[name].type):
            # Arrow tells NaN from null, NumPy does not.
            finite = pc.is_finite(parsed[name])
            if not pc.all(finite, min_count=0).as_py():
                not_finite += ~finite.fill_null(True).to_numpy().astype(bool)
    for statistics in lists.values():
        signals += statistics.count > 0
        not_finite += statistics.not_finite
    return {"signal_count": signals, "not_finite_count": not_finite}


def _cells(columns: dict[str, Any], cells: _ListStatistics, specs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return how the cells relate to their type and to the pack voltage.

    Sum of the cells: mean of the listed cells times their number or times the number in series (whichever is nearer,
    so that neither a list cut short nor a wrong entry of the catalogue accuses a sound sensor); with only the lowest
    and the highest cell known, anything between the number in series times either.
    """
    minimum, maximum = columns["cell_voltage_min_v"], columns["cell_voltage_max_v"]
    pack, in_series = columns["pack_voltage_v"], specs["cells_in_series"]
    lowest = np.fmin(minimum, columns["cell_voltages_v_lowest"])
    highest = np.fmax(maximum, columns["cell_voltages_v_highest"])
    listed = cells.count > 0
    # Infinite or zero voltages are other rules' business; here they must only not disturb.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        off_listed = np.fmin(np.abs(pack / (cells.mean * cells.count) - 1), np.abs(pack / (cells.mean * in_series) - 1))
        least, most = in_series * np.minimum(minimum, maximum), in_series * np.maximum(minimum, maximum)
        outside = np.maximum(np.maximum(least - pack, pack - most), 0)
        off_extremes = outside / ((least + most) / 2)
        return {
            "cell_lowest_v": lowest,
            "cell_highest_v": highest,
            "cell_lowest_above_type_min_v": np.round(lowest - specs["cell_voltage_limit_min_v"], VOLTAGE_DIGITS),
            "cell_highest_above_type_max_v": np.round(highest - specs["cell_voltage_limit_max_v"], VOLTAGE_DIGITS),
            "cell_count_difference": np.where(listed, cells.count - in_series, np.nan),
            "pack_off_listed_cells_percent": 100 * off_listed,
            "pack_off_type_percent": 100 * np.where(listed, np.nan, off_extremes),
            "pack_off_cells_percent": 100 * np.where(listed, off_listed, off_extremes),
        }
