"""Canonical and LeafSpy files: what is written can be read back, unit by unit."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from packwatch.schema import LOG_SCHEMA
from packwatch.simulate.encode import encode
from packwatch.simulate.leafspy import HEADER, encode_leafspy
from packwatch.simulate.pack import AC, DC, DRIVING

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def rows(simulated: Make) -> pa.Table:
    """Return some rows of a vehicle that logs lists, and no state of health."""
    return simulated("Lumo 52").log.table.slice(100, 50)


def test_parquet_holds_the_table(rows: pa.Table) -> None:
    assert pq.read_table(io.BytesIO(encode(rows, "parquet"))).equals(rows)


def test_csv_reads_back(rows: pa.Table) -> None:
    text = gzip.decompress(encode(rows, "csv.gz")).decode()
    read = list(csv.DictReader(io.StringIO(text)))
    assert list(read[0]) == LOG_SCHEMA.names
    for line, row in zip(read, rows.to_pylist(), strict=True):
        assert float(line["pack_voltage_v"]) == row["pack_voltage_v"]
        assert datetime.fromisoformat(line["recorded_at"]) == row["recorded_at"]
        assert [float(cell) for cell in line["cell_voltages_v"].split()] == pytest.approx(row["cell_voltages_v"])
        assert line["bms_soh_percent"] == ""  # missing is empty


@pytest.mark.parametrize("compression", ["gz", "zst"])
def test_json_lines_read_back(rows: pa.Table, compression: str) -> None:
    data = encode(rows, f"jsonl.{compression}")
    with pa.CompressedInputStream(pa.BufferReader(data), {"gz": "gzip", "zst": "zstd"}[compression]) as stream:
        read = [json.loads(line) for line in stream.read().decode().splitlines()]
    for line, row in zip(read, rows.to_pylist(), strict=True):
        assert line.get("bms_soh_percent") is None
        assert line["vin"] == row["vin"]
        assert line["pack_current_a"] == row["pack_current_a"]
        assert line["temperatures_c"] == pytest.approx(row["temperatures_c"])
        assert line["charge_state"] == row["charge_state"]


@pytest.mark.parametrize("file_format", ["parquet", "csv", "csv.gz", "jsonl", "jsonl.gz", "jsonl.zst"])
def test_same_rows_same_bytes(rows: pa.Table, file_format: str) -> None:
    assert encode(rows, file_format) == encode(rows, file_format)


def test_gzip_header_holds_no_time(rows: pa.Table) -> None:
    assert encode(rows, "csv.gz")[4:8] == b"\0\0\0\0"


def test_leafspy_header_has_the_columns_of_the_app() -> None:
    names = HEADER.split(",")
    assert len(names) == 159
    assert names[23] == "CP1"
    assert names[118] == "CP96"
    assert " Speed1" in names  # with its leading blank


@pytest.fixture(scope="module")
def leafspy(simulated: Make) -> tuple[list[dict[str, str]], Any]:
    """Return the lines of a Leaf's log by column, and the log."""
    made = simulated("Leaf 40")
    data = encode_leafspy(made.log.table, made.log.state, 1.0, np.random.default_rng(0))
    return list(csv.DictReader(io.StringIO(data.decode()))), made


def test_leafspy_scales_and_turns_the_current(leafspy: tuple[list[dict[str, str]], Any]) -> None:
    lines, made = leafspy
    table = made.log.table.to_pylist()
    assert len(lines) == len(table)
    for line, row in list(zip(lines, table, strict=True))[::37]:
        assert int(line["SOC"]) == round(row["soc_percent"] * 10_000)
        assert int(line["AHr"]) == round(row["bms_capacity_ah"] * 10_000)
        assert float(line["Pack Amps"]) == -row["pack_current_a"]  # discharge is positive
        assert int(line["epoch time"]) == math.floor(row["recorded_at"].timestamp())
        assert int(line["Max CP mV"]) == round(row["cell_voltage_max_v"] * 1000)
        assert float(line["Pack T1 F"]) == pytest.approx(float(line["Pack T1 C"]) * 1.8 + 32, abs=0.06)
        assert [float(line[f"Pack T{n} C"]) for n in (1, 2, 4)] == pytest.approx(row["temperatures_c"], abs=0.06)
        assert (line["Pack T3 C"], line["VIN"]) == ("none", row["vin"])
        assert [abs(int(line[f"CP{n}"])) for n in range(1, 97)] == [
            round(cell * 1000) for cell in row["cell_voltages_v"]
        ]


def test_leafspy_local_time_is_an_hour_ahead_of_utc(leafspy: tuple[list[dict[str, str]], Any]) -> None:
    lines, _ = leafspy
    # 5 January 2026 00:00 UTC is 01:00 in central Europe
    assert lines[0]["Date/Time"].startswith("05/01/2026 01:0")


def test_leafspy_shows_balancing_and_modes(leafspy: tuple[list[dict[str, str]], Any]) -> None:
    lines, made = leafspy
    negative = np.array([[int(line[f"CP{n}"]) < 0 for n in range(1, 97)] for line in lines])
    assert negative.any()
    assert not negative.all(axis=1).any()
    state = made.log.state
    assert {line["Gear"] for line, one in zip(lines, state, strict=True) if one == DRIVING} == {"4"}
    assert {line["Charge Mode"] for line, one in zip(lines, state, strict=True) if one == AC} == {"2"}
    assert {line["Charge Mode"] for line, one in zip(lines, state, strict=True) if one not in (AC, DC)} == {"0"}
    power = [int(line["OBC Out Pwr"]) for line, one in zip(lines, state, strict=True) if one == AC]
    assert 5000 < np.median(power) < 6600
