"""Processes of a stack are found and ended whatever they do; others are not touched."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from packwatch.errors import ServiceUnreachable
from packwatch.stack import processes
from packwatch.stack.processes import (
    MARKER,
    choose_port,
    is_free,
    members,
    send,
    spawn,
    stack_id,
    wait_gone,
    wait_until,
)

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]

# A parent that starts a child without our environment, in a session of its own, and tells its pid.
NESTED = [
    sys.executable,
    "-c",
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], env={}, start_new_session=True)\n"
    "print(child.pid, flush=True); time.sleep(60)",
]

# What Airflow's workers do: forbid others of the same user to look into the process. The parent dies at once.
HIDDEN_ORPHAN = [
    sys.executable,
    "-c",
    "import ctypes, os, time\n"
    "if os.fork() == 0:\n"
    "    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n"
    "    print(os.getpid(), flush=True); time.sleep(60)",
]


def wait_for(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    """Fail when the condition does not become true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "condition did not become true"
        time.sleep(0.02)


def first_line(log: Path) -> str:
    wait_for(lambda: log.exists() and log.read_text().endswith("\n"))
    return log.read_text().splitlines()[0]


def test_the_id_belongs_to_one_folder(tmp_path: Path) -> None:
    assert stack_id(tmp_path / "a") == stack_id(tmp_path / "b" / ".." / "a")
    assert stack_id(tmp_path / "a") != stack_id(tmp_path / "b")


def test_a_process_without_marker_is_not_started(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=MARKER):
        spawn(SLEEP, environment={}, log=tmp_path / "log", cwd=tmp_path)


def test_only_processes_of_this_stack_are_members(state_dir: Path, environment: dict[str, str], tmp_path: Path) -> None:
    ours = spawn(SLEEP, environment=environment, log=tmp_path / "log", cwd=tmp_path)
    stranger = spawn(
        SLEEP, environment={**environment, MARKER: stack_id(tmp_path / "other")}, log=tmp_path / "log2", cwd=tmp_path
    )
    try:
        first_line(tmp_path / "log")
        first_line(tmp_path / "log2")
        found = members(state_dir)
        assert [process.pid for process in found] == [ours.pid]
        send(found, signal.SIGKILL)
        assert wait_gone(found, 5) == []
        assert stranger.poll() is None
    finally:
        for process in (ours, stranger):
            process.kill()
            process.wait()


def test_children_with_another_environment_are_members(
    state_dir: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    parent = spawn(NESTED, environment=environment, log=tmp_path / "log", cwd=tmp_path)
    child = int(first_line(tmp_path / "log"))
    found = members(state_dir)
    assert {process.pid for process in found} == {parent.pid, child}
    send(found, signal.SIGKILL)
    assert wait_gone(found, 5) == []
    parent.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hides the environment of a living process")
def test_an_orphan_that_hides_is_found_by_its_session(
    state_dir: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    before = time.time() - 1
    parent = spawn(HIDDEN_ORPHAN, environment=environment, log=tmp_path / "log", cwd=tmp_path)
    orphan = int(first_line(tmp_path / "log"))
    parent.wait()
    found = members(state_dir, leaders={parent.pid: before})
    assert [process.pid for process in found] == [orphan]
    send(found, signal.SIGKILL)
    assert wait_gone(found, 5) == []


def test_a_session_that_is_older_than_ours_is_left_alone(state_dir: Path) -> None:
    stranger = subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL, start_new_session=True)
    with stranger:
        # The state folder remembers a process that had this pid and was created a minute later.
        found = members(state_dir, leaders={stranger.pid: psutil.Process(stranger.pid).create_time() + 60})
        assert found == []
        # A minute earlier: the number was given to a stranger since.
        found = members(state_dir, leaders={stranger.pid: psutil.Process(stranger.pid).create_time() - 60})
        assert found == []
        stranger.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="parent death signals are a feature of Linux")
def test_a_child_ends_with_a_killed_parent(state_dir: Path, environment: dict[str, str], tmp_path: Path) -> None:
    code = f"""
import os, pathlib, sys, time
from packwatch.stack.processes import spawn
folder = pathlib.Path({str(tmp_path)!r})
child = spawn({SLEEP!r}, environment=os.environ, log=folder / "child", cwd=folder)
print(child.pid, flush=True)
time.sleep(60)
"""
    parent = spawn([sys.executable, "-c", code], environment=environment, log=tmp_path / "parent", cwd=tmp_path)
    child = int(first_line(tmp_path / "parent"))
    parent.kill()
    parent.wait()
    wait_for(lambda: not psutil.pid_exists(child), timeout_s=5)
    assert members(state_dir) == []


def test_waiting_ends_with_the_log_when_a_process_dies(environment: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    command = [sys.executable, "-c", "print('no space left'); raise SystemExit(3)"]
    process = spawn(command, environment=environment, log=log, cwd=tmp_path)
    with pytest.raises(ServiceUnreachable, match=r"(?s)The server ended with exit code 3.*server\.log.*no space left"):
        wait_until(lambda: False, what="it", timeout_s=20, watched={"The server": (process, log)})


def test_waiting_ends_when_time_is_up(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnreachable, match="it is not up after 0 s"):
        wait_until(lambda: False, what="it", timeout_s=0.1, watched={})


def test_waiting_ends_when_the_check_says_so() -> None:
    def check() -> None:
        raise InterruptedError("Ctrl-C")

    with pytest.raises(InterruptedError):
        wait_until(lambda: True, what="it", timeout_s=1, watched={}, check=check)


def test_endings_are_named() -> None:
    assert processes.ending(3) == "exit code 3"
    assert processes.ending(-9) == "SIGKILL"


def test_a_missing_log_is_said(tmp_path: Path) -> None:
    assert "No such file" in processes.log_tail(tmp_path / "none.log")


def test_a_port_in_use_is_not_chosen() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        assert not is_free(port)
        assert choose_port([port]) != port
    assert is_free(port)
    assert choose_port([port]) == port


def test_a_port_that_is_spoken_for_is_not_chosen() -> None:
    free = choose_port([])
    assert choose_port([free], taken=[free]) != free


def test_the_marker_of_this_process_does_not_make_it_a_member(
    state_dir: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    code = f"""
import pathlib
from packwatch.stack.processes import members
print(len(members(pathlib.Path({str(state_dir)!r}))), flush=True)
"""
    process = spawn([sys.executable, "-c", code], environment=environment, log=tmp_path / "log", cwd=tmp_path)
    assert process.wait(20) == 0
    assert (tmp_path / "log").read_text() == "0\n"
    assert os.getpid() not in [member.pid for member in members(state_dir)]
