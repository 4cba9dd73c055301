"""
### Battery health, every night

**What it does.** Takes the diagnostic logs that arrived on one day (the partition, for example `2026-11-22`), checks
every row, finds charge and discharge sessions, measures cells and faults, loads the warehouse and makes one health
report a vehicle and day. Stages: *ingest, validate, analyze, load, assess, publish*.

**When.** 02:00 UTC, for the day before. Backfill from the UI or with `airflow backfill create`; the dates are arrival
days.

**Reads** `raw/ingest_date=<day>/` and older uploads that the ledger has not seen.
**Writes** `clean/`, `quarantine/`, `analyzed/` and `published/validation/` in the lake; `ingested_objects`, `vehicles`,
`charge_cycles`, `vehicle_days`, `battery_cell_readings`, `anomalies`, `data_quality` and `battery_health_reports` in
Postgres.
Every task replaces what it writes, so any of them may be cleared and run again.

**If it fails.** *validate*: too large a share of a batch is broken; its result page (path in the log) says which rules.
Mend the source or the rule and run the day with `reprocess`. *publish*: the books do not balance; the message names the
objects. Anything else is a service: see the connection it names, then clear the task.
"""

from __future__ import annotations

from airflow.sdk import CronPartitionTimetable, Param, dag, task

from packwatch.config import settings
from packwatch.orchestrate.assets import HEALTH_REPORTS
from packwatch.orchestrate.policy import DEFAULT_ARGS, START_DATE


@dag(
    schedule=CronPartitionTimetable("0 2 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"),
    start_date=START_DATE,
    catchup=False,
    max_active_runs=2,
    default_args=DEFAULT_ARGS,
    doc_md=__doc__,
    tags=["packwatch", "nightly", "health"],
    params={
        "reprocess": Param(
            False, type="boolean", description="Read the day's objects again, after a rule or method changed."
        ),
        "makes": Param([], type="array", items={"type": "string"}, description="Reprocess only these makes."),
        "vehicles": Param(
            [], type="array", items={"type": "string"}, description="Reprocess only these VINs or vehicle ids."
        ),
    },
)
def battery_health_daily() -> None:
    @task
    def ingest(params=None, dag_run=None):
        from packwatch.orchestrate import stages

        return stages.ingest(dag_run, params)

    @task
    def validate(batch):
        from packwatch.orchestrate import stages

        return stages.validate(batch)

    @task(trigger_rule="all_done")
    def analyze(shard):
        from packwatch.orchestrate import stages

        return stages.analyze(shard)

    @task
    def load(analyzed):
        from packwatch.orchestrate import stages

        return stages.load(analyzed)

    @task
    def assess(loaded):
        from packwatch.orchestrate import stages

        return stages.assess(loaded)

    @task(outlets=[HEALTH_REPORTS])
    def publish(batches, report_days, dag_run=None):
        from packwatch.orchestrate import stages

        return stages.publish(dag_run, report_days)

    batches = ingest()
    # Each stage waits for the one before it: inside a mapped task group, `all_done` would not wait for `validate`.
    analyzed = analyze.expand(shard=list(range(settings().shards)))
    validate.expand(batch=batches) >> analyzed
    publish(batches, assess.expand(loaded=load.expand(analyzed=analyzed)))


battery_health_daily()
