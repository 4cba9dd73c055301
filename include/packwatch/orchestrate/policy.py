"""What every DAG shares: owners, retries, timeouts, and what happens when a task fails."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

START_DATE = datetime(2020, 1, 1, tzinfo=UTC)

# Bad data and wrong settings stay what they are, so running again is a waste; a service may come back.
RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(exception="packwatch.errors.DataError", action=RetryAction.FAIL, reason="bad data"),
        RetryRule(exception="packwatch.errors.UsageError", action=RetryAction.FAIL, reason="wrong setting"),
        RetryRule(
            exception=["packwatch.errors.ServiceUnreachable", "builtins.ConnectionError", "builtins.TimeoutError"],
            action=RetryAction.RETRY,
            retry_delay=timedelta(seconds=30),
            reason="service unreachable",
        ),
    ]
)


def report_failure(context: Any) -> None:
    """Log, in one line that a log search finds, which task of which night failed and why."""
    task_instance = context["task_instance"]
    logging.getLogger("packwatch").error(
        "packwatch task failed: dag=%s task=%s partition=%s try=%s reason=%s",
        task_instance.dag_id,
        task_instance.task_id,
        context["dag_run"].partition_key,
        task_instance.try_number,
        context.get("exception"),
    )


DEFAULT_ARGS: dict[str, Any] = {
    "owner": "packwatch",
    "retries": 3,
    "retry_delay": timedelta(minutes=2),
    "retry_policy": RETRY_POLICY,
    "execution_timeout": timedelta(minutes=30),
    "on_failure_callback": report_failure,
}
