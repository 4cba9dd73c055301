"""The bodies of the daily tasks: open the services, run the stage, return keys and counts.

Imported inside the tasks only, because it brings pandas and Great Expectations with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

from packwatch.config import settings
from packwatch.load import warehouse
from packwatch.orchestrate.services import open_lake, open_warehouse


def arrival_day(dag_run: Any) -> date:
    """Return the day a run is about: its partition, or for a run started by hand without one the day before it."""
    if dag_run.partition_key:
        return date.fromisoformat(dag_run.partition_key)
    return dag_run.run_after.date() - timedelta(days=1)


def ingest(dag_run: Any, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Plan the arrival day of a run; return its batches."""
    from packwatch.ingest.plan import plan_day

    with open_warehouse() as connection:
        warehouse.check_migrated(connection)
        return plan_day(
            connection,
            open_lake(),
            arrival_day(dag_run),
            settings(),
            reprocess=params["reprocess"],
            makes=params["makes"],
            vehicles=params["vehicles"],
        )


def validate(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Validate one batch; return its counts."""
    from packwatch.validate.batch import validate_planned_batch

    with open_warehouse() as connection:
        return validate_planned_batch(connection, open_lake(), batch["batch_id"], settings())


def analyze(shard: int) -> dict[str, Any]:
    """Analyze the slices of one shard that are out of date; return which."""
    from packwatch.analyze.slices import analyze_shard

    with open_warehouse() as connection:
        return {"shard": shard, "versions": analyze_shard(connection, open_lake(), shard, settings())}


def load(analyzed: Mapping[str, Any]) -> dict[str, Any]:
    """Load the analyzed slices of one shard; return the rows loaded by table."""
    from packwatch.load.slices import load_shard

    with open_warehouse() as connection:
        rows = load_shard(connection, open_lake(), analyzed["shard"], analyzed["versions"])
    return {"shard": analyzed["shard"], "rows": rows}


def assess(loaded: Mapping[str, Any]) -> list[str]:
    """Make the health reports of one shard; return the report days written."""
    from packwatch.assess.shard import assess_shard

    with open_warehouse() as connection:
        return assess_shard(connection, loaded["shard"])


def publish(dag_run: Any, report_days: Iterable[Iterable[str]]) -> dict[str, Any]:
    """Close the night; return its books."""
    from packwatch.publish.books import close_night

    days = sorted({day for of_shard in report_days for day in of_shard})
    with open_warehouse() as connection:
        return close_night(connection, arrival_day(dag_run).isoformat(), dag_run.run_id, days)
