"""The body of the weekly report's task."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from packwatch.orchestrate.services import open_lake, open_warehouse
from packwatch.publish.weekly import publish_week


def weekly(dag_run: Any) -> str:
    """Write the report of a run's week; return its key in the lake."""
    with open_warehouse() as connection:
        return publish_week(connection, open_lake(), monday_of(dag_run))


def monday_of(dag_run: Any) -> date:
    """Return the Monday a run is about: its partition (`2026-11-09 (W46)`), or started by hand the last whole week."""
    if dag_run.partition_key:
        return date.fromisoformat(dag_run.partition_key.split(" ", maxsplit=1)[0])
    today = dag_run.run_after.date()
    return today - timedelta(days=today.weekday() + 7)
