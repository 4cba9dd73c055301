"""The score of a vehicle's day, worked out by hand."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pytest

from packwatch.validate.quality import EXPECTED_SIGNALS, by_day, score
from packwatch.validate.rules import RULES

DAY = dt.date(2026, 3, 10)


def day(**known: object) -> pd.DataFrame:
    sound = {"vehicle_id": "v1", "rows_in": 100, "rows_quarantined": 0, "rows_warned": 0, "rows_duplicate": 0}
    return pd.DataFrame([{**sound, "completeness": 1.0, **known}])


@pytest.mark.parametrize(
    ("known", "validity", "uniqueness", "plausibility", "completeness", "points"),
    [
        ({}, 100, 100, 100, 100, 100),
        ({"rows_quarantined": 20}, 80, 100, 100, 100, 80),
        # 80 rows are kept, 8 of them repeat others: 10 %.
        ({"rows_quarantined": 20, "rows_duplicate": 8}, 80, 90, 100, 100, 72),
        # All rows warned: half the score.
        ({"rows_warned": 100}, 100, 100, 0, 100, 50),
        # 20 of 80 kept rows warned: 75 % plausible, weight 0.5 + 0.375.
        ({"rows_quarantined": 20, "rows_warned": 20}, 80, 100, 75, 100, 70),
        ({"completeness": 0.5}, 100, 100, 100, 50, 50),
        # 0.8 x 0.9 x 0.5 x 0.875 = 0.315
        ({"rows_quarantined": 20, "rows_duplicate": 8, "rows_warned": 20, "completeness": 0.5}, 80, 90, 75, 50, 31.5),
        # No row is kept: nothing of it is duplicate or implausible, and nothing is there.
        ({"rows_quarantined": 100, "completeness": float("nan")}, 0, 100, 100, 0, 0),
        ({"rows_in": 0, "completeness": float("nan")}, 0, 100, 100, 0, 0),
    ],
)
def test_score(
    known: dict[str, object],
    validity: float,
    uniqueness: float,
    plausibility: float,
    completeness: float,
    points: float,
) -> None:
    scored = score(day(**known)).iloc[0]
    assert scored["validity_percent"] == pytest.approx(validity)
    assert scored["uniqueness_percent"] == pytest.approx(uniqueness)
    assert scored["plausibility_percent"] == pytest.approx(plausibility)
    assert scored["completeness_percent"] == pytest.approx(completeness)
    assert scored["quality_score"] == pytest.approx(points)


def test_score_carries_other_columns_and_changes_nothing() -> None:
    counts = day(shard=3)
    before = counts.copy(deep=True)
    scored = score(counts)
    pd.testing.assert_frame_equal(counts, before)
    pd.testing.assert_frame_equal(scored[counts.columns], before)
    assert len(score(counts.iloc[:0])) == 0


def test_days_are_summed_over_objects_and_unknown_ones_left_out() -> None:
    counts = pd.DataFrame(
        {
            "source_object": ["a", "b", "a", "a", "b"],
            "vehicle_id": ["v1", "v1", "v2", None, "v1"],
            "log_date": [DAY, DAY, DAY, DAY, None],
            "rows": [10, 5, 2, 100, 100],
            "rows_quarantined": [1, 0, 2, 100, 100],
            "rows_warned": [3, 1, 0, 0, 0],
            # 14 kept rows of v1 should hold 14 x 8 = 112 values.
            "signals_present": [60, 24, 0, 0, 0],
            "signals_expected": [72, 40, 0, 0, 0],
        }
    )
    days = by_day(counts)
    assert days["vehicle_id"].tolist() == ["v1", "v2"]
    assert days["rows_in"].tolist() == [15, 2]
    assert days["rows_quarantined"].tolist() == [1, 2]
    assert days["rows_warned"].tolist() == [4, 0]
    assert days["rows_duplicate"].tolist() == [0, 0]
    assert days["completeness"].iloc[0] == pytest.approx(84 / 112)
    assert pd.isna(days["completeness"].iloc[1])
    # v1: 14/15 valid, 0.75 complete, 10 of 14 plausible: 100 x 14/15 x 0.75 x (0.5 + 0.5 x 10/14) = 60 points.
    assert score(days)["quality_score"].tolist() == pytest.approx([60.0, 0.0])
    assert len(by_day(counts.iloc[:0])) == 0


def test_expected_signals_are_ones_the_rules_know() -> None:
    in_rules = {column for rule in RULES for column in rule.columns}
    derived = {"cell_lowest_v", "cell_highest_v", "temperature_lowest_c", "temperature_highest_c"}
    assert set(EXPECTED_SIGNALS) <= in_rules | derived
