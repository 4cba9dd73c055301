"""The report of a laptop's analysis on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from packwatch.publish.alerts import SEVERITY_NAMES

SEVERITY_COLORS = {1: "cyan", 2: "yellow", 3: "red", 4: "bold red"}
_SESSIONS_SHOWN = 40


def print_laptop_report(report: Mapping[str, Any]) -> None:
    """Print what `packwatch analyze` found."""
    console = Console(highlight=False)
    for refused in report["refused"]:
        console.print(f"[red]refused[/] {escape(refused['file'])}: {escape(refused['message'])}")
    for file in report["files"]:
        console.print(f"[dim]{escape(file['file'])}: {file['format']}, {file['rows']} rows[/]")
    quality = report["quality"]
    console.print(books(quality))
    for reason, rows in quality["reasons"].items():
        console.print(f"  [yellow]{rows}[/] rows set aside: {escape(reason)}")
    for vehicle in report["vehicles"]:
        print_vehicle(console, vehicle)


def books(counts: Mapping[str, Any]) -> str:
    """Return one line that shows whether the rows add up."""
    total = counts["rows_clean"] + counts["rows_quarantined"] + counts["rows_duplicate"]
    sign = "=" if total == counts["rows_in"] else "[red]≠[/]"
    return (
        f"rows in {counts['rows_in']:,} {sign} clean {counts['rows_clean']:,} + quarantined "
        f"{counts['rows_quarantined']:,} + duplicate {counts['rows_duplicate']:,}"
    )


def print_vehicle(console: Console, found: Mapping[str, Any]) -> None:
    """Print one vehicle: identity, health, sessions, anomalies."""
    vehicle, health = found["vehicle"], found["health"]
    name = " ".join(str(vehicle[part]) for part in ("make", "model", "year") if vehicle[part] is not None)
    console.print(f"\n[bold]{escape(name or 'vehicle of unknown type')}[/]  [dim]{escape(vehicle['vin'])}[/]")
    if vehicle["vin"] == "UNIDENTIFIED":
        console.print("  [dim]no VIN in these logs: they are taken as one vehicle; --vin names it[/]")
    spec = vehicle["spec_model"] or "type not in the catalogue: chemistry-neutral limits"
    console.print(f"  catalogue: {escape(spec)}, chemistry {vehicle['chemistry']}")
    if health is None:
        console.print("  [yellow]no usable row[/]")
        return
    console.print(f"  state of health  {soh_text(health)}")
    if health["evidence_missing"]:
        console.print(f"    [dim]{escape(health['evidence_missing'])}[/]")
    bms = [day["bms_soh_percent"] for day in found["days"] if day["bms_soh_percent"] is not None]
    if bms:
        console.print(
            f"  BMS's own SOH    {bms[0]:.2f} → {bms[-1]:.2f} %  [dim](as the vehicle reports it, not used above)[/]"
        )
    console.print(f"  rate of loss     {rate_text(health)}")
    cycles = health["equivalent_full_cycles"]
    console.print(
        f"  use              {'–' if cycles is None else f'{cycles:.2f}'} equivalent full cycles, "
        f"{health['charge_cycle_count']} charges, {len(found['days'])} days with data"
    )
    print_sessions(console, found["sessions"])
    print_anomalies(console, found["anomalies"])


def soh_text(health: Mapping[str, Any]) -> str:
    """Return the state of health with its interval, or that the evidence is insufficient."""
    if missing(health["state_of_health_percent"]):
        return "[yellow]insufficient evidence[/]"
    return (
        f"[bold]{health['state_of_health_percent']:.1f} %[/] "
        f"({health['soh_lower_90_percent']:.1f} to {health['soh_upper_90_percent']:.1f}, 90 %), "
        f"confidence {health['confidence_score']:.2f}, {health['observation_count']} observations"
    )


def rate_text(health: Mapping[str, Any]) -> str:
    """Return the rate with its interval, and whether it still is the fleet's."""
    if missing(health["degradation_rate_per_year"]):
        return "–"
    note = "  [dim](still the fleet's, not this vehicle's)[/]" if health["rate_is_prior"] else ""
    return (
        f"{health['degradation_rate_per_year']:.1f} points a year "
        f"({health['degradation_rate_lower_90']:.1f} to {health['degradation_rate_upper_90']:.1f}){note}"
    )


def missing(value: Any) -> bool:
    """Return whether a value from JSON or a frame is missing."""
    return bool(pd.isna(value))


def print_sessions(console: Console, sessions: list[dict[str, Any]]) -> None:
    """Print the sessions as a table."""
    if not sessions:
        console.print("  no session long enough to report")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("session", "start (UTC)", "minutes", "SoC %", "kWh", "Ah", "max kW", "max °C", "capacity Ah"):
        table.add_column(heading, justify="left" if heading in ("session", "start (UTC)") else "right")
    for session in sessions[:_SESSIONS_SHOWN]:
        kind = session["kind"] + (f" {session['charge_type']}" if session["charge_type"] else "")
        table.add_row(
            kind,
            session["started_at"][:16].replace("T", " "),
            f"{session['duration_s'] / 60:.0f}",
            f"{number(session['soc_start_percent'])} → {number(session['soc_end_percent'])}",
            number(session["energy_kwh"]),
            number(session["charge_ah"]),
            number(session["power_max_kw"]),
            number(session["temperature_max_c"]),
            number(session["observed_capacity_ah"]),
        )
    console.print(table)
    if len(sessions) > _SESSIONS_SHOWN:
        console.print(f"  … and {len(sessions) - _SESSIONS_SHOWN} more; --json has them all")


def number(value: float | None) -> str:
    """Return a number with one decimal, or a dash."""
    return "–" if missing(value) else f"{value:.1f}"


def print_anomalies(console: Console, anomalies: list[dict[str, Any]]) -> None:
    """Print anomalies, worst first."""
    for item in sorted(anomalies, key=lambda item: (-item["severity"], item["started_at"])):
        color = SEVERITY_COLORS[item["severity"]]
        console.print(
            f"  [{color}]{SEVERITY_NAMES[item['severity']]}[/] {item['log_date'][:10]} {escape(item['message'])}"
        )
        console.print(f"    [dim]{escape(item['action'])}[/]")
