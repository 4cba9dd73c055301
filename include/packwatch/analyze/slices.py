"""Analyze the slices of one shard that are out of date: clean zone in, analyzed zone out."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from packwatch.analyze import analyze_rows
from packwatch.analyze.conditioning import deduplicate
from packwatch.config import Settings
from packwatch.ingest.lake import Lake, slice_prefix
from packwatch.load import warehouse
from packwatch.schema import CLEAN_SCHEMA
from packwatch.vehicles.catalogue import attach_specs

# Days analyzed in one go: a longer stretch saves reading the neighbours twice, a shorter one saves memory.
WINDOW_DAYS = 3
RESULTS = ("sessions", "days", "cells", "anomalies", "duplicates")


def analyze_shard(connection: psycopg.Connection, lake: Lake, shard: int, config: Settings) -> dict[str, int]:
    """Analyze every out-of-date log day of `shard` and store the results in the analyzed zone.

    Returns:
        The log days done (ISO text) with the version of the clean slice each was made from; `load` takes it on.
    """
    warehouse.lock_shard(connection, shard)
    stale = warehouse.query(connection, "select_stale_for_analysis", {"shard": shard})
    versions = dict(zip(stale["log_date"], stale["clean_version"].astype(int), strict=True))
    vehicles = attach_specs(warehouse.query(connection, "select_shard_vehicles", {"shard": shard}))
    for window in windows(sorted(versions)):
        rows, duplicates = read_clean(
            connection, lake, shard, window[0] - timedelta(days=1), window[-1] + timedelta(days=1)
        )
        found = analyze_rows(rows, vehicles, window[0], window[-1], interval_s=config.cell_interval_s)
        frames = {
            "sessions": found.sessions,
            "days": found.days,
            "cells": found.cells.assign(log_date=pd.to_datetime(found.cells["time"], utc=True).dt.date),
            "anomalies": found.anomalies,
            "duplicates": duplicates,
        }
        for log_date in window:
            for name, frame in frames.items():
                of_day = frame[frame["log_date"] == log_date]
                lake.write_table(f"{slice_prefix('analyzed', log_date, shard)}{name}.parquet", of_day)
    return {log_date.isoformat(): version for log_date, version in versions.items()}


def windows(days: list[date]) -> list[list[date]]:
    """Divide sorted days into stretches of neighbours of at most `WINDOW_DAYS`."""
    parts: list[list[date]] = [[day] for day in days[:1]]
    for before, day in pairwise(days):
        if (day - before).days == 1 and len(parts[-1]) < WINDOW_DAYS:
            parts[-1].append(day)
        else:
            parts.append([day])
    return parts


def read_clean(
    connection: psycopg.Connection, lake: Lake, shard: int, first: date, last: date
) -> tuple[pa.Table, pd.DataFrame]:
    """Read the clean rows of `shard` from `first` to `last`, each vehicle and instant once.

    Only files and rows that the ledger names are read, so what a killed task left behind does not count.

    Returns:
        The rows sorted by vehicle and time, and the duplicates left out: object_key, log_date, rows_duplicate.
    """
    files = warehouse.query(connection, "select_clean_files", {"shard": shard, "first": first, "last": last})
    wanted = dict(zip(files["file_key"], files["object_keys"], strict=True))
    parts = []
    for key, content in lake.read_many(wanted):
        table = pq.read_table(pa.BufferReader(content)).cast(CLEAN_SCHEMA)
        parts.append(table.filter(pc.is_in(table["source_object"], pa.array(wanted[key], pa.string()))))
    table = pa.concat_tables(parts) if parts else CLEAN_SCHEMA.empty_table()
    rows, is_duplicate = deduplicate(table)
    return rows, count_duplicates(table, is_duplicate)


def count_duplicates(table: pa.Table, is_duplicate: pa.Array) -> pd.DataFrame:
    """Count the duplicate rows of `table` by object and log day."""
    repeated = table.select(["source_object", "recorded_at"]).filter(is_duplicate).to_pandas()
    repeated["log_date"] = repeated["recorded_at"].dt.date
    counts = repeated.groupby(["source_object", "log_date"], sort=True, observed=True).size()
    return counts.rename("rows_duplicate").reset_index().rename(columns={"source_object": "object_key"})
