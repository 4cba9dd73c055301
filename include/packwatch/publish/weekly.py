"""The weekly fleet report: queries to frames to one HTML page that needs nothing but itself.

`render_week` is a pure function of `WeekData`: no clock, no random id, so the same data give the same bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import resources
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import psycopg

from packwatch import __version__
from packwatch.errors import UsageError
from packwatch.ingest.lake import Lake
from packwatch.load import warehouse
from packwatch.publish import charts
from packwatch.publish.alerts import SEVERITY_NAMES

# What a page can hold before nobody reads it; past these the page says how many it leaves out.
ALERTS_SHOWN_MAX = 40
VEHICLES_LISTED_MAX = 60
TYPES_LISTED_MAX = 40
SILENT_LISTED_MAX = 12
REASONS_LISTED_MAX = 8
# Two drivers in shifts and the charging in between do not get past this in a week, km; a step above it is an odometer
# that was read wrongly or replaced.
KM_A_WEEK_MAX = 10_000
# From here on an alert is about safety, so the page says beside it what a nightly batch can not do.
SAFETY_SEVERITY = 3
# Characters of an id that tell the vehicles of one fleet apart.
SHORT_ID = 8

_TEXT, _NUMBER, _COUNT = "str", "float64", "int64"
_NAMED = {"vehicle_id": _TEXT, "make": _TEXT, "model": _TEXT, "year": "Int64"}
# Types of what Postgres returns, by query: an empty week has the columns of a full one.
_TYPES: dict[str, dict[str, str]] = {
    "weekly_vehicles": {
        **_NAMED,
        "spec_model": _TEXT,
        "evidence_missing": _TEXT,
        "rate_is_prior": "bool",
        **dict.fromkeys(
            (
                "soh_percent",
                "soh_lower_percent",
                "soh_upper_percent",
                "confidence_score",
                "rate_per_year",
                "bms_soh_percent",
                "first_soh_percent",
                "temperature_max_c",
                "cell_spread_mv",
                "odometer_begin_km",
                "odometer_end_km",
            ),
            _NUMBER,
        ),
    },
    "weekly_alerts": {
        **_NAMED,
        **dict.fromkeys(("alert_id", "code", "subject", "message", "action"), _TEXT),
        "severity": _COUNT,
        "day_count": _COUNT,
    },
    "weekly_charges": {"charge_type": _TEXT, "session_count": _COUNT, "energy_kwh": _NUMBER},
    "weekly_quality": {
        "vehicle_count": _COUNT,
        **dict.fromkeys(("score_mean", "score_p10", "score_p90", "score_min"), _NUMBER),
    },
    "weekly_books": dict.fromkeys(
        ("object_count", "not_clean_count", "rows_in", "rows_clean", "rows_quarantined", "rows_duplicate"), _COUNT
    ),
    "weekly_silent": _NAMED,
    "weekly_methods": {"stage": _TEXT, "method_version": _TEXT, "result_count": _COUNT},
}
# Line breaks, zero-width and direction marks: in a name they can only mislead.
_UNPRINTABLE = r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+"


@dataclass(frozen=True)
class WeekData:
    """What the report of a week is made from; the columns are those of `load/sql/weekly_<name>.sql`."""

    monday: date
    vehicles: pd.DataFrame
    alerts: pd.DataFrame
    charges: pd.DataFrame
    quality: pd.DataFrame
    books: pd.DataFrame
    silent: pd.DataFrame
    methods: pd.DataFrame


def publish_week(connection: psycopg.Connection, lake: Lake, monday: date) -> str:
    """Write the report of the week that starts on `monday` to the lake and return its key.

    Raises:
        UsageError: `monday` is another day of the week.
    """
    page = render_week(read_week(connection, monday))
    year, week, _ = monday.isocalendar()
    key = f"published/weekly/{year}-W{week:02d}/report.html"
    lake.write(key, page.encode("utf-8"), "text/html; charset=utf-8")
    return key


def read_week(connection: psycopg.Connection, monday: date) -> WeekData:
    """Read all of the week from one state of the warehouse.

    Raises:
        UsageError: `monday` is another day of the week.
    """
    if monday.weekday() != 0:
        raise UsageError(f"{monday} is a {monday:%A}. Give the Monday the week starts on: {monday_of(monday)}.")
    span = {"monday": monday, "sunday": monday + timedelta(days=6)}
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        frames = {name: warehouse.query(connection, name, span).astype(types) for name, types in _TYPES.items()}
    return WeekData(monday, **{name.removeprefix("weekly_"): frame for name, frame in frames.items()})


def monday_of(day: date) -> date:
    """Return the Monday of the week of `day`."""
    return day - timedelta(days=day.weekday())


def render_week(data: WeekData) -> str:
    """Return the page: one HTML file without script, link or image from elsewhere."""
    vehicles = describe_vehicles(data.vehicles, data.alerts)
    alerts = data.alerts.assign(label=labels(data.alerts), new=data.alerts["opened_on"] >= data.monday)
    days = [data.monday + timedelta(days=number) for number in range(7)]
    charges, quality = by_day(data, days)
    year, week, _ = data.monday.isocalendar()
    return _template().render(
        title=f"{year}-W{week:02d}",
        week=week,
        days=days,
        version=__version__,
        headline=headline(data),
        books=_records(data.books),
        alerts=_records(alerts.head(ALERTS_SHOWN_MAX)),
        alerts_left_out=severities(alerts.iloc[ALERTS_SHOWN_MAX:]),
        severities=severities(alerts),
        is_safety=bool((alerts["severity"] >= SAFETY_SEVERITY).any()),
        types=_records(type_summary(vehicles).head(TYPES_LISTED_MAX)),
        type_count=vehicles["type"].nunique(),
        vehicles=_records(list_vehicles(vehicles)),
        vehicle_count=len(vehicles),
        attention_count=int(vehicles["needs_attention"].sum()),
        no_evidence=_records(reasons(vehicles)),
        no_evidence_count=int(vehicles["soh_percent"].isna().sum()),
        silent=_records(data.silent.assign(label=labels(data.silent)).head(SILENT_LISTED_MAX)),
        silent_count=len(data.silent),
        methods=_records(data.methods),
        warranty=charts.WARRANTY_SOH_PERCENT,
        charges=charges.to_dict("records"),
        quality=_records(quality),
        **figures(vehicles, charges, quality),
    )


def describe_vehicles(vehicles: pd.DataFrame, alerts: pd.DataFrame) -> pd.DataFrame:
    """Add to each vehicle its label, type, change since its first report, open alerts, and whether it needs attention.

    The rate of a vehicle without a state of health is left out: it would be the fleet's and say nothing of the vehicle.
    """
    open_alerts = (
        alerts.groupby("vehicle_id")["severity"].agg(["max", "size"]).reindex(vehicles["vehicle_id"]).fillna(0)
    )
    severity = open_alerts["max"].to_numpy(dtype=int)
    known = vehicles["soh_percent"].notna()
    make = _plain(vehicles["make"]).fillna("Unknown make")
    return vehicles.assign(
        label=labels(vehicles),
        type=make + " " + _plain(vehicles["spec_model"]).fillna(_plain(vehicles["model"])).fillna("unknown model"),
        change=vehicles["soh_percent"] - vehicles["first_soh_percent"],
        rate_per_year=vehicles["rate_per_year"].where(known),
        severity=severity,
        alert_count=open_alerts["size"].to_numpy(dtype=int),
        has_alert=severity > 0,
        needs_attention=(severity > 0) | (vehicles["soh_percent"] < charts.WARRANTY_SOH_PERCENT),
    )


def labels(frame: pd.DataFrame) -> pd.Series:
    """Return how people call each vehicle: make, model and year, as far as they are known."""
    make = _plain(frame["make"]).fillna("Unknown make")
    year = " (" + frame["year"].astype("str").where(frame["year"].notna()) + ")"
    return make + (" " + _plain(frame["model"])).fillna("") + year.fillna("")


def _plain(texts: pd.Series) -> pd.Series:
    """Return names without characters that cannot be printed; an empty one is unknown."""
    clean = texts.astype("str").str.replace(_UNPRINTABLE, " ", regex=True).str.strip()
    return clean.where(clean != "")


def headline(data: WeekData) -> dict[str, Any]:
    """Return the figures of the week that stand at the top of the page."""
    driven = data.vehicles["odometer_end_km"] - data.vehicles["odometer_begin_km"]
    believable = driven[driven.between(0, KM_A_WEEK_MAX)]
    weights = data.quality["vehicle_count"]
    rows = data.books[["rows_in", "rows_clean", "rows_quarantined", "rows_duplicate"]].sum().to_dict()
    accounted = rows["rows_clean"] + rows["rows_quarantined"] + rows["rows_duplicate"]
    return {
        "vehicles": len(data.vehicles),
        "km": float(believable.sum()),
        "km_vehicles": len(believable),
        "energy_kwh": float(data.charges["energy_kwh"].sum()),
        "sessions": int(data.charges["session_count"].sum()),
        "alerts": len(data.alerts),
        "alerts_new": int((data.alerts["opened_on"] >= data.monday).sum()),
        "quality": float((data.quality["score_mean"] * weights).sum() / weights.sum()) if weights.sum() else np.nan,
        "objects": int(data.books["object_count"].sum()),
        "not_clean": int(data.books["not_clean_count"].sum()),
        "rows_open": int(rows["rows_in"] - accounted),
        **{name: int(count) for name, count in rows.items()},
    }


def severities(alerts: pd.DataFrame) -> list[dict[str, Any]]:
    """Return how many alerts there are of each severity, most severe first."""
    counts = alerts["severity"].value_counts().sort_index(ascending=False)
    return [{"severity": int(level), "count": int(count)} for level, count in counts.items()]


def type_summary(vehicles: pd.DataFrame) -> pd.DataFrame:
    """Return one row a vehicle type: counts, and median, least and greatest state of health, lowest median first."""
    counted = vehicles.assign(at_prior=vehicles["rate_is_prior"] & vehicles["soh_percent"].notna())
    summary = counted.groupby("type").agg(
        vehicle_count=("vehicle_id", "size"),
        known_count=("soh_percent", "count"),
        soh_median=("soh_percent", "median"),
        soh_min=("soh_percent", "min"),
        soh_max=("soh_percent", "max"),
        change_median=("change", "median"),
        rate_median=("rate_per_year", "median"),
        prior_count=("at_prior", "sum"),
    )
    return summary.reset_index().sort_values(["soh_median", "type"], ignore_index=True)


def list_vehicles(vehicles: pd.DataFrame) -> pd.DataFrame:
    """Return the vehicles of the table, most severe alert first, then lowest state of health.

    All of a small fleet; of a fleet above `VEHICLES_LISTED_MAX` those that need attention, at most that many.
    """
    chosen = vehicles if len(vehicles) <= VEHICLES_LISTED_MAX else vehicles[vehicles["needs_attention"]]
    ordered = chosen.sort_values(["severity", "soh_percent", "vehicle_id"], ascending=[False, True, True])
    return ordered.head(VEHICLES_LISTED_MAX)


def reasons(vehicles: pd.DataFrame) -> pd.DataFrame:
    """Return why vehicles have no state of health: each sentence and its number of vehicles, most frequent first."""
    missing = vehicles[vehicles["soh_percent"].isna()].groupby("evidence_missing").size().rename("count").reset_index()
    return missing.sort_values(["count", "evidence_missing"], ascending=[False, True]).head(REASONS_LISTED_MAX)


def by_day(data: WeekData, days: list[date]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return charges (day by charge type) and quality with every day of the week in order, also the silent ones."""
    named = [f"{day:%a} {day.day}" for day in days]
    grid = pd.MultiIndex.from_product([days, list(charts.CHARGE_COLORS)], names=["log_date", "charge_type"])
    charges = data.charges.set_index(["log_date", "charge_type"]).reindex(grid, fill_value=0).reset_index()
    quality = data.quality.set_index("log_date").reindex(days).rename_axis("log_date").reset_index()
    return charges.assign(day=np.repeat(named, len(charts.CHARGE_COLORS))), quality.assign(day=named)


