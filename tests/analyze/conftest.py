"""Clean logs and vehicle types for the tests of the analyze stage, built from a few columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from packwatch.analyze import DayAnalysis, analyze_rows
from packwatch.schema import CLEAN_SCHEMA, conform

DAY = date(2026, 3, 10)


@pytest.fixture
def clean_log() -> Callable[..., pa.Table]:
    """Makes clean rows of one vehicle: `seconds` after `start`, and any columns of the clean schema."""

    def make(
        seconds: Sequence[float] | np.ndarray,
        *,
        vehicle_id: str = "car",
        start: str = "2026-03-10T08:00",
        source: str = "raw/log",
        **columns: object,
    ) -> pa.Table:
        count = len(seconds)
        offsets = np.round(np.asarray(seconds, dtype=float) * 1000).astype("timedelta64[ms]")
        filled = {
            "vehicle_id": pa.array([vehicle_id] * count, pa.string()),
            "recorded_at": pa.array(np.datetime64(start, "ms") + offsets).cast(pa.timestamp("ms", "UTC")),
            "source_object": pa.array([source] * count, pa.string()),
            "source_row": pa.array(np.arange(1, count + 1), pa.int64()),
        }
        for name, values in columns.items():
            kind = CLEAN_SCHEMA.field(name).type
            if isinstance(values, pa.Array):
                filled[name] = values
                continue
            sequence = [values] * count if values is None or np.isscalar(values) else values
            filled[name] = pa.array(sequence, kind, from_pandas=True)
        return conform(pa.table(filled), CLEAN_SCHEMA)

    return make


@pytest.fixture
def vehicles() -> Callable[..., pd.DataFrame]:
    """Makes a vehicles frame: NMC, 96 cells in series, 100 Ah, unless told otherwise."""

    def make(*vehicle_ids: str, **columns: object) -> pd.DataFrame:
        known = {
            "vehicle_id": list(vehicle_ids or ("car",)),
            "chemistry": "NMC",
            "cells_in_series": 96.0,
            "capacity_nominal_ah": 100.0,
            "nominal_voltage_v": 350.0,
            "cell_voltage_limit_max_v": 4.2,
        }
        return pd.DataFrame(known | columns)

    return make


@pytest.fixture
def analyze(vehicles: Callable[..., pd.DataFrame]) -> Callable[..., DayAnalysis]:
    """Analyzes one day (2026-03-10 unless told otherwise) of clean rows of a 100 Ah vehicle."""

    def run(
        table: pa.Table, first: date = DAY, last: date | None = None, types: pd.DataFrame | None = None, **options: int
    ) -> DayAnalysis:
        return analyze_rows(table, vehicles() if types is None else types, first, last or first, **options)

    return run


@pytest.fixture
def cells_of() -> Callable[..., pa.Array]:
    """Makes a list column: `rows` lists of `count` cells at `voltage`, with some cells changed by number."""

    def make(rows: int, count: int = 96, voltage: float = 3.7, **changed: float) -> pa.Array:
        matrix = np.full((rows, count), voltage, dtype=np.float32)
        for name, volts in changed.items():
            matrix[:, int(name.removeprefix("cell_")) - 1] = volts
        offsets = np.arange(0, rows * count + 1, count, dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(matrix.ravel()))

    return make
