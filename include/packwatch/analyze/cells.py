"""Cells and probes: their readings by interval, and how far the cells of a row lie apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from packwatch.analyze.conditioning import (
    CELL_VOLTAGE_RANGE_V,
    DAY_MS,
    PARKED,
    TEMPERATURE_SENTINELS_C,
    Booleans,
    Floats,
    Integers,
    Rows,
    Specs,
    VehicleDays,
)
from packwatch.analyze.frames import CELL_COLUMNS, build_frame
from packwatch.analyze.lists import ITEMS_MAX, ItemFigures, RowFigures, summarize
from packwatch.analyze.ranges import expand

MV_PER_V = 1000.0

# Quasi-static: the current is so small that resistance does not show in the voltages, C.
QUIET_C_RATE = 0.15
# The same for a type of unknown capacity: 0.15 C of the smallest packs (65 Ah), A.
QUIET_FALLBACK_A = 10.0

# A load this recent still shows in a reading, s.
SETTLING_S = 60.0

# Between these all chemistries but LFP have a slope that maps charge to voltage without magnifying it, %.
WATCH_SOC_MIN_PERCENT = 30.0
WATCH_SOC_MAX_PERCENT = 90.0
# LFP only shows differences at its knees, %.
LFP_LOW_SOC_PERCENT = 12.0
LFP_HIGH_SOC_PERCENT = 97.0

# Deviation of a cell from the mean of its row, quasi-static, NMC, NCA and LMO: watch, warning, severe, V. From the
# alarm limits that OVMS ships per vehicle type (warning 20-30 mV, alert 30-50 mV, 100 mV for some).
CELL_LIMITS_V = (0.020, 0.050, 0.100)


@dataclass(frozen=True)
class Buckets:
    """Intervals of the target vehicle-days."""

    of_row: Integers
    """Bucket of each row; -1 outside the target days."""
    day_of_row: Integers
    """Place of each row's vehicle-day in the target days; -1 outside them."""
    per_day: int
    interval_ms: int
    days: VehicleDays
    """The target vehicle-days; bucket // per_day is the place in them."""


@dataclass(frozen=True)
class CellReadings:
    """What the list columns say of the target days."""

    buckets: Buckets
    quiet: Booleans
    """Quasi-static rows."""
    telling: Booleans
    """Quasi-static rows at a SoC that lets voltages tell of imbalance."""
    spread_mv: Floats
    """How far the cells of each row lie apart."""
    cell_rows: RowFigures
    cells: ItemFigures
    probe_rows: RowFigures
    probes: ItemFigures


def target_days(days: VehicleDays, first_day: int, last_day: int) -> VehicleDays:
    """Return the vehicle-days from `first_day` to `last_day` (days since 1970)."""
    chosen = (days.day >= first_day) & (days.day <= last_day)
    return VehicleDays(
        days.first[chosen], days.stop[chosen], days.vehicle[chosen], days.day[chosen], days.step_median_ms[chosen]
    )


