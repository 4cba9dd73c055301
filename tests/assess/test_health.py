"""Reports from days and charges: values by hand, evidence, and what is refused."""

from __future__ import annotations

import math
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from packwatch.assess import METHOD_VERSION, assess_days
from packwatch.errors import UsageError
from packwatch.ingest.identity import make_id

FIRST = date(2025, 7, 2)
NOTHING = pd.DataFrame()


def days_of(vehicle: str, *offsets: int, cycles: float = math.nan, km: float = math.nan) -> pd.DataFrame:
    """Return one row of `days` for each offset from FIRST."""
    return pd.DataFrame(
        {
            "vehicle_id": vehicle,
            "log_date": [FIRST + timedelta(days=offset) for offset in offsets],
            "equivalent_full_cycles": cycles,
            "odometer_km": km,
            "bms_soh_percent": math.nan,
        }
    )


def charge(vehicle: str, offset: int, capacity_ah: float, sigma_ah: float, *, hour: int = 12, **other: Any) -> dict:
    """Return one charge session that ended at `hour` of FIRST + offset."""
    ended_at = pd.Timestamp(FIRST + timedelta(days=offset), tz="UTC") + pd.Timedelta(hours=hour)
    return {
        "session_id": f"{vehicle}/{ended_at.isoformat()}",
        "vehicle_id": vehicle,
        "log_date": FIRST + timedelta(days=offset),
        "kind": "charge",
        "ended_at": ended_at,
        "soc_start_percent": 20.0,
        "full_charge": False,
        "observed_capacity_ah": capacity_ah,
        "observed_capacity_sigma_ah": sigma_ah,
        "observed_soc_delta_percent": 60.0,
        **other,
    }


def car(vehicle: str = "a", **other: object) -> pd.DataFrame:
    """Return a vehicle of 50 Ah whose year is not known: prior 90 %, variance 64."""
    spec = {"year": None, "chemistry": "NMC", "capacity_nominal_ah": 50.0, "spec_source": "catalogue"}
    return pd.DataFrame([{"vehicle_id": vehicle, **spec, **other}])


def assess_one(*charges: dict, vehicles: pd.DataFrame | None = None) -> pd.Series:
    """Return the report of vehicle a on FIRST."""
    reports = assess_days(NOTHING, days_of("a", 0), pd.DataFrame(charges), car() if vehicles is None else vehicles)
    assert len(reports) == 1
    return reports.iloc[0]


def test_one_charge_by_hand() -> None:
    # z = 45/50 = 90 %, as expected: innovation 0. r = 1.8/45 = 0.04: variance (90 * 0.04)² = 12.96, half of it own.
    # P = 64 * 6.48/(64 + 6.48) = 5.8842225. Reported: + shared 6.48 + 0.7² + 2² = 16.8542225, sd 4.1053894,
    # half interval 1.645 * sd = 6.7533656. Confidence: P(|x| < 3/4.1053894 = 0.7307467 sd) = 0.53506.
    report = assess_one(charge("a", 0, 45.0, 1.8))
    assert report["state_of_health_percent"] == pytest.approx(90)
    assert report["state_var_soh"] == pytest.approx(5.8842225)
    assert report["soh_lower_90_percent"] == pytest.approx(90 - 6.7533656)
    assert report["soh_upper_90_percent"] == pytest.approx(90 + 6.7533656)
    assert report["confidence_score"] == pytest.approx(0.53506, abs=1e-5)
    assert report["state_evidence"] == pytest.approx(1 / 12.96)
    assert report["observation_count"] == 1
    assert report["observation_kinds"] == "partial_charge:1"
    assert report["evidence_status"] == "ok"
    assert pd.isna(report["evidence_missing"])
    assert report["reference_capacity_ah"] == 50
    assert report["reference_source"] == "catalogue nominal"
    assert report["method_version"] == METHOD_VERSION
    assert report["report_id"] == make_id("a", FIRST)
    assert report["report_date"] == FIRST


