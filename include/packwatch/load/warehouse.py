"""The warehouse: connections, migrations, and Arrow tables into Postgres by COPY."""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.csv
from psycopg import sql as composed

from packwatch.errors import ServiceUnreachable

_MIGRATION_LOCK = 7_165_001
_SHARD_LOCK = 7_165_002


def connect(dsn: str) -> psycopg.Connection:
    """Open a connection in autocommit mode; write inside `with connection.transaction()`.

    Raises:
        ServiceUnreachable: Postgres does not answer or refuses the login.
    """
    try:
        return psycopg.connect(dsn, autocommit=True, connect_timeout=10, options="-c timezone=UTC")
    except psycopg.OperationalError as error:
        host = psycopg.conninfo.conninfo_to_dict(dsn).get("host", "the local socket")
        raise ServiceUnreachable(
            f"Postgres at {host} did not accept the connection ({str(error).strip().splitlines()[-1]}). "
            "Check that it runs and that the connection packwatch_postgres names the right host, port and user."
        ) from error


@functools.cache
def statement(name: str) -> str:
    """Return the text of `load/sql/<name>.sql`."""
    return resources.files("packwatch.load").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def query(connection: psycopg.Connection, name: str, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Run the named query and return its rows as a frame."""
    with connection.cursor() as cursor:
        cursor.execute(statement(name), parameters)
        columns = [column.name for column in cursor.description or ()]
        return pd.DataFrame(cursor.fetchall(), columns=columns)


def execute(connection: psycopg.Connection, name: str, parameters: Mapping[str, Any] | None = None) -> int:
    """Run the named statement and return the number of rows it touched."""
    return connection.execute(statement(name), parameters).rowcount


def copy_rows(connection: psycopg.Connection, table: str, rows: pa.Table | pd.DataFrame) -> int:
    """COPY `rows` into the columns of `table` that have the same names; return how many."""
    if isinstance(rows, pd.DataFrame):
        rows = pa.Table.from_pandas(rows, preserve_index=False)
    if not len(rows):
        return 0
    target = composed.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
        composed.Identifier(table), composed.SQL(", ").join(map(composed.Identifier, rows.column_names))
    )
    buffer = io.BytesIO()
    # Arrow writes null as nothing and every string in quotes, which is what COPY's csv format reads back.
    pa.csv.write_csv(rows, buffer, pa.csv.WriteOptions(include_header=False))
    with connection.cursor() as cursor, cursor.copy(target) as copy:
        copy.write(buffer.getbuffer())
    return len(rows)


def lock_shard(connection: psycopg.Connection, shard: int) -> None:
    """Wait until no other task works on `shard`; the lock ends with the connection."""
    connection.execute("SELECT pg_advisory_lock(%s, %s)", (_SHARD_LOCK, shard))


def migrations() -> list[tuple[int, str, str]]:
    """Return (number, name, SQL) of every migration, in order."""
    files = [f for f in resources.files("packwatch.load").joinpath("migrations").iterdir() if f.name.endswith(".sql")]
    ordered = sorted(files, key=lambda file: file.name)
    return [(int(f.name.split("_")[0]), f.name, f.read_text(encoding="utf-8")) for f in ordered]


def migrate(connection: psycopg.Connection) -> list[str]:
    """Apply the migrations the database does not have yet, all in one transaction; return their names.

    Raises:
        ServiceUnreachable: an applied migration differs from the file of that number.
    """
    applied_now = []
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
        execute(connection, "create_schema_migrations")
        known: dict[int, str] = dict(connection.execute("SELECT number, checksum FROM schema_migrations").fetchall())
        for number, name, text in migrations():
            checksum = hashlib.sha256(text.encode()).hexdigest()
            if number not in known:
                connection.execute(text)
                connection.execute(
                    "INSERT INTO schema_migrations (number, name, checksum) VALUES (%s, %s, %s)",
                    (number, name, checksum),
                )
                applied_now.append(name)
            elif known[number] != checksum:
                raise ServiceUnreachable(
                    f"migration {name} was changed after this database applied it. Restore the file from the "
                    "version that is deployed and put the change into a new migration."
                )
    return applied_now


def ensure_partitions(
    connection: psycopg.Connection, months: Sequence[Any], makes_years: Sequence[tuple[str, int]]
) -> None:
    """Create the partitions that rows of these months (cells) and (make, year) pairs (reports) go to."""
    for month in months:
        connection.execute("SELECT ensure_cell_partition(%s::date)", (month,))
    for make, year in makes_years:
        connection.execute("SELECT ensure_report_partition(%s, %s)", (make, year))


def check_migrated(connection: psycopg.Connection) -> None:
    """Make sure that the database has every migration of this version of Packwatch.

    Raises:
        ServiceUnreachable: a migration is missing.
    """
    newest = migrations()[-1]
    known = connection.execute("SELECT to_regclass('schema_migrations')").fetchone()
    applied = known and known[0] and connection.execute("SELECT max(number) FROM schema_migrations").fetchone()
    if not applied or (applied[0] or 0) < newest[0]:
        raise ServiceUnreachable(
            f"the warehouse lacks migration {newest[1]}. Run `packwatch migrate` with the same connection, then retry."
        )