def make_buckets(rows: Rows, days: VehicleDays, interval_s: int) -> Buckets:
    """Divide each of `days` into intervals of `interval_s`, counted from midnight UTC."""
    interval_ms = interval_s * 1000
    per_day = -(-DAY_MS // interval_ms)
    day_of_row = np.full(len(rows), -1, dtype=np.int64)
    day_of_row[expand(days.first, days.stop)] = np.repeat(np.arange(len(days.first)), days.stop - days.first)
    of_row = day_of_row * per_day + (rows.time_ms - rows.day * np.int64(DAY_MS)) // interval_ms
    return Buckets(np.where(day_of_row < 0, -1, of_row), day_of_row, per_day, interval_ms, days)


def quiet_rows(rows: Rows, specs: Specs) -> Booleans:
    """Mark the quasi-static rows: the current stays below QUIET_C_RATE, or the vehicle says that it is parked.

    The row before must be quiet too if it is less than SETTLING_S old: the cells of a pack are read one after the
    other, and while the current changes they are read at different currents.
    """
    limit = np.nan_to_num(QUIET_C_RATE * specs.capacity_ah, nan=QUIET_FALLBACK_A)[rows.vehicle]
    current = rows.pack_current_a
    low = (np.abs(current) < limit) | (np.isnan(current) & (rows.state == PARKED))
    loaded_before = ~low[:-1] & ~np.isnan(current[:-1]) & (rows.vehicle[1:] == rows.vehicle[:-1])
    quiet = low.copy()
    quiet[1:] &= ~(loaded_before & (np.diff(rows.time_ms) < SETTLING_S * 1000))
    return quiet


def is_lfp(specs: Specs, vehicle: Integers) -> Booleans:
    """Tell whether each vehicle's pack is LFP."""
    return (specs.chemistry == "LFP")[vehicle]


def telling_rows(rows: Rows, specs: Specs, quiet: Booleans) -> Booleans:
    """Mark the quasi-static rows at a SoC where the chemistry lets voltages tell of imbalance."""
    soc = rows.soc_percent
    sloped = (soc >= WATCH_SOC_MIN_PERCENT) & (soc <= WATCH_SOC_MAX_PERCENT)
    knee = (soc < LFP_LOW_SOC_PERCENT) | (soc >= LFP_HIGH_SOC_PERCENT)
    return quiet & np.where(is_lfp(specs, rows.vehicle), knee, sloped)


def read_cells(table: pa.Table, rows: Rows, specs: Specs, buckets: Buckets) -> CellReadings:
    """Read the list columns of the target days; deviations are compared with CELL_LIMITS_V where they tell."""
    quiet = quiet_rows(rows, specs)
    telling = telling_rows(rows, specs, quiet)
    watched = telling & ~is_lfp(specs, rows.vehicle)
    cell_rows, cells = summarize(table["cell_voltages_v"], buckets.of_row, CELL_VOLTAGE_RANGE_V, watched, CELL_LIMITS_V)
    probe_rows, probes = summarize(table["temperatures_c"], buckets.of_row, TEMPERATURE_SENTINELS_C, second=True)
    return CellReadings(buckets, quiet, telling, cell_spread_mv(rows, cell_rows), cell_rows, cells, probe_rows, probes)


def cell_spread_mv(rows: Rows, figures: RowFigures) -> Floats:
    """Return how far the cells of each row lie apart, mV: from the list, else from the reported extremes."""
    listed = figures.high - figures.low
    reported = rows.cell_voltage_max_v - rows.cell_voltage_min_v
    return MV_PER_V * np.where(np.isnan(listed), np.where(reported >= 0, reported, np.nan), listed)


def cell_frame(readings: CellReadings, names: npt.NDArray[np.object_]) -> pd.DataFrame:
    """Return mean, extremes and mean deviation of each cell in each interval; columns as in `frames.CELL_COLUMNS`.

    The temperature is that of the probe at the same relative place in its list as the cell in its own.
    """
    cells, buckets = readings.cells, readings.buckets
    place = cells.bucket // buckets.per_day
    start_ms = buckets.days.day[place].astype(np.int64) * DAY_MS + cells.bucket % buckets.per_day * buckets.interval_ms
    return build_frame(
        {
            "time": start_ms,
            "vehicle_id": names[buckets.days.vehicle[place]],
            "cell_id": np.arange(ITEMS_MAX + 1).astype(str).astype(object)[cells.item],
            "voltage": cells.total / cells.count,
            "voltage_min": cells.low,
            "voltage_max": cells.high,
            "temperature": _nearest_probe(cells, readings.probes),
            "internal_resistance": np.full(len(place), np.nan),
            "reading_count": cells.count,
            "deviation_mv": MV_PER_V * cells.deviation / cells.count,
        },
        CELL_COLUMNS,
    )


def _nearest_probe(cells: ItemFigures, probes: ItemFigures) -> Floats:
    if not len(probes.bucket) or not len(cells.bucket):
        return np.full(len(cells.bucket), np.nan)
    buckets = int(max(cells.bucket[-1], probes.bucket[-1])) + 1
    cell_count, probe_count = np.zeros(buckets, dtype=np.int64), np.zeros(buckets, dtype=np.int64)
    np.maximum.at(cell_count, cells.bucket, cells.item)
    np.maximum.at(probe_count, probes.bucket, probes.item)
    # Middle of the cell, as a share of the pack, times the number of probes.
    nearest = (2 * cells.item - 1) * probe_count[cells.bucket] // (2 * cell_count[cells.bucket]) + 1
    wanted = cells.bucket * (ITEMS_MAX + 1) + nearest
    offered = probes.bucket * (ITEMS_MAX + 1) + probes.item
    found = np.minimum(np.searchsorted(offered, wanted), len(offered) - 1)
    mean = probes.total / probes.count
    return np.where(offered[found] == wanted, mean[found], np.nan)
