"""Canonical logs: whatever is written is read back the same, and a bad row never costs a good one."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from packwatch.errors import UnreadableLog, UsageError
from packwatch.ingest.formats import ParsedLog, parse_log, write_log
from packwatch.schema import LOG_SCHEMA, PARSED_SCHEMA

KINDS = ("parquet", "csv", "jsonl")
EXTENSIONS = [f".{kind}{packing}" for kind in KINDS for packing in ("", ".gz", ".zst")]
AT = datetime(2024, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)

FULL = {
    "vin": "V1",
    "make": "Citroën",
    "model": 'a "quoted, odd" name',
    "year": 2019,
    "recorded_at": AT,
    "pack_voltage_v": 374.91,
    "pack_current_a": -12.345678901234567,
    "soc_percent": 65.4321,
    "speed_kmh": 0.0,
    "odometer_km": 54321.0,
    "cell_voltage_min_v": 3.9,
    "cell_voltage_max_v": 3.906,
    "cell_voltages_v": [3.901, None, 3.903],
    "temperature_min_c": -19.8,
    "temperature_max_c": 20.5,
    "temperatures_c": [20.5],
    "ambient_temperature_c": 1e-7,
    "charge_state": "driving",
    "insulation_resistance_kohm": 1e6,
    "bms_soh_percent": 95.0,
    "bms_capacity_ah": 108.0,
}
BARE = dict.fromkeys(LOG_SCHEMA.names) | {"vin": "V2", "recorded_at": AT, "soc_percent": 1.0}


def table(*rows: dict) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=LOG_SCHEMA)


def csv(*lines: str, hints: dict | None = None) -> ParsedLog:
    return parse_log("\n".join(lines).encode(), "log.csv", hints or {})


def parquet(columns: dict) -> ParsedLog:
    buffer = io.BytesIO()
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), buffer)
    return parse_log(buffer.getvalue(), "log.parquet")


def rejected(log: ParsedLog) -> list[tuple[int, str, str]]:
    return [tuple(row.values())[1:] for row in log.rejects.to_pylist()]


class TestWriteAndRead:
    @pytest.mark.parametrize("extension", EXTENSIONS)
    def test_every_column_comes_back(self, extension):
        written = table(FULL, BARE, FULL)
        log = parse_log(write_log(written, f"some.day{extension}"), "key")
        assert log.format == f"canonical-{extension.split('.')[1]}"
        assert log.rows.schema == PARSED_SCHEMA
        assert log.rows.select(LOG_SCHEMA.names).equals(written)
        assert log.rows["source_row"].to_pylist() == [1, 2, 3]
        assert log.rows["source_object"].to_pylist() == ["key"] * 3
        assert len(log.rejects) == 0

    @pytest.mark.parametrize("extension", EXTENSIONS)
    def test_the_same_table_gives_the_same_bytes(self, extension):
        assert write_log(table(FULL), f"x{extension}") == write_log(table(FULL), f"x{extension}")

    @pytest.mark.parametrize("kind", KINDS)
    def test_columns_may_be_absent(self, kind):
        written = pa.table({"soc_percent": [1.5], "vin": ["V"], "recorded_at": [AT]})
        assert parse_log(write_log(written, f"x.{kind}"), "x").rows["soc_percent"].to_pylist() == [1.5]

    @pytest.mark.parametrize("kind", KINDS)
    def test_columns_that_are_not_canonical_are_left_out(self, kind):
        written = table(FULL).append_column("source_object", pa.array(["secret"]))
        assert b"secret" not in write_log(written, f"x.{kind}")

    @pytest.mark.parametrize("kind", ["csv", "jsonl"])
    def test_no_rows(self, kind):
        assert write_log(table(), f"x.{kind}").count(b"\n") == (1 if kind == "csv" else 0)

    @pytest.mark.parametrize("name", ["x", "x.xlsx", "x.gz", "x.csv.bz2", ".gz"])
    def test_other_extensions_are_refused(self, name):
        with pytest.raises(UsageError, match=r"\.parquet, \.csv, \.jsonl"):
            write_log(table(FULL), name)

    @pytest.mark.parametrize("kind", ["csv", "jsonl"])
    @hypothesis_settings(max_examples=40, deadline=None)
    @given(
        value=st.floats(allow_nan=False, allow_infinity=False),
        cells=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False) | st.none(), min_size=1, max_size=4),
        vin=st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=17),
    )
    def test_numbers_and_names_survive_text_exactly(self, kind, value, cells, vin):
        written = table(BARE | {"soc_percent": value, "cell_voltages_v": cells, "vin": f"V{vin}"})
        back = parse_log(write_log(written, f"x.{kind}"), "x").rows
        assert back["soc_percent"].to_pylist() == [value]
        # a list without any value is no list
        assert back["cell_voltages_v"].to_pylist() == [None if set(cells) == {None} else cells]
        assert back["vin"].to_pylist() == [f"V{vin}"]


class TestCsv:
    def test_order_blanks_and_unknown_columns_do_not_matter(self):
        log = csv(" soc_percent ,extra,vin,extra, recorded_at", " 50 ,x, V1 ,y, 2024-01-02T03:04:05Z ")
        assert log.rows["soc_percent"].to_pylist() == [50.0]
        assert log.rows["vin"].to_pylist() == ["V1"]
        assert log.rows["recorded_at"].to_pylist() == [datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)]

    @pytest.mark.parametrize("word", ["", "null", "NULL", "NaN", "nan", "None", "none", "NA", "na", "N/A", "n/a", "-"])
    def test_words_for_a_missing_value(self, word):
        log = csv("vin,recorded_at,soc_percent,speed_kmh,cell_voltages_v", f"V1,2024-01-02T03:04:05Z,50,{word},{word}")
        assert log.rows["speed_kmh"].to_pylist() == [None]
        assert log.rows["cell_voltages_v"].to_pylist() == [None]
        assert len(log.rejects) == 0

    def test_a_word_in_one_row_costs_that_row_alone(self):
        lines = [
            "vin,recorded_at,soc_percent,year",
            *[f"V1,2024-01-02T03:04:0{second}Z,5{second},2019" for second in range(4)],
        ]
        lines[2] = "V1,2024-01-02T03:04:01Z,full,2019"
        lines[4] = "V1,2024-01-02T03:04:03Z,53,2019.5"
        log = csv(*lines)
        assert log.rows["soc_percent"].to_pylist() == [50.0, 52.0]
        assert log.rows["source_row"].to_pylist() == [1, 3]
        assert rejected(log) == [(2, "unreadable_number", lines[2]), (4, "unreadable_number", lines[4])]

    def test_a_word_in_a_list_costs_that_row(self):
        log = csv("vin,recorded_at,cell_voltages_v", "V1,2024-01-02T03:04:05Z,3.9 x", "V1,2024-01-02T03:04:06Z,3.9 3.8")
        assert log.rows["cell_voltages_v"].to_pylist() == [pytest.approx([3.9, 3.8])]
        assert [row for row, _, _ in rejected(log)] == [1]

    def test_rows_of_another_length_are_set_aside(self):
        good = "V1,2024-01-02T03:04:05Z,50"
        log = csv("vin,recorded_at,soc_percent", good, "V1,2024", good, "", good + ",1,2", good)
        assert len(log.rows) == 3
        assert log.rows["source_row"].to_pylist() == [1, 3, 5]
        assert rejected(log) == [(2, "field_count", "V1,2024"), (4, "field_count", good + ",1,2")]

    def test_both_defects_in_one_file(self):
        good = "V1,2024-01-02T03:04:05Z,50"
        log = csv("vin,recorded_at,soc_percent", "V1,2024", "V1,2024-01-02T03:04:05Z,full", good)
        assert [(row, reason) for row, reason, _ in rejected(log)] == [(1, "field_count"), (2, "unreadable_number")]
        assert log.rows["source_row"].to_pylist() == [3]

    def test_rows_are_numbered_right_in_large_files(self):
        # larger than the 8 MB block that is read at a time
        good = "V1,2024-01-02T03:04:05Z,50," + "x" * 200
        lines = [good] * 60_000
        lines[40_000] = "cut"
        log = csv("vin,recorded_at,soc_percent,note", *lines)
        assert rejected(log) == [(40_001, "field_count", "cut")]
        assert log.rows["source_row"].to_numpy().sum() == 60_000 * 60_001 // 2 - 40_001

    def test_a_quote_that_never_ends_costs_few_rows(self):
        good = "V1,2024-01-02T03:04:05Z,50,x"
        log = csv("vin,recorded_at,soc_percent,model", good, 'V1,2024-01-02T03:04:05Z,50,"x', good, good)
        assert len(log.rows) + len(log.rejects) == 4
        assert log.rows["soc_percent"].to_pylist() == [50.0] * 3
        assert log.rejects["reason"].to_pylist() == ["open_quote"]

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_ends_of_lines_and_byte_order_mark(self, end):
        text = end.join(["\ufeffvin,recorded_at,soc_percent", "V1,2024-01-02T03:04:05Z,50", "", ""])
        assert parse_log(text.encode(), "x").rows["vin"].to_pylist() == ["V1"]

    def test_blank_lines_before_the_header(self):
        assert len(csv("", "", "vin,recorded_at,soc_percent", "V1,2024-01-02T03:04:05Z,50").rows) == 1

    def test_values_that_break_the_rules_are_left_to_validation(self):
        log = csv(
            "vin,recorded_at,soc_percent,charge_state",
            "V1,2024-01-02T03:04:05Z,-500,Flying",
            "V1,2024-01-02T03:04:05Z,inf,",
        )
        assert log.rows["soc_percent"].to_pylist() == [-500.0, float("inf")]
        assert log.rows["charge_state"].to_pylist() == ["flying", None]

    def test_a_column_twice_is_refused(self):
        with pytest.raises(UnreadableLog, match="occur twice: soc_percent") as caught:
            csv("vin,recorded_at,soc_percent,soc_percent", "V1,2024-01-02T03:04:05Z,1,2")
        assert caught.value.reason == "duplicate_columns"


class TestMissingColumns:
    @pytest.mark.parametrize(
        ("header", "hints", "named"),
        [
            ("recorded_at,soc_percent", {}, "missing columns: vin;"),
            ("vin,soc_percent", {}, "missing columns: recorded_at;"),
            ("vin,recorded_at", {}, "missing columns: at least one signal"),
            ("soc_percent", {}, "missing columns: vin, recorded_at;"),
            ("recorded_at", {"vin": "V"}, "missing columns: at least one signal"),
        ],
    )
    def test_they_are_named(self, header, hints, named):
        fields = header.split(",")
        values = {"vin": "V1", "recorded_at": "2024-01-02T03:04:05Z", "soc_percent": "50"}
        line = ",".join(values[field] for field in fields)
        objects = "{" + ",".join(f'"{field}":"{values[field]}"' for field in fields) + "}"
        buffer = io.BytesIO()
        pq.write_table(pa.table({field: [values[field]] for field in fields}), buffer)
        for data in (f"{header}\n{line}\n".encode(), objects.encode(), buffer.getvalue()):
            with pytest.raises(UnreadableLog, match=named) as caught:
                parse_log(data, "x", hints)
            assert caught.value.reason == "missing_columns"

    def test_the_vin_may_come_from_a_hint(self):
        log = csv("recorded_at,soc_percent", "2024-01-02T03:04:05Z,50", hints={"vin": "V9"})
        assert log.rows["vin"].to_pylist() == ["V9"]


class TestTime:
    @pytest.mark.parametrize(
        ("written", "expected"),
        [
            ("2024-01-02T03:04:05Z", datetime(2024, 1, 2, 3, 4, 5)),
            ("2024-01-02 03:04:05", datetime(2024, 1, 2, 3, 4, 5)),  # without a zone: UTC
            ("2024-01-02T03:04", datetime(2024, 1, 2, 3, 4)),
            ("2024-01-02T03:04:05+05:30", datetime(2024, 1, 1, 21, 34, 5)),
            ("2024-01-02T00:00:00-08:00", datetime(2024, 1, 2, 8)),
            ("2024-01-02T03:04:05.6789Z", datetime(2024, 1, 2, 3, 4, 5, 678_000)),
            # 1 704 164 645 s after 1970 is 2024-01-02 03:04:05
            ("1704164645", datetime(2024, 1, 2, 3, 4, 5)),
            ("1704164645123", datetime(2024, 1, 2, 3, 4, 5, 123_000)),
            ("1704164645.5", datetime(2024, 1, 2, 3, 4, 5, 500_000)),
            ("2024-02-30T00:00:00Z", None),
            ("2024-01-02", None),
            ("02/01/2024 03:04", None),
            ("yesterday", None),
            ("99999999999999999", None),
            ("", None),
        ],
    )
    def test_ways_to_write_it(self, written, expected):
        wanted = None if expected is None else expected.replace(tzinfo=UTC)
        # beside a row of the usual form, and alone
        log = csv("vin,recorded_at,soc_percent", f"V1,{written},50", "V1,2024-05-06T07:08:09Z,51")
        assert log.rows["recorded_at"].to_pylist() == [wanted, datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)]
        assert csv("vin,recorded_at,soc_percent", f"V1,{written},50").rows["recorded_at"].to_pylist() == [wanted]
        assert len(log.rejects) == 0

    def test_midnight_of_a_year_before_1970(self):
        log = csv("vin,recorded_at,soc_percent", "V1,1969-12-31T23:59:59.999Z,50")
        assert log.rows["recorded_at"].to_pylist() == [datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)]


class TestParquet:
    def test_as_pandas_writes_it(self):
        frame = pd.DataFrame(
            {
                "vin": pd.Categorical(["V1", "V2"]),
                "year": [2019, 2020],
                "recorded_at": pd.to_datetime(["2024-01-02T03:04:05.678901234", "2024-01-02T03:04:06.0"]).tz_localize(
                    "Europe/Paris"
                ),
                "soc_percent": np.array([50, np.nan], dtype=np.float32),
                "speed_kmh": np.array([1, 2], dtype=np.int8),
                "cell_voltages_v": [np.array([3.5, np.nan]), None],
            },
            index=[5, 6],
        )
        row, other = parquet(pa.Table.from_pandas(frame)).rows.to_pylist()
        # 03:04:05 in Paris in January is 02:04:05 UTC; beyond milliseconds it is cut off
        assert row["recorded_at"] == datetime(2024, 1, 2, 2, 4, 5, 678_000, tzinfo=UTC)
        assert (row["vin"], row["year"], row["soc_percent"], row["speed_kmh"]) == ("V1", 2019, 50.0, 1.0)
        assert row["cell_voltages_v"] == [3.5, None]
        assert other["soc_percent"] is None
        assert other["cell_voltages_v"] is None

    @pytest.mark.parametrize(
        "at",
        [
            pa.array([1704164645678], pa.timestamp("ms")),
            pa.array([1704164645678901], pa.timestamp("us", tz="UTC")),
            pa.array([1704164645678], pa.int64()),
            pa.array([1704164645.678], pa.float64()),
            pa.array(["2024-01-02T03:04:05.678Z"], pa.large_string()),
        ],
        ids=lambda at: str(at.type),
    )
    def test_types_of_time(self, at):
        log = parquet({"vin": ["V"], "recorded_at": at, "soc_percent": [1]})
        assert log.rows["recorded_at"].to_pylist() == [AT]

    def test_text_that_is_no_text_is_damage(self):
        broken = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe"))
        with pytest.raises(UnreadableLog) as caught:
            parquet({"vin": broken, "recorded_at": [AT], "soc_percent": [1]})
        assert caught.value.reason == "corrupt_parquet"

    def test_a_date_is_no_time(self):
        log = parquet({"vin": ["V"], "recorded_at": [date(2024, 1, 2)], "soc_percent": [1]})
        assert log.rows["recorded_at"].to_pylist() == [None]

    def test_numbers_as_text_are_read_and_words_cost_their_row(self):
        log = parquet({"vin": ["V", "V"], "recorded_at": [AT, AT], "soc_percent": ["50", "full"]})
        assert log.rows["soc_percent"].to_pylist() == [50.0]
        assert [(row, reason) for row, reason, _ in rejected(log)] == [(2, "unreadable_number")]
        assert "full" in log.rejects["raw"][0].as_py()

    def test_fixed_size_and_large_lists(self):
        values = pa.FixedSizeListArray.from_arrays(pa.array([1.5, 2.5, 3.5, 4.5]), 2)
        large = pa.array([[1.0], []], pa.large_list(pa.float64()))
        log = parquet({"vin": ["V", "V"], "recorded_at": [AT, AT], "cell_voltages_v": values, "temperatures_c": large})
        assert log.rows["cell_voltages_v"].to_pylist() == [[1.5, 2.5], [3.5, 4.5]]
        assert log.rows["temperatures_c"].to_pylist() == [[1.0], None]

    @pytest.mark.parametrize(
        ("column", "value"),
        [("soc_percent", [{"a": 1}]), ("cell_voltages_v", [1.5]), ("vin", [[1]]), ("recorded_at", [[1]])],
    )
    def test_a_type_that_cannot_mean_it_is_refused(self, column, value):
        good = {"vin": ["V"], "recorded_at": [AT], "soc_percent": [1.0]}
        with pytest.raises(UnreadableLog, match=f"column .*{column}|wanted") as caught:
            parquet(good | {column: value})
        assert caught.value.reason == "wrong_column_type"

    def test_yes_and_no_are_no_numbers(self):
        log = parquet({"vin": ["V"], "recorded_at": [AT], "soc_percent": [True]})
        assert [(row, reason) for row, reason, _ in rejected(log)] == [(1, "unreadable_number")]


def test_a_torn_line_in_quotes_costs_itself_alone():
    # The list of line 2 is cut inside its quotes; line 3 also has a field too many.
    text = (
        "vin,recorded_at,pack_voltage_v,cell_voltages_v\n"
        'CAR1,2026-03-23T10:00:00Z,400,"3.9 3.9"\n'
        'CAR1,2026-03-23T10:01:00Z,401,"3.9 3\n'
        "CAR1,2026-03-23T10:02:00Z,402,3.9 3.9,7\n"
        'CAR1,2026-03-23T10:03:00Z,403,"3.9 3.9"\n'
    )
    log = parse_log(text.encode(), "torn.csv")
    assert log.rows["pack_voltage_v"].to_pylist() == [400.0, 403.0]
    assert log.rows["source_row"].to_pylist() == [1, 4]
    rejects = sorted(zip(log.rejects["source_row"].to_pylist(), log.rejects["reason"].to_pylist(), strict=True))
    assert rejects == [(2, "open_quote"), (3, "field_count")]
