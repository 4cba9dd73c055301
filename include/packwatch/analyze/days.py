"""Statistics of each vehicle and UTC day."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from packwatch.analyze.cells import CellReadings
from packwatch.analyze.conditioning import Booleans, Floats, Integers, Rows, Specs, VehicleDays
from packwatch.analyze.flows import Flows
from packwatch.analyze.frames import DAY_COLUMNS, build_frame
from packwatch.analyze.ranges import at, expand, group_median, last_known, range_max, range_min, range_sum
from packwatch.analyze.sessions import mean_temperature

# The spread is put into whole microvolts for its median.
UV_PER_MV = 1000


def day_frame(
    rows: Rows, flows: Flows, specs: Specs, readings: CellReadings, names: npt.NDArray[np.object_]
) -> pd.DataFrame:
    """Return one row a target vehicle-day; columns as in `frames.DAY_COLUMNS`.

    A step between two rows counts for the day its end lies in, also over midnight. equivalent_full_cycles =
    sum |I| dt / (2 nominal capacity): one full charge and one full discharge are one cycle.
    """
    days = readings.buckets.days
    first, stop = days.first, days.stop
    known = range_sum(~np.isnan(rows.pack_current_a), first, stop) > 0
    charge = np.where(known, range_sum(flows.inflow_ah, first, stop), np.nan)
    discharge = np.where(known, charge - range_sum(flows.charge_ah, first, stop), np.nan)
    return build_frame(
        {
            "vehicle_id": names[days.vehicle],
            "log_date": days.day,
            "row_count": stop - first,
            "first_recorded_at": rows.time_ms[first],
            "last_recorded_at": rows.time_ms[stop - 1],
            "charge_throughput_ah": charge,
            "discharge_throughput_ah": discharge,
            "equivalent_full_cycles": (charge + discharge) / (2 * specs.capacity_ah[days.vehicle]),
            "odometer_km": range_max(rows.odometer_km, first, stop),
            "soc_min_percent": range_min(rows.soc_percent, first, stop),
            "soc_max_percent": range_max(rows.soc_percent, first, stop),
            "temperature_max_c": range_max(rows.temperature_max_c, first, stop),
            "temperature_mean_c": _means(mean_temperature(rows), first, stop),
            "cell_spread_median_mv": _median_mv(readings.spread_mv, readings.quiet, days),
            "cell_spread_max_mv": range_max(readings.spread_mv, first, stop),
            "bms_soh_percent": at(rows.bms_soh_percent, last_known(rows.bms_soh_percent, first, stop)),
            "bms_capacity_ah": at(rows.bms_capacity_ah, last_known(rows.bms_capacity_ah, first, stop)),
            "completeness": _completeness(rows, readings, first, stop),
        },
        DAY_COLUMNS,
    )


def _means(values: Floats, first: Integers, stop: Integers) -> Floats:
    """Return the mean of the known values of each range; NaN where there is none."""
    known = ~np.isnan(values)
    count = range_sum(known, first, stop)
    total = range_sum(np.where(known, values, 0.0), first, stop)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _median_mv(spread_mv: Floats, quiet: Booleans, days: VehicleDays) -> Floats:
    row = expand(days.first, days.stop)
    group = np.repeat(np.arange(len(days.first)), days.stop - days.first)
    used = quiet[row] & ~np.isnan(spread_mv[row])
    whole = np.round(spread_mv[row[used]] * UV_PER_MV).astype(np.int64)
    return group_median(whole, group[used], len(days.first)) / UV_PER_MV


def _completeness(rows: Rows, readings: CellReadings, first: Integers, stop: Integers) -> Floats:
    """Return the mean share of rows that have each signal the analysis lives on.

    The signals: voltage, current, SoC, speed, odometer, cell voltages and temperatures (lists or extremes).
    """
    cells = readings.cell_rows.count > 0
    probes = readings.probe_rows.count > 0
    present = (
        ~np.isnan(rows.pack_voltage_v),
        ~np.isnan(rows.pack_current_a),
        ~np.isnan(rows.soc_percent),
        ~np.isnan(rows.speed_kmh),
        ~np.isnan(rows.odometer_km),
        cells | ~np.isnan(rows.cell_voltage_max_v),
        probes | ~np.isnan(rows.temperature_max_c),
    )
    shares = [range_sum(signal, first, stop) / (stop - first) for signal in present]
    return sum(shares) / len(shares)
