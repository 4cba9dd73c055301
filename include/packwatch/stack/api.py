"""The few calls of Airflow's REST API that the demo needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any
from urllib.parse import quote

import httpx

from packwatch.errors import ServiceUnreachable


@contextmanager
def open_api(url: str, user: str, password: str) -> Iterator[httpx.Client]:
    """Log in and yield a client whose paths start at the API's root.

    Raises:
        ServiceUnreachable: Airflow does not answer or refuses the login.
    """
    try:
        answer = httpx.post(f"{url}/auth/token", json={"username": user, "password": password}, timeout=30)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise ServiceUnreachable(
            f"Airflow at {url} refused the login ({error}); see the log of its api-server"
        ) from error
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    with httpx.Client(base_url=f"{url}/api/v2", headers=headers, timeout=30) as client:
        yield client


def known_dags(api: httpx.Client) -> set[str]:
    """Return the ids of the DAGs that Airflow has parsed."""
    return {item["dag_id"] for item in get(api, "/dags", limit=100)["dags"]}


def import_errors(api: httpx.Client) -> list[str]:
    """Return the DAG files that do not load, with their error."""
    return [f"{item['filename']}: {item['stack_trace']}" for item in get(api, "/importErrors")["import_errors"]]


def unpause(api: httpx.Client, dag_id: str) -> None:
    """Let the scheduler run a DAG."""
    check(api.patch(f"/dags/{dag_id}", json={"is_paused": False}))


def backfill(api: httpx.Client, dag_id: str, first: date, last: date, runs_at_once: int) -> bool:
    """Backfill the partitions `first` to `last` of a DAG, finished ones too.

    Returns:
        False if a backfill of the DAG was under way already, which then goes on instead.
    """
    body = {
        "dag_id": dag_id,
        # A partition's tick is at 02:00 of its day, so the range must reach to the end of the last day.
        "from_date": f"{first}T00:00:00Z",
        "to_date": f"{last}T23:59:59Z",
        "reprocess_behavior": "completed",
        "max_active_runs": runs_at_once,
    }
    answer = api.post("/backfills", json=body)
    if answer.status_code == httpx.codes.CONFLICT:
        return False
    check(answer)
    return True


def runs(api: httpx.Client, dag_id: str) -> list[dict[str, Any]]:
    """Return the newest runs of a DAG."""
    return get(api, f"/dags/{dag_id}/dagRuns", limit=100, order_by="-run_after")["dag_runs"]


def running_tasks(api: httpx.Client) -> list[str]:
    """Return what runs now, such as `2026-11-16 analyze[1]`."""
    found = get(api, "/dags/~/dagRuns/~/taskInstances", state="running", limit=20)["task_instances"]
    return [task["task_id"] + (f"[{task['map_index']}]" if task["map_index"] >= 0 else "") for task in found]


def failed_since(api: httpx.Client, dag_ids: Sequence[str], since: datetime) -> list[str]:
    """Return the runs of these DAGs that failed after `since`, each with the tasks that failed in it."""
    failed = []
    for dag_id in dag_ids:
        for run in runs(api, dag_id):
            if run["state"] != "failed" or datetime.fromisoformat(run["end_date"]) < since:
                continue
            path = f"/dags/{dag_id}/dagRuns/{quote(run['dag_run_id'], safe='')}/taskInstances"
            tasks = get(api, path, state="failed", limit=100)["task_instances"]
            names = sorted({task["task_id"] for task in tasks})
            failed.append(f"{dag_id} {run['partition_key']}: {', '.join(names) or 'no task'}; see its log in Airflow")
    return failed


def get(api: httpx.Client, path: str, **parameters: Any) -> dict[str, Any]:
    """Return the JSON of a GET."""
    return check(api.get(path, params=parameters))


def check(answer: httpx.Response) -> dict[str, Any]:
    """Return the JSON of an answer.

    Raises:
        ServiceUnreachable: the API said no.
    """
    if answer.is_error:
        raise ServiceUnreachable(
            f"Airflow answered {answer.status_code} to {answer.request.method} {answer.request.url.path}: "
            f"{answer.text[:500]}"
        )
    return answer.json()
