"""The queries of the weekly report on a real warehouse, and the page in a real lake."""

from __future__ import annotations

import html
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pytest

from packwatch.errors import UsageError
from packwatch.ingest.identity import make_id
from packwatch.ingest.lake import Lake
from packwatch.load import warehouse
from packwatch.publish import weekly
from packwatch.publish.alerts import update_alerts

MONDAY = date(2026, 11, 9)
SUNDAY = date(2026, 11, 15)
VIN = "1N4AZ1CP8KC300001"
LEAF, ODD, QUIET = (make_id("vehicle", name) for name in (VIN, "odd", "quiet"))


def text_of(page: str) -> str:
    """What the page says, without its tags."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", page)))


def enter_vehicles(database: psycopg.Connection, *rows: dict[str, Any]) -> None:
    common = {"make": None, "model": None, "year": None, "shard": 0, "spec_model": None, "spec_source": "neutral"}
    table = pd.DataFrame(
        [{**common, "vin": f"VIN{number}", "identified_by": "raw/x", **row} for number, row in enumerate(rows)]
    )
    warehouse.copy_rows(
        database, "vehicles", table.astype({"year": "Int64", "make": "str", "model": "str", "spec_model": "str"})
    )


def enter_days(database: psycopg.Connection, *rows: dict[str, Any]) -> None:
    stamp = datetime(2026, 11, 9, tzinfo=UTC)
    common = {"shard": 0, "row_count": 10, "first_recorded_at": stamp, "last_recorded_at": stamp}
    warehouse.copy_rows(database, "vehicle_days", pd.DataFrame([{**common, **row} for row in rows]))


def enter_reports(database: psycopg.Connection, *rows: dict[str, Any]) -> None:
    state = ("state_soh", "state_rate_per_day", "state_var_soh", "state_cov", "state_var_rate", "state_evidence")
    common = {
        "make": "Nissan",
        "shard": 0,
        "rate_is_prior": True,
        "observation_count": 1,
        "evidence_status": "ok",
        "method_version": "capacity-1",
        **dict.fromkeys(state, 0.0),
    }
    full = [{**common, "id": make_id(row["vehicle_id"], row["report_date"]), **row} for row in rows]
    warehouse.copy_rows(database, "battery_health_reports", pd.DataFrame(full))


def enter_sessions(database: psycopg.Connection, *rows: dict[str, Any]) -> None:
    stamp = datetime(2026, 11, 9, tzinfo=UTC)
    common = {
        "cycle_timestamp": stamp,
        "ended_at": stamp,
        "cycle_type": "charge",
        "shard": 0,
        "duration_s": 60.0,
        "row_count": 5,
        "full_charge": False,
        "quality_flags": 0,
    }
    table = pd.DataFrame([{**common, "id": make_id("session", number), **row} for number, row in enumerate(rows)])
    warehouse.copy_rows(database, "charge_cycles", table)


def enter_anomaly(database: psycopg.Connection, name: str, day: date, severity: int, vehicle_id: str = LEAF) -> None:
    stamp = datetime(day.year, day.month, day.day, tzinfo=UTC)
    row = {
        "id": make_id(name, day),
        "alert_id": make_id("alert", name),
        "vehicle_id": vehicle_id,
        "log_date": day,
        "shard": 0,
        "code": name,
        "severity": severity,
        "subject": "pack",
        "started_at": stamp,
        "ended_at": stamp,
        "row_count": 1,
        "message": f"{name} at {severity}",
        "action": "look",
    }
    warehouse.copy_rows(database, "anomalies", pd.DataFrame([row]))


def enter_objects(database: psycopg.Connection, *rows: dict[str, Any]) -> None:
    common = {
        "etag": "e",
        "size_bytes": 1,
        "state": "clean",
        "run_key": "r",
        "batch_id": "b",
        "method_version": "rules-3",
    }
    table = pd.DataFrame([{**common, "object_key": f"raw/{number}", **row} for number, row in enumerate(rows)])
    warehouse.copy_rows(database, "ingested_objects", table)


@pytest.fixture
def fleet(database: psycopg.Connection) -> psycopg.Connection:
    """A Leaf with all figures, a vehicle of unknown make with a hostile model, and one silent since the week before."""
    warehouse.ensure_partitions(database, [], [("Nissan", 2026), ("unknown", 2026)])
    enter_vehicles(
        database,
        {"id": LEAF, "vin": VIN, "make": "Nissan", "model": "Leaf", "year": 2019, "spec_model": "Leaf 40"},
        {"id": ODD, "model": "<script>alert(1)</script>"},
        {"id": QUIET, "make": "BMW", "model": "i3"},
    )
    tuesday = MONDAY + timedelta(days=1)
    enter_days(
        database,
        {"vehicle_id": LEAF, "log_date": MONDAY - timedelta(days=2), "odometer_km": 1000.0},
        {
            "vehicle_id": LEAF,
            "log_date": MONDAY,
            "odometer_km": 1040.0,
            "temperature_max_c": 31.0,
            "cell_spread_median_mv": 12.0,
        },
        {
            "vehicle_id": LEAF,
            "log_date": SUNDAY,
            "odometer_km": 1250.0,
            "temperature_max_c": 33.5,
            "cell_spread_median_mv": 18.0,
        },
        {"vehicle_id": ODD, "log_date": tuesday, "odometer_km": 520.0},
        {"vehicle_id": QUIET, "log_date": MONDAY - timedelta(days=3), "odometer_km": 9.0},
    )
    enter_sessions(
        database,
        {"vehicle_id": LEAF, "log_date": MONDAY, "energy_transferred_kwh": 20.0, "charge_type": "AC"},
        {"vehicle_id": LEAF, "log_date": SUNDAY, "energy_transferred_kwh": 30.5, "charge_type": "DC"},
        {"vehicle_id": ODD, "log_date": tuesday, "energy_transferred_kwh": 5.0, "charge_type": None},
        {
            "vehicle_id": LEAF,
            "log_date": MONDAY - timedelta(days=1),
            "energy_transferred_kwh": 99.0,
            "charge_type": "AC",
        },
        {"vehicle_id": ODD, "log_date": tuesday, "cycle_type": "discharge", "odometer_start_km": 500.0},
    )
    enter_reports(
        database,
        {"vehicle_id": LEAF, "report_date": date(2026, 9, 1), "state_of_health_percent": 91.0},
        {"vehicle_id": LEAF, "report_date": MONDAY, "state_of_health_percent": 89.0},
        {
            "vehicle_id": LEAF,
            "report_date": SUNDAY,
            "state_of_health_percent": 88.5,
            "soh_lower_90_percent": 84.5,
            "soh_upper_90_percent": 92.5,
            "confidence_score": 0.78,
            "degradation_rate_per_year": 2.1,
        },
        {
            "vehicle_id": ODD,
            "make": "unknown",
            "report_date": tuesday,
            "evidence_status": "insufficient_evidence",
            "evidence_missing": "Needs a wider charge.",
            "degradation_rate_per_year": 1.9,
        },
        {"vehicle_id": LEAF, "report_date": SUNDAY + timedelta(days=1), "state_of_health_percent": 50.0},
    )
    enter_objects(
        database,
        {"ingest_date": MONDAY, "rows_in": 100, "rows_clean": 90, "rows_quarantined": 7, "rows_duplicate": 3},
        {"ingest_date": SUNDAY, "rows_in": 11, "rows_clean": 10, "rows_quarantined": 1, "rows_duplicate": 0},
        {
            "ingest_date": SUNDAY,
            "rows_in": 0,
            "rows_clean": 0,
            "rows_quarantined": 0,
            "rows_duplicate": 0,
            "state": "set_aside",
        },
        {
            "ingest_date": SUNDAY + timedelta(days=1),
            "rows_in": 5,
            "rows_clean": 5,
            "rows_quarantined": 0,
            "rows_duplicate": 0,
        },
    )
    percents = ("validity_percent", "uniqueness_percent", "plausibility_percent", "completeness_percent")
    common = {
        "shard": 0,
        "rows_in": 9,
        "rows_quarantined": 0,
        "rows_duplicate": 0,
        "rows_warned": 0,
        **dict.fromkeys(percents, 99.0),
    }
    quality = [(LEAF, MONDAY, 90.0), (ODD, MONDAY, 80.0), (LEAF, SUNDAY, 100.0), (LEAF, date(2026, 11, 16), 1.0)]
    rows = [{**common, "vehicle_id": who, "log_date": day, "quality_score": score} for who, day, score in quality]
    warehouse.copy_rows(database, "data_quality", pd.DataFrame(rows))
    return database


def test_the_figures_are_those_of_the_week(fleet: psycopg.Connection) -> None:
    found = weekly.headline(weekly.read_week(fleet, MONDAY))
    # km: the Leaf 1250 - 1000 (end of the week before), the other 520 - 500 (start of its drive). kWh: 20 + 30.5 + 5;
    # Sunday before the week does not count. Quality: (90 + 80 + 100) / 3 vehicle days.
    assert found == {
        "vehicles": 2,
        "km": 270.0,
        "km_vehicles": 2,
        "energy_kwh": 55.5,
        "sessions": 3,
        "alerts": 0,
        "alerts_new": 0,
        "quality": 90.0,
        "objects": 3,
        "not_clean": 1,
        "rows_open": 0,
        "rows_in": 111,
        "rows_clean": 100,
        "rows_quarantined": 8,
        "rows_duplicate": 3,
    }


def test_a_vehicle_has_its_last_report_of_the_week_and_its_first_ever(fleet: psycopg.Connection) -> None:
    vehicles = weekly.read_week(fleet, MONDAY).vehicles.set_index("vehicle_id")
    leaf, odd = vehicles.loc[LEAF], vehicles.loc[ODD]
    assert (leaf["soh_percent"], leaf["soh_lower_percent"], leaf["soh_upper_percent"]) == (88.5, 84.5, 92.5)
    assert (leaf["first_soh_percent"], leaf["first_report_on"]) == (91.0, date(2026, 9, 1))
    # Median of 12 and 18 mV; the hottest day is Sunday.
    assert (leaf["cell_spread_mv"], leaf["temperature_max_c"], leaf["hottest_on"]) == (15.0, 33.5, SUNDAY)
    assert np.isnan(odd["soh_percent"])
    assert np.isnan(odd["first_soh_percent"])
    assert odd["evidence_missing"] == "Needs a wider charge."


def test_the_page_is_in_the_lake_and_the_same_again(fleet: psycopg.Connection, lake: Lake) -> None:
    enter_anomaly(fleet, "imbalance", SUNDAY, 3)
    key = weekly.publish_week(fleet, lake, MONDAY)
    assert key == "published/weekly/2026-W46/report.html"
    content = lake.read(key)
    assert lake.client.head_object(Bucket=lake.bucket, Key=key)["ContentType"] == "text/html; charset=utf-8"
    assert weekly.publish_week(fleet, lake, MONDAY) == key
    assert lake.read(key) == content
    page = content.decode()
    text = text_of(page)
    assert "<script" not in page
    assert VIN not in page
    assert LEAF not in page
    assert "Monday 9 November 2026 to Sunday 15 November 2026" in text
    assert "Pack of Nissan Leaf (2019) " + LEAF[:8] in text
    assert "imbalance at 3" in text
    assert "This page is no safety alarm." in text
    assert "111 rows in = 100 clean + 8 quarantined + 3 duplicate, from 3 files" in text
    assert "1 of them unreadable, rejected or unfinished" in text
    # 88.5 - 91.0 = -2.5 points since the first report; the rate is the fleet's.
    assert "−2.5" in text
    assert re.search(r"2\.1\s*†", text)
    assert "Insufficient evidence for 1 of 2 vehicles." in text
    assert "1 vehicle: Needs a wider charge." in text
    assert "Unknown make <script>alert(1)</script>" in text
    assert "BMW i3 " + QUIET[:8] + " last on Fri 6 Nov" in text
    assert "health capacity-1 (3 reports)" in text
    assert "validation rules-3 (3 files)" in text


def test_alerts_are_those_open_on_sunday(database: psycopg.Connection) -> None:
    enter_vehicles(database, {"id": LEAF, "vin": VIN, "make": "Nissan", "model": "Leaf"}, {"id": ODD})
    # The Leaf sends data every day of two weeks before and of the week; the other stopped on 1 November.
    enter_days(database, *[{"vehicle_id": LEAF, "log_date": SUNDAY - timedelta(days=n)} for n in range(21)])
    enter_days(database, {"vehicle_id": ODD, "log_date": date(2026, 11, 1)})
    enter_anomaly(database, "resolved", SUNDAY - timedelta(days=7), 3)  # seven days with data after it
    enter_anomaly(database, "still_open", SUNDAY - timedelta(days=6), 2)  # six days with data after it
    enter_anomaly(database, "silent", date(2026, 11, 1), 4, ODD)  # no data since: nothing says that it is over
    enter_anomaly(database, "watch", SUNDAY, 1)
    enter_anomaly(database, "worse", MONDAY, 3)
    enter_anomaly(database, "worse", SUNDAY, 2)
    found = weekly.read_week(database, MONDAY).alerts
    assert found["code"].tolist() == ["silent", "worse", "still_open"]
    assert found["severity"].tolist() == [4, 3, 2]
    assert found["message"].tolist() == ["silent at 4", "worse at 3", "still_open at 2"]
    assert found["day_count"].tolist() == [1, 2, 1]
    # Until more data arrive, the table of alerts is of one mind with the report of the newest week.
    update_alerts(database)
    known = database.execute(
        "SELECT id::TEXT, severity, opened_on, last_seen_on FROM alerts WHERE state = 'open'"
    ).fetchall()
    assert sorted(known) == sorted(
        found[["alert_id", "severity", "opened_on", "last_seen_on"]].itertuples(index=False, name=None)
    )


def test_a_past_week_does_not_change_with_what_came_after(database: psycopg.Connection) -> None:
    enter_vehicles(database, {"id": LEAF, "vin": VIN})
    enter_anomaly(database, "imbalance", MONDAY, 2)
    before = weekly.render_week(weekly.read_week(database, MONDAY))
    later = [SUNDAY + timedelta(days=n) for n in range(1, 9)]
    enter_days(database, *[{"vehicle_id": LEAF, "log_date": day} for day in later])
    enter_anomaly(database, "imbalance", later[0], 4)
    enter_anomaly(database, "new", later[0], 4)
    update_alerts(database)
    assert weekly.render_week(weekly.read_week(database, MONDAY)) == before


def test_an_empty_week_is_a_page(database: psycopg.Connection, lake: Lake) -> None:
    page = lake.read(weekly.publish_week(database, lake, date(2026, 12, 28))).decode()
    text = text_of(page)
    # The last Monday of 2026 starts week 53, which ends in 2027.
    assert "Week 53 (2026-W53)" in text
    assert "Sunday 3 January 2027" in text
    assert "No vehicle sent data of this week. No alert is open." in text
    assert "No file arrived in the week." in text
    assert "nan" not in text.lower().split()


def test_a_week_starts_on_monday(database: psycopg.Connection, lake: Lake) -> None:
    with pytest.raises(UsageError, match=r"2026-11-11 is a Wednesday.*2026-11-09"):
        weekly.publish_week(database, lake, date(2026, 11, 11))
    assert list(lake.list("published/")) == []
