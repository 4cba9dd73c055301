"""The recursion gives the same bits however the work is divided, ordered and stored in between."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from packwatch.assess import assess_days
from packwatch.ingest.identity import make_id

FIRST = date(2025, 7, 2)
NOTHING = pd.DataFrame()


def random_fleet(seed: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return days, sessions and vehicles with gaps, late vehicles, several charges a day, bad numbers and outliers."""
    random = np.random.default_rng(seed)
    count, length = 40, 25
    ids = np.array([str(uuid.UUID(bytes=random.bytes(16), version=4)) for _ in range(count)])
    begins = random.integers(0, 15, count)
    there = (random.random((count, length)) < 0.6) & (np.arange(length) >= begins[:, None])
    vehicle, offset = np.nonzero(there)
    dates = np.array([FIRST + timedelta(days=i) for i in range(length)], dtype=object)
    n = len(vehicle)
    days = pd.DataFrame(
        {
            "vehicle_id": ids[vehicle],
            "log_date": dates[offset],
            "equivalent_full_cycles": np.where(random.random(n) < 0.3, np.nan, random.random(n)),
            "odometer_km": np.where(random.random(n) < 0.3, np.nan, random.uniform(0, 1e5, n)),
            "bms_soh_percent": random.uniform(70, 100, n),
        }
    )
    of = np.repeat(np.arange(n), random.integers(0, 4, n))
    m = len(of)
    capacity = random.normal(45, 2, m)
    capacity[::17] = np.nan
    capacity[5::29] *= 1.4
    midnight = pd.to_datetime(pd.Series(dates[offset[of]]), utc=True)
    sessions = pd.DataFrame(
        {
            "session_id": [str(uuid.UUID(bytes=random.bytes(16), version=4)) for _ in range(m)],
            "vehicle_id": ids[vehicle[of]],
            "log_date": dates[offset[of]],
            "kind": np.where(random.random(m) < 0.8, "charge", "discharge"),
            # whole hours, so that some charges of a vehicle end at the same instant
            "ended_at": midnight + pd.to_timedelta(random.integers(0, 3, m), unit="h"),
            "soc_start_percent": random.uniform(0, 50, m),
            "full_charge": random.random(m) < 0.3,
            "observed_capacity_ah": capacity,
            "observed_capacity_sigma_ah": np.abs(random.normal(2, 1, m)),
            "observed_soc_delta_percent": random.uniform(20, 95, m),
        }
    )
    vehicles = pd.DataFrame(
        {
            "vehicle_id": ids,
            "year": pd.array(np.where(random.random(count) < 0.2, pd.NA, random.integers(2012, 2026, count)), "Int16"),
            "chemistry": random.choice(["NMC", "LFP", "unknown"], count),
            "capacity_nominal_ah": np.where(random.random(count) < 0.2, np.nan, 50.0),
            "spec_source": random.choice(["catalogue", "neutral"], count),
        }
    )
    return days, sessions, vehicles


def stored(reports: pd.DataFrame) -> pd.DataFrame:
    """Return what comes back from Postgres: shown figures rounded, doubles through text, null as None, ids as UUIDs."""
    shown = reports.loc[:, "state_of_health_percent":"degradation_rate_upper_90"]
    rounded = reports.assign(**shown.round(2))
    text = {name: rounded[name].map(repr).astype(object) for name in rounded.select_dtypes("float64")}
    back = rounded.astype(object).assign(**{name: values.map(float).astype(object) for name, values in text.items()})
    back = back.where(rounded.notna(), None)
    return back.assign(vehicle_id=reports["vehicle_id"].map(uuid.UUID).astype(object)).rename(
        columns={"report_id": "id"}
    )


@pytest.mark.parametrize(("seed", "cuts"), [(0, range(1, 25)), (1, [1, 2, 20]), (2, [13])])
def test_any_division_of_the_days_gives_the_same_bits(seed: int, cuts: Iterable[int]) -> None:
    days, sessions, vehicles = random_fleet(seed)
    whole = assess_days(NOTHING, days, sessions, vehicles)
    edges = [FIRST + timedelta(days=cut) for cut in [0, *cuts, 25]]
    last, parts = whole.iloc[:0], []
    for begin, end in pairwise(edges):
        part = days[(days["log_date"] >= begin) & (days["log_date"] < end)]
        its = sessions[(sessions["log_date"] >= begin) & (sessions["log_date"] < end)]
        parts.append(assess_days(stored(last), part, its, vehicles))
        last = pd.concat([last, parts[-1]], ignore_index=True).drop_duplicates("vehicle_id", keep="last")
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole, check_exact=True)


