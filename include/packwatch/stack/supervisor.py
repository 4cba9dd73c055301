"""The process that starts the embedded servers, watches them, and ends them.

It runs in a session of its own, tied to the command that started it by a pipe: when that command ends, however that
happens, the pipe closes and the stack is stopped, unless the command said `detach` first (`make up`). SIGINT, SIGTERM
and SIGHUP stop the stack as well, at any time. Signals only set a flag that every waiting loop looks at, so none can
strike between the start of a process and its entry in the books.

Progress goes to standard output, one JSON object a line: {"progress": text}, {"ready": true}, {"busy": true} or
{"error": text, "exit_code": number}.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from packwatch.config import settings
from packwatch.errors import PackwatchError, ServiceUnreachable
from packwatch.stack import airflow, postgres, s3, state
from packwatch.stack.processes import (
    MARKER,
    choose_port,
    ending,
    is_free,
    log_tail,
    members,
    parent_pid,
    send,
    stack_id,
    wait_gone,
)
from packwatch.stack.state import Ports, Record, Secrets

DETACH = b"detach\n"

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

GRACE_S = 2.0
"""Seconds the components get to end by themselves. What they would still say to the database is said for them at the
next start, and their interpreters take seconds to fold up."""

KILL_WAIT_S = 10.0
"""Seconds to wait for killed processes to disappear; more means one hangs in the kernel."""

WATCH_PERIOD_S = 0.2

LOG_BYTES_MAX = 10_000_000
"""Size beyond which a log is set aside at the next start; one older file of each is kept."""

_log = logging.getLogger(__name__)


class _StopRequestedError(Exception):
    """Somebody wants the stack to end: a signal, or the end of the command that started it."""


@dataclass
class _Books:
    """What this supervisor has started so far; filled before anything can fail after a start."""

    state_dir: Path
    stop_reason: str | None = None
    detached: bool = False
    components: dict[str, tuple[subprocess.Popen[bytes], Path]] = field(default_factory=dict)

    def check(self) -> None:
        """Raise when the stack should stop, or when one of its servers has ended by itself."""
        if not self.detached and self.stop_reason is None and select.select([0], [], [], 0)[0]:
            said = os.read(0, len(DETACH))
            if said == DETACH:
                self.detached = True
            else:
                self.stop_reason = "the command that started the stack has ended"
        if self.stop_reason is not None:
            raise _StopRequestedError(self.stop_reason)
        for name, (process, log) in self.components.items():
            if process.poll() is not None:
                raise ServiceUnreachable(f"{name} ended with {ending(process.returncode)}.\n{log_tail(log)}")

    def enter(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        """Note a started process, also on disk for whoever comes after a kill of this one."""
        self.components[name] = (process, log)
        leaders = {pid: created for pid, created in _leaders(self.state_dir).items() if psutil.pid_exists(pid)}
        with contextlib.suppress(psutil.Error):
            leaders[process.pid] = psutil.Process(process.pid).create_time()
        content = {"boot_time": psutil.boot_time(), "leaders": leaders}
        state.write_private(self.state_dir / "sessions.json", json.dumps(content))


def _leaders(state_dir: Path) -> dict[int, float]:
    """Return pid and creation time of the processes started since the machine booted, from the state folder."""
    content = state.read_json(state_dir / "sessions.json")
    if not isinstance(content, dict) or abs(content["boot_time"] - psutil.boot_time()) > 60:
        return {}
    return {int(pid): float(created) for pid, created in content["leaders"].items()}


def stack_members(state_dir: Path) -> list[psutil.Process]:
    """Return every living process of the stack, of this or an earlier supervisor, but not the caller."""
    return members(state_dir, data_dir=postgres.data_dir(state_dir), leaders=_leaders(state_dir))


def end_processes(state_dir: Path) -> int:
    """End every process of the stack in the order that leaves the data in peace; return how many there were.

    Workers and tasks are killed: a task may be repeated at any time, and its next run finds what it had not finished.
    Airflow's components may say goodbye. Postgres and S3 end last.
    """
    everything = stack_members(state_dir)
    stores = [process for process in everything if _is_s3(process)]
    rest = [process for process in everything if process not in stores and not _is_postgres(process)]
    pids = {process.pid for process in rest}
    heads = [process for process in rest if parent_pid(process) not in pids]
    send(heads, signal.SIGTERM)
    # Parents before children, so that no worker lives to report its killed task as failed.
    others = sorted((process for process in rest if process not in heads), key=lambda process: process.pid)
    send(others, signal.SIGKILL)
    left = wait_gone(rest, GRACE_S)
    send(left, signal.SIGKILL)
    wait_gone(left, KILL_WAIT_S)
    send(stores, signal.SIGTERM)
    postgres.stop_leftovers(postgres.data_dir(state_dir))
    left = wait_gone(stack_members(state_dir), GRACE_S)
    send(left, signal.SIGKILL)
    left = wait_gone(left, KILL_WAIT_S)
    if left:
        raise ServiceUnreachable(f"processes survive SIGKILL: {', '.join(str(process.pid) for process in left)}")
    return len(everything)


def _is_postgres(process: psutil.Process) -> bool:
    try:
        return process.name().startswith("postgres")
    except psutil.Error:
        return False


def _is_s3(process: psutil.Process) -> bool:
    try:
        return "packwatch.stack.s3" in process.cmdline()
    except psutil.Error:
        return False


def _emit(**message: Any) -> None:
    try:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()
    except OSError:  # nobody listens any more
        _log.info("%s", message)


def _progress(text: str) -> None:
    _log.info("%s", text)
    _emit(progress=text)


def _choose_ports(state_dir: Path) -> Ports:
    remembered = state.remembered_ports(state_dir)
    chosen: dict[str, int] = {}
    for name, preferred in state.PREFERRED_PORTS.items():
        candidates = [port for port in (remembered.get(name), preferred) if port]
        chosen[name] = choose_port(candidates, taken=chosen.values())
    return Ports(**chosen)


def _bring_up(books: _Books, root: Path, ports: Ports, secrets: Secrets, options: argparse.Namespace) -> None:
    """Start all servers; what takes longest starts as early as it can."""
    state_dir, logs = books.state_dir, books.state_dir / "logs"
    mark = {MARKER: stack_id(state_dir)}
    plain = airflow.shell_environment() | {"PYTHONPATH": str(root / "include")} | mark
    environment = mark | airflow.airflow_environment(
        state_dir, root, ports, secrets, parallelism=options.parallelism, idle_sleep_s=options.idle_sleep
    )
    home = airflow.home(state_dir)
    airflow.prepare_home(state_dir, secrets)

    s3_log, postgres_log = logs / "s3.log", logs / "postgres.log"
    s3_process = s3.launch(state_dir, ports.s3, secrets.s3_access_key, environment=plain, log=s3_log)
    books.enter("S3", s3_process, s3_log)
    started_at = time.monotonic()
    process = postgres.start(
        state_dir, ports.postgres, secrets.postgres_passwords(), environment=plain, log=postgres_log, check=books.check
    )
    books.enter("Postgres", process, postgres_log)
    _progress(f"Postgres is up on port {ports.postgres} ({time.monotonic() - started_at:.1f} s)")

    def start(name: str) -> None:
        component, log = airflow.start_component(name, environment, logs=logs, cwd=home)
        books.enter(f"Airflow {name}", component, log)

    start("api-server")  # imports for seconds before it looks at the database
    if not airflow.is_migrated(state_dir, ports, secrets):
        _progress("Airflow's tables are being created")
        airflow.migrate(
            state_dir, ports, secrets, environment=environment, log=logs / "airflow-migrate.log", check=books.check
        )
    airflow.close_stale_jobs(ports, secrets)
    for name in airflow.COMPONENTS:
        if name != "api-server":
            start(name)
    s3.wait_until_ready(
        s3_process, ports.s3, secrets.s3_access_key, bucket=settings().bucket, log=s3_log, check=books.check
    )
    _progress(f"S3 is up on port {ports.s3}")
    airflow.wait_until_healthy(
        ports.airflow,
        {name: entry for name, entry in books.components.items() if name.startswith("Airflow")},
        secrets,
        on_progress=_progress,
        check=books.check,
    )


def _bring_up_on_free_ports(books: _Books, root: Path, secrets: Secrets, options: argparse.Namespace) -> Ports:
    """Bring up the stack; once again when another program took one of the ports in the meantime."""
    ports = _choose_ports(books.state_dir)
    try:
        _bring_up(books, root, ports, secrets, options)
    except ServiceUnreachable as error:
        end_processes(books.state_dir)
        books.components.clear()
        if all(is_free(port) for port in dataclasses.astuple(ports)):
            raise
        _log.warning("a port was taken by another program; trying others (%s)", error)
        ports = _choose_ports(books.state_dir)
        _bring_up(books, root, ports, secrets, options)
    return ports


def _set_aside_large_logs(logs: Path) -> None:
    for log in logs.glob("*.log"):
        if log.stat().st_size > LOG_BYTES_MAX:
            log.replace(log.with_suffix(".log.1"))


def _run(books: _Books, root: Path, options: argparse.Namespace) -> None:
    """Start, report and watch; every way out is an exception."""
    state_dir = books.state_dir
    (state_dir / "failure.txt").unlink(missing_ok=True)
    state.remove_record(state_dir)
    leftovers = end_processes(state_dir)
    if leftovers:
        _progress(f"ended {leftovers} processes that an earlier stack left behind")
    _set_aside_large_logs(state_dir / "logs")
    secrets = state.load_secrets(state_dir)
    ports = _bring_up_on_free_ports(books, root, secrets, options)
    state.remember_ports(state_dir, ports)
    state.write_record(
        state_dir,
        Record(
            root=str(root),
            supervisor_pid=os.getpid(),
            started_at=time.time(),
            ports=ports,
            pids={name: process.pid for name, (process, _) in books.components.items()},
        ),
    )
    _emit(ready=True)
    while True:
        books.check()
        time.sleep(WATCH_PERIOD_S)


def main(arguments: list[str] | None = None) -> int:
    """Run a stack until it is told to stop; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m packwatch.stack.supervisor", description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--parallelism", type=int)
    parser.add_argument("--idle-sleep", type=float, default=airflow.IDLE_SLEEP_S)
    options = parser.parse_args(arguments)
    books = _Books(options.state_dir.resolve())

    def request_stop(number: int, frame: FrameType | None) -> None:
        books.stop_reason = signal.Signals(number).name

    for number in STOP_SIGNALS:
        signal.signal(number, request_stop)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    state.prepare(books.state_dir)
    if state.lock(books.state_dir) is None:
        _emit(busy=True)
        return 0
    exit_code = 0
    try:
        _run(books, options.root.resolve(), options)
    except _StopRequestedError as reason:
        _log.info("stopping: %s", reason)
    except PackwatchError as error:
        _log.error("%s", error)
        state.write_private(books.state_dir / "failure.txt", f"{error}\n")
        _emit(error=str(error), exit_code=error.exit_code)
        exit_code = error.exit_code
    finally:
        # From here on nothing may interrupt: a second Ctrl-C would leave half of the processes.
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        state.remove_record(books.state_dir)
        end_processes(books.state_dir)
        _log.info("stopped")
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
