"""The body of the weekly report's task."""

from __future__ import annotations

from datetime import date

from packwatch.orchestrate.services import open_lake, open_warehouse
from packwatch.publish.weekly import publish_week


def weekly(partition_key: str) -> str:
    """Write the report of the week `partition_key`, for example `2026-11-09 (W46)`; return its key in the lake."""
    monday = date.fromisoformat(partition_key.split(" ", maxsplit=1)[0])
    with open_warehouse() as connection:
        return publish_week(connection, open_lake(), monday)
