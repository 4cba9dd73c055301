"""Start, find, stop and remove the embedded stack: what `packwatch up`, `down`, `demo` and `clean` call."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from packwatch.config import settings
from packwatch.errors import PackwatchError, ServiceUnreachable, UsageError
from packwatch.stack import airflow, postgres, state
from packwatch.stack.processes import MARKER, is_alive, log_tail, send, stack_id, wait_gone
from packwatch.stack.state import Ports, Record
from packwatch.stack.supervisor import DETACH, end_processes, stack_members

STOP_TIMEOUT_S = 60.0
"""Longest stop by the supervisor itself, in seconds (3 to 5 s are normal), before its processes are ended from here."""

BUSY_TIMEOUT_S = 300.0
"""Longest wait for another start or stop in the same state folder, in seconds."""

BUSY_POLL_S = 0.3

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Stack:
    """A running stack: where it listens and how to get in."""

    root: Path
    state_dir: Path
    ports: Ports
    supervisor_pid: int
    pids: Mapping[str, int]
    bucket: str
    airflow_url: str
    airflow_user: str
    airflow_password: str = field(repr=False)
    dsn: str = field(repr=False)
    bi_dsn: str = field(repr=False)
    s3_endpoint: str
    s3_access_key: str = field(repr=False)
    s3_secret_key: str = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    """In which `airflow` and the pipeline work on this stack; processes started with it end with the stack."""
    started_here: bool = False
    """Whether this call started it; False for one that was running already."""
    lifeline: int | None = field(default=None, repr=False)
    """Descriptor of the pipe that keeps an attached stack alive; it closes with this process."""


def default_state_dir(root: Path) -> Path:
    """Return the state folder of a checkout."""
    return root.resolve() / state.DEFAULT_NAME


def start_stack(
    root: Path,
    state_dir: Path | None = None,
    *,
    on_progress: Progress = lambda text: None,
    detached: bool = False,
    parallelism: int | None = None,
) -> Stack:
    """Start Postgres, S3 and Airflow and return once all are healthy; a stack that runs already is returned as it is.

    Args:
        root: Checkout with `dags`, `plugins` and `include`.
        state_dir: Where everything is kept; `<root>/.packwatch` by default.
        on_progress: Called with one sentence for every step.
        detached: Whether the stack outlives this process. If not, it ends with it, even with a kill.
        parallelism: Tasks at a time; the number of cores, at least 2, by default.

    Raises:
        ServiceUnreachable: A server did not start; nothing is left running.
        UsageError: The state folder cannot be used.
    """
    root = root.resolve()
    state_dir = (state_dir or default_state_dir(root)).resolve()
    if not (root / "dags").is_dir():
        raise UsageError(f"{root} has no folder dags: is it a checkout of Packwatch?")
    state.prepare(state_dir)
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        running = running_stack(state_dir)
        if running is not None:
            on_progress(f"already running since {time.strftime('%H:%M', time.localtime(_started_at(state_dir)))}")
            return running
        started = _start(root, state_dir, on_progress, detached=detached, parallelism=parallelism)
        if started is not None:
            return started
        if time.monotonic() > deadline:
            raise ServiceUnreachable(f"{state_dir}: another command has been starting or stopping this stack for long")
        time.sleep(BUSY_POLL_S)


def _start(
    root: Path, state_dir: Path, on_progress: Progress, *, detached: bool, parallelism: int | None
) -> Stack | None:
    """Start a supervisor and wait for its word; None when another one holds the state folder."""
    log = state_dir / "logs" / "supervisor.log"
    command = [sys.executable, "-m", "packwatch.stack.supervisor", "--root", str(root), "--state-dir", str(state_dir)]
    if not detached:
        command += ["--idle-sleep", str(airflow.EAGER_IDLE_SLEEP_S)]
    if parallelism is not None:
        command += ["--parallelism", str(parallelism)]
    environment = os.environ | {"PYTHONPATH": str(root / "include"), MARKER: stack_id(state_dir)}
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            cwd=state_dir,
            start_new_session=True,
        )
    try:
        if not _is_ready(process, log, on_progress):
            _close(process)
            return None
        stack = running_stack(state_dir)
        if stack is None:
            raise ServiceUnreachable(f"the stack ended at once.\n{log_tail(log)}")
        lifeline = None
        if process.stdin is not None:
            if detached:
                process.stdin.write(DETACH)
                process.stdin.flush()
            else:
                lifeline = os.dup(process.stdin.fileno())
    except BaseException:
        process.terminate()
        _close(process)
        raise
    _close(process, wait=False)
    return _replace(stack, lifeline)


def _replace(stack: Stack, lifeline: int | None) -> Stack:
    return Stack(**{**vars(stack), "started_here": True, "lifeline": lifeline})


def _is_ready(process: subprocess.Popen[bytes], log: Path, on_progress: Progress) -> bool:
    """Pass on what the supervisor says until the stack is up; False when another supervisor holds the folder."""
    assert process.stdout is not None
    for line in process.stdout:
        message = json.loads(line)
        if "progress" in message:
            on_progress(message["progress"])
        elif "error" in message:
            kinds: dict[int, type[PackwatchError]] = {UsageError.exit_code: UsageError}
            raise kinds.get(message["exit_code"], ServiceUnreachable)(message["error"])
        elif "busy" in message:
            return False
        elif "ready" in message:
            return True
    raise ServiceUnreachable(f"the supervisor ended before the stack was up.\n{log_tail(log)}")


def _close(process: subprocess.Popen[bytes], *, wait: bool = True) -> None:
    """Let go of the supervisor; closing its pipe tells an attached one to end, and `wait` waits for that."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    if wait:
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    else:
        process.returncode = 0  # it lives on; keeps Popen from warning that it was not waited for


