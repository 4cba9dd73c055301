"""The demo: a simulated fleet and a few real logs through the real pipeline, on servers started here."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import httpx
from rich.console import Console
from rich.status import Status

from packwatch.config import settings
from packwatch.errors import ServiceUnreachable
from packwatch.ingest.lake import Lake
from packwatch.load import warehouse
from packwatch.publish.night import print_night
from packwatch.simulate import simulate
from packwatch.stack import api
from packwatch.stack.control import Stack, running_stack, start_stack, stop_stack

DAYS = 7
DAGS = ("battery_health_daily", "battery_alerts", "battery_weekly_report")
# A laptop gains nothing from more shards, and every shard costs three tasks a night.
os.environ.setdefault("PACKWATCH_SHARDS", "2")
# A backfill of seven days takes two to three minutes on two cores.
PATIENCE_S = 1800
POLL_S = 1.0
# Asset-triggered runs appear some seconds after the run that feeds them; this long nothing must have moved.
QUIET_S = 8.0
# The weekly report appears within seconds of the seventh day; this long without it, it does not come.
WEEKLY_PATIENCE_S = 90.0
# How often a log that nobody watches gets a line, in seconds.
LOG_EVERY_S = 5.0

# A log file has no width to fit in; the tables must not be cut there.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)


@dataclass(frozen=True)
class DemoWeek:
    """The week the demo plays, kept in the state folder so that a second demo runs over the same data."""

    monday: str
    vehicles: int
    seed: int

    @property
    def first(self) -> date:
        """The first arrival day, a Monday."""
        return date.fromisoformat(self.monday)

    @property
    def last(self) -> date:
        """The last arrival day, a Sunday."""
        return self.first + timedelta(days=DAYS - 1)


def run_demo(root: Path, state_dir: Path, *, vehicles: int, seed: int, serve: bool) -> int:
    """Run the demo; return the exit code: 0, or 1 if a DAG run failed or the books do not add up."""
    started = time.monotonic()
    with stack_for_demo(root, state_dir) as stack:
        prepare(stack)
        week = demo_week(state_dir, vehicles, seed)
        fill_raw_zone(stack, state_dir, week, real_logs_folder(root))
        failed = run_week(stack, week)
        with warehouse.connect(stack.dsn) as connection:
            balanced = print_night(console, connection)
        console.rule("look further")
        if not failed:
            console.print(f"weekly report  {save_weekly_report(stack, state_dir, week)}", soft_wrap=True)
        print_addresses(stack)
        for task in failed:
            console.print(f"[red]failed:[/] {task}")
        console.print(f"[dim]done in {time.monotonic() - started:.0f} s[/]")
        if serve:
            wait_for_interrupt()
    return 0 if balanced and not failed else 1


def bring_up(root: Path, state_dir: Path) -> None:
    """Start the stack in the background, without demo data."""
    stack = running_stack(state_dir)
    if stack is None:
        with progress("starting") as status:
            stack = start_stack(root, state_dir, detached=True, on_progress=status.update)
    prepare(stack)
    print_addresses(stack)
    console.print("Stop it with `make down`; the data stays.")


@contextmanager
def stack_for_demo(root: Path, state_dir: Path) -> Iterator[Stack]:
    """Yield a running stack: the one that is up already, which stays up, or one that ends with the demo."""
    stack = running_stack(state_dir)
    if stack is not None:
        console.print("using the stack that is already running")
        yield stack
        return
    with progress("starting") as status:
        stack = start_stack(root, state_dir, detached=False, on_progress=status.update)
    try:
        yield stack
    finally:
        with progress("stopping"):
            stop_stack(state_dir)


def prepare(stack: Stack) -> None:
    """Bring the warehouse to the newest schema and make the bucket."""
    with warehouse.connect(stack.dsn) as connection:
        warehouse.migrate(connection)
    client = s3_client(stack)
    if settings().bucket not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=settings().bucket)


def s3_client(stack: Stack):  # type: ignore[no-untyped-def]  # boto3 has no types
    """Return a client of the stack's S3 server."""
    return boto3.client(
        "s3",
        endpoint_url=stack.s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id=stack.s3_access_key,
        aws_secret_access_key=stack.s3_secret_key,
    )


