"""Assess one shard: replay the health of its vehicles forward from the first day that changed."""

from __future__ import annotations

import pandas as pd
import psycopg

from packwatch.assess import assess_days
from packwatch.load import warehouse
from packwatch.vehicles.catalogue import attach_specs


def assess_shard(connection: psycopg.Connection, shard: int) -> list[str]:
    """Make the health reports of every vehicle and day that the newest analysis touched, and those that follow.

    Returns:
        The report days written (ISO text).
    """
    warehouse.lock_shard(connection, shard)
    with connection.transaction():
        stale = warehouse.query(connection, "select_stale_for_assessment", {"shard": shard})
        if stale.empty:
            return []
        warehouse.execute(connection, "create_replay", {"shard": shard})
        previous = with_text_ids(warehouse.query(connection, "select_previous_reports"))
        days = with_text_ids(warehouse.query(connection, "select_replay_days"))
        sessions = with_text_ids(warehouse.query(connection, "select_replay_sessions"))
        vehicles = attach_specs(warehouse.query(connection, "select_shard_vehicles", {"shard": shard}))
        reports = assess_days(previous, days, sessions, vehicles)
        warehouse.execute(connection, "delete_replayed_reports")
        rows = as_rows(reports, vehicles, shard)
        keys = rows[["make", "report_date"]].assign(year=pd.to_datetime(rows["report_date"]).dt.year)
        makes_years = keys[["make", "year"]].drop_duplicates().sort_values(["make", "year"])
        warehouse.ensure_partitions(connection, [], makes_years.to_numpy().tolist())
        warehouse.copy_rows(connection, "battery_health_reports", rows)
        warehouse.execute(connection, "attach_anomalies")
        warehouse.execute(connection, "mark_assessed", {"shard": shard})
    return sorted({day.isoformat() for day in reports["report_date"]})


def with_text_ids(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` with vehicle ids as text, as the library has them everywhere outside Postgres."""
    return frame.assign(vehicle_id=frame["vehicle_id"].astype("str"))


def as_rows(reports: pd.DataFrame, vehicles: pd.DataFrame, shard: int) -> pd.DataFrame:
    """Return the rows of battery_health_reports: reports with make (the partition), shard and lake path."""
    makes = vehicles.set_index("vehicle_id")["make"]
    return reports.rename(columns={"report_id": "id"}).assign(
        make=reports["vehicle_id"].map(makes).fillna("unknown"),
        shard=shard,
        raw_data_s3_path="clean/log_date=" + reports["report_date"].astype("str") + f"/shard={shard:02d}/",
    )
