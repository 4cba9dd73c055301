"""Files in the raw layout, and a truth that matches them row by row."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from packwatch.errors import UsageError
from packwatch.simulate import simulate
from packwatch.simulate.faults import KINDS

FIRST_DAY = date(2026, 1, 5)
WRONG_WORDS = (b"fault", b"truth", b"drifting", b"weak_cell", b"stuck")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the data rows of a file of any format (of Parquet, the times); an unreadable row is an empty dict."""
    data = path.read_bytes()
    if path.suffix == ".parquet":
        return pq.read_table(io.BytesIO(data), columns=["recorded_at"]).to_pylist()
    if path.suffix in (".gz", ".zst"):
        with pa.CompressedInputStream(pa.BufferReader(data), {".gz": "gzip", ".zst": "zstd"}[path.suffix]) as stream:
            data = stream.read()
    lines = data.decode().splitlines()
    if ".jsonl" in path.name:
        return [json.loads(line) if line.endswith("}") else {} for line in lines]
    header = next(csv.reader(lines[:1]))
    parsed = [next(csv.reader([line])) for line in lines[1:]]
    return [dict(zip(header, fields, strict=True)) if len(fields) == len(header) else {} for fields in parsed]


def stamp(row: dict[str, Any]) -> str:
    """Return the time of a row, whatever the format, as a text that is equal for equal times."""
    return str(row.get("epoch time") or row.get("recorded_at"))