def test_no_observation_leaves_the_prior_and_no_state_of_health() -> None:
    # Model year 2020 counts from the middle of the year: 50.5 * 365.25 = 18445.125 days after 1970. 2025-07-02 is day
    # 20271: age 1825.875 days = 4.998973 years. Prior 100 - 2.3 * 4.998973 = 88.502361, variance 9 + 0.64 * 24.989733
    report = assess_one(vehicles=car(year=2020))
    assert report["state_soh"] == pytest.approx(88.502361)
    assert report["state_var_soh"] == pytest.approx(24.993429)
    assert math.isnan(report["state_of_health_percent"])
    assert math.isnan(report["soh_lower_90_percent"])
    assert report["confidence_score"] == 0
    assert report["evidence_status"] == "insufficient_evidence"
    assert report["evidence_missing"] == "Needs a charge over at least 57 % of the battery; no charge seen so far."
    assert report["observation_kinds"] == ""
    # 2.3 +- 1.645 * 1.5 points a year
    assert report["rate_is_prior"]
    assert report["degradation_rate_per_year"] == pytest.approx(2.3)
    assert report["degradation_rate_lower_90"] == pytest.approx(-0.1675)
    assert report["degradation_rate_upper_90"] == pytest.approx(4.7675)


def test_health_above_one_hundred_is_reported_as_it_is() -> None:
    # 51.5/50 = 103 %, forty good charges
    charges = [charge("a", offset, 51.5, 0.515) for offset in range(40)]
    reports = assess_days(NOTHING, days_of("a", *range(40)), pd.DataFrame(charges), car())
    assert reports["state_of_health_percent"].iloc[-1] == pytest.approx(103, abs=0.2)


@pytest.mark.parametrize(
    ("capacity_ah", "sigma_ah"),
    [(math.nan, 1.8), (45.0, math.nan), (0.0, 1.8), (-45.0, 1.8), (math.inf, 1.8), (45.0, math.inf), (45.0, -1.0)],
)
def test_unusable_observation_is_a_charge_but_no_evidence(capacity_ah: float, sigma_ah: float) -> None:
    report = assess_one(charge("a", 0, capacity_ah, sigma_ah))
    nothing = assess_one()
    assert report["charge_cycle_count"] == 1
    assert report["observation_count"] == 0
    assert report["state_soh"] == nothing["state_soh"]
    assert "wide or well recorded enough" in report["evidence_missing"]


def test_claimed_certainty_has_a_floor() -> None:
    # sigma 0 counts as 0.5 %: evidence 1/(90 * 0.005)² = 4.938
    assert assess_one(charge("a", 0, 45.0, 0.0))["state_evidence"] == pytest.approx(4.9382716)


def test_narrow_window_carries_no_weight() -> None:
    # 8.485 % is the most: 3.81 Ah of 45 is below, 3.83 above
    assert assess_one(charge("a", 0, 45.0, 3.81))["observation_count"] == 1
    report = assess_one(charge("a", 0, 45.0, 3.83))
    assert report["observation_count"] == 0
    assert report["state_soh"] == 90


def test_several_weaker_charges_make_up_for_one_wide_one() -> None:
    # 7 % each: variance (90 * 0.07)² = 39.69. One: sd 6.3. Two: sqrt(39.69 (0.5 + 0.25)) = 5.46 <= 6.
    one = assess_one(charge("a", 0, 45.0, 3.15))
    two = assess_one(charge("a", 0, 45.0, 3.15, hour=1), charge("a", 0, 45.0, 3.15, hour=2))
    assert math.isnan(one["state_of_health_percent"])
    # 3.394 points of SoC / 6.3 % = 53.9 %
    assert one["evidence_missing"].endswith("are together worth one over 53 %.")
    assert one["observation_count"] == 1
    assert two["state_of_health_percent"] == pytest.approx(90)


def test_interval_does_not_shrink_below_what_repeated_windows_share() -> None:
    # Variance 12.96 each, 6.48 shared, + 4.49: never below 1.645 * sqrt(10.97) = 5.4485
    charges = [charge("a", offset, 45.0, 1.8) for offset in range(300)]
    reports = assess_days(NOTHING, days_of("a", *range(300)), pd.DataFrame(charges), car())
    half = (reports["soh_upper_90_percent"] - reports["soh_lower_90_percent"]) / 2
    assert half.min() > 5.4
    assert half.iloc[-1] < half.iloc[0]


def test_outlier_of_ten_points_moves_a_known_health_by_less_than_one() -> None:
    charges = [charge("a", offset, 45.0, 1.8) for offset in range(30)]
    for outlier_ah in (40.0, 50.0):
        sessions = pd.DataFrame([*charges, charge("a", 30, outlier_ah, 1.8 * outlier_ah / 45)])
        reports = assess_days(NOTHING, days_of("a", *range(31)), sessions, car())
        before, after = reports["state_of_health_percent"].iloc[-2:]
        assert 0.01 < abs(after - before) < 1


