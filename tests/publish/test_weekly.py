"""The page of the weekly report: what it says of which data."""

from __future__ import annotations

import re
from collections import Counter
from datetime import date
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest

from packwatch.ingest.identity import make_id
from packwatch.publish import weekly

MONDAY = date(2026, 11, 9)
SUNDAY = date(2026, 11, 15)
HOSTILE = '</text><script>alert(1)</script><img src="https://evil.example/x.png" onerror=alert(2)>'
TWO_MEGABYTES = 2_000_000


class Page(HTMLParser):
    """What a browser would make of the page: its tags with attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def assert_self_contained(page: str) -> None:
    """No script, no link, nothing to load, and no id twice."""
    tags = Page(page).tags
    assert {"script", "img", "link", "a", "iframe", "object", "image", "use", "base"}.isdisjoint(
        {tag for tag, _ in tags}
    )
    attributes = [(name, value or "") for _, pairs in tags for name, value in pairs.items()]
    assert not [
        name for name, _ in attributes if name.startswith("on") or name in ("src", "href", "xlink:href", "action")
    ]
    assert not re.search(r"url\(|@import", page)
    assert max(Counter(value for name, value in attributes if name == "id").values()) == 1
    assert len(page.encode()) < TWO_MEGABYTES


# Columns that hold dates, by query.
DATES = {
    "vehicles": ("hottest_on", "first_report_on"),
    "alerts": ("opened_on", "last_seen_on"),
    "silent": ("last_seen_on",),
    "charges": ("log_date",),
    "quality": ("log_date",),
    "books": ("ingest_date",),
}


def frame(name: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as `read_week` returns them; what a row does not say is unknown."""
    types = weekly._TYPES[f"weekly_{name}"]
    return pd.DataFrame(rows, columns=[*types, *DATES.get(name, ())]).astype(types)


def week(**rows: list[dict[str, Any]]) -> weekly.WeekData:
    names = [name.removeprefix("weekly_") for name in weekly._TYPES]
    return weekly.WeekData(MONDAY, **{name: frame(name, rows.get(name, [])) for name in names})


def vehicle(number: int, soh: float | None = 90.0, **values: Any) -> dict[str, Any]:
    known = {"soh_percent": soh, "soh_lower_percent": None, "soh_upper_percent": None, "confidence_score": 0.7}
    if soh is not None:
        known |= {"soh_lower_percent": soh - 4, "soh_upper_percent": soh + 4}
    return {
        "vehicle_id": make_id("vehicle", number),
        "make": "Nissan",
        "model": "Leaf",
        "year": 2019,
        "spec_model": "Leaf 40",
        "rate_per_year": 2.0,
        "rate_is_prior": False,
        "evidence_missing": None if soh is not None else "Needs a wider charge.",
        "hottest_on": MONDAY,
        **known,
        **values,
    }


def alert(number: int, severity: int, **values: Any) -> dict[str, Any]:
    return {
        "alert_id": make_id("alert", number, severity),
        "vehicle_id": make_id("vehicle", number),
        "make": "Nissan",
        "model": "Leaf",
        "year": 2019,
        "code": "cell_deviation",
        "subject": "cell 82",
        "severity": severity,
        "message": "Cell 82 rests 74 mV below the average cell.",
        "action": "Have the module checked.",
        "opened_on": MONDAY,
        "last_seen_on": SUNDAY,
        "day_count": 7,
        **values,
    }


def test_one_vehicle_without_anything_known() -> None:
    unknown = vehicle(1, None, make=None, model=None, year=None, spec_model=None, rate_is_prior=True)
    data = week(vehicles=[unknown])
    page = weekly.render_week(data)
    assert_self_contained(page)
    text = Page(page).text
    assert "1 vehicle sent data." in text
    assert "Unknown make unknown model" in text
    assert "Insufficient evidence for 1 of 1 vehicle." in text
    assert 'role="img"' not in page  # nothing to draw


def test_text_of_others_stays_text() -> None:
    bad: dict[str, Any] = {"make": HOSTILE[:50], "model": HOSTILE, "spec_model": None}
    data = week(
        vehicles=[vehicle(1, **bad, temperature_max_c=40.0, cell_spread_mv=5.0)],
        alerts=[alert(1, 4, **bad, subject=HOSTILE, message=HOSTILE, action="{{ 7 * 7 }} {% raw %}")],
        silent=[{"vehicle_id": make_id("vehicle", 2), **bad, "year": None, "last_seen_on": date(2026, 11, 2)}],
        methods=[{"stage": "health", "method_version": HOSTILE, "result_count": 1}],
    )
    page = weekly.render_week(data)
    assert_self_contained(page)
    assert "{{ 7 * 7 }} {% raw %}" in Page(page).text


def test_names_lose_what_cannot_be_printed() -> None:
    # A right-to-left override would turn the rest of the line around; a line break would split the table's row.
    names = frame(
        "silent", [vehicle(1, make="Nis\u202esan\n", model="\u200b"), vehicle(2, make="", model="X", year=None)]
    )
    assert weekly.labels(names).tolist() == ["Nis san (2019)", "Unknown make X"]


