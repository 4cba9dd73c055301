"""Interval, confidence score and what is missing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from packwatch.assess import confidence


def missing(*, known: bool = True, charges: int = 5, count: int = 5, sd: float = 20.0, lfp: bool = False) -> str | None:
    """Return the sentence for one vehicle."""
    sentences = confidence.missing_evidence(
        np.array([known]), np.array([charges]), np.array([count]), np.array([sd]), np.array([lfp])
    )
    return sentences[0].as_py()


def test_confidence_score_is_the_share_of_a_normal_error_within_three_points() -> None:
    # P(|N(0, s²)| <= 3): 3 sd, 2 sd, 1 sd and half an sd of the normal distribution's table
    score = confidence.confidence_score(np.array([1.0, 1.5, 3.0, 6.0]))
    assert score == pytest.approx([0.9973, 0.9545, 0.6827, 0.3829], abs=5e-5)


def test_confidence_score_agrees_with_the_standard_library() -> None:
    sd = np.geomspace(0.01, 1000, 2000)
    expected = np.array([math.erf(3 / (math.sqrt(2) * s)) for s in sd])
    assert np.abs(confidence.confidence_score(sd) - expected).max() < 1e-15


def test_equal_windows_share_half_of_their_variance_for_ever() -> None:
    # R = 32 %² each. One: 16 + 16 = 32. Four: 16/4 + 16 = 20. A million: 16.
    count = np.array([1, 4, 1_000_000])
    evidence = count / 32
    assert confidence.shared_variance(count, evidence) == pytest.approx([16, 16, 16])
    assert confidence.evidence_sd(count, evidence) == pytest.approx([math.sqrt(32), math.sqrt(20), 4], rel=1e-5)


def test_reported_variance_adds_current_sensor_and_nameplate() -> None:
    # 16 shared + 0.7² + 2² = 20.49
    assert confidence.systematic_variance(np.array([4]), np.array([4 / 32])) == pytest.approx([20.49])


def test_no_observation_is_no_evidence() -> None:
    none, nothing = np.array([0]), np.array([0.0])
    assert confidence.evidence_sd(none, nothing).tolist() == [math.inf]
    assert confidence.systematic_variance(none, nothing) == pytest.approx([4.49])


def test_sufficient_window_is_where_its_error_is_six_points() -> None:
    # sqrt(2) * 2.4 points of SoC = 3.394; 3.394/0.566 = 6.0 % of the capacity
    assert pytest.approx(56.57, abs=0.01) == confidence.SUFFICIENT_WINDOW_PERCENT


def test_weakest_window_that_counts_is_forty_percent() -> None:
    # 6 / sqrt(0.5) = 8.485 points; 3.394/8.485 = 0.40
    assert pytest.approx(0.08485, abs=1e-5) == confidence.OBSERVATION_SD_MAX
    assert pytest.approx(40, abs=0.01) == confidence.WINDOW_SOC_SD / confidence.OBSERVATION_SD_MAX


def test_each_lack_has_its_sentence() -> None:
    assert missing(sd=6.0) is None
    assert "nominal capacity of this vehicle type is not known" in (missing(known=False, sd=1.0) or "")
    assert missing(charges=0, count=0, sd=math.inf) == (
        "Needs a charge over at least 57 % of the battery; no charge seen so far."
    )
    assert missing(charges=9, count=0, sd=math.inf) == (
        "Needs a charge over at least 57 % of the battery; "
        "no charge so far was wide or well recorded enough to measure the capacity."
    )
    # 3.394 points of SoC / 7 % = 48 %
    assert missing(count=1, sd=7.0) == (
        "Needs a charge over at least 57 % of the battery; "
        "the charges measured so far are together worth one over 48 %."
    )
    assert missing(charges=0, count=0, sd=math.inf, lfp=True) == (
        "Needs a charge from below 12 % until the battery is full; no charge seen so far."
    )
    assert (missing(count=3, sd=7.0, lfp=True) or "").endswith("together worth one over 48 %.")


def test_no_vehicle_at_all() -> None:
    empty = np.zeros(0)
    flags = np.zeros(0, bool)
    assert len(confidence.missing_evidence(flags, empty.astype(int), empty.astype(int), empty, flags)) == 0
    assert len(confidence.evidence_sd(empty.astype(int), empty)) == 0
