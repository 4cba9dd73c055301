"""The bodies of the alert tasks: bring alerts up to date, send what nobody was told of."""

from __future__ import annotations

import html
import logging
from collections.abc import Sequence
from typing import Any

from airflow.providers.http.notifications.http import HttpNotifier
from airflow.providers.smtp.notifications.smtp import SmtpNotifier
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from packwatch.config import SMTP_CONN_ID, WEBHOOK_CONN_ID
from packwatch.errors import UsageError
from packwatch.orchestrate.services import open_warehouse
from packwatch.publish.alerts import digest, mark_sent, update_alerts

log = logging.getLogger("packwatch.alerts")


def update() -> list[dict[str, Any]]:
    """Bring the alerts in line with the anomalies; return those to send."""
    with open_warehouse() as connection:
        return update_alerts(connection)


def send(alerts: Sequence[dict[str, Any]], context: Any) -> dict[str, int]:
    """Send the alerts to every channel there is, then remember that they were sent.

    The notifiers are called directly, not templated: an alert's text is data and must not be read as a template.
    """
    if not alerts:
        return {"alerts": 0, "channels": 0}
    text = digest(alerts)
    log.warning("%d alert(s):\n%s", len(alerts), text)
    channels = 0
    if connection_exists(WEBHOOK_CONN_ID):
        HttpNotifier(http_conn_id=WEBHOOK_CONN_ID, json={"text": text, "alerts": list(alerts)}).notify(context)
        channels += 1
    if connection_exists(SMTP_CONN_ID):
        recipients = BaseHook.get_connection(SMTP_CONN_ID).extra_dejson.get("to")
        if not recipients:
            raise UsageError(
                f'connection {SMTP_CONN_ID}: its extra names no recipient; add {{"to": "team@example.org"}}'
            )
        SmtpNotifier(
            smtp_conn_id=SMTP_CONN_ID,
            to=recipients,
            subject=f"Packwatch: {len(alerts)} battery alert(s)",
            html_content=f"<pre>{html.escape(text)}</pre>",
        ).notify(context)
        channels += 1
    with open_warehouse() as connection:
        mark_sent(connection, alerts)
    return {"alerts": len(alerts), "channels": channels}


def connection_exists(conn_id: str) -> bool:
    """Return whether Airflow has a connection of this id."""
    try:
        BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return False
    return True
