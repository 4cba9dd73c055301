"""Each DAG run once by `dag.test()`, against the real Postgres and S3 protocol."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable

import psycopg
import pytest

from packwatch.ingest.formats.canonical import write_log
from packwatch.ingest.lake import Lake

# A Tuesday; runs started by hand are about the day before, and about the week before.
RUN_AFTER = dt.datetime(2026, 3, 24, 2, tzinfo=dt.UTC)
DAY = dt.date(2026, 3, 23)

RUN = """
import datetime, json, sys
from airflow.dag_processing.dagbag import DagBag
dag_id, run_after, conf = sys.argv[1:]
run = DagBag().dags[dag_id].test(
    run_after=datetime.datetime.fromisoformat(run_after), logical_date=None, run_conf=json.loads(conf)
)
print("STATES " + json.dumps({f"{t.task_id}[{t.map_index}]": t.state for t in run.get_task_instances()}))
print("RUN " + run.state)
"""


@pytest.fixture
def run_dag(
    airflow_home: dict[str, str], database: psycopg.Connection, lake: Lake
) -> Callable[..., tuple[str, dict[str, str], str]]:
    """Runs a DAG to its end; returns the run's state, the state of each task, and the output."""
    info = database.info
    postgres = {
        "conn_type": "postgres",
        "host": info.host,
        "port": info.port,
        "login": info.user,
        "password": info.password,
        "schema": info.dbname,
    }
    s3 = {
        "conn_type": "aws",
        "login": "test",
        "password": "test",
        "extra": {"endpoint_url": lake.client.meta.endpoint_url, "region_name": "us-east-1"},
    }
    environment = {
        **airflow_home,
        "AIRFLOW_CONN_PACKWATCH_POSTGRES": json.dumps(postgres),
        "AIRFLOW_CONN_PACKWATCH_S3": json.dumps(s3),
        "PACKWATCH_BUCKET": lake.bucket,
        "PACKWATCH_SHARDS": "2",
    }

    def run(dag_id: str, conf: dict[str, object] | None = None, **extra: str) -> tuple[str, dict[str, str], str]:
        done = subprocess.run(
            [sys.executable, "-c", RUN, dag_id, RUN_AFTER.isoformat(), json.dumps(conf or {})],
            env=environment | extra,
            capture_output=True,
            text=True,
            timeout=240,
        )
        lines = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.startswith(("STATES ", "RUN ")))
        assert "RUN" in lines, done.stdout[-3000:] + done.stderr[-3000:]
        return lines["RUN"], json.loads(lines["STATES"]), done.stdout + done.stderr

    return run


def put_day(lake: Lake, charge_log: Callable[..., object], **bad: object) -> None:
    lake.write(f"raw/ingest_date={DAY}/car.parquet", write_log(charge_log(DAY, **bad), "car.parquet"))  # type: ignore[arg-type]


def test_the_daily_dag_makes_reports(
    run_dag: Callable[..., tuple[str, dict[str, str], str]],
    database: psycopg.Connection,
    lake: Lake,
    charge_log: Callable[..., object],
) -> None:
    put_day(lake, charge_log)
    state, tasks, output = run_dag("battery_health_daily")
    assert state == "success", output[-3000:]
    assert tasks["validate[0]"] == tasks["assess[1]"] == "success"
    reports = database.execute("SELECT report_date, make, evidence_status FROM battery_health_reports").fetchall()
    assert reports == [(DAY, "Nissan", "ok")]
    run = database.execute("SELECT run_key, state, rows_in, rows_clean FROM pipeline_runs").fetchone()
    assert run == ("2026-03-23", "complete", 121, 121)


def test_a_rejected_batch_fails_at_once_and_loudly(
    run_dag: Callable[..., tuple[str, dict[str, str], str]], lake: Lake, charge_log: Callable[..., object]
) -> None:
    put_day(lake, charge_log, soc_percent=[300.0] * 121)
    state, tasks, output = run_dag("battery_health_daily")
    assert state == "failed"
    assert tasks["validate[0]"] == "failed"
    assert tasks["assess[0]"] == "success", "the rest of the night goes on"
    assert tasks["publish[-1]"] == "failed"
    assert "soc_percent" in output


def test_the_alerts_dag_opens_and_sends_to_the_log(
    run_dag: Callable[..., tuple[str, dict[str, str], str]],
    database: psycopg.Connection,
    lake: Lake,
    charge_log: Callable[..., object],
) -> None:
    put_day(lake, charge_log, insulation_resistance_kohm=[20.0] * 121)  # 20 kΩ at 400 V: 50 Ω/V
    assert run_dag("battery_health_daily")[0] == "success"
    state, _, output = run_dag("battery_alerts")
    assert state == "success", output[-3000:]
    assert "insulation" in output
    sent = database.execute("SELECT code, state, notified_severity = severity FROM alerts").fetchall()
    assert sent == [("insulation_low", "open", True)]


def test_the_weekly_dag_writes_the_report_of_the_week_before(
    run_dag: Callable[..., tuple[str, dict[str, str], str]], lake: Lake
) -> None:
    state, _, output = run_dag("battery_weekly_report")
    assert state == "success", output[-3000:]
    assert [item.key for item in lake.list("published/weekly/")] == ["published/weekly/2026-W12/report.html"]


def test_a_wrong_setting_is_not_retried(run_dag: Callable[..., tuple[str, dict[str, str], str]]) -> None:
    state, tasks, output = run_dag("battery_health_daily", {"makes": ["Nissan"]})
    assert state == "failed"
    assert tasks["ingest[-1]"] == "failed"
    assert "set reprocess too" in output
