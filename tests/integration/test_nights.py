"""Whole nights on the real servers, without Airflow: the books balance and the order of things does not matter."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from packwatch.analyze.slices import analyze_shard
from packwatch.assess.shard import assess_shard
from packwatch.config import Settings
from packwatch.errors import BatchRejected, BooksDoNotBalance
from packwatch.ingest.formats.canonical import write_log
from packwatch.ingest.lake import Lake
from packwatch.ingest.plan import plan_day
from packwatch.load import warehouse
from packwatch.load.fingerprint import TABLES, fingerprint
from packwatch.load.slices import load_shard
from packwatch.publish.alerts import mark_sent, update_alerts
from packwatch.publish.books import close_night
from packwatch.schema import LOG_SCHEMA, conform
from packwatch.simulate import simulate
from packwatch.validate.batch import validate_planned_batch

MONDAY = dt.date(2026, 3, 23)
DAYS = [MONDAY + dt.timedelta(days=day) for day in range(3)]
CONFIG = Settings(shards=2, batch_bytes=3_000_000)


def run_night(database: psycopg.Connection, lake: Lake, day: dt.date, **params: object) -> dict[str, object]:
    """Run the stages of one night in their order, as the DAG does."""
    for batch in plan_day(database, lake, day, CONFIG, **params):  # type: ignore[arg-type]
        validate_planned_batch(database, lake, batch["batch_id"], CONFIG)
    return finish_night(database, lake, day)


def finish_night(database: psycopg.Connection, lake: Lake, day: dt.date) -> dict[str, object]:
    """Run what follows validation."""
    report_days = []
    for shard in range(CONFIG.shards):
        load_shard(database, lake, shard, analyze_shard(database, lake, shard, CONFIG))
        report_days += assess_shard(database, shard)
        database.execute("SELECT pg_advisory_unlock_all()")
    books = close_night(database, day.isoformat(), "test", report_days)
    update_alerts(database)
    return books


def hashes(database: psycopg.Connection) -> dict[str, tuple[int, str]]:
    return {table: fingerprint(database, table) for table in TABLES}


@pytest.fixture(scope="session")
def raw_fleet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Key and content of every raw object of a small simulated fleet over three days."""
    folder = tmp_path_factory.mktemp("fleet")
    simulate(folder, vehicles=12, days=len(DAYS), seed=5, first_day=MONDAY, truth=folder / "truth.json")
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted((folder / "raw").rglob("*")) if p.is_file()
    }


def upload(lake: Lake, objects: dict[str, bytes]) -> None:
    for key, content in objects.items():
        lake.write(key, content)


@pytest.fixture
def fresh(empty_database: str) -> Callable[[], psycopg.Connection]:
    """Makes the warehouse empty again, for a second run to compare with."""

    def renew() -> psycopg.Connection:
        connection = warehouse.connect(empty_database)
        connection.execute("DROP SCHEMA IF EXISTS public CASCADE")
        connection.execute("DROP SCHEMA IF EXISTS bi CASCADE")
        connection.execute("CREATE SCHEMA public")
        warehouse.migrate(connection)
        return connection

    return renew


def test_books_balance_and_nothing_changes_when_a_night_runs_again(
    database: psycopg.Connection, lake: Lake, raw_fleet: dict[str, bytes]
) -> None:
    upload(lake, raw_fleet)
    for day in DAYS:
        run_night(database, lake, day)
    books = warehouse.query(database, "select_books").iloc[0]
    assert books["objects"] == len(raw_fleet)
    assert books["rows_in"] == books["rows_clean"] + books["rows_quarantined"] + books["rows_duplicate"] > 10_000
    assert books["rows_quarantined"] > 0
    assert books["rows_duplicate"] > 0
    stored = warehouse.query(database, "select_stored_rows").iloc[0]
    assert stored["rows_analyzed"] == stored["rows_ledger"] == books["rows_clean"]
    assert stored["slices_stale"] == 0
    first = hashes(database)
    assert all(
        first[table][0] > 0 for table in ("charge_cycles", "battery_cell_readings", "battery_health_reports", "alerts")
    )
    for day in DAYS:
        run_night(database, lake, day)
    assert hashes(database) == first
    for day in DAYS:
        run_night(database, lake, day, reprocess=True)
    assert hashes(database) == first


def test_the_order_of_nights_does_not_matter(
    fresh: Callable[[], psycopg.Connection], lake: Lake, raw_fleet: dict[str, bytes]
) -> None:
    upload(lake, raw_fleet)

    def play(days: Sequence[dt.date]) -> dict[str, tuple[int, str]]:
        with fresh() as connection:
            for day in days:
                run_night(connection, lake, day)
            return hashes(connection)

    in_order = play(DAYS)
    assert play([DAYS[2], DAYS[0], DAYS[1]]) == in_order
    assert play([DAYS[2]]) == in_order  # one late night takes all that lies before it


