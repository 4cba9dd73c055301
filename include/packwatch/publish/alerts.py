"""Alerts: open, update and resolve them from the anomalies, and say which must be sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from packwatch.load import warehouse

SEVERITY_NAMES = {1: "watch", 2: "warning", 3: "critical", 4: "emergency"}


def update_alerts(connection: psycopg.Connection) -> list[dict[str, Any]]:
    """Bring the alerts in line with the anomalies; return those that nobody was told of yet, most severe first."""
    warehouse.execute(connection, "update_alerts")
    unsent = warehouse.query(connection, "select_unsent_alerts")
    dated = unsent.assign(
        opened_on=unsent["opened_on"].astype("str"), last_seen_on=unsent["last_seen_on"].astype("str")
    )
    return dated.to_dict("records")


def mark_sent(connection: psycopg.Connection, alerts: Sequence[dict[str, Any]]) -> None:
    """Remember that these alerts were sent at their severity, so that only a worse one is sent again."""
    parameters = {
        "ids": [alert["alert_id"] for alert in alerts],
        "severities": [int(alert["severity"]) for alert in alerts],
    }
    warehouse.execute(connection, "mark_alerts_sent", parameters)


def digest(alerts: Sequence[dict[str, Any]]) -> str:
    """Return the text of one message about several alerts: which vehicle, what, since when, what to do."""
    return "\n\n".join(
        f"[{SEVERITY_NAMES[alert['severity']]}] {alert['make'] or 'unknown make'} {alert['model'] or ''} "
        f"(vehicle {alert['vehicle_id']}), {alert['subject']}, since {alert['opened_on']}:\n"
        f"  {alert['message']}\n  What to do: {alert['action']}"
        for alert in alerts
    )
