"""What the rules share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from packwatch.analyze import DayAnalysis, findings
from packwatch.ingest.identity import make_id

MakeLog = Callable[..., pa.Table]
Analyze = Callable[..., DayAnalysis]


@pytest.mark.parametrize(("count", "of", "enough"), [(4, 4, False), (5, 50, True), (5, 51, False), (0, 0, False)])
def test_persistence_is_five_rows_and_a_tenth(count: int, of: int, enough: bool) -> None:
    assert findings.is_persistent(np.array([count]), np.array([of])).tolist() == [enough]


def test_a_flag_needs_a_flagged_neighbor_of_its_group() -> None:
    flags = np.array([True, True, False, True, False, True, True])
    group = np.array([0, 0, 0, 0, 0, 0, 1])
    everything = np.ones(7, dtype=bool)
    assert findings.confirmed(flags, everything, group).tolist() == [True, True] + [False] * 5
    # Row 4 does not count as a neighbor when nothing is known of it.
    known = np.array([True, True, True, True, False, True, True])
    assert findings.confirmed(flags, known, group).tolist() == [True, True, False, True, False, True, False]
    assert not findings.confirmed(np.zeros(7, dtype=bool), everything, group).any()


def test_templates_are_filled_by_column() -> None:
    assert findings.fill_in("{a}-{b:.1f}", a=["x", "y"], b=[1, 2.25]) == ["x-1.0", "y-2.2"]
    assert findings.fill_in("{a}", a=[]) == []


def test_anomalies_have_ids_of_their_natural_key_and_an_order(clean_log: MakeLog, analyze: Analyze) -> None:
    table = clean_log(range(5), temperature_max_c=56.0, insulation_resistance_kohm=20.0)
    found = analyze(table).anomalies
    assert found["code"].tolist() == ["high_temperature", "insulation_low"]
    assert found["log_date"].tolist() == [date(2026, 3, 10)] * 2
    assert found["anomaly_id"].tolist() == [
        make_id("car", "2026-03-10", code, "pack") for code in ("high_temperature", "insulation_low")
    ]


def test_of_two_findings_on_one_subject_the_severe_one_stays(clean_log: MakeLog, analyze: Analyze) -> None:
    # From 30 °C at 0.1 K/s for two minutes (level 3), then 2 K/s (level 4).
    seconds = np.arange(0, 200)
    temperature = 30 + 0.1 * np.clip(seconds, 0, 120) + 2 * np.clip(seconds - 120, 0, 40)
    found = analyze(clean_log(seconds, temperature_max_c=temperature)).anomalies
    risk = found[found["code"] == "thermal_runaway_risk"]
    assert risk["severity"].tolist() == [4]
