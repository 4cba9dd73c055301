"""However a stack ends, nothing of it runs on; whatever ran on is found by the next command."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from packwatch.errors import ServiceUnreachable, UsageError
from packwatch.stack import control, state, supervisor
from packwatch.stack.processes import MARKER, is_free, spawn, stack_id, wait_until
from packwatch.stack.state import Ports, Record
from packwatch.stack.supervisor import stack_members

INCLUDE = Path(control.__file__).parents[2]

# What `packwatch demo` does: a stack that lives as long as the command.
COMMAND = """
import pathlib, sys, time
from packwatch.stack.control import start_stack
root, state_dir = map(pathlib.Path, sys.argv[1:])
stack = start_stack(root, state_dir, on_progress=lambda text: print(text, flush=True))
print("up", flush=True)
time.sleep(600)
"""

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout without DAGs."""
    folder = tmp_path / "checkout"
    for name in ("dags", "plugins"):
        (folder / name).mkdir(parents=True)
    (folder / "include").symlink_to(INCLUDE)
    return folder


class Command:
    """A command that holds a stack, as a process that can be signaled."""

    def __init__(self, root: Path, state_dir: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, str(root), str(state_dir)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(INCLUDE)},
            start_new_session=True,
        )

    def wait_for(self, pattern: str) -> None:
        assert self.process.stdout is not None
        said = []
        for line in self.process.stdout:
            said.append(line)
            if re.search(pattern, line):
                return
        pytest.fail(f"{pattern!r} was never said, only: {said}")

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def wait_until_empty(state_dir: Path, timeout_s: float = 60) -> None:
    wait_until(lambda: stack_members(state_dir) == [], what="the end of all", timeout_s=timeout_s, watched={})


# SIGINT the command can answer; of the others it just dies, with SIGTERM and SIGKILL as with SIGHUP.
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_during_the_start_leaves_nothing(root: Path, state_dir: Path, number: signal.Signals) -> None:
    with Command(root, state_dir) as command:
        command.wait_for("Postgres is up")
        assert len(stack_members(state_dir)) > 3
        command.process.send_signal(number)
        command.process.wait(60)
    wait_until_empty(state_dir)
    assert control.running_stack(state_dir) is None
    assert control.why_down(state_dir) is None


@pytest.mark.parametrize("delay_s", [0.0, 0.3, 0.9])
def test_an_early_stop_leaves_nothing(root: Path, state_dir: Path, delay_s: float) -> None:
    with Command(root, state_dir) as command:
        wait_until(lambda: (state_dir / "logs" / "supervisor.log").exists(), what="it", timeout_s=30, watched={})
        time.sleep(delay_s)
        control.stop_stack(state_dir)
        assert stack_members(state_dir) == []
        assert command.process.wait(60) != 0
    assert stack_members(state_dir) == []