def demo_week(state_dir: Path, vehicles: int, seed: int) -> DemoWeek:
    """Return the week of this state folder; the first demo chooses the last whole week that ended before yesterday."""
    file = state_dir / "demo.json"
    if file.exists():
        known = DemoWeek(**json.loads(file.read_text()))
        if (known.vehicles, known.seed) != (vehicles, seed):
            console.print(f"this folder holds a demo of {known.vehicles} vehicles, seed {known.seed}: playing it again")
        return known
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    monday = yesterday - timedelta(days=yesterday.weekday() + 7)
    week = DemoWeek(monday.isoformat(), vehicles, seed)
    file.write_text(json.dumps(asdict(week)))
    return week


def real_logs_folder(root: Path) -> Path | None:
    """Return the folder of real logs: PACKWATCH_REAL_LOGS, or shared/data beside the project, if it is there."""
    folder = Path(os.environ.get("PACKWATCH_REAL_LOGS", root.parent / "shared" / "data"))
    return folder if folder.is_dir() else None


def fill_raw_zone(stack: Stack, state_dir: Path, week: DemoWeek, real_logs: Path | None) -> None:
    """Put the simulated week and the real logs into the raw zone; objects that are there already stay."""
    client, bucket = s3_client(stack), settings().bucket
    folder = state_dir / "simulated"
    if not (folder / "truth.json").exists():
        shutil.rmtree(folder, ignore_errors=True)  # a demo that was stopped here begins again
        with progress("simulating the fleet") as status:
            simulate(
                folder,
                vehicles=week.vehicles,
                days=DAYS,
                seed=week.seed,
                first_day=week.first,
                truth=folder / "truth.json",
                on_progress=lambda what, share: status.update(f"simulating the fleet: {share:.0%}, {what}"),
            )
    uploads = {
        path.relative_to(folder).as_posix(): path for path in sorted((folder / "raw").rglob("*")) if path.is_file()
    }
    if real_logs is not None:
        # The US logs name no vehicle: the folder of the upload does.
        uploads |= {
            f"raw/ingest_date={week.first}/vin=LEAFSPYUS62KWH/year=2020/{path.name}": path
            for path in sorted((real_logs / "leafspy-us").glob("*.csv"))
        }
        uploads |= {
            f"raw/ingest_date={week.first}/{path.name}": path
            for path in sorted((real_logs / "leafspy-uk").glob("*.csv"))
        }
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="raw/")
    there = {item["Key"] for page in pages for item in page.get("Contents", ())}
    with progress("uploading raw logs"):
        for key in sorted(uploads.keys() - there):
            client.put_object(Bucket=bucket, Key=key, Body=uploads[key].read_bytes())
    note = "" if real_logs else " (no real logs found: set PACKWATCH_REAL_LOGS)"
    console.print(f"raw zone: {len(uploads)} objects for {week.first} to {week.last}{note}")


def run_week(stack: Stack, week: DemoWeek) -> list[str]:
    """Backfill the week through the scheduler and wait for it, its alerts and its report; return what failed."""
    with api.open_api(stack.airflow_url, stack.airflow_user, stack.airflow_password) as airflow:
        wait_for_dags(airflow)
        for dag_id in DAGS:
            api.unpause(airflow, dag_id)
        started = datetime.now(UTC)
        if not api.backfill(airflow, DAGS[0], week.first, week.last, runs_at_once=2):
            console.print("going on with the backfill that was interrupted")
        wait_until_quiet(airflow, week)
        failed = api.failed_since(airflow, DAGS, started)
        if not weekly_fired(api.runs(airflow, DAGS[2]), week):
            failed.append(f"{DAGS[2]} {week.monday}: did not fire, because not all seven days were published")
        return failed


