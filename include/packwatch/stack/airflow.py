"""Airflow of the embedded stack: its environment, and its four components as processes of our own."""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg

from packwatch.config import POSTGRES_CONN_ID, S3_CONN_ID
from packwatch.errors import ServiceUnreachable
from packwatch.stack import postgres
from packwatch.stack.processes import Check, ending, log_tail, nothing_to_check, spawn, wait_until
from packwatch.stack.state import Ports, Secrets, read_json, write_private

ADMIN = "admin"

COMPONENTS: dict[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
"""Arguments of `airflow` by component. Logs are read from the state folder, so nobody needs to serve them."""

HEALTH_KEYS = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}
"""Component to its name in Airflow's health report."""

PRELOAD = (
    "numpy",
    "pandas",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "psycopg",
    "boto3",
    "great_expectations.expectations",
    "airflow.sdk:task.python",
    "airflow.providers.amazon.aws.hooks.s3",
)
"""What tasks import, 6 s together: in the scheduler's memory before it forks, so that no task spends time on it. Only
packages of others, whose code does not change under a running stack; Great Expectations before Airflow sets up its
logging, which it would fill with hundreds of lines."""

FOREIGN_PREFIXES = ("AIRFLOW", "AWS_", "PG")
"""Variables of the caller's shell that would redirect the stack's components to something else."""

IDLE_SLEEP_S = 0.5
"""Seconds an idle scheduler sleeps before it looks again; Airflow's default is 1. A look takes some 35 ms of processor
time, Postgres included: 7 % of a core for a stack that stays up. Half a sleep passes between one task and the next."""
EAGER_IDLE_SLEEP_S = 0.1
"""The same for a stack that only lives as long as somebody waits for it: a quarter of a core while nothing runs."""

MIGRATE_TIMEOUT_S = 300.0
"""Longest creation of Airflow's tables, in seconds; about 6 s on two idle cores."""
HEALTH_TIMEOUT_S = 240.0
"""Longest start of all components, in seconds; about 15 s on two idle cores."""
REQUEST_TIMEOUT_S = 2.0
"""Longest wait for an answer of the API server, in seconds; while it lasts, a wish to stop is not heard."""

Progress = Callable[[str], None]


def home(state_dir: Path) -> Path:
    """Return AIRFLOW_HOME of a state folder."""
    return state_dir.resolve() / "airflow"