@pytest.mark.slow
def test_a_stack_from_start_to_end(root: Path, state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Command(root, state_dir) as command:
        command.wait_for("^up$")
        stack = control.running_stack(state_dir)
        assert stack is not None

        # It works and can be logged into.
        with psycopg.connect(stack.dsn) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("packwatch",)
        assert not is_free(stack.ports.airflow)
        assert stack.airflow_password not in repr(stack)
        status = supervisor.airflow._request(stack.ports.airflow, "GET", "/api/v2/monitor/health")[0]
        assert status == 200

        # A second start finds it, and does not own it.
        said: list[str] = []
        again = control.start_stack(root, state_dir, on_progress=said.append)
        assert (again.supervisor_pid, again.started_here) == (stack.supervisor_pid, False)
        assert said[0].startswith("already running since")

        # Ctrl-C ends all of it.
        command.process.send_signal(signal.SIGINT)
        command.process.wait(60)
    wait_until_empty(state_dir)
    assert control.running_stack(state_dir) is None

    # `make up`: it outlives its command, comes up on the same ports, and is found after its supervisor was killed.
    started_at = time.monotonic()
    detached = control.start_stack(root, state_dir, detached=True)
    with capsys.disabled():
        print(f"\na warm start took {time.monotonic() - started_at:.1f} s")
    assert detached.started_here
    assert detached.ports == stack.ports
    psutil.Process(detached.pids["Airflow scheduler"]).suspend()  # so that it cannot end by itself
    psutil.Process(detached.supervisor_pid).kill()
    time.sleep(1)
    assert control.running_stack(state_dir) is None
    assert stack_members(state_dir) != []
    assert control.stop_stack(state_dir)
    assert stack_members(state_dir) == []
    assert not control.stop_stack(state_dir)

    control.clean_stack(state_dir)
    assert not state_dir.exists()
    state.prepare(state_dir)


def test_processes_without_a_supervisor_are_ended(state_dir: Path, environment: dict[str, str], tmp_path: Path) -> None:
    orphan = spawn(SLEEP, environment=environment, log=tmp_path / "log", cwd=tmp_path)
    other = {**environment, MARKER: stack_id(tmp_path / "other")}
    stranger = spawn(SLEEP, environment=other, log=tmp_path / "log", cwd=tmp_path)
    try:
        assert control.stop_stack(state_dir)
        assert orphan.wait(5) != 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_record_that_names_a_stranger_is_not_believed(state_dir: Path) -> None:
    pid = os.getpid()
    state.write_record(state_dir, Record("/fleet", pid, time.time(), Ports(1, 2, 3), {"S3": pid}))
    assert control.running_stack(state_dir) is None
    assert not control.stop_stack(state_dir)
    assert psutil.pid_exists(pid)


def test_stopping_what_never_was(tmp_path: Path) -> None:
    assert not control.stop_stack(tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_a_folder_without_dags_is_refused(tmp_path: Path, state_dir: Path) -> None:
    with pytest.raises(UsageError, match="no folder dags"):
        control.start_stack(tmp_path, state_dir)


def test_a_folder_with_other_things_is_neither_used_nor_deleted(root: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    pictures.chmod(0o755)
    (pictures / "photo.jpg").write_text("precious")
    with pytest.raises(UsageError, match="not empty and not a state folder"):
        control.start_stack(root, pictures)
    with pytest.raises(UsageError, match="not empty and not a state folder"):
        control.clean_stack(pictures)
    assert [path.name for path in pictures.iterdir()] == ["photo.jpg"]
    assert pictures.stat().st_mode & 0o777 == 0o755


def test_the_default_folder_may_hold_what_other_commands_left(root: Path) -> None:
    folder = control.default_state_dir(root)
    (folder / "reports").mkdir(parents=True)
    control.clean_stack(folder)
    assert not folder.exists()


def test_what_keeps_postgres_from_starting_is_told(root: Path, state_dir: Path) -> None:
    data = state_dir / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "photo.jpg").write_text("precious")
    with pytest.raises(UsageError, match="holds no Postgres cluster"):
        control.start_stack(root, state_dir)
    assert stack_members(state_dir) == []
    why = control.why_down(state_dir)
    assert why is not None
    assert "holds no Postgres cluster" in why


def test_a_damaged_lake_is_told_with_the_name_of_the_file(root: Path, state_dir: Path) -> None:
    bucket = state_dir / "s3" / "packwatch"
    bucket.mkdir(parents=True)
    (bucket / "raw%2Flog.csv~0.object").write_text("half")
    with pytest.raises(ServiceUnreachable, match=r"raw%2Flog\.csv~0\.object"):
        control.start_stack(root, state_dir)
    assert stack_members(state_dir) == []


def test_ports_are_taken_as_wanted_remembered_or_free(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = {1, 8080, 8081, 5555}
    monkeypatch.setattr(supervisor, "choose_port", lambda wanted, taken: next((p for p in wanted if p in free), 9999))
    assert supervisor._choose_ports(state_dir) == Ports(airflow=8080, postgres=9999, s3=5555)
    state.remember_ports(state_dir, Ports(airflow=8081, postgres=1, s3=4))
    assert supervisor._choose_ports(state_dir) == Ports(airflow=8081, postgres=1, s3=5555)


def test_sessions_before_the_last_boot_do_not_count(state_dir: Path) -> None:
    leaders = {"boot_time": psutil.boot_time() - 3600, "leaders": {"1": 0.0}}
    (state_dir / "sessions.json").write_text(json.dumps(leaders))
    assert supervisor._leaders(state_dir) == {}


def test_a_large_log_is_set_aside(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOG_BYTES_MAX", 3)
    logs = state_dir / "logs"
    (logs / "large.log").write_text("1234")
    (logs / "small.log").write_text("123")
    supervisor._set_aside_large_logs(logs)
    assert {path.name for path in logs.iterdir()} == {"large.log.1", "small.log"}


@pytest.fixture(autouse=True)
def no_foreign_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of whoever runs the tests do not reach the stack."""
    for name in [name for name in os.environ if name.startswith("PACKWATCH_")]:
        monkeypatch.delenv(name)