def test_a_late_upload_ends_with_the_tables_of_a_timely_one(
    fresh: Callable[[], psycopg.Connection], lake: Lake, raw_fleet: dict[str, bytes]
) -> None:
    late_key = next(key for key in raw_fleet if f"ingest_date={DAYS[0]}" in key and key.endswith(".parquet"))
    upload(lake, {key: content for key, content in raw_fleet.items() if key != late_key})
    with fresh() as connection:
        for day in DAYS:
            run_night(connection, lake, day)
        upload(lake, {late_key: raw_fleet[late_key]})
        run_night(connection, lake, DAYS[2])
        late = hashes(connection)
    with fresh() as connection:
        for day in DAYS:
            run_night(connection, lake, day)
        assert hashes(connection) == late


def log_of(vin: str, day: dt.date, soc: Sequence[float], *, step_s: int = 60) -> pa.Table:
    """A charge at 50 A and 400 V, one row a minute."""
    start = dt.datetime.combine(day, dt.time(10), dt.UTC)
    count = len(soc)
    return conform(
        pa.table(
            {
                "vin": [vin] * count,
                "make": ["Nissan"] * count,
                "model": ["Leaf e+ 62"] * count,
                "recorded_at": [start + dt.timedelta(seconds=step_s * row) for row in range(count)],
                "pack_voltage_v": [400.0] * count,
                "pack_current_a": [50.0] * count,
                "soc_percent": list(soc),
                "speed_kmh": [0.0] * count,
                "charge_state": ["charging"] * count,
            }
        ),
        LOG_SCHEMA,
    )


def test_bad_objects_are_set_aside_and_the_night_goes_on(database: psycopg.Connection, lake: Lake) -> None:
    prefix = f"raw/ingest_date={MONDAY}/"
    good = write_log(log_of("GOODVEHICLE000001", MONDAY, [20 + row * 0.5 for row in range(120)]), "good.parquet")
    bad = {
        "empty.csv": (b"", "empty_object"),
        "torn.csv.gz": (gzip.compress(b"vin,recorded_at\n" * 1000)[:-20], "truncated_compression"),
        "noise.bin": (bytes(range(256)) * 40, "unknown_format"),
        "petrol.csv": (b"SECONDS,RPM,Fuel level\n1,900,50\n2,950,50\n", "unknown_format"),
        "header.csv": (b"vin,recorded_at,pack_voltage_v\n", "header_without_rows"),
        "utf16.csv": (
            "vin,recorded_at,pack_voltage_v\nA,2026-03-23T10:00:00Z,400\n".encode("utf-16"),
            "wrong_encoding",
        ),
        "torn.parquet": (good[:-40], "corrupt_parquet"),
    }
    upload(lake, {prefix + "good.parquet": good} | {prefix + name: content for name, (content, _) in bad.items()})
    books = run_night(database, lake, MONDAY)
    assert books["state"] == "complete"
    assert (books["objects"], books["rows_in"], books["rows_clean"]) == (8, 120, 120)
    rows = database.execute(
        "SELECT object_key, reason, message FROM ingested_objects WHERE state = 'set_aside'"
    ).fetchall()
    assert {key.removeprefix(prefix): reason for key, reason, _ in rows} == {
        name: why for name, (_, why) in bad.items()
    }
    assert all(message and key.rsplit("/", 1)[1] in message for key, _, message in rows)
    sessions = database.execute("SELECT cycle_type, charge_ah, energy_transferred_kwh FROM charge_cycles").fetchall()
    # 119 intervals of 60 s at 50 A: 50 * 119 / 60 = 99.17 Ah, at 400 V 39.667 kWh.
    assert sessions[0][0] == "charge"
    assert sessions[0][1] == pytest.approx(99.1667, abs=1e-3)
    assert float(sessions[0][2]) == pytest.approx(39.667, abs=1e-3)


