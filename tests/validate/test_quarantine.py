"""A quarantined row says why it is there, where it came from and what it held."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable

import pandas as pd
import pyarrow as pa

from packwatch.schema import PARSED_SCHEMA
from packwatch.validate.derive import derive
from packwatch.validate.quarantine import QUARANTINE_SCHEMA, broken_rows, raw_text, unreadable_rows
from packwatch.validate.rules import row_mask

from .conftest import ARRIVAL, EMPTY_ROW, SOUND

Table = Callable[..., pa.Table]


def put_aside(rows: pa.Table, vehicles: pd.DataFrame, raw_rows_max: int = 100) -> pa.Table:
    checkable = derive(rows, vehicles, ARRIVAL)
    days = pa.array([ARRIVAL] * len(rows), pa.date32())
    return broken_rows(rows, row_mask(checkable), checkable["vehicle_id"], days, raw_rows_max)


def test_reasons_are_all_errors_and_the_first_leads(table: Table, vehicles: pd.DataFrame) -> None:
    rows = table(
        {},
        {"soc_percent": 101.0, "charge_state": "idle", "year": 2101},  # the year is a warning only
        {"vin": None, "speed_kmh": -1.0, "soc_percent": 101.0},
        {"year": 2101},
        {"soc_percent": 101.0, "charge_state": "idle"},
    )
    aside = put_aside(rows, vehicles)
    assert aside.schema == QUARANTINE_SCHEMA
    assert aside["source_row"].to_pylist() == [2, 3, 5]
    assert aside["reason"].to_pylist() == ["soc_percent_out_of_range", "missing_identity", "soc_percent_out_of_range"]
    assert aside["reasons"].to_pylist() == [
        "soc_percent_out_of_range;charge_state_unknown",
        "missing_identity;soc_percent_out_of_range;speed_kmh_out_of_range",
        "soc_percent_out_of_range;charge_state_unknown",
    ]
    assert aside["vehicle_id"].is_null().to_pylist() == [False, True, False]


def test_raw_text_is_json_of_what_the_row_held(table: Table) -> None:
    odd = 'a "quoted" \\ name;\nÜnïcödé'
    rows = table(
        {
            "make": odd,
            "soc_percent": float("nan"),
            "speed_kmh": float("-inf"),
            "cell_voltages_v": [3.5, None, float("inf")],
        },
        {"cell_voltages_v": [], "temperatures_c": None, "pack_voltage_v": 1e300},
        EMPTY_ROW,
    )
    first, second, third = (json.loads(text) for text in raw_text(rows).to_pylist())
    expected = {name: value for name, value in SOUND.items() if name != "source_object"}
    assert first == expected | {
        "make": odd,
        "recorded_at": "2026-03-10 12:00:00.000Z",
        "soc_percent": "nan",
        "speed_kmh": "-inf",
        "cell_voltages_v": [3.5, None, "inf"],
    }
    assert second["cell_voltages_v"] == []
    assert second["pack_voltage_v"] == 1e300
    assert "temperatures_c" not in second
    assert third == {}


def test_raw_text_of_impossible_times_and_of_no_rows(table: Table) -> None:
    extremes = pa.array([-(2**63) + 1, 2**63 - 1], pa.int64()).cast(pa.timestamp("ms", "UTC"))
    place = PARSED_SCHEMA.get_field_index("recorded_at")
    texts = raw_text(table({}, {}).set_column(place, PARSED_SCHEMA.field(place), extremes)).to_pylist()
    assert all(isinstance(json.loads(text)["recorded_at"], str) for text in texts)
    assert raw_text(table()).to_pylist() == []


def test_raw_text_is_cut(table: Table, vehicles: pd.DataFrame) -> None:
    rows = table({"soc_percent": 101.0, "cell_voltages_v": [3.123456] * 400, "model": "é" * 50})
    text = put_aside(rows, vehicles)["raw"].to_pylist()[0]
    assert len(text) == 2000
    assert text.startswith('{"vin":"TESTCAR1","make":"Test","model":"ééé')
    # Single values come before lists.
    assert '"bms_capacity_ah":60' in text


def test_values_are_written_out_for_so_many_rows_only(table: Table, vehicles: pd.DataFrame) -> None:
    aside = put_aside(table(*[{"soc_percent": 101.0}] * 5), vehicles, raw_rows_max=2)
    assert aside["raw"].is_null().to_pylist() == [False, False, True, True, True]
    assert aside["source_row"].to_pylist() == [1, 2, 3, 4, 5]


def test_nothing_broken_gives_an_empty_table(table: Table, vehicles: pd.DataFrame) -> None:
    for rows in (table(), table({})):
        aside = put_aside(rows, vehicles)
        assert (len(aside), aside.schema) == (0, QUARANTINE_SCHEMA)


def test_unreadable_rows_belong_to_the_only_vehicle_of_their_object(rejects: Callable[..., pa.Table]) -> None:
    owners = pd.DataFrame(
        {"vehicle_id": ["v1", None], "log_date": pd.to_datetime(["2026-03-10", None]).astype("datetime64[s]")},
        index=["raw/a.csv", "raw/b.csv"],
    )
    rows = rejects(
        ("raw/a.csv", 4, "field_count", "1;2;3"),
        ("raw/b.csv", 5, "not_json", "x" * 3000),
        ("raw/c.csv", 6, "not_json", "{"),
    )
    aside = unreadable_rows(rows, owners)
    assert aside.schema == QUARANTINE_SCHEMA
    assert aside["vehicle_id"].to_pylist() == ["v1", None, None]
    assert aside["log_date"].to_pylist() == [dt.date(2026, 3, 10), None, None]
    assert aside["reasons"].to_pylist() == aside["reason"].to_pylist() == ["field_count", "not_json", "not_json"]
    assert [len(text) for text in aside["raw"].to_pylist()] == [5, 2000, 1]
    assert len(unreadable_rows(rejects(), owners)) == 0