def figures(vehicles: pd.DataFrame, charges: pd.DataFrame, quality: pd.DataFrame) -> dict[str, Any]:
    """Draw the charts there is data for.

    Returns:
        health_wide and health_narrow, energy, temperature, spread, quality_svg: SVG or None; hottest and spread_bins:
        the rows they show; drawn_count: vehicles in the health chart; warranty_drawn: it has the line of the warranty.
    """
    drawn = charts.choose_drawn(vehicles)
    found: dict[str, Any] = dict.fromkeys(
        ("health_wide", "health_narrow", "energy", "temperature", "spread", "quality_svg")
    )
    if len(drawn):
        text = (
            f"State of health of {len(drawn)} vehicles in {drawn['type'].nunique()} types, from "
            f"{drawn['soh_percent'].min():.1f} to {drawn['soh_percent'].max():.1f} %, each with its 90 % interval. "
            "The table below has the figures by type."
        )
        found["health_wide"] = charts.health(drawn, text)
        found["health_narrow"] = charts.health(drawn, text, narrow=True)
    if charges["energy_kwh"].sum() > 0:
        text = f"Energy charged per day, {charges['energy_kwh'].sum():,.0f} kWh in the week, AC and DC stacked."
        found["energy"] = charts.energy(charges, text)
    hottest = hottest_packs(vehicles)
    if len(hottest):
        text = f"The {len(hottest)} hottest packs, up to {hottest['temperature_max_c'].max():.1f} °C."
        median = float(vehicles["temperature_max_c"].median())
        found["temperature"] = charts.temperatures(hottest, median, text)
    bins = charts.spread_bins(vehicles["cell_spread_mv"])
    if bins["count"].sum():
        text = f"Number of vehicles by cell spread; median {vehicles['cell_spread_mv'].median():.0f} mV."
        found["spread"] = charts.spreads(bins, text)
    if quality["score_mean"].notna().any():
        text = f"Mean data quality score per day, {quality['score_mean'].min():.1f} at its lowest."
        found["quality_svg"] = charts.quality(quality, text)
    shown = {"drawn_count": len(drawn), "warranty_drawn": charts.shows_warranty(drawn)}
    return {**found, "hottest": _records(hottest), "spread_bins": _records(bins), **shown}


