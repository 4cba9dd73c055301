"""Small batches made in the test: a row that breaks no rule, and changes to it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from packwatch.ingest.formats.parsed import REJECT_SCHEMA
from packwatch.ingest.identity import vehicle_ids
from packwatch.schema import PARSED_SCHEMA

ARRIVAL = dt.date(2026, 3, 10)
NOON = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)

# Four cells of 3.7 V in series: 14.8 V.
SOUND: dict[str, Any] = {
    "vin": "TESTCAR1",
    "make": "Test",
    "model": "Car 4s",
    "year": 2020,
    "recorded_at": NOON,
    "pack_voltage_v": 14.8,
    "pack_current_a": -3.0,
    "soc_percent": 55.0,
    "speed_kmh": 30.0,
    "odometer_km": 1234.5,
    "cell_voltage_min_v": 3.6875,
    "cell_voltage_max_v": 3.7125,
    "cell_voltages_v": [3.6875, 3.7, 3.7, 3.7125],
    "temperature_min_c": 20.0,
    "temperature_max_c": 22.0,
    "temperatures_c": [20.0, 22.0],
    "ambient_temperature_c": 15.0,
    "charge_state": "driving",
    "insulation_resistance_kohm": 1000.0,
    "bms_soh_percent": 93.0,
    "bms_capacity_ah": 60.0,
    "source_object": "raw/a.csv",
}


def make_table(*changes: dict[str, Any]) -> pa.Table:
    """One row for each of `changes`: the sound row with them. source_row counts from 1 unless it is given."""
    rows = [{**SOUND, "source_row": number, **change} for number, change in enumerate(changes, start=1)]
    # from_pandas=False keeps NaN apart from null.
    return pa.table(
        [pa.array([row[field.name] for row in rows], field.type, from_pandas=False) for field in PARSED_SCHEMA],
        schema=PARSED_SCHEMA,
    )


def make_rejects(*rows: tuple[str, int, str, str]) -> pa.Table:
    """Rows that could not be read: source_object, source_row, reason, raw."""
    return pa.Table.from_pylist([dict(zip(REJECT_SCHEMA.names, row, strict=True)) for row in rows], REJECT_SCHEMA)


def make_vehicles(vins: list[str], **specs: Any) -> pd.DataFrame:
    """Vehicles of four cells in series that may hold 2.5 V to 4.2 V."""
    known = {
        "year": pd.array([2020] * len(vins), dtype="Int16"),
        "cells_in_series": 4.0,
        "cell_voltage_limit_min_v": 2.5,
        "cell_voltage_limit_max_v": 4.2,
    }
    return pd.DataFrame({"vehicle_id": vehicle_ids(pd.Series(vins, dtype="str")), **known, **specs})


NUMBERS = st.one_of(
    st.none(),
    st.sampled_from([float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 0.5, 5.0, 100.0, 1e308, -1e308, 5e-324]),
    st.floats(-100, 600),
)
# float32 cannot hold what is beyond 3.4e38.
ELEMENTS = st.one_of(st.none(), st.sampled_from([float("nan"), float("inf"), 0.0, 65.535]), st.floats(3, 4, width=32))
LISTS = st.one_of(st.none(), st.lists(ELEMENTS, max_size=5), st.just([3.7, 3.7, 3.7, 3.7]))
TIMES = st.one_of(
    st.none(),
    st.sampled_from([NOON, dt.datetime(1, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 12, 31, tzinfo=dt.UTC)]),
    st.datetimes(dt.datetime(2018, 12, 31), dt.datetime(2026, 3, 14), timezones=st.just(dt.UTC)),
)
TEXTS = st.one_of(st.none(), st.sampled_from(["", " ", "charging", "Charging", 'say "hi";\n\\', "Ünïcödé €"]))
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "vin": st.one_of(TEXTS, st.sampled_from(["TESTCAR1", "testcar1", "TESTCAR2", "0" * 17, "A" * 18])),
        "make": TEXTS,
        "year": st.one_of(st.none(), st.sampled_from([0, -1, 2007, 2008, 2020, 2026, 2027, 2028, 2100, 2101, 32767])),
        "recorded_at": TIMES,
        "charge_state": TEXTS,
        "cell_voltages_v": LISTS,
        "temperatures_c": LISTS,
        "source_object": st.sampled_from(["raw/a.csv", "raw/b.csv"]),
        **{field.name: NUMBERS for field in PARSED_SCHEMA if pa.types.is_float64(field.type)},
    },
)
EMPTY_ROW = {field.name: None for field in PARSED_SCHEMA if field.name not in ("source_object", "source_row")}
BATCHES = st.lists(st.one_of(CHANGES, st.just(EMPTY_ROW)), max_size=12)


@pytest.fixture(scope="session")
def table() -> Callable[..., pa.Table]:
    """Maker of parsed rows, see `make_table`."""
    return make_table


@pytest.fixture(scope="session")
def rejects() -> Callable[..., pa.Table]:
    """Maker of unreadable rows, see `make_rejects`."""
    return make_rejects


@pytest.fixture(scope="session")
def vehicles() -> pd.DataFrame:
    """The type of TESTCAR1: four cells in series, 2.5 V to 4.2 V, model year 2020. TESTCAR2 has none."""
    return make_vehicles(["TESTCAR1"])


@pytest.fixture(scope="session")
def random_table() -> pa.Table:
    """5000 rows of three vehicles in two objects, about one value in 400 absurd."""
    rng = np.random.default_rng(7)
    size = 5000
    base = make_table({}).take(pa.array(np.zeros(size, dtype=np.int64)))
    columns = {name: base[name] for name in base.column_names}
    columns["vin"] = pa.array(np.array(["TESTCAR1", "TESTCAR2", "TESTCAR3"])[rng.integers(0, 3, size)])
    columns["source_object"] = pa.array(np.array(["raw/a.csv", "raw/b.csv"])[rng.integers(0, 2, size)])
    columns["source_row"] = pa.array(np.arange(1, size + 1))
    for field in PARSED_SCHEMA:
        if pa.types.is_float64(field.type):
            values = base[field.name].to_numpy().copy()
            values[rng.random(size) < 1 / 400] = rng.choice([np.nan, np.inf, -1e6, 1e7])
            columns[field.name] = pa.array(values, from_pandas=False)
    return pa.table(columns, schema=PARSED_SCHEMA)
