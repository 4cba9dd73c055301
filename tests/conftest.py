"""Fixtures that several stages share: the real servers the pipeline talks to, and the real logs where they are."""

from __future__ import annotations

import datetime as dt
import logging
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import boto3
import psycopg
import pyarrow as pa
import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer
from psycopg import sql

from packwatch.ingest.lake import Lake
from packwatch.load import warehouse
from packwatch.schema import LOG_SCHEMA, conform
from packwatch.stack import postgres
from packwatch.stack.processes import MARKER, choose_port, stack_id

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_logs() -> Path:
    """Folder of real battery logs beside the checkout, or where PACKWATCH_REAL_LOGS says."""
    folder = Path(os.environ.get("PACKWATCH_REAL_LOGS", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real logs at {folder}: set PACKWATCH_REAL_LOGS to their folder")
    return folder


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """Superuser connection string of an embedded Postgres that lives as long as the session."""
    # Not below pytest's own folder: the next session closes that to other users, and as root Postgres runs as one.
    state_dir = Path(tempfile.mkdtemp(prefix="packwatch-test-"))
    password = secrets.token_hex(8)
    port = choose_port(())
    server = postgres.start(
        state_dir,
        port,
        dict.fromkeys((postgres.SUPERUSER, *postgres.ROLES), password),
        environment={**os.environ, MARKER: stack_id(state_dir)},
        log=state_dir / "postgres.log",
    )
    yield postgres.dsn(port, password, role=postgres.SUPERUSER)
    postgres.stop(server)
    shutil.rmtree(state_dir)


@pytest.fixture
def empty_database(postgres_dsn: str) -> Iterator[str]:
    """Connection string of a database of its own, without any table."""
    name = f"test_{secrets.token_hex(4)}"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield psycopg.conninfo.make_conninfo(postgres_dsn, dbname=name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database(empty_database: str) -> Iterator[psycopg.Connection]:
    """A connection to an empty warehouse of the newest schema."""
    with warehouse.connect(empty_database) as connection:
        warehouse.migrate(connection)
        yield connection


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Address of an S3 server that lives as long as the session."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request would bury a failure
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def lake(s3_endpoint: str) -> Lake:
    """An empty lake: a bucket of its own."""
    client = boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 1}),
    )
    bucket = f"lake-{secrets.token_hex(4)}"
    client.create_bucket(Bucket=bucket)
    return Lake(client, bucket)


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of an Airflow with an empty, migrated metadata database and our DAGs."""
    home = tmp_path_factory.mktemp("airflow")
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "PYTHONPATH": str(ROOT / "include"),
    }
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env=environment,
        check=True,
        capture_output=True,
        timeout=180,
    )
    return environment


@pytest.fixture
def charge_log() -> Callable[..., pa.Table]:
    """Makes a log of one car that charges two hours at 50 A and 400 V, a row a minute: 100 Ah, 40 kWh, 20 to 80 %."""

    def make(day: dt.date, *, vin: str = "GOODVEHICLE000001", **columns: Sequence[object]) -> pa.Table:
        start = dt.datetime.combine(day, dt.time(10), dt.UTC)
        rows = range(121)
        values = {
            "vin": [vin for _ in rows],
            "make": ["Nissan" for _ in rows],
            "model": ["Leaf e+ 62" for _ in rows],
            "year": [2020 for _ in rows],
            "recorded_at": [start + dt.timedelta(minutes=row) for row in rows],
            "pack_voltage_v": [400.0 for _ in rows],
            "pack_current_a": [50.0 for _ in rows],
            "soc_percent": [20 + row / 2 for row in rows],
            "speed_kmh": [0.0 for _ in rows],
            "charge_state": ["charging" for _ in rows],
        }
        return conform(pa.table(values | columns), LOG_SCHEMA)

    return make