def test_rows_without_vehicle_or_time_go_to_quarantine(database: psycopg.Connection, lake: Lake) -> None:
    lines = [
        {"vin": "GOODVEHICLE000001", "recorded_at": "2026-03-23T10:00:00Z", "soc_percent": 50.0},
        {"vin": "GOODVEHICLE000001", "recorded_at": "2026-03-23T10:01:00Z", "soc_percent": 50.5},
        {"vin": "GOODVEHICLE000001", "recorded_at": "2026-03-23T10:02:00Z", "soc_percent": 51.0},
        {"vin": "GOODVEHICLE000001", "recorded_at": "yesterday", "soc_percent": 51.5},
        {"vin": None, "recorded_at": "2026-03-23T10:04:00Z", "soc_percent": 52.0},
    ]
    config_share = Settings(shards=2, bad_share_max=0.5)
    key = f"raw/ingest_date={MONDAY}/rows.jsonl"
    lake.write(key, "\n".join(map(json.dumps, lines)).encode())
    for batch in plan_day(database, lake, MONDAY, config_share):
        validate_planned_batch(database, lake, batch["batch_id"], config_share)
    books = finish_night(database, lake, MONDAY)
    assert (books["rows_in"], books["rows_clean"], books["rows_quarantined"]) == (5, 3, 2)
    stored = [item.key for item in lake.list("quarantine/")]
    assert len(stored) == 1
    held = lake.read_table(stored[0]).to_pandas().sort_values("source_row")
    assert held["source_object"].tolist() == [key, key]
    assert held["source_row"].tolist() == [4, 5]
    assert held["reason"].tolist() == ["missing_time", "missing_identity"]
    assert json.loads(held["raw"].iloc[0])["soc_percent"] == 51.5


def test_a_batch_that_is_mostly_broken_is_rejected_and_the_night_fails_loudly(
    database: psycopg.Connection, lake: Lake
) -> None:
    broken = log_of("BADVEHICLE0000001", MONDAY, [300.0] * 60)
    lake.write(f"raw/ingest_date={MONDAY}/broken.parquet", write_log(broken, "broken.parquet"))
    (batch,) = plan_day(database, lake, MONDAY, CONFIG)
    with pytest.raises(BatchRejected, match=batch["batch_id"]):
        validate_planned_batch(database, lake, batch["batch_id"], CONFIG)
    with pytest.raises(BooksDoNotBalance, match="rejected"):
        finish_night(database, lake, MONDAY)
    assert database.execute("SELECT count(*) FROM vehicle_days").fetchone() == (0,)
    # The source is mended: the day runs again and is complete.
    mended = log_of("BADVEHICLE0000001", MONDAY, [50.0] * 60)
    lake.write(f"raw/ingest_date={MONDAY}/broken.parquet", write_log(mended, "broken.parquet"))
    assert run_night(database, lake, MONDAY)["rows_clean"] == 60


def test_an_overwritten_object_replaces_its_rows(database: psycopg.Connection, lake: Lake) -> None:
    key = f"raw/ingest_date={MONDAY}/car.parquet"
    lake.write(key, write_log(log_of("GOODVEHICLE000001", MONDAY, [50.0] * 60), "car.parquet"))
    run_night(database, lake, MONDAY)
    lake.write(key, write_log(log_of("GOODVEHICLE000001", DAYS[1], [50.0] * 30), "car.parquet"))
    run_night(database, lake, MONDAY)
    days = database.execute("SELECT log_date, row_count FROM vehicle_days").fetchall()
    assert days == [(DAYS[1], 30)]
    assert database.execute("SELECT report_date FROM battery_health_reports").fetchall() == [(DAYS[1],)]


def test_alerts_are_sent_once_and_again_only_when_worse(
    database: psycopg.Connection, lake: Lake, raw_fleet: dict[str, bytes]
) -> None:
    upload(lake, raw_fleet)
    run_night(database, lake, DAYS[-1])
    unsent = update_alerts(database)
    assert unsent
    mark_sent(database, unsent)
    assert update_alerts(database) == []
    database.execute("UPDATE alerts SET notified_severity = severity - 1 WHERE id = %s", (unsent[0]["alert_id"],))
    assert [alert["alert_id"] for alert in update_alerts(database)] == [unsent[0]["alert_id"]]


def test_bi_reads_the_views_and_no_vin(database: psycopg.Connection, lake: Lake, raw_fleet: dict[str, bytes]) -> None:
    upload(lake, raw_fleet)
    run_night(database, lake, DAYS[-1])
    database.execute("SET ROLE bi_reader")
    views = [
        row[0] for row in database.execute("SELECT table_name FROM information_schema.views WHERE table_schema = 'bi'")
    ]
    assert "vehicle_latest" in views
    for view in views:
        cursor = database.execute(psycopg.sql.SQL("SELECT * FROM bi.{}").format(psycopg.sql.Identifier(view)))
        assert not {column.name for column in cursor.description or ()} & {"vin", "owner"}
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        database.execute("SELECT vin FROM vehicles")


def test_the_clean_zone_holds_no_vin(database: psycopg.Connection, lake: Lake, tmp_path: Path) -> None:
    lake.write(
        f"raw/ingest_date={MONDAY}/car.parquet",
        write_log(log_of("GOODVEHICLE000001", MONDAY, [50.0] * 60), "car.parquet"),
    )
    run_night(database, lake, MONDAY)
    files = [item.key for item in lake.list("clean/")]
    assert len(files) == 1
    assert "vin" not in lake.read_table(files[0]).column_names
