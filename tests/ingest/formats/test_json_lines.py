"""JSON Lines: a broken line costs itself alone, and time may be text or a number."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from packwatch.ingest.formats import ParsedLog, parse_log

AT = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
GOOD = '{"vin":"V1","recorded_at":"2024-01-02T03:04:05Z","soc_percent":50}'


def read(*lines: str) -> ParsedLog:
    return parse_log("\n".join(lines).encode(), "log.jsonl")


def rejected(log: ParsedLog) -> list[tuple[int, str]]:
    return list(zip(log.rejects["source_row"].to_pylist(), log.rejects["reason"].to_pylist(), strict=True))


def line(**changes: object) -> str:
    return json.dumps(json.loads(GOOD) | changes)


@pytest.mark.parametrize(
    "broken",
    [
        '{"vin":"V1","recorded_at"',
        "not json",
        "[1, 2]",
        '"text"',
        "42",
        "null",
        GOOD + GOOD,
        "{" * 5000,
    ],
)
def test_a_line_that_is_no_object(broken):
    log = read(GOOD, broken, GOOD)
    assert log.rows["source_row"].to_pylist() == [1, 3]
    assert rejected(log) == [(2, "not_json")]
    assert log.rejects["raw"].to_pylist() == [broken[:2000]]


@pytest.mark.parametrize(
    "changes",
    [
        {"soc_percent": "full"},
        {"soc_percent": True},
        {"soc_percent": {"value": 50}},
        {"soc_percent": [50]},
        {"year": 2019.5},
        {"cell_voltages_v": [3.9, "x"]},
        {"cell_voltages_v": [3.9, [3.8]]},
        {"cell_voltages_v": [3.9, True]},
        {"cell_voltages_v": 3.9},
    ],
)
def test_a_value_that_is_no_number(changes):
    log = read(GOOD, line(**changes), GOOD)
    assert log.rows["soc_percent"].to_pylist() == [50.0, 50.0]
    assert rejected(log) == [(2, "unreadable_number")]


@pytest.mark.parametrize(
    ("changes", "column", "expected"),
    [
        ({"soc_percent": "81.5"}, "soc_percent", 81.5),
        ({"soc_percent": ""}, "soc_percent", None),
        ({"soc_percent": None}, "soc_percent", None),
        ({"soc_percent": float("nan")}, "soc_percent", None),
        ({"year": 2019}, "year", 2019),
        ({"year": "2019"}, "year", 2019),
        ({"year": 2019.0}, "year", 2019),
        ({"vin": 12345}, "vin", "12345"),
        ({"vin": {"a": 1}}, "vin", None),
        ({"cell_voltages_v": [3.5, None, "3.25"]}, "cell_voltages_v", [3.5, None, 3.25]),
        ({"cell_voltages_v": "3.5 3.25"}, "cell_voltages_v", [3.5, 3.25]),
        ({"cell_voltages_v": []}, "cell_voltages_v", None),
        ({"unknown": {"deep": [1, {"er": 2}]}}, "soc_percent", 50.0),
    ],
)
@pytest.mark.parametrize("company", [[], [GOOD], ["broken"]], ids=["alone", "beside others", "beside a broken line"])
def test_ways_to_write_a_value(changes, column, expected, company):
    log = read(line(**changes), *company)
    assert log.rows[column].to_pylist()[0] == expected
    assert rejected(log) == ([(2, "not_json")] if company == ["broken"] else [])


@pytest.mark.parametrize(
    "written",
    ["2024-01-02T03:04:05Z", "2024-01-02T05:04:05+02:00", 1704164645, 1704164645000, 1704164645.0, "1704164645"],
)
@pytest.mark.parametrize("company", [[], ["broken"]], ids=["alone", "beside a broken line"])
def test_ways_to_write_the_time(written, company):
    assert read(line(recorded_at=written), *company).rows["recorded_at"].to_pylist() == [AT]


@pytest.mark.parametrize("written", ["soon", None, True, [1], 1e30])
def test_a_time_that_cannot_be_read_keeps_its_row(written):
    log = read(line(recorded_at=written), GOOD)
    assert log.rows["recorded_at"].to_pylist() == [None, AT]
    assert len(log.rejects) == 0


def test_times_of_both_kinds_in_one_file():
    log = read(line(recorded_at=1704164645), GOOD, line(recorded_at=1704164645.25))
    assert log.rows["recorded_at"].to_pylist() == [AT, AT, AT.replace(microsecond=250_000)]


def test_keys_may_come_and_go():
    log = read(GOOD, '{"recorded_at":"2024-01-02T03:04:05Z","vin":"V2","speed_kmh":1.5,"temperatures_c":[1,2]}')
    assert log.rows["soc_percent"].to_pylist() == [50.0, None]
    assert log.rows["speed_kmh"].to_pylist() == [None, 1.5]
    assert log.rows["temperatures_c"].to_pylist() == [None, [1.0, 2.0]]


def test_blank_lines_are_no_rows():
    log = parse_log(b"\xef\xbb\xbf\n" + GOOD.encode() + b"\r\n\r\n  \n" + GOOD.encode() + b"\n\n", "x")
    assert log.rows["source_row"].to_pylist() == [1, 2]


def test_many_lines_with_few_broken_ones():
    # three groups of a thousand: broken lines in the first and the last
    lines = [line(soc_percent=number % 100) for number in range(2500)]
    lines[10], lines[2400] = "broken", line(soc_percent="full")
    log = read(*lines)
    assert rejected(log) == [(11, "not_json"), (2401, "unreadable_number")]
    assert len(log.rows) == 2498
    soc = dict(zip(log.rows["source_row"].to_pylist(), log.rows["soc_percent"].to_pylist(), strict=True))
    assert (soc[1], soc[1500], soc[2500]) == (0, 99, 99)


def test_only_broken_lines_after_the_first():
    log = read(GOOD, *["x"] * 5)
    assert (len(log.rows), len(log.rejects)) == (1, 5)


def test_one_very_long_line():
    log = read(GOOD, line(note="x" * 3_000_000))
    assert log.rows["soc_percent"].to_pylist() == [50.0, 50.0]
