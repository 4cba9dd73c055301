"""One hash a table over its business columns: equal hashes mean equal data."""

from __future__ import annotations

import psycopg
from psycopg import sql

# Columns that say when something was done, not what is true; and counters of how often a slice was redone.
LEFT_OUT = frozenset(
    {
        "analysis_timestamp",
        "created_at",
        "planned_at",
        "finished_at",
        "notified_at",
        "notified_severity",
        "dag_run_id",
        "run_key",
        "batch_id",
        "report_dates",
    }
)
TABLES = (
    "ingested_objects",
    "vehicles",
    "charge_cycles",
    "vehicle_days",
    "battery_cell_readings",
    "anomalies",
    "data_quality",
    "battery_health_reports",
    "forecasts",
    "alerts",
)


def fingerprint(connection: psycopg.Connection, table: str) -> tuple[int, str]:
    """Return (rows, MD5) of `table`: the hash of its sorted row hashes, so the order of rows does not matter."""
    names = connection.execute(
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = %s ORDER BY column_name",
        (table,),
    ).fetchall()
    columns = sql.SQL(", ").join(sql.Identifier(name) for (name,) in names if name not in LEFT_OUT)
    hashed = sql.SQL(
        "SELECT count(*), coalesce(md5(string_agg(h, '' ORDER BY h)), md5(''))"
        " FROM (SELECT md5(ROW({columns})::TEXT) AS h FROM {table}) AS hashes"
    )
    row = connection.execute(hashed.format(columns=columns, table=sql.Identifier(table))).fetchone()
    assert row is not None
    return int(row[0]), str(row[1])