def running_stack(state_dir: Path) -> Stack | None:
    """Return the stack that runs in a state folder; None when there is none, or only remains of one."""
    state_dir = state_dir.resolve()
    record = state.read_record(state_dir)
    if record is None or not _is_supervisor(record.supervisor_pid, state_dir):
        return None
    if not all(psutil.pid_exists(pid) for pid in record.pids.values()):
        return None
    return _stack(state_dir, record)


def _stack(state_dir: Path, record: Record) -> Stack:
    secrets = state.load_secrets(state_dir)
    ports, root = record.ports, Path(record.root)
    return Stack(
        root=root,
        state_dir=state_dir,
        ports=ports,
        supervisor_pid=record.supervisor_pid,
        pids=record.pids,
        bucket=settings().bucket,
        airflow_url=f"http://127.0.0.1:{ports.airflow}",
        airflow_user=airflow.ADMIN,
        airflow_password=secrets.airflow_admin,
        dsn=postgres.dsn(ports.postgres, secrets.postgres_packwatch),
        bi_dsn=postgres.dsn(ports.postgres, secrets.postgres_bi_reader, role="bi_reader"),
        s3_endpoint=f"http://127.0.0.1:{ports.s3}",
        s3_access_key=secrets.s3_access_key,
        s3_secret_key=secrets.s3_secret_key,
        environment=airflow.airflow_environment(state_dir, root, ports, secrets) | {MARKER: stack_id(state_dir)},
    )


def _started_at(state_dir: Path) -> float:
    record = state.read_record(state_dir)
    return record.started_at if record is not None else time.time()


def _is_supervisor(pid: int, state_dir: Path) -> bool:
    """Tell whether a pid is the supervisor of this state folder and not a stranger that got its number."""
    try:
        process = psutil.Process(pid)
        ours = process.environ().get(MARKER) == stack_id(state_dir)
        return ours and "packwatch.stack.supervisor" in process.cmdline() and is_alive(process)
    except (psutil.Error, OSError):
        return False


def stop_stack(state_dir: Path) -> bool:
    """Stop the stack of a state folder, also one that is just starting or whose supervisor was killed.

    Returns:
        Whether anything was running.

    Raises:
        ServiceUnreachable: A process survives SIGKILL.
    """
    state_dir = state_dir.resolve()
    supervisors = [process for process in stack_members(state_dir) if _is_supervisor(process.pid, state_dir)]
    send(supervisors, signal.SIGTERM)
    left = wait_gone(supervisors, STOP_TIMEOUT_S)
    send(left, signal.SIGKILL)
    wait_gone(left, STOP_TIMEOUT_S)
    leftovers = end_processes(state_dir)
    if state_dir.exists():
        state.remove_record(state_dir)
    return bool(supervisors) or leftovers > 0


def why_down(state_dir: Path) -> str | None:
    """Return what ended the last stack if it ended by itself; None after an ordinary stop."""
    try:
        return (state_dir / "failure.txt").read_text().rstrip()
    except FileNotFoundError:
        return None


def clean_stack(state_dir: Path) -> None:
    """Stop the stack and delete its state folder with all data.

    Raises:
        UsageError: The folder is not a state folder; nothing is deleted.
    """
    state_dir = state_dir.resolve()
    state.check_is_state_dir(state_dir)
    stop_stack(state_dir)
    if state_dir.exists():
        shutil.rmtree(state_dir)
