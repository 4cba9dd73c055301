"""The filter's arithmetic, by hand and by its laws."""

from __future__ import annotations

import numpy as np
import pytest

from packwatch.assess import kalman


def column(*values: float) -> np.ndarray:
    """Return the state of one vehicle."""
    return np.array(values, dtype=float).reshape(5, 1)


def fleet(n: int, seed: int = 1) -> np.ndarray:
    """Return n valid states."""
    random = np.random.default_rng(seed)
    var_soh, var_rate = random.uniform(0.3, 60, n), random.uniform(1e-6, 2e-5, n)
    cov = random.uniform(-0.9, 0.9, n) * np.sqrt(var_soh * var_rate)
    return np.stack([random.uniform(60, 105, n), random.normal(-0.006, 0.004, n), var_soh, cov, var_rate])


def test_prior_is_the_fleet_curve_at_the_age() -> None:
    # Born day 0. Day 1461 is age 4 years: 100 - 4 * 2.3 = 90.8 %, variance 3² + (0.8 * 4)² = 19.24.
    # Before birth: new, 100 % and 3². Age unknown: 90 and 8².
    state = kalman.prior(np.array([1461, -100, 1461]), np.array([0.0, 0.0, np.nan]))
    assert state[0] == pytest.approx([90.8, 100, 90])
    assert state[1] == pytest.approx([-2.3 / 365.25] * 3)
    assert state[2] == pytest.approx([19.24, 9, 64])
    assert state[3].tolist() == [0, 0, 0]
    assert state[4] == pytest.approx([(1.5 / 365.25) ** 2] * 3)


def test_predict_ten_days_by_hand() -> None:
    # Rate 0 against the fleet's f = -2.3/365.25 = -0.00629706 %/day; V = 1.68656e-5, memory T = 2 V/2.25e-8 = 1499.16
    # days; x = 10/T = 0.00667041, 1 - e^-x = 0.00664821, reach = T * that = 9.966722.
    # health: 90 + 10 f - reach f = 90 - 0.033278 * 0.00629706 = 89.9997904
    # rate:   f - f e^-x = -0.00629706 * 0.00664821 = -0.0000418642
    # variance of the health: 9 + 10 * 4e-4 (random walk) + 2 V T² (x - 1 + e^-x) = 9.004 + V * 100 (1 - x/3 + x²/12)
    #                         = 9.004 + 0.00168282
    # covariance: V reach (e^-x + 1 - e^-x) = 1.68656e-5 * 9.966722 = 1.680948e-4; variance of the rate: V as before
    variance = (1.5 / 365.25) ** 2
    state = kalman.predict(column(90, 0, 9, 0, variance), np.array([10]))
    assert state[0, 0] == pytest.approx(89.9997904, abs=1e-7)
    assert state[1, 0] == pytest.approx(-4.18642e-5, rel=1e-5)
    assert state[2, 0] == pytest.approx(9.00568282, abs=1e-8)
    assert state[3, 0] == pytest.approx(1.680948e-4, rel=1e-5)
    assert state[4, 0] == pytest.approx(variance)


def test_predict_over_no_time_changes_nothing() -> None:
    state = fleet(50)
    np.testing.assert_allclose(kalman.predict(state, np.zeros(50, np.int64)), state, rtol=1e-12)


def test_two_predictions_equal_one_over_the_whole_gap() -> None:
    state = fleet(50)
    short, long = np.arange(50) + 1, 5 * np.arange(50) + 3
    twice = kalman.predict(kalman.predict(state, short), long)
    np.testing.assert_allclose(twice, kalman.predict(state, short + long), rtol=1e-9, atol=1e-12)


def test_without_data_a_rate_returns_to_the_fleet_and_its_variance_stays() -> None:
    state = kalman.predict(column(90, -0.02, 1, 0.0001, 2e-6), np.array([40_000]))
    assert state[1, 0] == pytest.approx(-2.3 / 365.25, rel=1e-6)
    assert state[4, 0] == pytest.approx((1.5 / 365.25) ** 2, rel=1e-6)


def test_update_by_hand() -> None:
    # z = 90/0.95 = 94.7368: innovation 90 * (1 - 0.95) = 4.5. r = 0.04/0.95, so the expected relative error is 0.04:
    # variance (90 * 0.04)² = 12.96, own 6.48. Expected variance 9 + 6.48 = 15.48: 4.5/3.934 = 1.14 sd is no surprise.
    # gain 9/15.48 = 0.5813953: health 90 + 2.6162791; variance 9 * 6.48/15.48 = 3.7674419; covariance 0.01 * 6.48/15.48
    # rate gain 0.01/15.48 = 6.459948e-4: rate -0.006 + 0.002906977; its variance 1.6e-5 - 0.01²/15.48 = 9.540052e-6
    state, information = kalman.update(
        column(90, -0.006, 9, 0.01, 1.6e-5), np.array([90 / 0.95]), np.array([(0.04 / 0.95) ** 2])
    )
    assert state[:, 0] == pytest.approx([92.6162791, -0.003093023, 3.7674419, 0.004186047, 9.540052e-6], rel=1e-6)
    assert information[0] == pytest.approx(1 / 12.96)


