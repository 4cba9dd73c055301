"""Write the fleet's logs into the raw layout, dirty as real uploads are, and list in the truth what was done.

One file a vehicle and arrival day, `raw/ingest_date=D/fleet=F/<vin>_<D>.<ext>`; uploads come just after midnight and
hold the rows of the UTC day before. The truth goes to its own file, never into the logs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from packwatch.errors import UsageError
from packwatch.schema import LOG_SCHEMA
from packwatch.simulate.behavior import plan_timeline
from packwatch.simulate.dirt import Dirt, cut_line, petrol_log, soil
from packwatch.simulate.encode import compress, encode
from packwatch.simulate.faults import DAY_S, describe, leak_current_ma
from packwatch.simulate.fleet import Vehicle, draw_fleet
from packwatch.simulate.leafspy import encode_leafspy
from packwatch.simulate.pack import build_pack
from packwatch.simulate.sensors import VehicleLog, record

STATE = "_state"  # tells slow from fast charging while a file is made; never written
OFFLINE_DAYS = 3
OFFLINE_FROM = 1  # day of the simulation on which the offline vehicle loses its connection
TRUNCATED_SHARE = 0.6
NOISE_BYTES = 6000
CUT_LINE_SHARE = 0.5  # of the text files that have no other defect
# One extra or broken upload for this many vehicle-days, so that a tiny fleet is not made of broken files.
VEHICLE_DAYS_PER_MISHAP = 8
MISHAPS = (
    "truncated_gzip",
    "duplicate_same_day",
    "empty_object",
    "unknown_csv",
    "header_only",
    "utf16",
    "duplicate_next_day",
    "binary_noise",
)


@dataclass(frozen=True)
class SimulationSummary:
    """What was written: files and data rows in all of them, whatever their state."""

    out: Path
    vehicles: int
    days: int
    seed: int
    first_day: date
    last_day: date
    files: int
    rows: int
    bytes: int
    duplicate_rows: int
    bad_rows: int
    unreadable_files: int
    faulty_vehicles: int


@dataclass
class FileTruth:
    """What is true about one file; `reason` says why it cannot be read at all, `copy_of` which file it repeats.

    `rows` counts the data rows (lines) that a reader can find in it, none in a file that cannot be read; `clean_rows`
    those left after the bad, cut and repeated ones are gone, none in a file whose rows all came before.
    """

    key: str
    format: str
    vin: str | None
    log_days: list[str]
    rows: int = 0
    clean_rows: int = 0
    bad_rows: dict[str, int] = field(default_factory=dict)
    cut_lines: dict[str, int] = field(default_factory=dict)
    duplicate_rows: int = 0
    lost_rows: int = 0
    out_of_order_rows: int = 0
    zero_odometer_rows: int = 0
    reason: str | None = None
    copy_of: str | None = None
    sha256: str = ""
    bytes: int = 0


@dataclass
class Upload:
    """A finished file and its truth."""

    truth: FileTruth
    data: bytes


def simulate(
    out: Path,
    *,
    vehicles: int = 48,
    days: int = 7,
    seed: int = 1,
    first_day: date,
    truth: Path | None = None,
    on_progress: Callable[[str, float], None] | None = None,
) -> SimulationSummary:
    """Write `days` days of logs of a made-up fleet under `out`/raw, with known faults and dirty files.

    The same arguments give the same bytes.

    Args:
        out: folder that receives `raw/ingest_date=…/`; its `raw` must be empty or missing.
        vehicles: number of vehicles; a fleet of 48 has every type, chemistry and fault.
        days: number of log days.
        seed: source of all random choices.
        first_day: first log day (UTC).
        truth: file for the true health, faults and row counts (JSON Lines); must not lie under `out`/raw.
        on_progress: called with what is being done and the share done, 0 to 1.

    Raises:
        UsageError: a number is out of range, `out`/raw holds files, or the truth would lie among the logs.
    """
    raw = out / "raw"
    _check(raw, vehicles, days, truth)
    first_s = int(datetime(first_day.year, first_day.month, first_day.day, tzinfo=UTC).timestamp())
    fleet = draw_fleet(vehicles, seed, first_day, days)
    mishaps = _place_mishaps(fleet, days, seed)
    offline = _offline_vehicle(fleet, days, mishaps)
    vehicle_truths, file_truths = [], []
    for done, vehicle in enumerate(fleet):
        if on_progress:
            on_progress(f"{vehicle.type.make} {vehicle.type.model}", done / len(fleet))
        log = simulate_vehicle(vehicle, first_s, days, seed)
        vehicle_truths.append(_vehicle_truth(vehicle, log, days, offline=vehicle is offline))
        for upload in _uploads(vehicle, log, first_s, days, seed, mishaps, offline=vehicle is offline):
            _write(out, upload)
            file_truths.append(upload.truth)
    if truth:
        _write_truth(truth, vehicle_truths, file_truths, vehicles, days, seed, first_day)
    if on_progress:
        on_progress("done", 1.0)
    return SimulationSummary(
        out=out,
        vehicles=vehicles,
        days=days,
        seed=seed,
        first_day=first_day,
        last_day=first_day + timedelta(days=days - 1),
        files=len(file_truths),
        rows=sum(item.rows for item in file_truths),
        bytes=sum(item.bytes for item in file_truths),
        duplicate_rows=sum(item.duplicate_rows for item in file_truths),
        bad_rows=sum(sum(item.bad_rows.values()) + sum(item.cut_lines.values()) for item in file_truths),
        unreadable_files=sum(item.reason is not None for item in file_truths),
        faulty_vehicles=sum(bool(item["faults"]) for item in vehicle_truths),
    )


def simulate_vehicle(vehicle: Vehicle, first_s: int, days: int, seed: int) -> VehicleLog:
    """Return all rows one vehicle logs in `days` days from `first_s` (seconds since 1970)."""
    serials = (0, 1) if vehicle.fault("pack_swap") else (0,)
    packs = tuple(build_pack(vehicle, serial, seed) for serial in serials)
    return record(vehicle, plan_timeline(vehicle, packs, first_s, days, seed), packs, first_s, days, seed)


def _check(raw: Path, vehicles: int, days: int, truth: Path | None) -> None:
    if vehicles < 1 or days < 1:
        raise UsageError(f"a fleet needs at least one vehicle and one day, not {vehicles} and {days}")
    if raw.exists() and any(raw.iterdir()):
        raise UsageError(f"{raw} is not empty: two fleets must not be mixed. Remove it or choose another folder.")
    if truth and truth.resolve().is_relative_to(raw.resolve()):
        raise UsageError(f"the truth must not lie among the logs: choose a file outside {raw}")


def _place_mishaps(fleet: list[Vehicle], days: int, seed: int) -> dict[tuple[int, int], str]:
    """Choose the vehicle and day of every extra or broken upload: sound vehicles, one mishap each."""
    rng = np.random.default_rng([seed, len(fleet), days, 40])
    sound = [vehicle for vehicle in fleet if not vehicle.faults and not vehicle.type.leafspy]
    rng.shuffle(sound)
    placed: dict[tuple[int, int], str] = {}
    for name in MISHAPS[: len(fleet) * days // VEHICLE_DAYS_PER_MISHAP]:
        suited = [vehicle for vehicle in sound if name != "truncated_gzip" or vehicle.file_format.endswith(".gz")]
        if suited:
            sound.remove(suited[0])
            # A copy on the next day needs a next day.
            last = days - (name == "duplicate_next_day" and days > 1)
            placed[suited[0].index, int(rng.integers(last))] = name
    return placed


def _offline_vehicle(fleet: list[Vehicle], days: int, mishaps: dict[tuple[int, int], str]) -> Vehicle | None:
    """Choose the vehicle that is offline for three days and then uploads them all; none in a short simulation."""
    if days < OFFLINE_FROM + OFFLINE_DAYS:
        return None
    busy = {index for index, _ in mishaps}
    free = [vehicle for vehicle in fleet if not vehicle.faults and vehicle.index not in busy]
    return next((vehicle for vehicle in free if vehicle.file_format == "parquet"), None)


def _uploads(
    vehicle: Vehicle,
    log: VehicleLog,
    first_s: int,
    days: int,
    seed: int,
    mishaps: dict[tuple[int, int], str],
    *,
    offline: bool,
) -> Iterator[Upload]:
    """Yield the files of one vehicle, day by day, with what went wrong on the way."""
    rng = np.random.default_rng([seed, vehicle.index, 3])
    table = log.table.append_column(STATE, pa.array(log.state.astype(np.int8)))
    edges = np.searchsorted(log.time_s, first_s + np.arange(days + 1) * DAY_S)
    held = 0
    for day in range(days):
        if offline and OFFLINE_FROM <= day < OFFLINE_FROM + OFFLINE_DAYS - 1:
            continue  # these rows come with the upload of the last offline day
        held = day if not (offline and day == OFFLINE_FROM + OFFLINE_DAYS - 1) else OFFLINE_FROM
        rows = table.slice(edges[held], edges[day + 1] - edges[held])
        arrival = date.fromordinal(datetime.fromtimestamp(first_s, UTC).toordinal() + day)
        log_days = [(arrival - timedelta(days=day - one)).isoformat() for one in range(held, day + 1)]
        if len(rows):
            upload = _upload(vehicle, rows, arrival, log_days, first_s, rng)
            yield from _suffer(mishaps.get((vehicle.index, day)), upload, vehicle, rows, arrival, rng)


def _key(vehicle: Vehicle, arrival: date, ending: str) -> str:
    """Return the key of an upload; a LeafSpy log does not say what car it is from, so its folder does."""
    folder = f"raw/ingest_date={arrival.isoformat()}/fleet={vehicle.climate.fleet}"
    if vehicle.type.leafspy:
        folder += f"/make={vehicle.type.make}/model={quote(vehicle.type.model, safe='')}/year={vehicle.year}"
    return f"{folder}/{vehicle.vin}_{arrival.isoformat()}{ending}"


def _upload(
    vehicle: Vehicle, rows: pa.Table, arrival: date, log_days: list[str], first_s: int, rng: np.random.Generator
) -> Upload:
    """Soil and encode one file."""
    leafspy = vehicle.type.leafspy
    rows, dirt = soil(rows, rng, first_s, gaps=not vehicle.faults, leafspy=leafspy)
    file_format = "csv" if leafspy else vehicle.file_format
    item = FileTruth(_key(vehicle, arrival, f".{file_format}"), vehicle.file_format, vehicle.vin, log_days)
    _note(item, len(rows), dirt)
    if leafspy:
        state = rows[STATE].to_numpy()
        return Upload(item, encode_leafspy(rows, state, vehicle.climate.utc_offset_h, rng))
    canonical = rows.drop_columns([STATE])
    text, _, compression = file_format.partition(".")
    # Every now and then a line is torn in a text file that has no other defect.
    if text in ("csv", "jsonl") and not dirt.bad_rows and not dirt.duplicate_rows and rng.uniform() < CUT_LINE_SHARE:
        torn = cut_line(encode(canonical, text), int(rng.integers(1, len(rows))))
        item.cut_lines = {"field_count" if text == "csv" else "not_json": 1}
        item.clean_rows -= 1
        return Upload(item, compress(torn, compression))
    return Upload(item, encode(canonical, file_format))


def _note(item: FileTruth, rows: int, dirt: Dirt) -> None:
    """Write what was done to the rows into the truth of their file."""
    item.rows = rows
    item.bad_rows = dict(sorted(dirt.bad_rows.items()))
    item.duplicate_rows = dirt.duplicate_rows
    item.clean_rows = rows - sum(dirt.bad_rows.values()) - dirt.duplicate_rows
    item.lost_rows = dirt.lost_rows
    item.out_of_order_rows = dirt.out_of_order_rows
    item.zero_odometer_rows = dirt.zero_odometer_rows


def _suffer(
    mishap: str | None, upload: Upload, vehicle: Vehicle, rows: pa.Table, arrival: date, rng: np.random.Generator
) -> Iterator[Upload]:
    """Yield the upload, and what a mishap makes of it or puts beside it."""
    item = upload.truth
    days = item.log_days
    if mishap == "utf16":
        # Someone opened the log in a spreadsheet and saved it as Unicode text: the day is lost.
        data = encode(rows.drop_columns([STATE]), "csv").decode().encode("utf-16")
        yield Upload(_broken(vehicle, arrival, ".csv", "csv", days, "wrong_encoding"), data)
        return
    yield upload
    if mishap == "truncated_gzip":
        part = upload.data[: int(len(upload.data) * TRUNCATED_SHARE)]
        ending = f"_part.{item.format}"
        yield Upload(_broken(vehicle, arrival, ending, item.format, days, "truncated_compression"), part)
    elif mishap == "empty_object":
        yield Upload(_broken(vehicle, arrival, "_b.csv", "csv", days, "empty_object"), b"")
    elif mishap == "header_only":
        header = (",".join(LOG_SCHEMA.names) + "\n").encode()
        yield Upload(_broken(vehicle, arrival, "_b.csv", "csv", days, "header_without_rows"), header)
    elif mishap == "unknown_csv":
        yield Upload(_broken(vehicle, arrival, "_trip.csv", "csv", days, "unknown_format"), petrol_log(rng))
    elif mishap == "binary_noise":
        noise = rng.bytes(NOISE_BYTES)
        yield Upload(_broken(vehicle, arrival, "_dump.bin", "bin", days, "unknown_format"), noise)
    elif mishap in ("duplicate_same_day", "duplicate_next_day"):
        later = arrival + timedelta(days=mishap == "duplicate_next_day")
        key = item.key.replace(f"ingest_date={arrival}", f"ingest_date={later}").replace(
            f"_{arrival}.", f"_{arrival}_again."
        )
        yield Upload(replace(item, key=key, copy_of=item.key, clean_rows=0), upload.data)


def _broken(vehicle: Vehicle, arrival: date, ending: str, file_format: str, days: list[str], reason: str) -> FileTruth:
    return FileTruth(_key(vehicle, arrival, ending), file_format, vehicle.vin, days, reason=reason)


def _write(out: Path, upload: Upload) -> None:
    path = out / upload.truth.key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(upload.data)
    upload.truth.bytes = len(upload.data)
    upload.truth.sha256 = hashlib.sha256(upload.data).hexdigest()


def _vehicle_truth(vehicle: Vehicle, log: VehicleLog, days: int, *, offline: bool) -> dict[str, object]:
    """Return what is true about a vehicle, for the truth file; lists have one entry per battery it had."""
    kind = vehicle.type
    faults = []
    for fault in log.faults:
        entry = describe(fault)
        if fault.kind == "drifting_cell":
            entry["leak_ma"] = round(leak_current_ma(fault, log.packs[0].capacity_ah, days), 1)
        faults.append(entry)
    cycles = log.throughput_ah / (2 * kind.capacity_ah)
    return {
        "record": "vehicle",
        "vin": vehicle.vin,
        "make": kind.make,
        "model": kind.model,
        "year": vehicle.year,
        "age_years": vehicle.age_years,
        "climate": vehicle.climate.name,
        "habit": vehicle.habit.name,
        "format": vehicle.file_format,
        "chemistry": kind.chemistry,
        "cells_in_series": kind.cells,
        "capacity_nominal_ah": kind.capacity_ah,
        "soh_percent": [round(pack.soh_percent, 2) for pack in log.packs],
        "capacity_ah": [round(pack.capacity_ah, 2) for pack in log.packs],
        "pack_resistance_25c_ohm": [round(pack.resistance_ohm, 5) for pack in log.packs],
        "cell_resistance_25c_mohm": [round((pack.r0_ohm + pack.r1_ohm) * 1000, 4) for pack in log.packs],
        "equivalent_full_cycles_before": vehicle.cycles_before,
        "equivalent_full_cycles": round(cycles, 3),
        "odometer_start_km": vehicle.odometer_km,
        "current_gain": round(vehicle.current_gain, 5),
        "current_offset_a": round(vehicle.current_offset_a, 4),
        "rows": len(log.table),
        "offline_days": OFFLINE_DAYS if offline else 0,
        "faults": faults,
    }


def _write_truth(
    path: Path,
    vehicle_truths: list[dict[str, object]],
    file_truths: list[FileTruth],
    vehicles: int,
    days: int,
    seed: int,
    first_day: date,
) -> None:
    head = {"record": "fleet", "vehicles": vehicles, "days": days, "seed": seed, "first_day": first_day.isoformat()}
    files = [{"record": "file", **asdict(item)} for item in sorted(file_truths, key=lambda item: item.key)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in [head, *vehicle_truths, *files]), encoding="utf-8")
