"""Great Expectations and the row mask count the same, and the gate decides on their counts."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packwatch import errors
from packwatch.validate.derive import derive
from packwatch.validate.expectations import BROKEN_ROW, count_violations, decide, run_gate
from packwatch.validate.rules import BY_CODE, RULES, Rule, row_mask

from .conftest import ARRIVAL, CHANGES, EMPTY_ROW, make_table
from .test_rules import BROKEN

Table = Callable[..., pa.Table]


def assert_both_count_the_same(rows: pa.Table, vehicles: pd.DataFrame) -> dict[str, int]:
    checkable = derive(rows, vehicles, ARRIVAL)
    hits = row_mask(checkable)
    masked = {rule.code: int(count) for rule, count in zip(RULES, hits.counts, strict=True)}
    counted = count_violations(checkable, hits)
    assert counted == {**masked, BROKEN_ROW.code: int(hits.broken.sum())}
    return counted


def test_both_engines_find_every_broken_rule(table: Table, vehicles: pd.DataFrame) -> None:
    counts = assert_both_count_the_same(table({}, *(change for change, _ in BROKEN)), vehicles)
    assert all(counts[code] >= 1 for code in BY_CODE)


NOT_NUMBERS: list[dict[str, Any]] = [
    {"soc_percent": value, "cell_voltage_min_v": value, "cell_voltages_v": [value, 3.7], "pack_voltage_v": value}
    for value in (None, np.nan, np.inf, -np.inf)
]
IMPOSSIBLE_TIMES = [{"recorded_at": dt.datetime(year, 1, 1, tzinfo=dt.UTC)} for year in (1, 1969, 9999)]


# Each run of Great Expectations costs most of a second, whatever the number of rows.
@pytest.mark.parametrize(
    "changes",
    [[], [{}], [EMPTY_ROW], [EMPTY_ROW, EMPTY_ROW, *NOT_NUMBERS, *IMPOSSIBLE_TIMES]],
    ids=["no row", "one sound row", "one empty row", "empty, NaN, infinite and impossible"],
)
def test_both_engines_count_the_same_on_worst_cases(
    changes: list[dict[str, Any]], table: Table, vehicles: pd.DataFrame
) -> None:
    assert_both_count_the_same(table(*changes), vehicles)


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(CHANGES, min_size=10, max_size=40))
def test_both_engines_count_the_same_on_anything(changes: list[dict[str, Any]], vehicles: pd.DataFrame) -> None:
    assert_both_count_the_same(make_table(*changes), vehicles)


def test_both_engines_count_the_same_on_many_rows(random_table: pa.Table, vehicles: pd.DataFrame) -> None:
    assert_both_count_the_same(random_table, vehicles)


def test_the_gate_of_a_frame(
    table: Table, rejects: Callable[..., pa.Table], vehicles: pd.DataFrame, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GX_ANALYTICS_ENABLED", "true")
    rows = table(
        {}, {"soc_percent": 101.0}, {"source_object": "raw/b.csv", "year": 2101}, {"source_object": "raw/b.csv"}
    )
    gate = run_gate(
        derive(rows, vehicles, ARRIVAL),
        bad_share_max=0.3,
        rejects=rejects(("raw/b.csv", 3, "glued_record", "x")),
    )
    # Four rows and an unreadable one; one of them breaks an error, the unreadable one is bad too: 2 of 5.
    assert (gate.rows, gate.rows_bad, gate.bad_share, gate.passed) == (5, 2, 0.4, False)
    assert {code: count for code, count in gate.rule_counts.items() if count} == {
        "soc_percent_out_of_range": 1,
        "year_out_of_range": 1,
    }
    assert gate.reject_counts == {"glued_record": 1}
    assert gate.worst_objects == (("raw/a.csv", 1, 2), ("raw/b.csv", 1, 3))
    assert os.environ["GX_ANALYTICS_ENABLED"] == "false"
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_share_on_the_limit_passes_and_one_row_more_does_not() -> None:
    counts = {"soc_percent_out_of_range": 25, BROKEN_ROW.code: 25}
    at_limit = decide(counts, 0.25, [("raw/a.csv", 25, 100)], {})
    at_limit.raise_if_failed()
    assert at_limit.message == "Batch passed: 25 of 100 rows (25.00%) are bad; the limit is 25.00%."
    above = decide(counts, 0.25, [("raw/a.csv", 26, 100)], {"field_count": 1})
    assert above.bad_share == 0.26
    with pytest.raises(errors.BatchRejected, match="26 of 100 rows"):
        above.raise_if_failed()


def test_rows_that_break_many_rules_are_bad_once() -> None:
    # Every tenth row breaks three rules: 30 violations, 10 bad rows.
    counts = {"soc_percent_out_of_range": 10, "speed_kmh_out_of_range": 10, "odometer_km_out_of_range": 10}
    assert decide({**counts, BROKEN_ROW.code: 10}, 0.2, [("raw/a.csv", 10, 100)], {}).passed


def test_an_empty_batch_passes() -> None:
    gate = decide({BROKEN_ROW.code: 0}, 0.0, [], {})
    assert (gate.passed, gate.bad_share, gate.rows) == (True, 0.0, 0)


def test_a_rejection_says_what_where_and_what_to_do() -> None:
    errors_only = [rule.code for rule in RULES if rule.severity == "error"][:14]
    counts = {code: 100 - k for k, code in enumerate(errors_only)}
    objects = [(f"raw/{k}.csv", 10 + k, 100) for k in range(8)]
    gate = decide({**counts, "year_out_of_range": 500, BROKEN_ROW.code: 505}, 0.5, objects, {"field_count": 95})
    lines = gate.message.splitlines()
    assert lines[0] == "Batch rejected: 600 of 800 rows (75.00%) are bad; the limit is 50.00%."
    # Ten reasons at most, most frequent first; a warning is none.
    assert lines[2] == f"  100 rows: {errors_only[0]}"
    assert lines[7] == "  95 rows: field_count"
    assert len([line for line in lines if " rows: " in line]) == 10
    assert "year_out_of_range" not in gate.message
    assert lines[13:18] == [f"  raw/{k}.csv: {10 + k} of 100 rows" for k in (7, 6, 5, 4, 3)]
    assert lines[-1].startswith("Cure: ")
    assert "PACKWATCH_BAD_SHARE_MAX" in lines[-1]


def test_a_rule_that_cannot_be_evaluated_is_no_pass() -> None:
    # Text cannot be compared with numbers.
    checkable = pd.DataFrame({"x": ["a"], "source_object": pd.Categorical(["raw/a.csv"])})
    hits = row_mask(checkable.assign(x=1.0), [Rule("odd", "S.", ("x",), "between", minimum=0, maximum=1)])
    with pytest.raises(errors.PackwatchError, match="rule odd could not be evaluated"):
        count_violations(checkable, hits)


def test_importing_the_stage_does_not_import_great_expectations() -> None:
    code = "import sys, packwatch.validate; sys.exit('great_expectations' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "include")}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