def airflow_environment(
    state_dir: Path,
    project_root: Path,
    ports: Ports,
    secrets: Secrets,
    *,
    base: Mapping[str, str] | None = None,
    parallelism: int | None = None,
    idle_sleep_s: float = IDLE_SLEEP_S,
) -> dict[str, str]:
    """Return the environment in which Airflow, its tasks and the CLI work on this stack.

    Args:
        state_dir: Holds AIRFLOW_HOME and the logs.
        project_root: Holds `dags`, `plugins` and `include`.
        ports: Where the servers listen.
        secrets: Passwords and keys of the stack.
        base: Environment to start from; the current one by default.
        parallelism: Tasks at a time; the number of cores, at least 2, by default.
        idle_sleep_s: Seconds an idle scheduler sleeps before it looks again.
    """
    state_dir, project_root = state_dir.resolve(), project_root.resolve()
    environment = shell_environment(base)
    database = f"127.0.0.1:{ports.postgres}"
    url = f"http://127.0.0.1:{ports.airflow}"
    environment |= {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)]),
        "PYTHONPATH": str(project_root / "include"),
        "PYTHONUNBUFFERED": "1",
        # Keeps /proc/<pid>/environ, by which a process of the stack is known, when Airflow changes process titles.
        "SPT_NOENV": "1",
        # The components talk to each other over HTTP; a proxy of the user's network must not come between.
        "NO_PROXY": _with_loopback(environment.get("NO_PROXY", "")),
        "no_proxy": _with_loopback(environment.get("no_proxy", "")),
        "GX_ANALYTICS_ENABLED": "False",
        "SCARF_ANALYTICS": "false",
        "DO_NOT_TRACK": "1",
        "AIRFLOW_HOME": str(home(state_dir)),
        f"AIRFLOW_CONN_{POSTGRES_CONN_ID.upper()}": json.dumps(
            {
                "conn_type": "postgres",
                "host": "127.0.0.1",
                "port": ports.postgres,
                "login": "packwatch",
                "password": secrets.postgres_packwatch,
                "schema": "packwatch",
            }
        ),
        f"AIRFLOW_CONN_{S3_CONN_ID.upper()}": json.dumps(
            {
                "conn_type": "aws",
                "login": secrets.s3_access_key,
                "password": secrets.s3_secret_key,
                "extra": {"endpoint_url": f"http://127.0.0.1:{ports.s3}", "region_name": "us-east-1"},
            }
        ),
    }
    options = {
        "CORE__DAGS_FOLDER": str(project_root / "dags"),
        "CORE__PLUGINS_FOLDER": str(project_root / "plugins"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": str(parallelism or max(2, os.cpu_count() or 2)),
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__FERNET_KEY": secrets.fernet_key,
        "CORE__HOSTNAME_CALLABLE": "socket.gethostname",  # no DNS
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home(state_dir) / "passwords.json"),
        "DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://airflow:{secrets.postgres_airflow}@{database}/airflow",
        "DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+asyncpg://airflow:{secrets.postgres_airflow}@{database}/airflow",
        "DATABASE__CHECK_MIGRATIONS": "False",  # done once by `migrate` instead of by each component
        "API__HOST": "127.0.0.1",
        "API__PORT": str(ports.airflow),
        "API__BASE_URL": url,
        "API__WORKERS": "1",
        "API__SECRET_KEY": secrets.api_secret,
        "API__INSTANCE_NAME": "Packwatch",
        "API_AUTH__JWT_SECRET": secrets.jwt_secret,
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": str(idle_sleep_s),
        # After some tasks the worker sleeps through one heartbeat interval (5 s) before it takes the next task.
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        # Five seconds are soon over on a busy laptop, and a task that is started twice fails.
        "WORKERS__EXECUTION_API_TIMEOUT": "60",
        # A task that was killed with the stack is found dead, and retried, soon after the next start; the default of
        # 300 s is made for machines that lose each other.
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
        "DAG_PROCESSOR__PARSING_PROCESSES": "2",
        "DAG_PROCESSOR__PRINT_STATS_INTERVAL": "0",
        "LOGGING__BASE_LOG_FOLDER": str(home(state_dir) / "logs"),
        "LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(home(state_dir) / "logs" / "dag_processor"),
        "LOGGING__COLORED_CONSOLE_LOG": "False",
        "LOGGING__UVICORN_LOGGING_LEVEL": "WARNING",
    }
    environment |= {f"AIRFLOW__{name}": value for name, value in options.items()}
    if sys.platform == "darwin":
        environment["OBJC_DISABLE_INITIALIZE_FORK_SAFETY"] = "YES"  # Airflow forks its tasks
    return environment


