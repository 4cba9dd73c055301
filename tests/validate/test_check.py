"""No row is lost: each is clean or in quarantine, and every count agrees with the tables."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packwatch import errors
from packwatch.ingest.identity import vehicle_ids
from packwatch.schema import CLEAN_SCHEMA
from packwatch.validate import BatchResult, check, quarantine, validate_batch
from packwatch.validate.quality import by_day, score
from packwatch.validate.quarantine import QUARANTINE_SCHEMA

from .conftest import ARRIVAL, BATCHES, make_rejects, make_table

Table = Callable[..., pa.Table]
CAR_1, CAR_2 = vehicle_ids(pd.Series(["TESTCAR1", "TESTCAR2"]))


def run(rows: pa.Table, rejects: pa.Table, vehicles: pd.DataFrame, limit: float = 0.25) -> BatchResult:
    return validate_batch(rows, rejects, ARRIVAL, vehicles, limit, engine="mask")


def test_a_batch_is_split_counted_and_judged(
    table: Table, rejects: Callable[..., pa.Table], vehicles: pd.DataFrame
) -> None:
    yesterday = dt.datetime(2026, 3, 9, 23, tzinfo=dt.UTC)
    rows = table(
        {"vin": "TESTCAR2", "soc_percent": None},
        {"recorded_at": yesterday},
        {"soc_percent": 101.0},
        {"year": 2101},
        {"vin": None},
        {"source_object": "raw/b.csv", "recorded_at": None},
        {"source_object": "raw/b.csv", "vin": "testcar2"},
    )
    result = run(rows, rejects(("raw/b.csv", 9, "field_count", "1,2"), ("raw/c.csv", 1, "not_json", "{")), vehicles, 1)

    assert result.clean.schema == CLEAN_SCHEMA
    expected = sorted([(CAR_2, 1), (CAR_1, 2), (CAR_1, 4), (CAR_2, 7)], key=lambda item: item[0])
    assert list(
        zip(result.clean["vehicle_id"].to_pylist(), result.clean["source_row"].to_pylist(), strict=True)
    ) == expected  # fmt: skip
    assert result.clean["cell_voltages_v"].to_pylist()[0] == pytest.approx([3.6875, 3.7, 3.7, 3.7125])

    assert result.quarantined.schema == QUARANTINE_SCHEMA
    aside = result.quarantined.drop(["raw", "reasons"]).to_pylist()
    assert [tuple(row.values()) for row in aside] == [
        ("raw/a.csv", 3, CAR_1, ARRIVAL, "soc_percent_out_of_range"),
        ("raw/a.csv", 5, None, ARRIVAL, "missing_identity"),
        ("raw/b.csv", 6, CAR_1, None, "missing_time"),
        # Object b holds rows of two vehicles, but of one known day.
        ("raw/b.csv", 9, None, ARRIVAL, "field_count"),
        ("raw/c.csv", 1, None, None, "not_json"),
    ]

    counts = result.counts.drop(columns=["signals_present", "signals_expected"])
    found = {tuple(None if pd.isna(v) else v for v in row[:3]): tuple(row[3:]) for row in counts.to_numpy().tolist()}
    assert found == {
        ("raw/a.csv", CAR_2, ARRIVAL): (1, 0, 0),
        ("raw/a.csv", CAR_1, ARRIVAL - dt.timedelta(days=1)): (1, 0, 0),
        ("raw/a.csv", CAR_1, ARRIVAL): (2, 1, 1),
        ("raw/a.csv", None, ARRIVAL): (1, 1, 0),
        ("raw/b.csv", CAR_1, None): (1, 1, 0),
        ("raw/b.csv", CAR_2, ARRIVAL): (1, 0, 0),
        ("raw/b.csv", None, ARRIVAL): (1, 1, 0),
        ("raw/c.csv", None, None): (1, 1, 0),
    }
    assert result.rule_counts.to_dict("records") == [
        {"source_object": "raw/a.csv", "code": "missing_identity", "rows": 1},
        {"source_object": "raw/a.csv", "code": "soc_percent_out_of_range", "rows": 1},
        {"source_object": "raw/a.csv", "code": "year_out_of_range", "rows": 1},
        {"source_object": "raw/b.csv", "code": "field_count", "rows": 1},
        {"source_object": "raw/b.csv", "code": "missing_time", "rows": 1},
        {"source_object": "raw/c.csv", "code": "not_json", "rows": 1},
    ]
    # Five of nine rows are bad.
    assert (result.gate.passed, result.gate.rows, result.gate.rows_bad) == (True, 9, 5)
    # Car 2's row in a lacks the state of charge, one of eight expected signals: 15 of 16 values over its two rows.
    quality = score(by_day(result.counts)).set_index(["vehicle_id", "log_date"])
    assert quality.loc[(CAR_2, ARRIVAL), "quality_score"] == pytest.approx(93.75)


def test_an_object_of_one_vehicle_lends_it_to_its_unreadable_rows(
    table: Table, rejects: Callable[..., pa.Table], vehicles: pd.DataFrame
) -> None:
    result = run(table({}, {}), rejects(("raw/a.csv", 3, "glued_record", "x")), vehicles, 1.0)
    assert result.quarantined["vehicle_id"].to_pylist() == [CAR_1]
    assert result.counts[["vehicle_id", "rows", "rows_quarantined"]].to_numpy().tolist() == [[CAR_1, 3, 1]]


def test_a_rejected_batch_is_returned_for_the_caller_to_decide(table: Table, vehicles: pd.DataFrame) -> None:
    result = run(table({}, {"soc_percent": 101.0}), make_rejects(), vehicles, 0.25)
    assert (len(result.clean), len(result.quarantined), result.gate.passed) == (1, 1, False)
    with pytest.raises(errors.BatchRejected, match=r"raw/a\.csv: 1 of 2 rows"):
        result.gate.raise_if_failed()


def test_great_expectations_and_the_mask_give_the_same_result(random_table: pa.Table, vehicles: pd.DataFrame) -> None:
    by_mask = run(random_table, make_rejects(), vehicles)
    by_gx = validate_batch(random_table, make_rejects(), ARRIVAL, vehicles, 0.25)
    assert by_gx.gate == by_mask.gate
    assert by_gx.gate.rows_bad > 100
    assert by_gx.clean.equals(by_mask.clean)


def test_engines_that_disagree_stop_the_batch(
    table: Table, vehicles: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "count_violations", lambda checkable, hits: {"empty_row": 1})
    with pytest.raises(errors.PackwatchError, match=r"'empty_row': \(1, 0\)"):
        validate_batch(table({}), make_rejects(), ARRIVAL, vehicles, 0.25)


@pytest.mark.parametrize("size", [1, 7, 240])
def test_the_size_of_the_parts_changes_nothing(
    size: int, random_table: pa.Table, vehicles: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = random_table.slice(0, 20 * size)
    whole = run(rows, make_rejects(), vehicles)
    monkeypatch.setattr(check, "CHUNK_ROWS", size)
    parts = run(rows, make_rejects(), vehicles)
    assert parts.clean.combine_chunks().equals(whole.clean.combine_chunks())
    assert parts.quarantined.combine_chunks().equals(whole.quarantined.combine_chunks())
    pd.testing.assert_frame_equal(parts.counts, whole.counts)
    pd.testing.assert_frame_equal(parts.rule_counts, whole.rule_counts)
    assert parts.gate == whole.gate


def test_a_batch_of_several_chunks_is_read_like_one(random_table: pa.Table, vehicles: pd.DataFrame) -> None:
    pieces = pa.concat_tables([random_table.slice(0, 10), random_table.slice(10, 0), random_table.slice(10)])
    assert run(pieces, make_rejects(), vehicles).clean.equals(run(random_table, make_rejects(), vehicles).clean)


def test_values_are_kept_for_so_many_rows_of_the_whole_batch(
    table: Table, vehicles: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "CHUNK_ROWS", 2)
    monkeypatch.setattr(quarantine, "RAW_ROWS_MAX", 3)
    result = run(table(*[{"soc_percent": 101.0}] * 6), make_rejects(), vehicles)
    assert result.quarantined["raw"].is_null().to_pylist() == [False, False, False, True, True, True]


def test_rows_of_a_vehicle_keep_their_order(random_table: pa.Table, vehicles: pd.DataFrame) -> None:
    clean = run(random_table, make_rejects(), vehicles).clean.select(["vehicle_id", "source_row"]).to_pandas()
    assert clean.equals(clean.sort_values(["vehicle_id", "source_row"]))


def test_nothing_in_nothing_out(table: Table, vehicles: pd.DataFrame) -> None:
    result = run(table(), make_rejects(), vehicles.iloc[:0])
    assert (len(result.clean), len(result.quarantined), len(result.counts), len(result.rule_counts)) == (0, 0, 0, 0)
    assert result.clean.schema == CLEAN_SCHEMA
    assert result.gate.passed


def test_all_rows_broken_or_unreadable(table: Table, rejects: Callable[..., pa.Table], vehicles: pd.DataFrame) -> None:
    result = run(table({"vin": None}), rejects(("raw/a.csv", 2, "field_count", "")), vehicles)
    assert (len(result.clean), len(result.quarantined), result.gate.bad_share) == (0, 2, 1.0)
    assert len(score(by_day(result.counts))) == 0


def test_a_lost_row_is_noticed(table: Table, vehicles: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = check._clean_rows
    monkeypatch.setattr(check, "_clean_rows", lambda *parts: honest(*parts).slice(1))
    with pytest.raises(errors.BooksDoNotBalance, match=r"'raw/a.csv': \(2, 1\)"):
        run(table({}, {}), make_rejects(), vehicles)


REJECTS = st.lists(
    st.tuples(
        st.sampled_from(["raw/a.csv", "raw/c.csv"]), st.integers(1, 50), st.just("field_count"), st.text(max_size=9)
    ),
    max_size=4,
)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=BATCHES, unreadable=REJECTS)
def test_every_row_is_somewhere_whatever_it_holds(
    changes: list[dict[str, Any]], unreadable: list[tuple[str, int, str, str]], vehicles: pd.DataFrame
) -> None:
    rows, rejects = make_table(*changes), make_rejects(*unreadable)
    result = run(rows, rejects, vehicles)
    places_in = Counter(rows["source_object"].to_pylist()) + Counter(rejects["source_object"].to_pylist())
    places_out = Counter(result.clean["source_object"].to_pylist()) + Counter(
        result.quarantined["source_object"].to_pylist()
    )
    assert places_in == places_out
    counted = result.counts.groupby("source_object")[["rows", "rows_quarantined"]].sum()
    assert counted["rows"].to_dict() == places_in
    assert counted["rows_quarantined"].sum() == len(result.quarantined) == result.gate.rows_bad
    assert result.counts["rows_warned"].sum() <= len(result.clean)
    keys = ["source_object", "vehicle_id", "log_date"]
    assert not result.counts.duplicated(keys).any()
    assert (result.counts["signals_present"] <= result.counts["signals_expected"]).all()
    # What is clean keeps what the later stages rely on.
    assert result.clean["vehicle_id"].null_count == result.clean["recorded_at"].null_count == 0
    assert result.clean["vehicle_id"].to_pylist() == sorted(result.clean["vehicle_id"].to_pylist())
    assert all(0 <= soc <= 100 for soc in result.clean["soc_percent"].drop_null().to_pylist())
    assert set(result.quarantined["reason"].to_pylist()) <= set(result.rule_counts["code"])
    scores = score(by_day(result.counts))["quality_score"]
    assert scores.between(0, 100).all()