def test_discharges_are_not_charges() -> None:
    report = assess_one(charge("a", 0, 30.0, 1.0, kind="discharge"))
    assert report["charge_cycle_count"] == 0
    assert report["observation_count"] == 0


def test_unknown_nominal_capacity_gives_no_state_of_health() -> None:
    for vehicles in (car(capacity_nominal_ah=math.nan, spec_source="neutral"), car("another"), NOTHING):
        report = assess_one(charge("a", 0, 45.0, 0.9), vehicles=vehicles)
        assert math.isnan(report["state_of_health_percent"])
        assert math.isnan(report["reference_capacity_ah"])
        assert pd.isna(report["reference_source"])
        assert report["evidence_status"] == "insufficient_evidence"
        assert "nominal capacity of this vehicle type is not known" in report["evidence_missing"]
        assert report["charge_cycle_count"] == 1
        assert report["state_soh"] == 90


def test_confidence_is_capped_for_types_without_a_catalogue_entry() -> None:
    good = charge("a", 0, 45.0, 0.45)
    assert assess_one(good)["confidence_score"] > 0.75
    assert assess_one(good, vehicles=car(spec_source="neutral"))["confidence_score"] == 0.6


def test_lfp_plateau_costs_five_points_of_soc_at_either_end() -> None:
    lfp = car(chemistry="LFP")

    def evidence(start: float, delta: float, *, full: bool) -> float:
        session = charge(
            "a", 0, 45.0, 1.35, soc_start_percent=start, observed_soc_delta_percent=delta, full_charge=full
        )
        return assess_one(session, vehicles=lfp)["state_evidence"]

    # sigma 3 %: evidence 1/(90 * 0.03)² = 0.137174, where both ends are good
    assert evidence(5, 93, full=True) == pytest.approx(0.137174, rel=1e-5)
    # one end on the plateau: 5/70 = 7.143 %: 1/(90 * 0.07143)² = 0.0241975
    assert evidence(25, 70, full=True) == pytest.approx(0.0241975, rel=1e-5)
    assert evidence(5, 70, full=False) == pytest.approx(0.0241975, rel=1e-5)
    # both: 5 sqrt(2)/80 = 8.84 %, more than 8.485 %
    assert evidence(15, 80, full=False) == 0
    # the sigma of the charge counts where it is larger: 5/95 = 5.3 % < 6 %
    wide = charge("a", 0, 45.0, 2.7, soc_start_percent=5.0, observed_soc_delta_percent=95.0)
    assert assess_one(wide, vehicles=lfp)["state_evidence"] == pytest.approx(1 / 5.4**2)


def test_lfp_window_of_unknown_width_is_no_evidence() -> None:
    unknown = charge("a", 0, 45.0, 1.35, observed_soc_delta_percent=math.nan, full_charge=None, soc_start_percent=None)
    assert assess_one(unknown, vehicles=car(chemistry="LFP"))["observation_count"] == 0


def test_days_without_data_of_their_own_carry_totals_on() -> None:
    days = pd.concat(
        [
            days_of("a", 0),
            days_of("a", 1, cycles=0.5, km=100.0),
            days_of("a", 2),
            days_of("a", 5, cycles=0.25, km=120.0),
        ]
    )
    sessions = pd.DataFrame([charge("a", 1, math.nan, math.nan), charge("a", 5, math.nan, math.nan)])
    reports = assess_days(NOTHING, days, sessions, car())
    np.testing.assert_array_equal(reports["equivalent_full_cycles"], [math.nan, 0.5, 0.5, 0.75])
    np.testing.assert_array_equal(reports["odometer_km"], [math.nan, 100, 100, 120])
    assert reports["charge_cycle_count"].tolist() == [0, 1, 1, 2]


def test_unreported_days_count_as_time() -> None:
    # Without data the health follows the fleet: 90 - 100 * 2.3/365.25 = 89.370294
    reports = assess_days(NOTHING, days_of("a", 0, 100), NOTHING, car())
    assert reports["state_soh"].iloc[1] == pytest.approx(89.370294)
    assert reports["state_var_soh"].iloc[1] > 64


def test_bms_health_is_passed_on_and_not_used() -> None:
    days = days_of("a", 0).assign(bms_soh_percent=71.0)
    report = assess_days(NOTHING, days, pd.DataFrame([charge("a", 0, 45.0, 1.8)]), car()).iloc[0]
    assert report["bms_soh_percent"] == 71
    assert report["state_of_health_percent"] == pytest.approx(90)