def shell_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the caller's environment without what would redirect the stack's servers and clients."""
    inherited = os.environ if base is None else base
    return {name: value for name, value in inherited.items() if not name.startswith(FOREIGN_PREFIXES)}


def _with_loopback(no_proxy: str) -> str:
    return ",".join(filter(None, [no_proxy, "127.0.0.1", "localhost"]))


def prepare_home(state_dir: Path, secrets: Secrets) -> None:
    """Put into AIRFLOW_HOME what Airflow would otherwise invent: the login it would print, and a configuration file."""
    home(state_dir).mkdir(parents=True, exist_ok=True)
    write_private(home(state_dir) / "passwords.json", json.dumps({ADMIN: secrets.airflow_admin}) + "\n")
    # Every setting comes from the environment; without the file several components would write one at a time.
    write_private(home(state_dir) / "airflow.cfg", "")


def is_migrated(state_dir: Path, ports: Ports, secrets: Secrets) -> bool:
    """Tell whether Airflow's tables are those of the installed version.

    Asking Airflow itself takes as long as migrating, so the revision is compared with the one noted after the last
    migration by the same version of every Airflow package.
    """
    return bool(read_json(home(state_dir) / "migrated.json") == _schema_note(ports, secrets))


def migrate(
    state_dir: Path,
    ports: Ports,
    secrets: Secrets,
    *,
    environment: Mapping[str, str],
    log: Path,
    check: Check = nothing_to_check,
) -> None:
    """Bring Airflow's tables to the installed version.

    Raises:
        ServiceUnreachable: The migration failed; the message quotes its log.
    """
    process = spawn(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        environment=environment,
        log=log,
        cwd=home(state_dir),
    )
    try:
        wait_until(
            lambda: process.poll() is not None,
            what="airflow db migrate",
            timeout_s=MIGRATE_TIMEOUT_S,
            watched={},
            check=check,
        )
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode != 0:
        raise ServiceUnreachable(f"airflow db migrate ended with {ending(process.returncode)}.\n{log_tail(log)}")
    write_private(home(state_dir) / "migrated.json", json.dumps(_schema_note(ports, secrets)))


def _schema_note(ports: Ports, secrets: Secrets) -> dict[str, Any]:
    """Return the revision the tables are at (None before the first migration) and what is installed."""
    versions = {
        str(distribution.name): distribution.version
        for distribution in importlib.metadata.distributions()
        if str(distribution.name).startswith("apache-airflow")
    }
    with psycopg.connect(_dsn(ports, secrets), connect_timeout=10) as connection:
        revision = None
        if connection.execute("SELECT to_regclass('alembic_version')").fetchone() != (None,):
            revision = sorted(row[0] for row in connection.execute("SELECT version_num FROM alembic_version"))
    return {"revision": revision, "versions": versions}


def _dsn(ports: Ports, secrets: Secrets) -> str:
    return postgres.dsn(ports.postgres, secrets.postgres_airflow, role="airflow", database="airflow")


def close_stale_jobs(ports: Ports, secrets: Secrets) -> None:
    """Mark the components of an earlier, killed stack as ended. Call while none runs.

    Airflow would count them as healthy for half a minute, and would wait minutes before it takes up their tasks.
    """
    with psycopg.connect(_dsn(ports, secrets), connect_timeout=10) as connection:
        connection.execute("UPDATE job SET state = 'failed', end_date = latest_heartbeat WHERE state = 'running'")


def start_component(
    name: str, environment: Mapping[str, str], *, logs: Path, cwd: Path, preload: Sequence[str] = PRELOAD
) -> tuple[subprocess.Popen[bytes], Path]:
    """Start one of `COMPONENTS` and return its process and log file, before it is healthy.

    Args:
        name: Key of `COMPONENTS`.
        environment: From `airflow_environment`, with the stack's marker.
        logs: Folder of the log files.
        cwd: Working directory.
        preload: What the scheduler imports once for all tasks, see `packwatch.stack.component`.
    """
    command = [sys.executable, "-m", "packwatch.stack.component"]
    if name == "scheduler":
        command += ["--preload", ",".join(preload)]
    log = logs / f"airflow-{name}.log"
    return spawn([*command, *COMPONENTS[name]], environment=environment, log=log, cwd=cwd), log


def wait_until_healthy(
    port: int,
    components: Mapping[str, tuple[subprocess.Popen[bytes], Path]],
    secrets: Secrets,
    *,
    on_progress: Progress,
    check: Check = nothing_to_check,
) -> None:
    """Wait until the API answers and every component has reported since it was started.

    Raises:
        ServiceUnreachable: A component ended or time is up; the message names its log and quotes the end.
    """
    waiting = set(COMPONENTS)
    next_look = 0.0

    def all_healthy() -> bool:
        nonlocal next_look
        if time.monotonic() < next_look:
            return False
        next_look = time.monotonic() + 0.2
        if "api-server" in waiting and not (_is_ours(port, secrets) and _serves_tasks(port)):
            return False
        for name in sorted(waiting & _healthy_components(port)):
            waiting.remove(name)
            on_progress(f"Airflow {name} is healthy")
        return not waiting

    wait_until(all_healthy, what="Airflow", timeout_s=HEALTH_TIMEOUT_S, watched=components, check=check)


def _is_ours(port: int, secrets: Secrets) -> bool:
    """Tell whether the server on this port knows our password: another Airflow may have been faster with the port."""
    login = json.dumps({"username": ADMIN, "password": secrets.airflow_admin})
    return _request(port, "POST", "/auth/token", login)[0] == 201


def _serves_tasks(port: int) -> bool:
    """Tell whether the interface for tasks answers. Its first answer takes 5 s; the first task need not wait for it."""
    return _request(port, "GET", "/execution/health")[0] == 200


def _healthy_components(port: int) -> set[str]:
    status, answer = _request(port, "GET", "/api/v2/monitor/health")
    if status != 200:
        return set()
    report = json.loads(answer)
    return {"api-server"} | {
        name for name, key in HEALTH_KEYS.items() if (report.get(key) or {}).get("status") == "healthy"
    }


def _request(port: int, method: str, path: str, body: str | None = None) -> tuple[int | None, bytes]:
    """Return status and answer of a request to the API server; no status when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_TIMEOUT_S)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None, b""
    finally:
        connection.close()
