"""
### Battery alerts

**What it does.** Opens, updates and resolves alerts from the anomalies of the night, then sends those nobody was
told of, worst first: to the webhook connection `packwatch_webhook` and the mail connection `packwatch_smtp` where they
exist, and always to the task log. An alert is sent once, and again only when it gets more severe.

**When.** Each time `battery_health_daily` publishes a day.

**Reads** `anomalies`, `vehicle_days`, `vehicles`. **Writes** `alerts`.

**If it fails.** *send*: the message names the connection that did not answer. Nothing is marked as sent until it was,
so clearing the task sends what is missing.
"""

from __future__ import annotations

from airflow.sdk import PartitionedAssetTimetable, dag, task

from packwatch.orchestrate.assets import HEALTH_REPORTS
from packwatch.orchestrate.policy import DEFAULT_ARGS, START_DATE


@dag(
    schedule=PartitionedAssetTimetable(assets=HEALTH_REPORTS),
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    doc_md=__doc__,
    tags=["packwatch", "alerts"],
)
def battery_alerts() -> None:
    @task
    def update():
        from packwatch.orchestrate import alerting

        return alerting.update()

    @task
    def send(alerts, task_instance=None):
        from packwatch.orchestrate import alerting

        return alerting.send(alerts, {"task_instance": task_instance})

    send(update())


battery_alerts()
