"""Close a night: settle the ledger, prove that it balances, and say what was published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from packwatch.errors import BooksDoNotBalance
from packwatch.load import warehouse


def close_night(
    connection: psycopg.Connection, run_key: str, dag_run_id: str, report_dates: Sequence[str]
) -> dict[str, Any]:
    """Settle the books of the run `run_key` (the arrival day) and return them.

    Raises:
        BooksDoNotBalance: an object lost or invented rows, or the objects of the night are not all finished.
    """
    warehouse.execute(connection, "settle_books")
    unbalanced = warehouse.query(connection, "select_unbalanced", {"run_key": run_key})
    if len(unbalanced):
        worst = unbalanced.iloc[0]
        raise BooksDoNotBalance(
            f"night {run_key}: {len(unbalanced)} object(s) do not balance, first {worst['object_key']}: "
            f"{worst['rows_in']} rows in, but {worst['rows_clean']} clean + {worst['rows_quarantined']} quarantined "
            f"+ {worst['rows_duplicate']} duplicate. Clear the tasks analyze and load of this run; if it stays, "
            "run the day again with reprocess and report the object."
        )
    parameters = {"run_key": run_key, "dag_run_id": dag_run_id, "report_dates": list(report_dates)}
    books = warehouse.query(connection, "close_run", parameters).iloc[0].to_dict()
    if books["state"] != "complete":
        raise BooksDoNotBalance(
            f"night {run_key}: some objects are not finished or were rejected. Look in ingested_objects at the rows of "
            "this run_key whose state is planned or rejected, mend the rule or the source, and run the day again with "
            "reprocess."
        )
    return {name: value if name == "state" else int(value) for name, value in books.items()}
