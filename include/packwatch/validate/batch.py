"""Validate one planned batch: raw objects in; clean files, quarantine, a result page and the ledger out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa

from packwatch.config import Settings
from packwatch.errors import BatchRejected, UnreadableLog
from packwatch.ingest.formats import REJECT_SCHEMA, parse_log
from packwatch.ingest.identity import shard_of, vehicle_ids
from packwatch.ingest.lake import Lake, slice_prefix
from packwatch.load import warehouse
from packwatch.schema import IDENTITY, PARSED_SCHEMA
from packwatch.validate import BatchResult, validate_batch
from packwatch.validate.report import render
from packwatch.vehicles.catalogue import attach_specs

METHOD_VERSION = "validate-1"

# The order matters: slices are marked from what the objects held before and what they hold now.
_ENTER = (
    "enter_objects",
    "enter_vehicles",
    "touch_slices",
    "delete_object_slices",
    "delete_object_quality",
    "insert_object_slices",
    "insert_object_quality",
    "insert_clean_files",
)

_HINT = re.compile(r"(?:^|/)(vin|make|model|year)=([^/]+)")


@dataclass(frozen=True)
class Parsed:
    """The objects of a batch after reading: rows, broken rows, and what became of each object."""

    rows: pa.Table
    rejects: pa.Table
    outcomes: pd.DataFrame


def validate_planned_batch(
    connection: psycopg.Connection, lake: Lake, batch_id: str, config: Settings
) -> dict[str, Any]:
    """Read, check and store the objects that the ledger assigns to `batch_id`.

    Returns:
        Counts for the log and for XCom: objects, rows_in, rows_valid, rows_quarantined, set_aside.

    Raises:
        BatchRejected: too large a share of the rows is broken; the ledger then marks the objects rejected.
    """
    objects = warehouse.query(connection, "select_batch_objects", {"batch_id": batch_id})
    arrival_day = objects["ingest_date"].max()
    parsed = read_batch(lake, objects, config)
    described = identify(parsed.rows)
    result = validate_batch(
        parsed.rows, parsed.rejects, arrival_day, attach_specs(described), bad_share_max=config.bad_share_max
    )
    # A vehicle that only a malformed VIN speaks of is none: validation gives its rows no vehicle id.
    registry = described[described["vehicle_id"].isin(result.counts["vehicle_id"])]
    page = f"published/validation/ingest_date={arrival_day}/{batch_id}.html"
    lake.write(page, render(result, batch_id, arrival_day).encode(), "text/html; charset=utf-8")
    files = empty_manifest()
    if len(result.quarantined):
        lake.write_table(f"quarantine/ingest_date={arrival_day}/{batch_id}.parquet", result.quarantined)
    if result.gate.passed:
        files = write_clean(lake, result.clean, batch_id, config.shards)
    enter(connection, batch_id, parsed, registry, result, files, config.shards)
    if not result.gate.passed:
        raise BatchRejected(f"batch {batch_id} of {arrival_day}: {result.gate.message} See {page}.")
    return {
        "batch_id": batch_id,
        "objects": len(objects),
        "set_aside": int((parsed.outcomes["state"] == "set_aside").sum()),
        "rows_in": len(parsed.rows) + len(parsed.rejects),
        "rows_valid": len(result.clean),
        "rows_quarantined": len(result.quarantined),
        "page": page,
    }


def read_batch(lake: Lake, objects: pd.DataFrame, config: Settings) -> Parsed:
    """Parse every object; one that cannot be read is set aside with its reason and the rest goes on."""
    small = objects["size_bytes"] <= config.object_bytes_max
    outcomes = [
        outcome(key, state="set_aside", reason="too_large", message=f"{key}: larger than PACKWATCH_OBJECT_BYTES_MAX.")
        for key in objects.loc[~small, "object_key"]
    ]
    rows, rejects = [], []
    for key, content in lake.read_many(objects.loc[small, "object_key"]):
        try:
            log = parse_log(content, key, hints_of(key))
        except UnreadableLog as error:
            outcomes.append(outcome(key, state="set_aside", reason=error.reason, message=str(error)[:1000]))
            continue
        rows.append(log.rows)
        rejects.append(log.rejects)
        outcomes.append(outcome(key, state="clean", format=log.format, rows_in=len(log.rows) + len(log.rejects)))
    return Parsed(
        rows=pa.concat_tables(rows) if rows else PARSED_SCHEMA.empty_table(),
        rejects=pa.concat_tables(rejects) if rejects else REJECT_SCHEMA.empty_table(),
        outcomes=pd.DataFrame(outcomes),
    )


def outcome(key: str, *, state: str, **known: Any) -> dict[str, Any]:
    """Return the ledger's entry of one object."""
    empty = {"format": None, "reason": None, "message": None, "rows_in": 0}
    return {"object_key": key, "state": state, "method_version": METHOD_VERSION, **empty, **known}


def hints_of(key: str) -> Mapping[str, str]:
    """Return the identity that path segments such as vin=…/make=… of a raw key give."""
    return {name: unquote(value) for name, value in _HINT.findall(key)}


