"""Load the analyzed slices of one shard into the warehouse, each slice replaced whole in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import pandas as pd
import psycopg

from packwatch.analyze.slices import RESULTS
from packwatch.ingest.identity import make_ids
from packwatch.ingest.lake import Lake, slice_prefix
from packwatch.load import warehouse
from packwatch.validate.quality import score

# What the analyzed zone calls a column, and what the brief's tables call it.
_SESSION_COLUMNS = {
    "session_id": "id",
    "kind": "cycle_type",
    "started_at": "cycle_timestamp",
    "soc_start_percent": "start_soc",
    "soc_end_percent": "end_soc",
    "energy_kwh": "energy_transferred_kwh",
}
_SLICE_TABLES = ("charge_cycles", "vehicle_days", "battery_cell_readings", "anomalies", "data_quality")


def load_shard(connection: psycopg.Connection, lake: Lake, shard: int, versions: Mapping[str, int]) -> dict[str, int]:
    """Replace the slices that `analyze` made; return the rows loaded by table."""
    warehouse.lock_shard(connection, shard)
    loaded = dict.fromkeys(_SLICE_TABLES, 0)
    for day in sorted(versions):
        counts = load_slice(connection, lake, date.fromisoformat(day), shard, versions[day])
        loaded = {table: loaded[table] + counts[table] for table in _SLICE_TABLES}
    return loaded


def load_slice(connection: psycopg.Connection, lake: Lake, log_date: date, shard: int, version: int) -> dict[str, int]:
    """Replace one slice: delete what the tables hold of it, copy what the analyzed zone holds."""
    prefix = slice_prefix("analyzed", log_date, shard)
    frames = {name: lake.read_table(f"{prefix}{name}.parquet").to_pandas() for name in RESULTS}
    place = {"log_date": log_date, "shard": shard}
    rows = {
        "charge_cycles": frames["sessions"].rename(columns=_SESSION_COLUMNS).assign(shard=shard),
        "vehicle_days": frames["days"].assign(shard=shard),
        "battery_cell_readings": frames["cells"].drop(columns="log_date").assign(shard=shard),
        "anomalies": with_alert_ids(frames["anomalies"].rename(columns={"anomaly_id": "id"})).assign(shard=shard),
    }
    with connection.transaction():
        warehouse.ensure_partitions(connection, [log_date], [])
        for table in _SLICE_TABLES:
            warehouse.execute(connection, f"delete_{table}", place)
        store_duplicates(connection, frames["duplicates"], place)
        quality = vehicle_day_quality(connection, frames["days"], place)
        counts = {table: warehouse.copy_rows(connection, table, frame) for table, frame in rows.items()}
        counts["data_quality"] = warehouse.copy_rows(connection, "data_quality", quality)
        warehouse.execute(connection, "mark_analyzed", {**place, "version": version})
    return counts


def with_alert_ids(anomalies: pd.DataFrame) -> pd.DataFrame:
    """Add alert_id: one id a vehicle, code and subject, whatever the day."""
    kind = ["alert"] * len(anomalies)
    return anomalies.assign(alert_id=make_ids(kind, anomalies["vehicle_id"], anomalies["code"], anomalies["subject"]))


def store_duplicates(connection: psycopg.Connection, duplicates: pd.DataFrame, place: Mapping[str, object]) -> None:
    """Enter into the ledger how many rows of each object repeat another row of the slice."""
    warehouse.execute(connection, "create_slice_duplicates")
    warehouse.copy_rows(connection, "slice_duplicates", duplicates[["object_key", "rows_duplicate"]])
    warehouse.execute(connection, "update_slice_duplicates", place)


def vehicle_day_quality(
    connection: psycopg.Connection, days: pd.DataFrame, place: Mapping[str, object]
) -> pd.DataFrame:
    """Return the data_quality rows of a slice: what validation counted, what analysis found duplicate and missing."""
    counted = warehouse.query(connection, "select_object_quality", place)
    counted["vehicle_id"] = counted["vehicle_id"].astype("str")
    by_vehicle = counted.merge(days[["vehicle_id", "row_count", "completeness"]], on="vehicle_id", how="left")
    by_vehicle["row_count"] = by_vehicle["row_count"].fillna(0)
    valid = by_vehicle["rows_in"] - by_vehicle["rows_quarantined"]
    by_vehicle["rows_duplicate"] = (valid - by_vehicle["row_count"]).astype("int64")
    return score(by_vehicle.drop(columns="row_count")).drop(columns="completeness").assign(**place)
