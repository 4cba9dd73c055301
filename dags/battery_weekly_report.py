"""
### Weekly fleet report

**What it does.** Writes the week's report of the fleet: alerts, health by type, charging, quality of the data.

**When.** By itself, when `battery_health_daily` has published all seven days of a week, Monday to Sunday, also in a
backfill. Clear the run to make a past week again.

**Reads** `battery_health_reports`, `charge_cycles`, `anomalies`, `alerts`, `data_quality`, `vehicles`.
**Writes** `published/weekly/<year>-W<week>/report.html` in the lake.

**If it fails.** Nothing else waits for it: mend the cause in the log and clear the task.
"""

from __future__ import annotations

from airflow.sdk import (
    PartitionedAssetTimetable,
    RollupMapper,
    StartOfWeekMapper,
    WaitForAll,
    WeekWindow,
    dag,
    task,
)

from packwatch.orchestrate.assets import HEALTH_REPORTS, WEEKLY_REPORT
from packwatch.orchestrate.policy import DEFAULT_ARGS, START_DATE


@dag(
    schedule=PartitionedAssetTimetable(
        assets=HEALTH_REPORTS,
        default_partition_mapper=RollupMapper(
            upstream_mapper=StartOfWeekMapper(input_format="%Y-%m-%d"),
            window=WeekWindow(),
            wait_policy=WaitForAll(),
        ),
    ),
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    doc_md=__doc__,
    tags=["packwatch", "weekly", "report"],
)
def battery_weekly_report() -> None:
    @task(outlets=[WEEKLY_REPORT])
    def publish(dag_run=None):
        from packwatch.orchestrate import reporting

        return reporting.weekly(dag_run)

    publish()


battery_weekly_report()
