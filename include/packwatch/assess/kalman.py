"""The recursion behind state of health: predict over a gap of days, correct by one capacity observation a vehicle.

The state of n vehicles is a (5, n) array with the rows

    state of health              %
    rate                         % per day, negative while the battery fades
    variance of the health       %²
    covariance of the two        %² per day
    variance of the rate         %² per day²

Plain array arithmetic: nothing is opened, no argument is changed, and a vehicle's result does not depend on its
neighbours in the array. The numbers behind the noise terms were found as fractions; here they are in percent points,
so a standard deviation is 100 times and a variance 10 000 times the fraction.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

DAYS_PER_YEAR = 365.25
STATE_ROWS = 5

# Random walk of the health itself, %² per day: (2e-4 as a fraction)² per day, that is 0.02 points in one day.
LEVEL_NOISE = (100 * 2e-4) ** 2
# Wandering of the rate, (% per day)² per day: (1.5e-6 per day as a fraction)² per day.
RATE_NOISE = (100 * 1.5e-6) ** 2
# What a fleet loses: 2.3 points a year on average (Geotab 2025, 22 700 vehicles), single vehicles +- 1.5 (1 sd).
FLEET_RATE = -2.3 / DAYS_PER_YEAR
FLEET_RATE_VARIANCE = (1.5 / DAYS_PER_YEAR) ** 2
# A rate that nothing is heard of returns to the fleet's: this time constant, about 1500 days, is the one at which the
# wandering above keeps the spread of rates at FLEET_RATE_VARIANCE for ever.
RATE_MEMORY_DAYS = 2 * FLEET_RATE_VARIANCE / RATE_NOISE

# Fleet curve: a new battery has 100 % and fades at FLEET_RATE. Spread (1 sd): 3 points when new and 0.8 a year of age,
# because averages of single models lie between 1.0 and 4.2 points a year (Geotab 2015 to 2025).
NEW_HEALTH = 100.0
NEW_HEALTH_SD = 3.0
FADE_SPREAD_PER_YEAR = 0.8
# Health where the model year is unknown, %: mean and sd of a fleet of mixed age.
UNKNOWN_YEAR_HEALTH = 90.0
UNKNOWN_YEAR_SD = 8.0

# Part of an observation's variance that strikes every window of one vehicle alike (its BMS misjudges the same SoC the
# same way); averaging more windows removes only the rest. `confidence.systematic_variance` adds the shared part back.
SHARED_VARIANCE = 0.5
# Innovations above these many standard deviations are trusted less, and much less. Nothing is rejected: if a vehicle
# really is that different, the surprise fades as the estimate follows.
SURPRISING = 1.7
INCREDIBLE = 3.5
INCREDIBLE_FACTOR = 4.0
# One observation widens the variance of the health at most by this factor, the one at which INCREDIBLE begins, so that
# absurd observations in a row cannot argue a well known health away.
HEALTH_DOUBT_MAX = INCREDIBLE_FACTOR
# A window is never taken for more than 1/this times as wide as the BMS says, however much charge it held.
NARROWER_MIN = 0.5


def prior(day: npt.NDArray[np.int64], born: Floats) -> Floats:
    """Return the state of vehicles nothing is known of but their age on `day`.

    100 % minus 2.3 points a year of age, sd sqrt(3² + (0.8 age)²) points; N(90, 8²) where the age is unknown. A line
    through fleet averages up to about eight years (81.6 % there); beyond, it is an extrapolation.
    """
    age = np.maximum(day - born, 0) / DAYS_PER_YEAR
    known = np.isfinite(age)
    spread = FADE_SPREAD_PER_YEAR * age
    state = np.zeros((STATE_ROWS, len(day)))
    state[0] = np.where(known, NEW_HEALTH + FLEET_RATE * DAYS_PER_YEAR * age, UNKNOWN_YEAR_HEALTH)
    state[1] = FLEET_RATE
    state[2] = np.where(known, NEW_HEALTH_SD * NEW_HEALTH_SD + spread * spread, UNKNOWN_YEAR_SD * UNKNOWN_YEAR_SD)
    state[4] = FLEET_RATE_VARIANCE
    return state


def predict(state: Floats, days: npt.NDArray[np.int64]) -> Floats:
    """Carry each vehicle's state `days` days forward without an observation.

    Damped local linear trend: d(health) = rate dt + noise, d(rate) = (fleet - rate)/memory dt + noise, solved exactly
    for any gap, so that two short steps equal one long step up to rounding. With no data the variance of the rate stays
    FLEET_RATE_VARIANCE. Assumes fading without jumps; a replaced pack breaks it.
    """
    soh, rate, var_soh, cov, var_rate = state
    forgotten = _forgotten_share(days)
    kept = 1 - forgotten
    reach = RATE_MEMORY_DAYS * forgotten
    excess = rate - FLEET_RATE
    wander = 2 * FLEET_RATE_VARIANCE * RATE_MEMORY_DAYS * (days - reach - reach * reach / (2 * RATE_MEMORY_DAYS))
    return np.stack(
        [
            soh + FLEET_RATE * days + reach * excess,
            FLEET_RATE + kept * excess,
            var_soh + 2 * reach * cov + reach * reach * var_rate + LEVEL_NOISE * days + wander,
            kept * (cov + reach * var_rate) + FLEET_RATE_VARIANCE * reach * forgotten,
            kept * kept * var_rate + FLEET_RATE_VARIANCE * forgotten * (1 + kept),
        ]
    )


def _forgotten_share(days: npt.NDArray[np.int64]) -> Floats:
    """Return 1 - exp(-days / RATE_MEMORY_DAYS).

    Each distinct gap goes through the C library once, because NumPy's own vector code may round the same number
    differently at another place of an array, and a replay must give the same bits.
    """
    distinct, place = np.unique(days, return_inverse=True)
    table = [-math.expm1(-gap / RATE_MEMORY_DAYS) for gap in distinct.tolist()]
    return np.array(table, dtype=np.float64)[place]


def expected_relative_variance(soh: Floats, measured: Floats, relative_variance: Floats) -> Floats:
    """Return the squared relative error that a charge of this many Ah should have at the predicted health `soh`.

    The error of a charge is an error of its SoC window, relative to the width of it. The width that the BMS reports has
    that very error in it; the width to expect from Ah and predicted health, measured/soh times the former, has not.
    Choosing or weighing charges by the former would prefer those that by chance show a low capacity.
    """
    narrower = np.maximum(soh / measured, NARROWER_MIN)
    return relative_variance * narrower * narrower


def update(state: Floats, measured: Floats, relative_variance: Floats) -> tuple[Floats, Floats]:
    """Correct each vehicle's state by one observed capacity.

    A charge counts Ah well and SoC badly, and capacity has the bad number in its denominator: what has symmetric noise
    is SoC per Ah, 1/z. The observation is therefore taken in the reciprocal, linearised at the predicted health p:
    innovation p (1 - p/z), variance r² p⁴/z². For small r this is z - p with variance (r z)². For large r it avoids
    that windows which by chance show a low capacity also claim a small error and pull the health down (by about 3 r²:
    1.4 points for windows of half the battery and 3.4 points of SoC error).

    A surprise widens what was expected, health and observation each in proportion to its part of the expected variance.
    Of a well known vehicle that is the observation: an outlier hardly counts. Of a new one it is as much the prior, up
    to HEALTH_DOUBT_MAX: a battery far from the fleet's is believed after a few charges instead of fought as an outlier.

    Args:
        state: predicted state, all finite.
        measured: z, observed capacity in % of the reference capacity; finite and positive.
        relative_variance: r², squared relative standard deviation of one observation, shared part included; positive.

    Returns:
        The corrected state and the information of each observation, 1/variance in %⁻², surprise and shared part
        included.
    """
    soh, rate, var_soh, cov, var_rate = state
    innovation = soh * (1 - soh / measured)
    variance = soh * soh * expected_relative_variance(soh, measured, relative_variance)
    own = (1 - SHARED_VARIANCE) * variance
    expected = var_soh + own
    excess = doubt_factor(np.abs(innovation) / np.sqrt(expected)) - 1
    var_soh = var_soh * (1 + np.minimum(excess, HEALTH_DOUBT_MAX - 1) * (var_soh / expected))
    doubt = 1 + excess * (own / expected)
    own = own * doubt
    total = var_soh + own
    gain_soh, gain_rate = var_soh / total, cov / total
    corrected = np.stack(
        [
            soh + gain_soh * innovation,
            rate + gain_rate * innovation,
            var_soh * (own / total),
            cov * (own / total),
            var_rate - cov * gain_rate,
        ]
    )
    return corrected, 1 / (variance * doubt)


def doubt_factor(surprise: Floats) -> Floats:
    """Return what the variance of an innovation is multiplied by, given its size in standard deviations."""
    return np.where(
        surprise > INCREDIBLE,
        INCREDIBLE_FACTOR * (surprise / INCREDIBLE) * (surprise / INCREDIBLE),
        np.maximum(surprise / SURPRISING, 1),
    )
