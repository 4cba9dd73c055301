"""How far a state of health can be trusted: interval, confidence score, and whether there is evidence enough."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.special import erf

from packwatch.analyze.capacity import SOC_END_SIGMA_PERCENT
from packwatch.assess.kalman import SHARED_VARIANCE, Floats

# 90 % of a normal distribution lies within this many standard deviations of its mean.
SD_OF_90_PERCENT = 1.645
# Errors that no number of charges averages out, in points of health (1 sd): scale error of the current sensor, and the
# difference between the nominal capacity of the type and what this vehicle had when new.
CURRENT_GAIN_SD = 0.7
NAMEPLATE_SD = 2.0
# The confidence score is the probability that the error is within this many points.
TOLERANCE_POINTS = 3.0
# No confidence above this for a vehicle type without a catalogue entry.
NEUTRAL_SPEC_CONFIDENCE_MAX = 0.6

# The observations alone must pin the health to this many points (1 sd), else it is the fleet's prior in disguise.
EVIDENCE_SD_MAX = 6.0
# A charge whose error (1 sd, as a share of the health) is above this carries no weight: the part of it that all such
# charges share exceeds EVIDENCE_SD_MAX, so that even endlessly many could not tell. 8.5 %, a window of 40 %.
OBSERVATION_SD_MAX = EVIDENCE_SD_MAX / 100 / SHARED_VARIANCE**0.5
# Error of the SoC difference of one window, SoC points.
WINDOW_SOC_SD = SOC_END_SIGMA_PERCENT * 2**0.5
# A single charge over this share of the battery passes EVIDENCE_SD_MAX (57 %).
SUFFICIENT_WINDOW_PERCENT = 100 * WINDOW_SOC_SD / EVIDENCE_SD_MAX


def shared_variance(count: npt.NDArray[np.int64], evidence: Floats) -> Floats:
    """Return the variance (%²) that all observations of a vehicle share; 0 where there is none.

    SHARED_VARIANCE of the harmonic mean of the observations' variances. For equal observations that is exact; for
    unequal ones it is an upper bound of what their weighted mean keeps.
    """
    return SHARED_VARIANCE * count / np.where(evidence > 0, evidence, np.inf)


def systematic_variance(count: npt.NDArray[np.int64], evidence: Floats) -> Floats:
    """Return the variance (%²) of a reported health on top of the filter's own."""
    return shared_variance(count, evidence) + CURRENT_GAIN_SD**2 + NAMEPLATE_SD**2


def evidence_sd(count: npt.NDArray[np.int64], evidence: Floats) -> Floats:
    """Return the standard deviation (%) of the health from the observations alone; infinite where there is none.

    A mean of n observations of variance R of which the share c is common has variance (1 - c) R/n + c R.
    """
    own = np.divide(1 - SHARED_VARIANCE, evidence, out=np.full(len(evidence), np.inf), where=evidence > 0)
    return np.sqrt(own + shared_variance(count, evidence))


def confidence_score(sd: Floats) -> Floats:
    """Return the probability that a normal error of standard deviation `sd` (%, positive) is within 3 points."""
    return cast(Floats, erf(TOLERANCE_POINTS / (np.sqrt(2.0) * sd)))


def missing_evidence(
    reference_known: npt.NDArray[np.bool_],
    charges: npt.NDArray[np.int64],
    count: npt.NDArray[np.int64],
    sd: Floats,
    is_lfp: npt.NDArray[np.bool_],
) -> pa.Array:
    """Say in a sentence what each vehicle lacks for a state of health; null where nothing is missing.

    Several small charges are worth one wide one; the sentence names that equivalent width.

    Args:
        reference_known: the nominal capacity of the type is known.
        charges: charge sessions seen.
        count: charges whose capacity could be observed.
        sd: standard deviation of the observations alone, % (`evidence_sd`).
        is_lfp: lithium iron phosphate, whose SoC is known at the ends only.
    """
    needed = f"a charge over at least {SUFFICIENT_WINDOW_PERCENT:.0f} % of the battery"
    needed_lfp = "a charge from below 12 % until the battery is full"
    cases = [
        "The nominal capacity of this vehicle type is not known, so a measured capacity has nothing to compare with."
    ]
    for need in (needed, needed_lfp):
        cases += [
            f"Needs {need}; no charge seen so far.",
            f"Needs {need}; no charge so far was wide or well recorded enough to measure the capacity.",
        ]
        cases += [
            f"Needs {need}; the charges measured so far are together worth one over {width} %."
            for width in range(int(SUFFICIENT_WINDOW_PERCENT) + 1)
        ]
    width = (100 * WINDOW_SOC_SD / sd).astype(np.int64).clip(0, int(SUFFICIENT_WINDOW_PERCENT))
    case = np.select([~reference_known, charges == 0, count == 0], [0, 1, 2], default=3 + width)
    per_chemistry = (len(cases) - 1) // 2
    case = case + np.where(is_lfp & reference_known, per_chemistry, 0)
    nothing_missing = reference_known & (sd <= EVIDENCE_SD_MAX)
    return pa.array(cases, pa.string()).take(pa.array(case, pa.int64(), mask=nothing_missing))
