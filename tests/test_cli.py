"""The command line as a user meets it: what it prints, what it refuses, and its exit codes."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from packwatch.cli import app
from packwatch.ingest.formats.canonical import write_log
from packwatch.load.fingerprint import TABLES

DAY = dt.date(2026, 3, 23)
runner = CliRunner()


@pytest.fixture
def log_file(tmp_path: Path, charge_log: Callable[..., pa.Table]) -> Path:
    """A canonical log of one charge."""
    path = tmp_path / "car.csv.gz"
    path.write_bytes(write_log(charge_log(DAY), path.name))
    return path


def test_analyze_reports_the_charge(log_file: Path) -> None:
    result = runner.invoke(app, ["analyze", str(log_file)])
    assert result.exit_code == 0, result.output
    assert "rows in 121 = clean 121 + quarantined 0 + duplicate 0" in result.output
    assert "Nissan Leaf e+ 62 2020" in result.output
    # 100 Ah over 60 % are 166.7 Ah; the catalogue says 172.5 Ah.
    assert "100.0" in result.output
    assert "166.7" in result.output


def test_analyze_as_json_holds_vehicle_quality_sessions_health_and_anomalies(log_file: Path) -> None:
    result = runner.invoke(app, ["analyze", str(log_file), "--json"])
    report = json.loads(result.stdout)
    (vehicle,) = report["vehicles"]
    assert set(vehicle) >= {"vehicle", "sessions", "health", "anomalies", "days"}
    assert report["quality"]["rows_in"] == 121
    (session,) = vehicle["sessions"]
    # 50 A for two hours; at 400 V.
    assert session["charge_ah"] == pytest.approx(100.0, abs=1e-6)
    assert session["energy_kwh"] == pytest.approx(40.0, abs=1e-6)
    assert vehicle["health"]["soh_lower_90_percent"] < vehicle["health"]["state_of_health_percent"]
    assert not [name for name in vehicle["health"] if name.startswith("state_rate") or name.startswith("state_var")]


def test_a_refused_file_is_named_with_reason_and_the_rest_is_analyzed(log_file: Path, tmp_path: Path) -> None:
    petrol = tmp_path / "petrol.csv"
    petrol.write_text("SECONDS,RPM,Fuel level\n1,900,50\n")
    result = runner.invoke(app, ["analyze", str(petrol), str(log_file)])
    assert result.exit_code == 1
    assert "petrol.csv" in result.output
    assert "RPM" in result.output
    assert "rows in 121" in result.output


def test_only_refused_files_give_a_report_without_vehicles(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.touch()
    result = runner.invoke(app, ["analyze", str(empty), "--json"])
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert (report["vehicles"], report["refused"][0]["reason"]) == ([], "empty_object")


def test_the_type_can_be_given(tmp_path: Path, charge_log: Callable[..., pa.Table]) -> None:
    path = tmp_path / "car.jsonl"
    nameless = charge_log(DAY).drop_columns(["vin", "make", "model", "year"])
    path.write_bytes(write_log(nameless, path.name))
    result = runner.invoke(app, ["analyze", str(path), "--make", "Renault", "--model", "Zoe ZE50", "--json"])
    assert result.exit_code == 0, result.output
    (vehicle,) = json.loads(result.stdout)["vehicles"]
    assert vehicle["vehicle"]["spec_model"] == "Zoe ZE50"
    assert vehicle["vehicle"]["vin"] == "UNIDENTIFIED"


def test_a_file_that_is_not_there_is_wrong_usage() -> None:
    assert runner.invoke(app, ["analyze", "nowhere.csv"]).exit_code == 2


def test_an_unknown_format_name_is_wrong_usage(log_file: Path) -> None:
    result = runner.invoke(app, ["analyze", str(log_file), "--format", "morse"])
    assert result.exit_code == 2
    assert "morse" in result.output


def test_an_unreachable_warehouse_ends_with_3() -> None:
    result = runner.invoke(app, ["migrate", "--dsn", "postgresql://nobody@127.0.0.1:1/none"])
    assert result.exit_code == 3
    assert "127.0.0.1" in result.output


def test_no_stack_and_no_dsn_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PACKWATCH_DSN", raising=False)
    result = runner.invoke(app, ["fingerprint", "--state", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "packwatch up" in result.output


def test_migrate_and_fingerprint(empty_database: str) -> None:
    migrated = runner.invoke(app, ["migrate", "--dsn", empty_database])
    assert migrated.exit_code == 0
    assert "001_ledger.sql" in migrated.output
    assert "up to date" in runner.invoke(app, ["migrate", "--dsn", empty_database]).output
    first = runner.invoke(app, ["fingerprint", "--dsn", empty_database])
    assert [line.split()[2] for line in first.output.splitlines()] == list(TABLES)
    with psycopg.connect(empty_database) as connection:
        connection.execute(
            "INSERT INTO vehicles (id, vin, shard, spec_source, identified_by)"
            " VALUES (gen_random_uuid(), 'A', 0, 'neutral', 'x')"
        )
    second = runner.invoke(app, ["fingerprint", "--dsn", empty_database])
    changed = [a for a, b in zip(first.output.splitlines(), second.output.splitlines(), strict=True) if a != b]
    assert [line.split()[2] for line in changed] == ["vehicles"]
    assert runner.invoke(app, ["fingerprint", "--table", "owners", "--dsn", empty_database]).exit_code == 2


def test_formats_are_listed() -> None:
    result = runner.invoke(app, ["formats"])
    assert "leafspy" in result.output
    assert "canonical-parquet" in result.output


@pytest.mark.parametrize("command", ["analyze", "simulate", "demo", "up", "down", "clean", "migrate", "fingerprint"])
def test_help_teaches(command: str) -> None:
    result = runner.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 8


def test_the_real_us_leaf(real_logs: Path) -> None:
    files = sorted(str(path) for path in (real_logs / "leafspy-us").glob("*.csv"))
    assert len(files) == 6
    result = runner.invoke(app, ["analyze", *files, "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["quality"]["rows_in"] == report["quality"]["rows_clean"] == 664
    (vehicle,) = report["vehicles"]
    assert vehicle["vehicle"]["model"] == "Leaf e+ 62"
    assert len([session for session in vehicle["sessions"] if session["kind"] == "charge"]) >= 8
    # The vehicle's own figure is kept apart: 96.04 % in June, 95.26 % in September.
    own = [day["bms_soh_percent"] for day in vehicle["days"]]
    assert own[0] == pytest.approx(96.0, abs=0.05)
    assert own[-1] == pytest.approx(95.26, abs=0.01)
    hot = [item for item in vehicle["anomalies"] if item["code"] == "high_temperature"]
    assert {item["log_date"][:10] for item in hot} >= {"2022-06-10", "2022-06-11"}
    assert {item["code"] for item in vehicle["anomalies"]} == {"high_temperature"}


def test_each_real_leaf_file_alone(real_logs: Path) -> None:
    files = sorted((real_logs / "leafspy-us").glob("*.csv")) + sorted((real_logs / "leafspy-uk").glob("*.csv"))
    for path in files:
        result = runner.invoke(app, ["analyze", str(path)])
        assert result.exit_code == 0, f"{path}: {result.output}"
        assert "Leaf 30" in result.output if "uk" in path.parent.name else "Leaf e+ 62" in result.output