def test_update_shares_a_surprise_between_health_and_observation() -> None:
    # z = 80/0.9: innovation 80 * 0.1 = 8. r² chosen for a variance of 14, own 7; with 9 of the health 16: 8/4 = 2 sd.
    # factor 2/1.7 = 1.1764706. health: 9 (1 + 0.1764706 * 9/16) = 9.8933824; own: 7 (1 + 0.1764706 * 7/16) = 7.5404412
    # gain 9.8933824/17.4338235 = 0.5674821: 80 + 4.5398566; variance 9.8933824 * 7.5404412/17.4338235 = 4.2790651
    # information: 1/(14 * 1.0772059) = 0.0663091
    state, information = kalman.update(
        column(80, -0.006, 9, 0, 1.6e-5), np.array([80 / 0.9]), np.array([14 / (6400 * 0.81)])
    )
    assert state[0, 0] == pytest.approx(84.5398566)
    assert state[2, 0] == pytest.approx(4.2790651)
    assert information[0] == pytest.approx(0.0663091, rel=1e-5)


def test_doubt_grows_from_the_two_thresholds() -> None:
    # below 1.7: 1; 3.4/1.7 = 2; above 3.5: 4 (7/3.5)² = 16
    assert kalman.doubt_factor(np.array([0, 1.7, 3.4, 7])) == pytest.approx([1, 1, 2, 16])


def test_charge_is_judged_by_the_width_it_should_have() -> None:
    # 45 Ah charged, 50 % displayed: 90 Ah, r = 3.4/50. A battery of predicted 75 Ah should have shown 45/75 = 60 %.
    expected = kalman.expected_relative_variance(np.array([75.0]), np.array([90.0]), np.array([(3.4 / 50) ** 2]))
    assert np.sqrt(expected[0]) == pytest.approx(3.4 / 60)


@pytest.mark.parametrize("measured", [1e-3, 5.0, 130.0, 300.0, 1e6])
def test_absurd_observations_leave_a_well_known_health_alone(measured: float) -> None:
    state = column(90, -0.006, 1, 0, 1e-5)
    for _ in range(2):
        state, _ = kalman.update(state, np.array([measured]), np.array([0.06**2]))
        assert np.isfinite(state).all()
    assert abs(state[0, 0] - 90) < 1
    assert 0.9 < state[2, 0] < 4


def test_window_is_taken_for_twice_its_width_at_most() -> None:
    # 300 % measured at a predicted 90 % would make it 3.3 times as wide; r/2 = 0.03
    expected = kalman.expected_relative_variance(np.array([90.0]), np.array([300.0]), np.array([0.06**2]))
    assert np.sqrt(expected[0]) == pytest.approx(0.03)


def test_covariance_stays_positive_definite() -> None:
    random = np.random.default_rng(3)
    state = fleet(500)
    for _ in range(200):
        state = kalman.predict(state, random.integers(1, 40, 500))
        state, _ = kalman.update(state, random.uniform(40, 140, 500), random.uniform(0.005, 0.1, 500) ** 2)
    assert (state[2] > 0).all()
    assert (state[4] > 0).all()
    assert (state[3] ** 2 < state[2] * state[4]).all()


def test_no_vehicle_depends_on_its_neighbours() -> None:
    random = np.random.default_rng(4)
    state, days = fleet(1001), random.integers(1, 400, 1001)
    measured, variance = random.uniform(60, 110, 1001), random.uniform(0.01, 0.1, 1001) ** 2
    together = kalman.predict(state, days)
    updated, information = kalman.update(together, measured, variance)
    for part in (slice(0, 1), slice(3, 10), slice(500, 1001)):
        np.testing.assert_array_equal(kalman.predict(state[:, part], days[part]), together[:, part])
        alone, alone_information = kalman.update(together[:, part], measured[part], variance[part])
        np.testing.assert_array_equal(alone, updated[:, part])
        np.testing.assert_array_equal(alone_information, information[part])


def test_arguments_stay_as_they_were() -> None:
    state, days = fleet(5), np.arange(5)
    measured, variance = np.full(5, 80.0), np.full(5, 0.001)
    before = [a.copy() for a in (state, days, measured, variance)]
    kalman.predict(state, days)
    kalman.update(state, measured, variance)
    for now, then in zip((state, days, measured, variance), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_no_vehicle_at_all() -> None:
    nothing = np.zeros((5, 0))
    assert kalman.predict(nothing, np.zeros(0, np.int64)).shape == (5, 0)
    state, information = kalman.update(nothing, np.zeros(0), np.zeros(0))
    assert state.shape == (5, 0)
    assert information.shape == (0,)