def test_a_large_fleet_lists_only_vehicles_that_need_attention() -> None:
    # 500 vehicles: three with alerts, one of them below 70 %, and two more below 70 %.
    sohs = [60.0, 61.0, *([None] * 48), *np.linspace(75, 99, 450).round(2).tolist()]
    vehicles = [vehicle(n, soh, make="Make" + str(n % 9)) for n, soh in enumerate(sohs)]
    data = week(vehicles=vehicles, alerts=[alert(0, 2), alert(3, 3), alert(3, 2), alert(200, 4)])
    page = weekly.render_week(data)
    assert_self_contained(page)
    listed = weekly.list_vehicles(weekly.describe_vehicles(data.vehicles, data.alerts))
    assert listed["vehicle_id"].tolist() == [make_id("vehicle", n) for n in (200, 3, 0, 1)]
    text = Page(page).text
    assert "The 4 vehicles that need attention: an open alert, or a state of health below 70 %." in text
    assert "496 of 500 vehicles are left out of this table" in text
    assert "Insufficient evidence for 48 of 500 vehicles." in text
    assert "vehicles are drawn" not in text  # all 452 fit


def test_a_large_healthy_fleet_lists_none() -> None:
    data = week(vehicles=[vehicle(n) for n in range(weekly.VEHICLES_LISTED_MAX + 1)])
    assert "No vehicle needs attention" in Page(weekly.render_week(data)).text


def test_too_many_alerts_are_counted() -> None:
    # 40 are shown: the 30 critical ones and 10 of 25 warnings; 15 are left out.
    alerts = [alert(n, 3) for n in range(30)] + [alert(n, 2) for n in range(25)]
    text = Page(weekly.render_week(week(alerts=alerts))).text
    assert "55 alerts are open (30 critical, 25 warning), 55 of them new this week." in text
    assert "Only the first 40 are listed here; the rest: 15 warning." in text


def test_the_same_data_give_the_same_bytes_and_are_not_changed() -> None:
    # The renderer counts up ids of clip paths within a process: a page must not depend on the pages before it.
    data = week(
        vehicles=[vehicle(n, 80.0 + n, temperature_max_c=30.0 + n, cell_spread_mv=9.0) for n in range(3)],
        charges=[{"log_date": MONDAY, "charge_type": "DC", "session_count": 2, "energy_kwh": 31.0}],
        quality=[{"log_date": SUNDAY, "vehicle_count": 3, "score_mean": 97.0, "score_p10": 95.0, "score_p90": 99.0}],
        alerts=[alert(2, 2)],
    )
    before = {name: table.copy(deep=True) for name, table in vars(data).items() if name != "monday"}
    page = weekly.render_week(data)
    assert page.count('<svg role="img"') == 6
    assert weekly.render_week(week()) != page
    assert weekly.render_week(data) == page
    for name, table in before.items():
        pd.testing.assert_frame_equal(getattr(data, name), table)


def test_rows_that_do_not_add_up_are_said() -> None:
    counts = {"rows_in": 10, "rows_clean": 6, "rows_quarantined": 1, "rows_duplicate": 1}
    data = week(books=[{"ingest_date": MONDAY, "object_count": 1, "not_clean_count": 1, **counts}])
    assert "2 not accounted for yet" in Page(weekly.render_week(data)).text


def test_kilometres_that_cannot_be_are_left_out() -> None:
    # 150 km; not known; an odometer that went back; one that was replaced (60,000 km in a week).
    steps = [(1000.0, 1150.0), (None, 500.0), (900.0, 800.0), (1000.0, 61000.0)]
    rows = [vehicle(n, odometer_begin_km=begin, odometer_end_km=end) for n, (begin, end) in enumerate(steps)]
    found = weekly.headline(week(vehicles=rows))
    assert (found["km"], found["km_vehicles"]) == (150.0, 1)


def test_types_are_summed_up_over_vehicles_with_evidence() -> None:
    rows = [
        vehicle(1, 80.0, first_soh_percent=82.0, rate_per_year=1.0),
        vehicle(2, 90.0, first_soh_percent=90.5, rate_per_year=3.0, rate_is_prior=True),
        vehicle(3, None, rate_per_year=2.2, rate_is_prior=True),
        vehicle(4, 70.0, make="BMW", spec_model=None, model="i3", rate_per_year=2.0),
    ]
    summary = weekly.type_summary(weekly.describe_vehicles(frame("vehicles", rows), frame("alerts", [])))
    bmw, leaf = summary.to_dict("records")
    assert (bmw["type"], bmw["vehicle_count"], bmw["soh_median"]) == ("BMW i3", 1, 70.0)
    assert np.isnan(bmw["change_median"])
    # Leaf: median of 80 and 90; change: median of -2 and -0.5; rate: median of 1 and 3, one of them the fleet's.
    assert leaf == {
        "type": "Nissan Leaf 40",
        "vehicle_count": 3,
        "known_count": 2,
        "soh_median": 85.0,
        "soh_min": 80.0,
        "soh_max": 90.0,
        "change_median": -1.25,
        "rate_median": 2.0,
        "prior_count": 1,
    }


@pytest.mark.parametrize(
    ("value", "text"), [(-0.04, "0.0"), (0.04, "0.0"), (-1.25, "−1.2"), (2.0, "+2.0"), (None, "–"), (np.nan, "–")]
)
def test_changes_have_a_sign_unless_they_round_to_nothing(value: float | None, text: str) -> None:
    assert weekly._signed(value) == text
