"""The analyze stage: clean rows of several days in, results of the target days out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from packwatch.analyze.anomalies import find_anomalies
from packwatch.analyze.cells import cell_frame, make_buckets, read_cells, target_days
from packwatch.analyze.conditioning import (
    Rows,
    Specs,
    Steps,
    VehicleDays,
    deduplicate,
    is_sorted,
    measure_steps,
    read_rows,
    read_specs,
    vehicle_days,
)
from packwatch.analyze.days import day_frame
from packwatch.analyze.findings import Evidence
from packwatch.analyze.flows import Flows, integrate
from packwatch.analyze.frames import (
    ANOMALY_COLUMNS,
    CELL_COLUMNS,
    DAY_COLUMNS,
    SESSION_COLUMNS,
    DayAnalysis,
    empty_frame,
)
from packwatch.analyze.sessions import find_sessions, measure_sessions
from packwatch.errors import UsageError
from packwatch.schema import CLEAN_SCHEMA, conform

EPOCH = date(1970, 1, 1)
INTERVAL_S = 3600


def analyze_rows(
    clean: pa.Table, vehicles: pd.DataFrame, first_day: date, last_day: date, *, interval_s: int = INTERVAL_S
) -> DayAnalysis:
    """Analyze clean rows; return the results of the UTC days `first_day` to `last_day`.

    The result of a day depends on the rows of that day and its two neighbors alone: analyzing days one by one or
    together gives the same frames, bit by bit.

    Args:
        clean: rows of `schema.CLEAN_SCHEMA`, deduplicated; the days before and after the target days are context.
        vehicles: one row a vehicle with its type's figures (`vehicles.catalogue.attach_specs`); a vehicle that is
            not in it has neutral ones.
        first_day: first target day.
        last_day: last target day, included.
        interval_s: interval that cell readings are averaged over, s; counted from midnight UTC.

    Returns:
        Frames sorted by vehicle and time.

    Raises:
        UsageError: the days are in the wrong order or the interval is not positive.
    """
    first, last = (first_day - EPOCH).days, (last_day - EPOCH).days
    if first > last or interval_s <= 0:
        raise UsageError(
            f"analyze from {first_day} to {last_day}, interval {interval_s} s: the last day must not be before the "
            "first and the interval must be positive"
        )
    loaded = load_rows(clean, vehicles)
    days = target_days(loaded.days, first, last)
    if not len(days.first):
        return DayAnalysis(*map(empty_frame, (SESSION_COLUMNS, DAY_COLUMNS, CELL_COLUMNS, ANOMALY_COLUMNS)))
    table, rows, flows, specs, names = loaded.table, loaded.rows, loaded.flows, loaded.specs, loaded.names
    readings = read_cells(table, rows, specs, make_buckets(rows, days, interval_s))
    return DayAnalysis(
        sessions=sessions_of(loaded, first, last),
        days=day_frame(rows, flows, specs, readings, names),
        cells=cell_frame(readings, names),
        anomalies=find_anomalies(Evidence(table, rows, loaded.steps, flows, specs, readings, names)),
    )


@dataclass(frozen=True)
class LoadedRows:
    """Clean rows as arrays, with what every part of the analysis needs of them."""

    table: pa.Table
    rows: Rows
    names: npt.NDArray[np.object_]
    """Vehicle ids in the order of the numbers in `rows.vehicle`."""
    days: VehicleDays
    specs: Specs
    steps: Steps
    flows: Flows


def load_rows(clean: pa.Table, vehicles: pd.DataFrame) -> LoadedRows:
    """Turn clean rows into arrays, and integrate the current."""
    table = conform(clean, CLEAN_SCHEMA)
    table = table if is_sorted(table) else deduplicate(table)[0]
    rows, names = read_rows(table)
    days = vehicle_days(rows)
    specs = read_specs(vehicles, names)
    steps = measure_steps(rows, days)
    return LoadedRows(table, rows, names, days, specs, steps, integrate(rows, steps, specs))


def sessions_of(loaded: LoadedRows, first_day: int, last_day: int) -> pd.DataFrame:
    """Return the sessions that end on the days `first_day` to `last_day` (days since 1970)."""
    rows, steps, flows = loaded.rows, loaded.steps, loaded.flows
    present = [day for day in np.unique(loaded.days.day).tolist() if first_day <= day <= last_day]
    spans = find_sessions(rows, steps, flows, loaded.days, present)
    return measure_sessions(rows, steps, flows, loaded.specs, loaded.names, spans)