def weekly_fired(weekly_runs: list[dict[str, Any]], week: DemoWeek) -> bool:
    """Return whether the weekly report of the demo's week has a run."""
    return any((run["partition_key"] or "").startswith(week.monday) for run in weekly_runs)


def wait_for_dags(airflow: httpx.Client) -> None:
    """Wait until Airflow has parsed the DAGs."""
    deadline = time.monotonic() + 120
    with progress("Airflow reads the DAGs"):
        while not set(DAGS) <= api.known_dags(airflow):
            errors = api.import_errors(airflow)
            if errors or time.monotonic() > deadline:
                raise ServiceUnreachable("Airflow does not load the DAGs. " + ("\n".join(errors) or "See its logs."))
            time.sleep(POLL_S)


def wait_until_quiet(airflow: httpx.Client, week: DemoWeek) -> None:
    """Show which tasks run until the days are done and nothing has run for a while."""
    days = {str(week.first + timedelta(days=day)) for day in range(DAYS)}
    deadline = time.monotonic() + PATIENCE_S
    quiet_since = time.monotonic()
    fired = False
    with progress("waiting for the scheduler") as status:
        while time.monotonic() - quiet_since < (QUIET_S if fired else WEEKLY_PATIENCE_S):
            if time.monotonic() > deadline:
                raise ServiceUnreachable(f"the backfill is not done after {PATIENCE_S} s; see the task logs in Airflow")
            time.sleep(POLL_S)
            states = {dag_id: api.runs(airflow, dag_id) for dag_id in DAGS}
            daily = [run for run in states[DAGS[0]] if run["partition_key"] in days]
            fired = weekly_fired(states[DAGS[2]], week)
            begun = {run["partition_key"] for run in daily}
            open_days = {run["partition_key"] for run in daily if run["state"] in ("running", "queued")}
            busy = [run for dag_runs in states.values() for run in dag_runs if run["state"] in ("running", "queued")]
            if busy or begun != days:
                quiet_since = time.monotonic()
            tasks = ", ".join(api.running_tasks(airflow)) or "scheduling"
            status.update(f"{len(begun - open_days)} of {DAYS} days done; now {tasks}")


def print_addresses(stack: Stack) -> None:
    """Print where Airflow, Postgres and S3 are, and how to log in."""
    login = f"user {stack.airflow_user}   password {stack.airflow_password}"
    console.print(f"Airflow        {stack.airflow_url}   {login}", soft_wrap=True)
    console.print(f"Postgres (BI)  {stack.bi_dsn}", soft_wrap=True)
    console.print(f"S3             {stack.s3_endpoint}   bucket {settings().bucket}", soft_wrap=True)


def save_weekly_report(stack: Stack, state_dir: Path, week: DemoWeek) -> Path:
    """Save the weekly report, which lies in the lake, where a browser can open it; return the path."""
    key = weekly_key(week.first)
    path = state_dir / "reports" / key.split("/")[-2] / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(Lake(s3_client(stack), settings().bucket).read(key))
    return path


def weekly_key(monday: date) -> str:
    """Return where the weekly report of the week that starts on `monday` lies."""
    year, week, _ = monday.isocalendar()
    return f"published/weekly/{year}-W{week:02d}/report.html"


@contextmanager
def progress(what: str) -> Iterator[Status]:
    """Show what is going on: a live line on a terminal, one line a change elsewhere."""
    if console.is_terminal:
        with console.status(what) as status:
            yield status
        return
    console.print(what)
    yield _Lines()  # type: ignore[misc]


class _Lines:
    """Prints the status now and then, for logs."""

    _last, _printed = "", -math.inf

    def update(self, what: str) -> None:
        now = time.monotonic()
        if what != self._last and now - self._printed > LOG_EVERY_S:
            self._last, self._printed = what, now
            console.print(what)


def wait_for_interrupt() -> None:
    """Keep serving until Ctrl-C or a request to end."""
    console.print("serving; Ctrl-C stops everything")
    with contextlib.suppress(KeyboardInterrupt):
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
