"""Airflow's environment: only our servers, nothing of the user's shell, no word to the outside."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from packwatch.errors import ServiceUnreachable
from packwatch.stack import airflow, state
from packwatch.stack.processes import spawn
from packwatch.stack.state import Ports, Secrets

PORTS = Ports(airflow=8081, postgres=5433, s3=5556)


@pytest.fixture
def settings_of_stack(state_dir: Path, stack_secrets: Secrets, tmp_path: Path) -> dict[str, str]:
    """Environment of a stack, started from a shell that points elsewhere."""
    shell = {
        "PATH": "/usr/bin",
        "HOME": "/home/ada",
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW_HOME": "/home/ada/airflow",
        "AIRFLOW_CONN_PACKWATCH_S3": "aws://production",
        "AWS_PROFILE": "production",
        "AWS_ENDPOINT_URL": "https://s3.example.com",
        "PGHOST": "db.example.com",
        "PYTHONPATH": "/somewhere/else",
        "HTTP_PROXY": "http://proxy:3128",
        "NO_PROXY": "example.com",
        "PACKWATCH_SHARDS": "4",
    }
    return airflow.airflow_environment(state_dir, tmp_path, PORTS, stack_secrets, base=shell)


def test_the_shell_of_the_user_redirects_nothing(settings_of_stack: dict[str, str], state_dir: Path) -> None:
    assert settings_of_stack["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert settings_of_stack["AIRFLOW_HOME"] == str(state_dir / "airflow")
    assert "production" not in str(settings_of_stack)
    assert "somewhere" not in str(settings_of_stack)
    assert not {"AWS_PROFILE", "AWS_ENDPOINT_URL", "PGHOST"} & set(settings_of_stack)
    assert settings_of_stack["NO_PROXY"] == "example.com,127.0.0.1,localhost"
    assert (settings_of_stack["HOME"], settings_of_stack["PACKWATCH_SHARDS"]) == ("/home/ada", "4")


def test_the_connections_lead_to_our_servers(settings_of_stack: dict[str, str], stack_secrets: Secrets) -> None:
    assert json.loads(settings_of_stack["AIRFLOW_CONN_PACKWATCH_POSTGRES"]) == {
        "conn_type": "postgres",
        "host": "127.0.0.1",
        "port": 5433,
        "login": "packwatch",
        "password": stack_secrets.postgres_packwatch,
        "schema": "packwatch",
    }
    assert json.loads(settings_of_stack["AIRFLOW_CONN_PACKWATCH_S3"]) == {
        "conn_type": "aws",
        "login": stack_secrets.s3_access_key,
        "password": stack_secrets.s3_secret_key,
        "extra": {"endpoint_url": "http://127.0.0.1:5556", "region_name": "us-east-1"},
    }


def test_airflow_finds_this_checkout_and_this_python(settings_of_stack: dict[str, str], tmp_path: Path) -> None:
    assert settings_of_stack["AIRFLOW__CORE__DAGS_FOLDER"] == str(tmp_path / "dags")
    assert settings_of_stack["PYTHONPATH"] == str(tmp_path / "include")
    assert settings_of_stack["PATH"].split(":") == [str(Path(sys.executable).parent), "/usr/bin"]
    assert settings_of_stack["AIRFLOW__API__BASE_URL"] == "http://127.0.0.1:8081"
    assert settings_of_stack["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:8081/execution/"
    assert settings_of_stack["AIRFLOW__API__HOST"] == "127.0.0.1"


def test_at_least_two_tasks_run_at_a_time(
    state_dir: Path, stack_secrets: Secrets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parallelism(cores: int | None, wanted: int | None = None) -> str:
        monkeypatch.setattr(airflow.os, "cpu_count", lambda: cores)
        environment = airflow.airflow_environment(state_dir, tmp_path, PORTS, stack_secrets, parallelism=wanted)
        return environment["AIRFLOW__CORE__PARALLELISM"]

    assert [parallelism(None), parallelism(1), parallelism(8), parallelism(8, 3)] == ["2", "2", "8", "3"]


def test_the_login_is_known_to_nobody_else(state_dir: Path, stack_secrets: Secrets) -> None:
    airflow.prepare_home(state_dir, stack_secrets)
    file = airflow.home(state_dir) / "passwords.json"
    assert json.loads(file.read_text()) == {"admin": stack_secrets.airflow_admin}
    assert file.stat().st_mode & 0o777 == 0o600


HEALTHY = json.dumps({name: {"status": "healthy"} for name in ("scheduler", "dag_processor", "triggerer")})


class _Airflow(http.server.BaseHTTPRequestHandler):
    """Answers like an Airflow that knows one password."""

    password = ""
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.answer(200, HEALTHY)

    def do_POST(self) -> None:
        login = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(201 if login["password"] == self.password else 401, "{}")

    def answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def airflow_port() -> Iterator[int]:
    """Port of something that answers like Airflow."""
    with http.server.HTTPServer(("127.0.0.1", 0), _Airflow) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_every_component_is_reported_once_it_is_healthy(
    airflow_port: int, stack_secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Airflow, "password", stack_secrets.airflow_admin)
    said: list[str] = []
    airflow.wait_until_healthy(airflow_port, {}, stack_secrets, on_progress=said.append)
    assert said == [f"Airflow {name} is healthy" for name in sorted(airflow.COMPONENTS)]
    # The first request for a task makes the server build that interface; it should not be the first task's.
    assert _Airflow.asked == ["/execution/health", "/api/v2/monitor/health"]


def test_the_health_of_another_airflow_on_our_port_does_not_count(
    airflow_port: int, stack_secrets: Secrets, environment: dict[str, str], tmp_path: Path
) -> None:
    # What our server does when another one has its port: it says so and ends.
    command = [sys.executable, "-c", "raise SystemExit('address already in use')"]
    log = tmp_path / "api.log"
    process = spawn(command, environment=environment, log=log, cwd=tmp_path)
    said: list[str] = []
    with pytest.raises(ServiceUnreachable, match=r"(?s)api-server ended with exit code 1.*already in use"):
        airflow.wait_until_healthy(airflow_port, {"api-server": (process, log)}, stack_secrets, on_progress=said.append)
    assert said == []


def test_a_component_preloads_and_then_behaves_as_airflow(tmp_path: Path) -> None:
    package = tmp_path / "airflow"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import gc, sys\nprint(sys.argv[1:], 'colorsys' in sys.modules, gc.get_threshold()[0])\n"
    )
    include = Path(airflow.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "packwatch.stack.component", "--preload", "colorsys,json:loads", "scheduler", "-x"],
        env={"PYTHONPATH": f"{tmp_path}:{include}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "['scheduler', '-x'] True 50000\n"


def test_secrets_do_not_show_in_the_log_of_a_record(stack_secrets: Secrets, state_dir: Path) -> None:
    state.write_record(state_dir, state.Record("/fleet", 1, 0.0, PORTS, {}))
    assert stack_secrets.airflow_admin not in (state_dir / "stack.json").read_text()
