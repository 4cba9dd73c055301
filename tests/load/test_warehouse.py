"""The warehouse against a real Postgres."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import psycopg
import pytest

from packwatch.errors import ServiceUnreachable
from packwatch.load import warehouse


def test_migrations_are_applied_once_and_are_numbered_without_gaps(empty_database: str) -> None:
    numbers = [number for number, _, _ in warehouse.migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
    with warehouse.connect(empty_database) as connection:
        with pytest.raises(ServiceUnreachable, match="packwatch migrate"):
            warehouse.check_migrated(connection)
        assert len(warehouse.migrate(connection)) == len(numbers)
        assert warehouse.migrate(connection) == []
        warehouse.check_migrated(connection)


def test_a_changed_migration_is_refused(database: psycopg.Connection) -> None:
    database.execute("UPDATE schema_migrations SET checksum = 'other' WHERE number = 2")
    with pytest.raises(ServiceUnreachable, match="002_fleet"):
        warehouse.migrate(database)


def test_copy_keeps_nulls_text_and_times(database: psycopg.Connection) -> None:
    database.execute("CREATE TABLE things (name TEXT, size DOUBLE PRECISION, seen TIMESTAMPTZ, ok BOOLEAN)")
    rows = pd.DataFrame(
        {
            "name": ['with "quotes", comma\nand line', "", None],
            "size": [0.1 + 0.2, np.nan, -1e-300],
            "seen": pd.to_datetime(["2026-03-29T01:30:00.123Z", None, "2026-03-29T02:30:00.000Z"], utc=True),
            "ok": [True, False, True],
        }
    )
    assert warehouse.copy_rows(database, "things", rows) == 3
    stored = database.execute("SELECT name, size, seen, ok FROM things").fetchall()
    assert stored[0] == (
        'with "quotes", comma\nand line',
        0.1 + 0.2,
        dt.datetime(2026, 3, 29, 1, 30, 0, 123000, dt.UTC),
        True,
    )
    assert stored[1] == ("", None, None, False)
    assert stored[2][:2] == (None, -1e-300)


def test_copying_nothing_is_no_error(database: psycopg.Connection) -> None:
    assert warehouse.copy_rows(database, "vehicles", pd.DataFrame({"id": []})) == 0


def test_report_partitions_are_made_on_demand_for_any_make(database: psycopg.Connection) -> None:
    hostile = "Mak'e\"; DROP TABLE vehicles; --"
    for _ in range(2):
        warehouse.ensure_partitions(
            database, [dt.date(2026, 2, 3)], [(hostile, 2026), ("Škoda", 2026), ("Skoda", 2027)]
        )
    partitions = database.execute(
        "SELECT count(*) FROM pg_partition_tree('battery_health_reports') WHERE isleaf"
    ).fetchone()
    # The default's default, and one year for each of the three makes.
    assert partitions == (4,)
    assert database.execute("SELECT count(*) FROM vehicles").fetchone() == (0,)


def test_an_unreachable_postgres_says_what_to_check() -> None:
    with pytest.raises(ServiceUnreachable, match=r"127\.0\.0\.1.*packwatch_postgres"):
        warehouse.connect("postgresql://nobody:secret@127.0.0.1:1/none")


def test_the_password_is_not_in_the_error() -> None:
    with pytest.raises(ServiceUnreachable) as error:
        warehouse.connect("postgresql://nobody:topsecret@127.0.0.1:1/none")
    assert "topsecret" not in str(error.value)