def identify(rows: pa.Table) -> pd.DataFrame:
    """Return one row a vehicle: vehicle_id, vin, make, model, year, identified_by (the object that says so).

    Of several descriptions of a vehicle the first by object key wins, one with a make before one without,
    so the order in which batches run does not matter.
    """
    columns = [*IDENTITY, "source_object"]
    seen = rows.select(columns).group_by(columns, use_threads=False).aggregate([]).to_pandas()
    seen["vin"] = seen["vin"].str.strip().str.upper()
    seen["vehicle_id"] = vehicle_ids(seen["vin"])
    seen["nameless"] = seen["make"].isna()
    ordered = seen.dropna(subset="vehicle_id").sort_values(["vehicle_id", "nameless", "source_object", "model"])
    first = ordered.drop_duplicates("vehicle_id").rename(columns={"source_object": "identified_by"})
    return first.astype({"year": "Int16"}).drop(columns="nameless").reset_index(drop=True)


def empty_manifest() -> pd.DataFrame:
    """Return a manifest of clean files without rows."""
    return pd.DataFrame({"file_key": [], "log_date": [], "shard": [], "row_count": []})


def write_clean(lake: Lake, clean: pa.Table, batch_id: str, shards: int) -> pd.DataFrame:
    """Write the clean rows, one file a (log day, shard); return the manifest of the files."""
    if not len(clean):
        return empty_manifest()
    place = pd.DataFrame(
        {
            "log_date": clean["recorded_at"].cast(pa.date32()).to_pandas(),
            "shard": shard_of(clean["vehicle_id"].to_pandas(), shards),
        }
    )
    order = np.lexsort((place["shard"], place["log_date"]))
    place = place.iloc[order].reset_index(drop=True)
    ordered = clean.take(pa.array(order))
    changed = (place != place.shift()).any(axis="columns")
    starts = np.flatnonzero(changed)
    ends = np.append(starts[1:], len(place))
    manifest = place.iloc[starts].assign(row_count=ends - starts)
    manifest["file_key"] = [
        f"{slice_prefix('clean', log_date, shard)}{batch_id}.parquet"
        for log_date, shard in zip(manifest["log_date"], manifest["shard"], strict=True)
    ]
    for key, start, end in zip(manifest["file_key"], starts, ends, strict=True):
        lake.write_table(key, ordered.slice(start, end - start))
    return manifest


def enter(
    connection: psycopg.Connection,
    batch_id: str,
    parsed: Parsed,
    registry: pd.DataFrame,
    result: BatchResult,
    files: pd.DataFrame,
    shards: int,
) -> None:
    """Enter the outcome of a batch into the ledger, register its vehicles and mark the slices it touches."""
    counts = result.counts.dropna(subset=["vehicle_id", "log_date"]).rename(
        columns={"source_object": "object_key", "rows": "rows_in"}
    )
    counts = counts.assign(shard=shard_of(counts["vehicle_id"], shards))
    valid = counts.assign(rows_valid=counts["rows_in"] - counts["rows_quarantined"])
    slices = (
        valid.groupby(["object_key", "log_date", "shard"], as_index=False)["rows_valid"].sum().assign(batch_id=batch_id)
    )
    if not result.gate.passed:
        slices = slices.iloc[:0]
    quarantined = result.quarantined.group_by("source_object").aggregate([([], "count_all")]).to_pandas()
    outcomes = parsed.outcomes.merge(
        quarantined.rename(columns={"source_object": "object_key", "count_all": "rows_quarantined"}),
        on="object_key",
        how="left",
    ).fillna({"rows_quarantined": 0})
    if not result.gate.passed:
        held = outcomes["state"] == "clean"
        outcomes.loc[held, ["state", "reason", "message"]] = ["rejected", "batch_rejected", result.gate.message[:1000]]
        outcomes.loc[held, "rows_quarantined"] = outcomes.loc[held, "rows_in"]
    specs = attach_specs(registry)
    vehicles = pd.DataFrame(
        {
            "id": registry["vehicle_id"],
            "vin": registry["vin"],
            "make": registry["make"],
            "model": registry["model"],
            "year": registry["year"],
            "battery_original_capacity_kwh": specs["energy_nominal_kwh"],
            "shard": shard_of(registry["vehicle_id"], shards),
            "spec_model": specs["spec_model"],
            "spec_source": specs["spec_source"],
            "identified_by": registry["identified_by"],
        }
    )
    with connection.transaction():
        warehouse.execute(connection, "create_batch_tables")
        warehouse.copy_rows(connection, "batch_outcomes", outcomes.astype({"rows_quarantined": "int64"}))
        warehouse.copy_rows(connection, "batch_vehicles", vehicles)
        warehouse.copy_rows(connection, "batch_slices", slices[slices["rows_valid"] > 0])
        warehouse.copy_rows(
            connection,
            "batch_quality",
            counts[["object_key", "vehicle_id", "log_date", "shard", "rows_in", "rows_quarantined", "rows_warned"]],
        )
        warehouse.copy_rows(connection, "batch_files", files.assign(batch_id=batch_id))
        for step in _ENTER:
            warehouse.execute(connection, step)
