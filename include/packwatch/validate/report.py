"""Render the result of a batch as one HTML page that needs nothing else: no script, no font, no image."""

from __future__ import annotations

import datetime as dt
import functools
import re
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from packwatch.validate.check import BatchResult
from packwatch.validate.rules import BY_CODE

# What a page shows at most, which keeps it below 100 kB whatever the batch.
REASONS_SHOWN_MAX = 40
OBJECTS_SHOWN_MAX = 30
ROWS_SHOWN_MAX = 20
RAW_CHARACTERS_SHOWN_MAX = 300
KEY_CHARACTERS_SHOWN_MAX = 300

# The quarantine keeps the VIN, which repairing a row may need; a page that gets mailed around does not.
_VIN_MEMBER = re.compile(r'"vin":"[^"]*"')
_VIN_WORD = re.compile(r"(?<![A-Za-z0-9])(?=[A-Z0-9]*[A-Z])(?=[A-Z0-9]*[0-9])[A-HJ-NPR-Z0-9]{17}(?![A-Za-z0-9])")


def render(batch_result: BatchResult, batch_id: str, arrival_day: dt.date) -> str:
    """Return the page of a batch: verdict, rows, reasons, source objects and the first quarantined rows.

    VINs are taken out of the values shown. Source objects are shown by their keys, which people need to find them, even
    where a key itself names a vehicle.
    """
    gate = batch_result.gate
    objects = _objects(batch_result)
    return _template().render(
        batch_id=batch_id,
        arrival_day=arrival_day.isoformat(),
        gate=gate,
        rows_clean=len(batch_result.clean),
        rows_quarantined=len(batch_result.quarantined),
        rows_warned=int(batch_result.counts["rows_warned"].sum()),
        reasons=_reasons(batch_result),
        objects=objects[:OBJECTS_SHOWN_MAX],
        objects_hidden=max(len(objects) - OBJECTS_SHOWN_MAX, 0),
        rows=_rows(batch_result),
    )


@functools.cache
def _template() -> jinja2.Template:
    """Load the page's template; every value is escaped."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["percent"] = lambda value: f"{100 * value:.2f} %"
    return environment.get_template("batch.html")


def _cut(text: str | None, length: int) -> str:
    """Shorten a text to `length` characters and show that it was."""
    text = text or ""
    return text if len(text) <= length else text[: length - 1] + "…"


def _reasons(result: BatchResult) -> list[dict[str, Any]]:
    """Return the broken rules and the reasons of unreadable rows, most frequent first, errors before warnings."""
    totals = result.rule_counts.groupby("code")["rows"].sum()
    most = max(int(totals.max()), 1) if len(totals) else 1
    reasons = []
    for code, rows in totals.items():
        rule = BY_CODE.get(str(code))
        reasons.append(
            {
                "code": code,
                "sentence": rule.sentence if rule else "The row could not be read.",
                "severity": rule.severity if rule else "error",
                "rows": int(rows),
                "share": int(rows) / max(result.gate.rows, 1),
                "width": round(100 * int(rows) / most, 1),
            }
        )
    reasons.sort(key=lambda reason: (reason["severity"] == "warning", -reason["rows"], reason["code"]))
    return reasons[:REASONS_SHOWN_MAX]


def _objects(result: BatchResult) -> list[dict[str, Any]]:
    """Return the rows of each source object, most quarantined rows first."""
    names = ["rows", "rows_quarantined", "rows_warned"]
    totals = result.counts.groupby("source_object")[names].sum().reset_index()
    totals = totals.sort_values(["rows_quarantined", "source_object"], ascending=[False, True])
    totals["rows_clean"] = totals["rows"] - totals["rows_quarantined"]
    totals["source_object"] = totals["source_object"].str.slice(0, KEY_CHARACTERS_SHOWN_MAX)
    return totals.to_dict("records")


def _rows(result: BatchResult) -> list[dict[str, Any]]:
    """Return the first quarantined rows as they are shown."""
    rows = result.quarantined.slice(0, ROWS_SHOWN_MAX).to_pylist()
    for row in rows:
        hidden = _VIN_WORD.sub("[VIN]", _VIN_MEMBER.sub('"vin":"[VIN]"', row["raw"] or ""))
        row["raw"] = _cut(hidden, RAW_CHARACTERS_SHOWN_MAX)
        row["source_object"] = _cut(row["source_object"], KEY_CHARACTERS_SHOWN_MAX)
        row["log_date"] = row["log_date"].isoformat() if not pd.isna(row["log_date"]) else ""
    return rows
