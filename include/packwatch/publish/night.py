"""The warehouse after a night, on the terminal: the books, the fleet, the alerts."""

from __future__ import annotations

from typing import Any

import pandas as pd
import psycopg
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from packwatch.load import warehouse
from packwatch.load.fingerprint import TABLES, fingerprint
from packwatch.publish.alerts import SEVERITY_NAMES
from packwatch.publish.terminal import SEVERITY_COLORS, books, missing, number


def print_night(console: Console, connection: psycopg.Connection) -> bool:
    """Print what came in, the fleet and the alerts; return whether the books add up."""
    counts = warehouse.query(connection, "select_books").iloc[0].to_dict()
    set_aside = warehouse.query(connection, "select_set_aside")
    console.rule("what came in")
    console.print(books(counts))
    console.print(f"objects {counts['objects']:,}, of which {counts['objects_set_aside']:,} set aside whole:")
    for reason, objects, example in set_aside.to_numpy().tolist():
        console.print(f"  [yellow]{objects}[/] {reason}, such as {escape(example)}")
    console.rule("the fleet")
    print_fleet(console, warehouse.query(connection, "select_fleet"))
    console.rule("alerts")
    print_alerts(console, warehouse.query(connection, "select_open_alerts"))
    digests = [fingerprint(connection, table)[1][:8] for table in TABLES]
    console.print(f"[dim]fingerprint    {' '.join(digests)}[/]", soft_wrap=True)
    stored = warehouse.query(connection, "select_stored_rows").iloc[0]
    balanced = counts["rows_in"] == counts["rows_clean"] + counts["rows_quarantined"] + counts["rows_duplicate"]
    if stored["rows_ledger"] != stored["rows_analyzed"] or stored["slices_stale"]:
        console.print(
            f"[red]the ledger counts {stored['rows_ledger']} clean rows, the vehicle days {stored['rows_analyzed']}; "
            f"{stored['slices_stale']} slices are out of date[/]"
        )
        return False
    return bool(balanced)


def print_fleet(console: Console, fleet: pd.DataFrame) -> None:
    """Print one line a vehicle, the lowest state of health first."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("vehicle", "SoH %", "90 % interval", "points/year", "charges", "EFC", "confidence", "anomalies"):
        table.add_column(heading, justify="left" if heading in ("vehicle", "anomalies") else "right", no_wrap=True)
    for row in rows_of(fleet):
        known = not missing(row["state_of_health_percent"])
        table.add_row(
            escape(f"{row['make'] or 'unknown'} {row['model'] or ''} {row['vehicle_id'][:8]}"),
            f"{row['state_of_health_percent']:.1f}" if known else "[yellow]–[/]",
            f"{row['soh_lower_90_percent']:.1f} – {row['soh_upper_90_percent']:.1f}" if known else "insufficient",
            number(row["degradation_rate_per_year"]) + ("*" if row["rate_is_prior"] else ""),
            str(row["charge_cycle_count"]),
            "–" if missing(row["equivalent_full_cycles"]) else f"{row['equivalent_full_cycles']:.2f}",
            f"{row['confidence_score']:.2f}" if known else "",
            escape(row["anomalies"] or ""),
        )
    console.print(table)
    console.print("[dim]* the rate is still the fleet's: a vehicle needs months of data for its own[/]")


def print_alerts(console: Console, alerts: pd.DataFrame) -> None:
    """Print the open alerts, worst first."""
    if alerts.empty:
        console.print("none")
    for row in rows_of(alerts):
        color = SEVERITY_COLORS[row["severity"]]
        name = f"{row['make'] or 'unknown'} {row['model'] or ''} {row['vehicle_id'][:8]}"
        console.print(f"[{color}]{SEVERITY_NAMES[row['severity']]}[/] {escape(name)}: {escape(row['message'])}")
        console.print(f"  [dim]since {row['opened_on']}. {escape(row['action'])}[/]")


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a query's answer, missing values as None."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")
