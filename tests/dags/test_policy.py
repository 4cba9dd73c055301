"""What every DAG file must keep to. Airflow itself loads them, in a process of its own."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "dags").glob("*.py"))
HEAVY = ("pandas", "numpy", "pyarrow", "sklearn", "great_expectations", "jax", "altair")

# Loads every DAG the way the DAG processor does and prints what it found, and which heavy modules that brought in.
PROBE = f"""
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag({str(ROOT / "dags")!r})
print(json.dumps({{
    "errors": bag.import_errors,
    "heavy": [name for name in {HEAVY!r} if name in sys.modules],
    "dags": {{
        dag.dag_id: {{
            "file": dag.fileloc, "tags": sorted(dag.tags), "doc": dag.doc_md, "catchup": dag.catchup,
            "start": dag.start_date.isoformat(), "runs": dag.max_active_runs,
            "tasks": {{t.task_id: [t.retries, t.execution_timeout is not None, bool(t.on_failure_callback),
                                  t.retry_policy is not None] for t in dag.tasks}},
        }}
        for dag in bag.dags.values()
    }},
}}))
"""


@pytest.fixture(scope="module")
def loaded(airflow_home: dict[str, str]) -> dict[str, Any]:
    """What Airflow found in dags/."""
    run = subprocess.run(
        [sys.executable, "-c", PROBE], env=airflow_home, capture_output=True, text=True, check=True, timeout=120
    )
    return json.loads(run.stdout.strip().splitlines()[-1])


def test_every_file_is_one_dag_of_its_name(loaded: dict[str, Any]) -> None:
    assert loaded["errors"] == {}
    assert len(FILES) >= 3
    assert {dag_id: Path(dag["file"]).stem for dag_id, dag in loaded["dags"].items()} == {f.stem: f.stem for f in FILES}


def test_loading_dags_imports_nothing_heavy(loaded: dict[str, Any]) -> None:
    assert loaded["heavy"] == []


def test_every_dag_is_documented_tagged_and_bounded(loaded: dict[str, Any]) -> None:
    for dag_id, dag in loaded["dags"].items():
        for heading in ("What it does", "When", "Reads", "Writes", "If it fails"):
            assert f"**{heading}" in dag["doc"], f"{dag_id}: the docstring lacks {heading}"
        assert "packwatch" in dag["tags"], f"{dag_id}: add the tag packwatch"
        assert dag["catchup"] is False, f"{dag_id}: set catchup=False, backfills are asked for"
        assert dag["start"].startswith("2020-01-01"), f"{dag_id}: use START_DATE"
        assert dag["runs"] <= 2, f"{dag_id}: bound max_active_runs"


def test_every_task_retries_infrastructure_and_has_a_timeout(loaded: dict[str, Any]) -> None:
    for dag_id, dag in loaded["dags"].items():
        for task_id, settings in dag["tasks"].items():
            assert settings == [3, True, True, True], f"{dag_id}.{task_id}: use DEFAULT_ARGS"


def test_the_daily_tasks_are_the_stages(loaded: dict[str, Any]) -> None:
    stages = {"ingest", "validate", "analyze", "load", "assess", "publish"}
    assert set(loaded["dags"]["battery_health_daily"]["tasks"]) == stages
    for stage in stages:
        assert (ROOT / "include" / "packwatch" / stage).is_dir()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_dag_file_is_short_and_holds_no_work(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 100
    assert "SELECT " not in text
    assert "DataFrame" not in text
    top = {node.module for node in ast.parse(text).body if isinstance(node, ast.ImportFrom)}
    assert top <= {
        "__future__",
        "airflow.sdk",
        "packwatch.config",
        "packwatch.orchestrate.assets",
        "packwatch.orchestrate.policy",
    }


def test_only_orchestrate_imports_airflow() -> None:
    library = ROOT / "include" / "packwatch"
    files = [path for path in library.rglob("*.py") if "orchestrate" not in path.parts]
    assert len(files) > 30
    guilty = [
        str(path.relative_to(library))
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "airflow")
        or (isinstance(node, ast.Import) and any(name.name.split(".")[0] == "airflow" for name in node.names))
    ]
    assert guilty == []
