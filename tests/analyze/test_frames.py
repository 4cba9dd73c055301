"""Order, dtypes and ids of the result frames."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pyarrow as pa
import pytest

from packwatch.analyze import frames

TABLES = {
    "sessions": frames.SESSION_COLUMNS,
    "days": frames.DAY_COLUMNS,
    "cells": frames.CELL_COLUMNS,
    "anomalies": frames.ANOMALY_COLUMNS,
}


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES.keys())
def test_an_empty_frame_has_the_dtypes_of_a_full_one(columns: dict[str, str]) -> None:
    full = frames.build_frame({name: [0, 1] for name in columns}, columns)
    empty = frames.empty_frame(columns)
    assert len(empty) == 0
    assert list(empty.columns) == list(full.columns) == list(columns)
    assert empty.dtypes.astype(str).tolist() == full.dtypes.astype(str).tolist()
    # Parquet can hold it, and no time loses its zone.
    schema = pa.Table.from_pandas(full, preserve_index=False).schema
    assert all(
        schema.field(name).type == pa.timestamp("ms", "UTC") for name, kind in columns.items() if kind == frames.TIME
    )


def test_times_and_dates() -> None:
    frame = frames.build_frame({"at": [86_400_000], "on": [1]}, {"at": frames.TIME, "on": frames.DATE})
    assert frame["at"].tolist() == [pd.Timestamp("1970-01-02T00:00Z")]
    assert frame["on"].tolist() == [date(1970, 1, 2)]
    assert (frame["on"] == date(1970, 1, 2)).all()
