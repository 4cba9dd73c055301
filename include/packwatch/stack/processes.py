"""Child processes of a stack: start them, find them again, end them, and nothing else.

Every process of a stack carries `PACKWATCH_STACK=<id>` in its environment, where the id belongs to one state folder.
That is how orphans are told apart from everybody else's processes, also from those of another stack on this machine.
Two kinds hide their environment: Postgres backends overwrite it, they are known by their working directory, the data
folder; Airflow's workers forbid reading it, they are known by their session, which starts with a process of ours.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from packwatch.errors import ServiceUnreachable

MARKER = "PACKWATCH_STACK"
"""Environment variable that marks every process of a stack."""

POLL_S = 0.05
"""Pause between two looks at a process or a port, in seconds: short against every start-up time."""

LOG_TAIL_LINES = 15
"""Lines of a log file quoted when its process died: enough for the end of a Python traceback."""

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

Check = Callable[[], None]
"""Called in every waiting loop; raises when the wait should be given up."""


def nothing_to_check() -> None:
    """Never give up a wait early."""


def stack_id(state_dir: Path) -> str:
    """Return the id that marks the processes of the stack in `state_dir`."""
    return hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:16]


def spawn(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    log: Path,
    cwd: Path,
    user: int | None = None,
    parent_death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, out of reach of the terminal's Ctrl-C.

    On Linux the child gets `parent_death_signal` when the calling thread ends, even by SIGKILL: call from main threads.

    Args:
        command: Program and arguments.
        environment: The whole environment of the child; it must hold the marker.
        log: File that standard output and error are appended to.
        cwd: Working directory.
        user: Numeric user id to run as; None keeps the current one.
        parent_death_signal: What the kernel sends when the parent is gone.
    """
    if MARKER not in environment:
        raise ValueError(f"{command[0]}: environment lacks {MARKER}")
    parent = os.getpid()

    def tie_to_parent() -> None:
        # Runs after the change of user, which would clear the setting.
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, int(parent_death_signal))
            if os.getppid() != parent:
                os._exit(1)

    with log.open("ab") as output:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=cwd,
            user=user,
            group=None if user is None else group_of(user),
            extra_groups=None if user is None else [],
            start_new_session=True,
            preexec_fn=tie_to_parent,
        )


def group_of(user: int) -> int:
    """Return the primary group of a numeric user id."""
    import pwd

    return pwd.getpwuid(user).pw_gid


def wait_until(
    ready: Callable[[], bool],
    *,
    what: str,
    timeout_s: float,
    watched: Mapping[str, tuple[subprocess.Popen[bytes], Path]],
    check: Check = nothing_to_check,
) -> None:
    """Wait until `ready()` is true.

    Args:
        ready: Asked every `POLL_S` seconds.
        what: Named in the error message.
        timeout_s: Seconds until the wait is given up.
        watched: Name to process and log file; the wait ends at once when one of them ends.
        check: Called in every turn; may raise.

    Raises:
        ServiceUnreachable: A watched process ended, or time is up. The message names the log file and quotes its end.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        check()
        for name, (process, log) in watched.items():
            if process.poll() is not None:
                raise ServiceUnreachable(f"{name} ended with {ending(process.returncode)}.\n{log_tail(log)}")
        if ready():
            return
        if time.monotonic() > deadline:
            tails = "\n".join(log_tail(log) for _, log in watched.values())
            raise ServiceUnreachable(f"{what} is not up after {timeout_s:.0f} s.\n{tails}")
        time.sleep(POLL_S)


def ending(returncode: int) -> str:
    """Say how a process ended: its exit code or the signal's name."""
    if returncode >= 0:
        return f"exit code {returncode}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-returncode).name
    return f"signal {-returncode}"


def log_tail(log: Path, lines: int = LOG_TAIL_LINES) -> str:
    """Return the path of a log file and its last lines, indented."""
    try:
        text = log.read_text(errors="replace")
    except OSError as error:
        return f"{log}: {error.strerror}"
    last = text.splitlines()[-lines:]
    return "\n".join([f"{log}, last lines:", *(f"    {line}" for line in last)])


def members(
    state_dir: Path, *, data_dir: Path | None = None, leaders: Mapping[int, float] | None = None
) -> list[psutil.Process]:
    """Return the living processes of the stack in `state_dir`, without the calling process and its ancestors.

    Args:
        state_dir: State folder of the stack.
        data_dir: Postgres data folder; processes called postgres that work there count as well.
        leaders: Pids of processes the stack started, each in a session of its own, and when they were created;
            everything in their sessions counts as well, also when the leader itself is gone.
    """
    marker = stack_id(state_dir)
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        if process.pid not in mine and (
            _is_marked(process, marker)
            or (data_dir is not None and works_in(process, data_dir))
            or _is_in_session(process, leaders or {})
        ):
            found[process.pid] = process
    for process in list(found.values()):
        # A task may start programs with an environment and session of its own: they are found as children.
        with contextlib.suppress(psutil.Error, OSError):
            found.update({child.pid: child for child in process.children(recursive=True) if child.pid not in mine})
    return [process for process in found.values() if is_alive(process)]


def _is_marked(process: psutil.Process, marker: str) -> bool:
    try:
        return process.environ().get(MARKER) == marker
    except (psutil.Error, OSError):
        return False


def works_in(process: psutil.Process, data_dir: Path) -> bool:
    """Tell whether this is a Postgres process of the cluster in `data_dir`."""
    try:
        return process.name().startswith("postgres") and process.cwd() == str(data_dir)
    except (psutil.Error, OSError):
        return False


def _is_in_session(process: psutil.Process, leaders: Mapping[int, float]) -> bool:
    try:
        session = os.getsid(process.pid)
        started = leaders.get(session)
        if started is None or process.create_time() < started:
            return False
        # While anything of the session lives its number is not given away; a leader created later is a stranger.
        return not psutil.pid_exists(session) or abs(psutil.Process(session).create_time() - started) < 1
    except (psutil.Error, OSError):
        return False


def is_alive(process: psutil.Process) -> bool:
    """Tell whether this very process still runs."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def parent_pid(process: psutil.Process) -> int | None:
    """Return the pid of the parent; None when the process is gone."""
    try:
        return process.ppid()
    except psutil.Error:
        return None


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to each process that still is the one we found (never to a recycled pid)."""
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            process.send_signal(number)


def wait_gone(processes: Iterable[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Wait until the processes are gone and return those that are not after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    left = [process for process in processes if is_alive(process)]
    while left and time.monotonic() < deadline:
        time.sleep(POLL_S)
        left = [process for process in left if is_alive(process)]
    return left


def accepts_connections(port: int) -> bool:
    """Tell whether something listens on this loopback port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this loopback port now."""
    # Connecting first: where a wildcard listener holds the port, some systems still let a second one bind loopback.
    if accepts_connections(port):
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_port(candidates: Iterable[int], taken: Iterable[int] = ()) -> int:
    """Return the first candidate that is free and not in `taken`, else any free port."""
    taken = set(taken)
    for port in candidates:
        if port not in taken and is_free(port):
            return port
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port