def digest(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file under a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_arguments_give_the_same_bytes(tmp_path: Path, write_fleet: Callable[..., Any]) -> None:
    for name in ("one", "two"):
        write_fleet(tmp_path / name, vehicles=6, days=2, seed=11)
    write_fleet(tmp_path / "other", vehicles=6, days=2, seed=12)
    first = digest(tmp_path / "one")
    assert first == digest(tmp_path / "two")
    assert len(first) > 12
    assert not set(first.values()) & set(digest(tmp_path / "other").values()) - {hashlib.sha256(b"").hexdigest()}


def test_summary_counts_the_files_on_disk(demo_fleet: Any) -> None:
    on_disk = [path for path in (demo_fleet.folder / "raw").rglob("*") if path.is_file()]
    summary = demo_fleet.summary
    assert summary.files == len(on_disk) == len(demo_fleet.files)
    assert summary.bytes == sum(path.stat().st_size for path in on_disk)
    assert summary.rows == sum(item["rows"] for item in demo_fleet.files)
    assert (summary.vehicles, summary.days, summary.last_day) == (48, 2, FIRST_DAY + timedelta(days=1))
    # 250 000 to 450 000 rows in a week
    assert 250_000 < summary.rows / 2 * 7 < 450_000


def test_layout_has_one_file_a_vehicle_and_day(demo_fleet: Any) -> None:
    for item in demo_fleet.files:
        top, day, fleet, *_, name = item["key"].split("/")
        assert top == "raw"
        assert date.fromisoformat(day.removeprefix("ingest_date="))
        assert fleet in ("fleet=rhine", "fleet=nordic", "fleet=sonora")
        assert name.startswith(item["vin"])
        assert hashlib.sha256((demo_fleet.folder / item["key"]).read_bytes()).hexdigest() == item["sha256"]
    regular = [item for item in demo_fleet.files if not item["copy_of"] and item["reason"] in (None, "wrong_encoding")]
    assert Counter(item["vin"] for item in regular) == {vehicle["vin"]: 2 for vehicle in demo_fleet.vehicles}
    leafs = [item["key"] for item in regular if item["format"] == "leafspy.csv"]
    assert all("/make=Nissan/model=Leaf%20" in key and "/year=20" in key for key in leafs)


def test_rows_of_every_file_reconcile_with_the_truth(demo_fleet: Any) -> None:
    bad = Counter[str]()
    for item in demo_fleet.files:
        if item["reason"]:
            assert item["rows"] == item["clean_rows"] == 0
            continue
        rows = read_rows(demo_fleet.folder / item["key"])
        assert len(rows) == item["rows"]
        torn = sum(not row for row in rows)
        assert torn == sum(item["cut_lines"].values())
        stamps = [stamp(row) for row in rows if row]
        assert len(stamps) - len(set(stamps)) == item["duplicate_rows"]
        lost = item["duplicate_rows"] + torn + sum(item["bad_rows"].values())
        assert item["clean_rows"] == (0 if item["copy_of"] else len(rows) - lost)
        bad.update(item["bad_rows"])
        bad.update(item["cut_lines"])
    assert len(bad) == 8  # six kinds of bad rows, torn lines of CSV and of JSON
    assert sum(bad.values()) == demo_fleet.summary.bad_rows


def test_bad_rows_are_one_or_two_percent_and_far_from_the_gate(demo_fleet: Any) -> None:
    for day in ("2026-01-05", "2026-01-06"):
        files = [item for item in demo_fleet.files if f"ingest_date={day}" in item["key"]]
        share = sum(sum(item["bad_rows"].values()) for item in files) / sum(item["rows"] for item in files)
        assert 0.005 < share < 0.03


def test_rows_of_a_file_lie_in_its_log_days(demo_fleet: Any) -> None:
    for item in demo_fleet.files:
        if item["reason"] or item["format"] != "parquet":
            continue
        days = Counter(row["recorded_at"].date().isoformat() for row in read_rows(demo_fleet.folder / item["key"]))
        outside = sum(count for day, count in days.items() if day not in item["log_days"])
        assert outside == item["bad_rows"].get("time_too_early", 0) + item["bad_rows"].get("time_in_future", 0)


def test_broken_files_are_broken_as_declared(demo_fleet: Any) -> None:
    broken = {item["reason"]: demo_fleet.folder / item["key"] for item in demo_fleet.files if item["reason"]}
    assert set(broken) == {
        "truncated_compression",
        "empty_object",
        "unknown_format",
        "header_without_rows",
        "wrong_encoding",
    }
    with pytest.raises((EOFError, zlib.error)):
        gzip.decompress(broken["truncated_compression"].read_bytes())
    assert broken["empty_object"].read_bytes() == b""
    assert len(broken["header_without_rows"].read_text().splitlines()) == 1
    utf16 = broken["wrong_encoding"].read_bytes()
    assert utf16[:2] == b"\xff\xfe"
    assert len(utf16.decode("utf-16").splitlines()) > 100
    unknown = [demo_fleet.folder / item["key"] for item in demo_fleet.files if item["reason"] == "unknown_format"]
    noise = next(path for path in unknown if path.suffix == ".bin").read_bytes()
    assert len(set(noise)) == 256
    assert b"Coolant" in next(path for path in unknown if path.suffix == ".csv").read_bytes()


def test_second_uploads_are_copies_under_another_key(demo_fleet: Any) -> None:
    copies = [item for item in demo_fleet.files if item["copy_of"]]
    assert len(copies) == 2
    by_key = {item["key"]: item for item in demo_fleet.files}
    for item in copies:
        assert item["sha256"] == by_key[item["copy_of"]]["sha256"]
        assert item["key"] != item["copy_of"]
    assert {item["key"][:26] == item["copy_of"][:26] for item in copies} == {True, False}  # same day and next day


def test_truth_says_what_is_wrong_with_whom(demo_fleet: Any) -> None:
    faults = [fault for vehicle in demo_fleet.vehicles for fault in vehicle["faults"]]
    assert {fault["kind"] for fault in faults} == set(KINDS)
    assert demo_fleet.summary.faulty_vehicles == len(faults)
    for vehicle in demo_fleet.vehicles:
        assert len(vehicle["soh_percent"]) == len(vehicle["capacity_ah"]) == len(vehicle["pack_resistance_25c_ohm"])
        assert vehicle["capacity_ah"][0] == pytest.approx(
            vehicle["soh_percent"][0] / 100 * vehicle["capacity_nominal_ah"], abs=0.02
        )
        assert vehicle["equivalent_full_cycles"] > 0.1
        assert vehicle["rows"] > 300
    assert sum(len(vehicle["soh_percent"]) == 2 for vehicle in demo_fleet.vehicles) == 1  # the swapped pack


def test_the_truth_is_not_in_the_logs(demo_fleet: Any) -> None:
    for path in (demo_fleet.folder / "raw").rglob("*"):
        assert not any(word in str(path) for word in ("fault", "truth"))
        if path.is_file() and path.suffix == ".csv":
            content = path.read_bytes()
            assert not any(word in content for word in WRONG_WORDS)


def test_offline_vehicle_uploads_three_days_at_once(tmp_path: Path, write_fleet: Callable[..., Any]) -> None:
    fleet = write_fleet(tmp_path, vehicles=3, days=5, seed=4)
    offline = next(vehicle["vin"] for vehicle in fleet.vehicles if vehicle["offline_days"])
    files = [item for item in fleet.files if item["vin"] == offline and not item["reason"] and not item["copy_of"]]
    assert [item["key"][16:26] for item in files] == ["2026-01-05", "2026-01-08", "2026-01-09"]
    assert [item["log_days"] for item in files] == [
        ["2026-01-05"],
        ["2026-01-06", "2026-01-07", "2026-01-08"],
        ["2026-01-09"],
    ]
    days = {row["recorded_at"].date().isoformat() for row in read_rows(tmp_path / files[1]["key"])}
    assert set(files[1]["log_days"]) <= days


def test_one_vehicle_one_day(tmp_path: Path, write_fleet: Callable[..., Any]) -> None:
    fleet = write_fleet(tmp_path, vehicles=1, days=1, seed=1)
    assert fleet.summary.files == len(fleet.files) == 1
    assert fleet.summary.rows > 200


def test_progress_goes_from_nothing_to_done(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    simulate(
        tmp_path,
        vehicles=2,
        days=1,
        seed=1,
        first_day=FIRST_DAY,
        on_progress=lambda what, share: told.append((what, share)),
    )
    assert told[0] == ("Tesla Model 3 LR", 0.0)
    assert told[-1] == ("done", 1.0)
    assert np.all(np.diff([share for _, share in told]) > 0)


def test_a_folder_with_logs_is_refused(tmp_path: Path) -> None:
    simulate(tmp_path, vehicles=1, days=1, first_day=FIRST_DAY)
    with pytest.raises(UsageError, match="not empty"):
        simulate(tmp_path, vehicles=1, days=1, first_day=FIRST_DAY)


def test_truth_among_the_logs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="truth must not lie among the logs"):
        simulate(tmp_path, vehicles=1, days=1, first_day=FIRST_DAY, truth=tmp_path / "raw" / "truth.jsonl")
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize(("vehicles", "days"), [(0, 7), (48, 0), (-1, 1)])
def test_an_empty_fleet_is_refused(tmp_path: Path, vehicles: int, days: int) -> None:
    with pytest.raises(UsageError, match="at least one"):
        simulate(tmp_path, vehicles=vehicles, days=days, first_day=FIRST_DAY)
