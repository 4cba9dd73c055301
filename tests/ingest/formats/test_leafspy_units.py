"""The unit that the log does not write is found from physics, or left open."""

from __future__ import annotations

import numpy as np
import pytest

from packwatch.ingest.formats.leafspy_units import ambient_celsius, gps_speed_kmh, odometer_km, wheel_speed_kmh


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)


NAN = float("nan")


class TestAmbient:
    @pytest.mark.parametrize(
        ("logged", "pack_c", "expected"),
        [
            # half degrees: 7.5 is no step of the Fahrenheit grid (32 + 0.9 n)
            ([7.5, 8, 10], 12.0, [7.5, 8, 10]),
            # 59.9 = 32 + 31 x 0.9 and is no half degree; 15.5 °C
            ([59.9, 68, 86], 30.0, [15.5, 20, 30]),
            # cold in Fahrenheit: 30.2 = 32 - 2 x 0.9, -1 °C
            ([30.2, 32], 5.0, [-1, 0]),
            # whole degrees: 74 °C is no weather
            ([74, 75], 26.0, [23.333, 23.889]),
            # whole degrees near zero: -12 °F would be -24 °C, 47 K below a pack of 23 °C
            ([-12, -11], 23.0, [-12, -11]),
            # 50 °C beside a pack of 20 °C is not plausible, 10 °C is
            ([50, 50], 20.0, [10, 10]),
            # 20 °C or 20 °F (-6.7 °C) beside a pack of 15 °C: nobody can tell
            ([20, 21], 15.0, [NAN, NAN]),
            # 36.5 lies on both grids (2.5 °C); 36.5 °C beside a pack of 5 °C does not go, 2.5 °C does
            ([36.5, 36.5], 5.0, [2.5, 2.5]),
            # steps of neither grid; 59.3 °C is no weather
            ([59.3, 59.4, 59.5, 59.7], 18.0, [15.167, 15.222, 15.278, 15.389]),
            # no pack temperature: only the weather is left
            ([95, 96], NAN, [35, 35.556]),
            ([NAN, NAN], 20.0, [NAN, NAN]),
        ],
    )
    def test_unit(self, logged, pack_c, expected):
        found = ambient_celsius(array(*logged), np.full(len(logged), pack_c))
        np.testing.assert_allclose(found, expected, atol=1e-3)

    def test_a_sensor_that_says_nothing_is_missing_in_either_unit(self):
        # 188.6 °F and 87 °C are the byte 254
        np.testing.assert_allclose(ambient_celsius(array(59.9, 188.6), array(20, 20)), [15.5, NAN])
        np.testing.assert_allclose(ambient_celsius(array(7.5, 87.0), array(12, 12)), [7.5, NAN])

    def test_no_rows(self):
        assert len(ambient_celsius(array(), array())) == 0


class TestWheelSpeed:
    def test_speed1_is_hundredths_of_a_kilometre_an_hour(self):
        np.testing.assert_allclose(wheel_speed_kmh(array(0, 5005), array(9999, 9999)), [0, 50.05])

    def test_a_speed1_that_is_always_zero_was_not_read(self):
        np.testing.assert_allclose(wheel_speed_kmh(array(0, 0), array(6880, -688)), [100, 10])

    def test_nothing_read(self):
        assert np.isnan(wheel_speed_kmh(array(0, NAN), array(NAN, 0))).all()


# Ten minutes in steps of 10 s at 90 km/h: 15 km, which is 9.32 miles.
TIME_S = np.arange(0, 601, 10, dtype=float)
WHEEL_KMH = np.full(61, 90.0)
TRAVELLED_KM = TIME_S / 3600 * 90


class TestOdometer:
    def test_kilometres(self):
        shown = np.floor(1000 + TRAVELLED_KM)
        np.testing.assert_array_equal(odometer_km(shown, WHEEL_KMH, TIME_S, may_be_miles=True), shown)

    def test_miles(self):
        shown = np.floor(1000 + TRAVELLED_KM / 1.609344)
        np.testing.assert_allclose(odometer_km(shown, WHEEL_KMH, TIME_S, may_be_miles=True), shown * 1.609344)

    @pytest.mark.parametrize("share", [0.1, 0.5])
    def test_too_short_a_way_tells_nothing(self, share):
        part = slice(0, int(61 * share))
        shown = np.floor(1000 + TRAVELLED_KM[part])
        new = odometer_km(shown, WHEEL_KMH[part], TIME_S[part], may_be_miles=True)
        old = odometer_km(shown, WHEEL_KMH[part], TIME_S[part], may_be_miles=False)
        assert np.isnan(new).all()
        np.testing.assert_array_equal(old, shown)

    def test_a_gap_is_no_evidence(self):
        # 90 km/h before and after a gap of two hours in which the odometer moved by 15
        assert np.isnan(odometer_km(array(1000, 1015), array(90, 90), array(0, 7200), may_be_miles=True)).all()

    def test_missing_readings_are_stepped_over(self):
        shown = np.floor(1000 + TRAVELLED_KM / 1.609344)
        shown[30] = NAN
        found = odometer_km(shown, WHEEL_KMH, TIME_S, may_be_miles=True)
        np.testing.assert_allclose(found, shown * 1.609344)

    def test_distances_that_no_unit_explains_tell_nothing(self):
        shown = 1000 + TRAVELLED_KM * 5
        assert np.isnan(odometer_km(shown, WHEEL_KMH, TIME_S, may_be_miles=True)).all()

    def test_a_clock_that_runs_backwards_tells_nothing(self):
        assert np.isnan(odometer_km(1000 + TRAVELLED_KM, WHEEL_KMH, TIME_S[::-1], may_be_miles=True)).all()


class TestPhoneSpeed:
    def test_miles_an_hour(self):
        # 55.92 mph are 90 km/h
        found = gps_speed_kmh(WHEEL_KMH / 1.609344, 1000 + TRAVELLED_KM, TIME_S)
        np.testing.assert_allclose(found, 90.0)

    def test_kilometres_an_hour(self):
        np.testing.assert_allclose(gps_speed_kmh(WHEEL_KMH, 1000 + TRAVELLED_KM, TIME_S), 90.0)

    def test_undecided_only_standstill_is_known(self):
        np.testing.assert_array_equal(gps_speed_kmh(array(0, 30), array(NAN, NAN), array(0, 10)), [0, NAN])
