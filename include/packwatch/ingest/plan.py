"""Plan a night: find what arrived, enter it into the ledger, divide it into batches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import psycopg

from packwatch.config import Settings
from packwatch.errors import UsageError
from packwatch.ingest.lake import Lake
from packwatch.load import warehouse

# A batch of very many tiny objects would take one task too long, whatever its bytes.
BATCH_OBJECTS_MAX = 2000


def plan_day(
    connection: psycopg.Connection,
    lake: Lake,
    arrival_day: date,
    config: Settings,
    *,
    reprocess: bool = False,
    makes: Sequence[str] = (),
    vehicles: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Take what arrived on `arrival_day`, and anything older the ledger has not seen, and divide it into batches.

    Args:
        connection: warehouse, in autocommit mode.
        lake: where the raw zone is.
        arrival_day: the partition of the run.
        config: prefix of the raw zone, look-back, batch size.
        reprocess: take the objects of the day again although the ledger has them.
        makes: with `reprocess`, only objects known to hold rows of these makes.
        vehicles: with `reprocess`, only objects known to hold rows of these VINs or vehicle ids.

    Returns:
        One dict a batch: batch_id, objects, bytes. Which objects belong to it stands in the ledger.

    Raises:
        UsageError: makes or vehicles without reprocess, or the shard setting differs from the stored data's.
    """
    if (makes or vehicles) and not reprocess:
        raise UsageError(
            "makes and vehicles choose what to reprocess: set reprocess too. "
            "New uploads are always taken whole, so that none is forgotten."
        )
    check_shards(connection, config.shards)
    listing = list_arrivals(lake, arrival_day, config)
    with connection.transaction():
        warehouse.execute(connection, "create_listing")
        warehouse.copy_rows(connection, "listing", listing)
        taken = warehouse.query(
            connection,
            "claim_objects",
            {
                "run_key": arrival_day.isoformat(),
                "ingest_date": arrival_day,
                "reprocess": reprocess,
                "makes": [make.lower() for make in makes],
                "vehicles": [vehicle.lower() for vehicle in vehicles],
            },
        )
        batches = divide(taken, config.batch_bytes)
        warehouse.execute(connection, "create_batches")
        warehouse.copy_rows(connection, "batches", batches[["object_key", "batch_id"]])
        warehouse.execute(connection, "assign_batches")
    summary = batches.groupby("batch_id", sort=True).agg(objects=("object_key", "size"), bytes=("size_bytes", "sum"))
    return summary.reset_index().astype({"objects": int, "bytes": int}).to_dict("records")


def list_arrivals(lake: Lake, arrival_day: date, config: Settings) -> pd.DataFrame:
    """List the raw objects of `arrival_day` and the look-back before it: object_key, etag, size_bytes, ingest_date."""
    days = [arrival_day - timedelta(days=back) for back in range(config.lookback_days + 1)]
    found = [
        asdict(item) | {"ingest_date": day.isoformat()}
        for day in days
        for item in lake.list(config.raw_prefix.format(date=day.isoformat()))
        if not item.key.endswith("/")
    ]
    columns = ["key", "etag", "size_bytes", "ingest_date"]
    return pd.DataFrame(found, columns=columns).rename(columns={"key": "object_key"})


def divide(objects: pd.DataFrame, batch_bytes: int) -> pd.DataFrame:
    """Divide objects, in the order of their keys, into batches of about `batch_bytes`; add the column batch_id.

    The id is a digest of the keys and etags in the batch, so planning the same objects again gives the same id.
    """
    ordered = objects.sort_values("object_key", ignore_index=True)
    if ordered.empty:
        return ordered.assign(batch_id=[])
    # A batch ends with the object that fills it, so an object larger than a batch gets one of its own or ends one.
    full = (ordered["size_bytes"].cumsum() - ordered["size_bytes"]) // batch_bytes
    number = np.maximum(full.to_numpy(), np.arange(len(ordered)) // BATCH_OBJECTS_MAX)
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    lines = (ordered["object_key"] + " " + ordered["etag"]).to_numpy(dtype=object)
    ids = [hashlib.sha256("\n".join(part).encode()).hexdigest()[:16] for part in np.split(lines, starts[1:])]
    sizes = np.diff(np.append(starts, len(ordered)))
    return ordered.assign(batch_id=np.repeat(np.array(ids, dtype=object), sizes))


def check_shards(connection: psycopg.Connection, shards: int) -> None:
    """Remember the number of shards at the first run, and refuse another number later.

    Raises:
        UsageError: the stored data is divided into another number of shards.
    """
    warehouse.execute(connection, "remember_shards", {"shards": shards})
    stored = int(warehouse.query(connection, "select_shards").iloc[0, 0])
    if stored != shards:
        raise UsageError(
            f"PACKWATCH_SHARDS is {shards}, but the stored data is divided into {stored} shards. "
            f"Set PACKWATCH_SHARDS={stored}, or start an empty warehouse and lake and backfill from raw."
        )
