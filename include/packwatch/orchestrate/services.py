"""Reach the services that Airflow's connections name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk import BaseHook
from botocore.config import Config

from packwatch.config import POSTGRES_CONN_ID, S3_CONN_ID, settings
from packwatch.ingest.lake import Lake
from packwatch.load import warehouse


@contextmanager
def open_warehouse() -> Iterator[psycopg.Connection]:
    """Open the warehouse named by the connection `packwatch_postgres`, its schema at the newest version."""
    login = BaseHook.get_connection(POSTGRES_CONN_ID)
    dsn = psycopg.conninfo.make_conninfo(
        host=login.host, port=login.port, user=login.login, password=login.password, dbname=login.schema
    )
    with warehouse.connect(dsn) as connection:
        yield connection


def open_lake() -> Lake:
    """Return the lake in the S3 service named by the connection `packwatch_s3`."""
    hook = S3Hook(
        aws_conn_id=S3_CONN_ID,
        config=Config(retries={"max_attempts": 5, "mode": "standard"}, connect_timeout=10, read_timeout=60),
    )
    return Lake(hook.get_conn(), settings().bucket)
