"""The whole analysis of log files on a laptop: the same stages as the night, without Airflow, Postgres and S3."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from packwatch import __version__
from packwatch.analyze import DayAnalysis, analyze_rows
from packwatch.analyze.conditioning import deduplicate
from packwatch.assess import assess_days
from packwatch.errors import UnreadableLog
from packwatch.ingest.formats import REJECT_SCHEMA, ParsedLog, parse_log
from packwatch.schema import PARSED_SCHEMA
from packwatch.validate import BatchResult, validate_batch
from packwatch.validate.batch import identify
from packwatch.vehicles.catalogue import attach_specs

# Logs without a VIN are taken as one vehicle; the report says so.
UNIDENTIFIED = "UNIDENTIFIED"


def analyze_files(
    paths: Sequence[Path], *, hints: Mapping[str, str], format: str = "auto", today: date
) -> dict[str, Any]:
    """Analyze log files and return everything found, ready for JSON.

    Args:
        paths: files of one or more vehicles, in any order.
        hints: vin, make, model, year, for logs that do not say them.
        format: name of a log format, or auto.
        today: the arrival day; rows measured later than the day after are quarantined.

    Returns:
        version, files (name, format, rows), refused (name, reason, message), vehicles (see `describe_vehicle`).
    """
    logs: dict[str, ParsedLog] = {}
    refused = []
    for path in paths:
        try:
            logs[str(path)] = parse_log(path.read_bytes(), str(path), {"vin": UNIDENTIFIED, **hints}, format)
        except UnreadableLog as error:
            refused.append({"file": str(path), "reason": error.reason, "message": str(error)})
    rows = pa.concat_tables([log.rows for log in logs.values()]) if logs else PARSED_SCHEMA.empty_table()
    rejects = pa.concat_tables([log.rejects for log in logs.values()]) if logs else REJECT_SCHEMA.empty_table()
    vehicles = attach_specs(identify(rows))
    checked = validate_batch(rows, rejects, today, vehicles, bad_share_max=1.0, engine="mask")
    clean, _ = deduplicate(checked.clean)
    analysis = analyze_all(clean, vehicles)
    reports = assess_days(pd.DataFrame(), analysis.days, analysis.sessions, vehicles)
    return {
        "packwatch": __version__,
        "files": [
            {"file": name, "format": log.format, "rows": len(log.rows) + len(log.rejects)} for name, log in logs.items()
        ],
        "refused": refused,
        "quality": describe_quality(checked, len(clean)),
        "vehicles": [
            describe_vehicle(vehicle_id, vehicles, analysis, reports) for vehicle_id in vehicles["vehicle_id"]
        ],
    }


def analyze_all(clean: pa.Table, vehicles: pd.DataFrame) -> DayAnalysis:
    """Analyze every day that `clean` holds."""
    if not len(clean):
        return analyze_rows(clean, vehicles, date(1970, 1, 1), date(1970, 1, 1))
    span = pc.min_max(clean["recorded_at"]).as_py()
    return analyze_rows(clean, vehicles, span["min"].date(), span["max"].date())


def describe_quality(checked: BatchResult, clean_rows: int) -> dict[str, Any]:
    """Return where the rows went: in = clean + quarantined + duplicate, and the reasons."""
    quarantined = len(checked.quarantined)
    valid = len(checked.clean)
    reasons = checked.quarantined["reason"].value_counts().to_pylist()
    return {
        "rows_in": valid + quarantined,
        "rows_clean": clean_rows,
        "rows_quarantined": quarantined,
        "rows_duplicate": valid - clean_rows,
        "reasons": {item["values"]: item["counts"] for item in reasons},
    }


def describe_vehicle(
    vehicle_id: str, vehicles: pd.DataFrame, analysis: DayAnalysis, reports: pd.DataFrame
) -> dict[str, Any]:
    """Return one vehicle: what it is, its newest health, and its days, sessions and anomalies."""
    own = {
        name: records(frame[frame["vehicle_id"] == vehicle_id].drop(columns="vehicle_id"))
        for name, frame in {
            "vehicle": vehicles,
            "days": analysis.days,
            "sessions": analysis.sessions,
            "anomalies": analysis.anomalies,
            "reports": reports[[name for name in reports.columns if not name.startswith("state_") or "health" in name]],
        }.items()
    }
    history = own.pop("reports")
    return {
        "vehicle_id": vehicle_id,
        "vehicle": own.pop("vehicle")[0],
        "health": history[-1] if history else None,
        "history": history,
        **own,
    }


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of `frame` as JSON values: times in ISO 8601, missing values null."""
    return json.loads(frame.to_json(orient="records", date_format="iso", date_unit="ms"))