def test_rate_becomes_the_vehicles_own_after_a_year_of_charges() -> None:
    offsets = range(0, 540, 3)
    # 6 points a year of 45 Ah: each charge shows what is left
    charges = [charge("a", offset, 45 - offset * 3 / 365.25, 1.2) for offset in offsets]
    reports = assess_days(NOTHING, days_of("a", *offsets), pd.DataFrame(charges), car())
    assert reports["rate_is_prior"].iloc[0]
    assert not reports["rate_is_prior"].iloc[-1]
    last = reports.iloc[-1]
    assert last["degradation_rate_lower_90"] < 6 < last["degradation_rate_upper_90"]
    assert last["degradation_rate_per_year"] > 4
    assert 80 < last["state_of_health_percent"] < 82.5


def test_charges_of_a_day_are_taken_in_the_order_they_ended() -> None:
    # The first is as expected, the second is an outlier; the other way round the outlier is judged by a vaguer prior.
    early, late = charge("a", 0, 45.0, 0.9, hour=1), charge("a", 0, 36.0, 0.9, hour=2)
    swapped = [charge("a", 0, 45.0, 0.9, hour=2), charge("a", 0, 36.0, 0.9, hour=1)]
    assert assess_one(early, late)["state_soh"] == assess_one(late, early)["state_soh"]
    assert assess_one(early, late)["state_soh"] > assess_one(*swapped)["state_soh"]


def test_columns_come_in_the_agreed_order() -> None:
    columns = """report_id vehicle_id report_date state_of_health_percent soh_lower_90_percent soh_upper_90_percent
        confidence_score degradation_rate_per_year degradation_rate_lower_90 degradation_rate_upper_90
        charge_cycle_count equivalent_full_cycles reference_capacity_ah reference_source observation_count
        observation_kinds evidence_status evidence_missing bms_soh_percent rate_is_prior method_version state_soh
        state_rate_per_day state_var_soh state_cov state_var_rate state_evidence odometer_km"""
    assert assess_days(NOTHING, NOTHING, NOTHING, NOTHING).columns.tolist() == columns.split()


def test_sessions_of_other_days_and_vehicles_are_not_counted() -> None:
    sessions = pd.DataFrame(
        [charge("a", -1, 45.0, 1.8), charge("a", 1, 45.0, 1.8), charge("b", 0, 45.0, 1.8), charge("a", 9, 45.0, 1.8)]
    )
    reports = assess_days(NOTHING, days_of("a", 0, 2), sessions, car())
    assert reports["charge_cycle_count"].tolist() == [0, 0]


def test_changed_reference_capacity_starts_from_the_prior_again() -> None:
    sessions = pd.DataFrame([charge("a", 0, 45.0, 0.9)])
    previous = assess_days(NOTHING, days_of("a", 0, cycles=1.0, km=7.0), sessions, car())
    report = assess_days(previous, days_of("a", 1), NOTHING, car(capacity_nominal_ah=60.0)).iloc[0]
    assert report["state_soh"] == 90
    assert report["state_evidence"] == 0
    assert report["observation_count"] == 0
    assert math.isnan(report["state_of_health_percent"])
    assert report["charge_cycle_count"] == 1
    assert report["equivalent_full_cycles"] == 1
    assert report["odometer_km"] == 7


# Wrong calls


def test_day_that_comes_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="vehicle a on 2025-07-02: the day comes twice"):
        assess_days(NOTHING, days_of("a", 0, 1, 0), NOTHING, car())


def test_session_that_comes_twice_is_refused() -> None:
    sessions = pd.DataFrame([charge("a", 0, 45.0, 1.8), charge("a", 0, 45.0, 1.8)])
    with pytest.raises(UsageError, match="session a/2025-07-02T12:00:00\\+00:00 comes twice"):
        assess_days(NOTHING, days_of("a", 0), sessions, car())


def test_previous_report_of_the_same_day_is_refused() -> None:
    previous = assess_days(NOTHING, days_of("a", 0), NOTHING, car())
    with pytest.raises(UsageError, match="its previous report is of 2025-07-02, the first day to assess 2025-07-02"):
        assess_days(previous, days_of("a", 0, 1), NOTHING, car())


def test_missing_column_is_named() -> None:
    with pytest.raises(UsageError, match="odometer_km"):
        assess_days(NOTHING, days_of("a", 0).drop(columns="odometer_km"), NOTHING, car())
