"""The demo as a user runs it: a real scheduler backfills a week, and the weekly report fires by itself."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from packwatch import demo
from packwatch.load import warehouse
from packwatch.load.fingerprint import TABLES, fingerprint
from packwatch.stack import api
from packwatch.stack.control import clean_stack, start_stack
from packwatch.stack.supervisor import stack_members

ROOT = Path(__file__).parents[2]


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """A state folder of its own, where the system user of Postgres may pass."""
    folder = Path(tempfile.mkdtemp(prefix="packwatch-demo-")).resolve()
    yield folder
    clean_stack(folder)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_week_through_the_scheduler_twice(
    state_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACKWATCH_SHARDS", "1")
    monkeypatch.setenv("PACKWATCH_REAL_LOGS", str(state_dir / "none"))
    stack = start_stack(ROOT, state_dir)
    demo.prepare(stack)
    week = demo.demo_week(state_dir, vehicles=6, seed=3)
    demo.fill_raw_zone(stack, state_dir, week, None)

    hashes = []
    for _ in range(2):
        assert demo.run_week(stack, week) == []
        with warehouse.connect(stack.dsn) as connection:
            assert demo.print_night(demo.console, connection)
            hashes.append({table: fingerprint(connection, table) for table in TABLES})
            reports = connection.execute("SELECT count(DISTINCT report_date) FROM battery_health_reports").fetchone()
    assert hashes[0] == hashes[1]
    assert reports == (7,)
    assert hashes[0]["battery_health_reports"][0] >= 30

    with api.open_api(stack.airflow_url, stack.airflow_user, stack.airflow_password) as airflow:
        weekly = api.runs(airflow, "battery_weekly_report")
        alerts = api.runs(airflow, "battery_alerts")
        daily = api.runs(airflow, "battery_health_daily")
    assert {run["state"] for run in weekly + alerts + daily} == {"success"}
    assert {run["partition_key"].split()[0] for run in weekly} == {week.monday}
    assert len({run["partition_key"] for run in alerts}) >= 7
    page = demo.save_weekly_report(stack, state_dir, week).read_text(encoding="utf-8")
    assert re.search(r"<h1[^>]*>\s*Week", page)
    assert "rows in" in capsys.readouterr().out

    clean_stack(state_dir)
    assert stack_members(state_dir) == []
    assert not state_dir.exists()