def test_newest_of_several_previous_reports_counts() -> None:
    days, sessions, vehicles = random_fleet(6)
    early = days["log_date"] < FIRST + timedelta(days=12)
    history = assess_days(NOTHING, days[early], sessions, vehicles)
    last = history.drop_duplicates("vehicle_id", keep="last")
    expected = assess_days(last, days[~early], sessions, vehicles)
    shuffled = history.sample(frac=1, random_state=2)
    pd.testing.assert_frame_equal(assess_days(shuffled, days[~early], sessions, vehicles), expected, check_exact=True)


def test_division_by_vehicle_gives_the_same_bits() -> None:
    days, sessions, vehicles = random_fleet(7)
    whole = assess_days(NOTHING, days, sessions, vehicles)
    for vehicle in vehicles["vehicle_id"].iloc[:5]:
        alone = assess_days(NOTHING, days[days["vehicle_id"] == vehicle], sessions, vehicles)
        expected = whole[whole["vehicle_id"] == vehicle].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, expected, check_exact=True)


def test_order_of_rows_does_not_matter() -> None:
    days, sessions, vehicles = random_fleet(8)
    whole = assess_days(NOTHING, days, sessions, vehicles)
    mixed = (frame.sample(frac=1, random_state=1) for frame in (days, sessions, vehicles))
    pd.testing.assert_frame_equal(assess_days(NOTHING, *mixed), whole, check_exact=True)


def test_ids_may_be_categories_or_uuids() -> None:
    days, sessions, vehicles = random_fleet(9)
    whole = assess_days(NOTHING, days, sessions, vehicles)
    reverse = pd.CategoricalDtype(sorted(vehicles["vehicle_id"], reverse=True))
    as_categories = [frame.astype({"vehicle_id": reverse}) for frame in (days, sessions, vehicles)]
    pd.testing.assert_frame_equal(assess_days(NOTHING, *as_categories), whole, check_exact=True)
    as_uuids = [frame.assign(vehicle_id=frame["vehicle_id"].map(uuid.UUID)) for frame in (days, sessions, vehicles)]
    pd.testing.assert_frame_equal(assess_days(NOTHING, *as_uuids), whole, check_exact=True)


def test_report_ids_are_those_of_the_library() -> None:
    days, sessions, vehicles = random_fleet(10)
    reports = assess_days(NOTHING, days, sessions, vehicles)
    expected = [make_id(*key) for key in zip(reports["vehicle_id"], reports["report_date"], strict=True)]
    assert reports["report_id"].tolist() == expected


def test_arguments_stay_as_they_were() -> None:
    days, sessions, vehicles = random_fleet(11)
    early = days["log_date"] < FIRST + timedelta(days=10)
    previous = assess_days(NOTHING, days[early], sessions, vehicles).drop_duplicates("vehicle_id", keep="last")
    frames = (previous, days[~early], sessions, vehicles)
    copies = [frame.copy(deep=True) for frame in frames]
    assess_days(*frames)
    for frame, copy in zip(frames, copies, strict=True):
        pd.testing.assert_frame_equal(frame, copy, check_exact=True)


def test_columns_and_dtypes_are_the_same_without_a_row() -> None:
    days, sessions, vehicles = random_fleet(12)
    full = assess_days(NOTHING, days, sessions, vehicles)
    for empty in (
        assess_days(NOTHING, NOTHING, NOTHING, NOTHING),
        assess_days(full, days.iloc[:0], sessions.iloc[:0], vehicles),
        assess_days(full.iloc[:0], days.iloc[:0], sessions, vehicles.iloc[:0]),
    ):
        assert len(empty) == 0
        pd.testing.assert_series_equal(empty.dtypes, full.dtypes)
    # nothing known of the vehicles and no session: columns of nulls keep their type
    unknown = assess_days(NOTHING, days, NOTHING, NOTHING)
    pd.testing.assert_series_equal(unknown.dtypes, full.dtypes)
