"""The page of a batch stands alone, is small, and shows nothing unescaped."""

from __future__ import annotations

import re
from collections.abc import Callable

import pandas as pd
import pyarrow as pa

from packwatch.validate import validate_batch
from packwatch.validate.report import render

from .conftest import ARRIVAL, make_rejects

Table = Callable[..., pa.Table]


def page(rows: pa.Table, rejects: pa.Table, vehicles: pd.DataFrame, limit: float = 0.25) -> str:
    return render(validate_batch(rows, rejects, ARRIVAL, vehicles, limit, engine="mask"), "batch-7", ARRIVAL)


def words(html: str) -> str:
    """The page as read: no style, no tags, one blank between words."""
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", html, flags=re.DOTALL).split())


def test_a_rejected_batch(table: Table, vehicles: pd.DataFrame) -> None:
    rows = table({}, {"soc_percent": 101.0}, {"soc_percent": 102.0, "speed_kmh": -1.0}, {"year": 2101})
    text = words(page(rows, make_rejects(("raw/b.csv", 1, "not_json", "{")), vehicles))
    assert "Validation of batch batch-7 Arrived 2026-03-10 (UTC) Rejected" in text
    # Two broken rows and an unreadable one, of five.
    assert "3 of 5 rows are bad: 60.00 %. The gate allows 25.00 %." in text
    assert "Rows in 5 Clean 2 Quarantined 3 Clean, with a warning 1" in text
    reasons = text[text.index("What is wrong") : text.index("Source objects")]
    assert "The state of charge is outside 0 to 100 %. soc_percent_out_of_range error 2 40.00 %" in reasons
    assert "The row could not be read. not_json error 1 20.00 %" in reasons
    assert reasons.index("soc_percent") < reasons.index("speed_kmh") < reasons.index("year_out_of_range")
    assert "raw/a.csv 4 2 1 2 raw/b.csv 1 0 0 1" in text
    assert "raw/a.csv row 2, 2026-03-10 soc_percent_out_of_range {" in text


def test_a_batch_that_passed_and_an_empty_one(table: Table, vehicles: pd.DataFrame) -> None:
    passed = words(page(table({}), make_rejects(), vehicles))
    assert "Passed 0 of 1 rows are bad" in passed
    assert "No row broke a rule." in passed
    assert "First quarantined rows" not in passed
    empty = words(page(table(), make_rejects(), vehicles))
    assert "The batch holds no row." in empty


def test_every_value_is_escaped(table: Table, vehicles: pd.DataFrame) -> None:
    attack = "<script>alert('x')</script>"
    rows = table({"make": attack, "soc_percent": 101.0, "source_object": f"raw/{attack}.csv"})
    rejects = make_rejects((f"raw/{attack}.csv", 1, attack, attack))
    html = render(validate_batch(rows, rejects, ARRIVAL, vehicles, 0.25, engine="mask"), attack, ARRIVAL)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 5


def test_no_vin_among_the_values(table: Table, vehicles: pd.DataFrame) -> None:
    vin = "SJNFAAZE0U6012345"
    rows = table({"vin": vin, "soc_percent": 101.0})
    html = page(rows, make_rejects(("raw/a.csv", 2, "field_count", f"55,{vin},x")), vehicles)
    assert vin not in html
    assert html.count("[VIN]") == 2


def test_the_page_stands_alone(table: Table, vehicles: pd.DataFrame) -> None:
    html = page(table({"soc_percent": 101.0}), make_rejects(), vehicles)
    assert not re.search(r"https?:|<link|<img|<script|@import|url\(", html)


def test_a_large_batch_gives_a_small_page(table: Table, vehicles: pd.DataFrame) -> None:
    bad = [
        {"soc_percent": 101.0, "vin": f"CAR{k}", "source_object": f"raw/{'long-name-' * 40}{k:03}.csv"}
        for k in range(200)
    ]
    codes = make_rejects(*((f"raw/{k}.csv", k, f"reason_{k}", "&" * 2000) for k in range(200)))
    html = page(table(*bad), codes, vehicles)
    assert len(html.encode()) < 100_000
    assert "and 370 more" in words(html)