def hottest_packs(vehicles: pd.DataFrame) -> pd.DataFrame:
    """Return the packs with the highest temperature of the week, hottest first, with the texts of the chart."""
    known = vehicles[vehicles["temperature_max_c"].notna()]
    hottest = known.sort_values(["temperature_max_c", "vehicle_id"], ascending=[False, True]).head(charts.HOTTEST_SHOWN)
    on = pd.to_datetime(hottest["hottest_on"])
    when = on.dt.strftime("%a ") + on.dt.day.astype("str")
    degrees = hottest["temperature_max_c"].round(1).astype("str") + " °C"
    return hottest.assign(text=degrees, when=when, short=hottest["vehicle_id"].str[:SHORT_ID])


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows for the template; what is not known is None."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(_FILTERS)
    environment.globals.update(severity_names=SEVERITY_NAMES, colors=charts)
    return environment.from_string(resources.files("packwatch.publish").joinpath("weekly.html").read_text("utf-8"))


def _number(value: float | None, digits: int = 0) -> str:
    """Return a number with thousands separated, or a dash when it is not known."""
    return "–" if value is None or np.isnan(value) else f"{value:,.{digits}f}"


def _signed(value: float | None, digits: int = 1) -> str:
    """Return a change with its sign; one that rounds to nothing has none."""
    if value is None or np.isnan(value):
        return "–"
    text = f"{value:+,.{digits}f}"
    return text[1:] if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def _day(value: date) -> str:
    """Return a day without its year."""
    return f"{value:%a} {value.day} {value:%b}"


def _count(number: int, noun: str) -> str:
    """Return a number with its noun in the right form."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _short(identifier: str) -> str:
    """Return the first characters of a vehicle id."""
    return identifier[:SHORT_ID]


_FILTERS: Mapping[str, Any] = {"number": _number, "signed": _signed, "day": _day, "count_of": _count, "short": _short}
