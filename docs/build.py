"""Make the generated pages: docs/data-dictionary.md, docs/dags.md and the table of formats in README.md.

python docs/build.py           write them
python docs/build.py --check   fail if one is out of date, write nothing
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from pathlib import Path

import pyarrow as pa

from packwatch.ingest.formats import ADAPTERS
from packwatch.load import warehouse
from packwatch.schema import COLUMNS, Column
from packwatch.validate.rules import RULES

ROOT = Path(__file__).resolve().parents[1]
ROLES = {
    "identity": "Which vehicle. A log may leave them out where the key of its upload says them (`vin=…/make=…/`).",
    "key": "When. One row a vehicle and instant.",
    "signal": "What was measured. Every signal may be missing; a row without any is set aside.",
    "provenance": "Where the row came from; added when a log is read.",
}


def column_row(column: Column) -> str:
    """Return one line of the table of canonical columns."""
    limits = "" if column.minimum is None else f"{column.minimum:g} to {column.maximum:g}"
    kind = "list of numbers" if pa.types.is_list(column.type) else str(column.type)
    need = "yes" if column.required else ""
    return f"| `{column.name}` | {kind} | {column.unit} | {limits} | {need} | {column.meaning} |"


def data_dictionary() -> str:
    """Return the data dictionary: canonical log, rules, tables."""
    parts = [
        "# Data dictionary",
        "Generated from `schema.py`, `validate/rules.py` and the migrations; `make docs` makes it again.",
        "## Canonical log",
        "Parquet, CSV (list columns as numbers separated by spaces) or JSON Lines, plain or as `.gz` or `.zst`. "
        "Times are UTC. A positive current charges the battery. A missing value is empty or null, never a sentinel.",
    ]
    for role, meaning in ROLES.items():
        rows = "\n".join(column_row(column) for column in COLUMNS if column.role == role)
        header = "| column | type | unit | range | required | meaning |\n|---|---|---|---|---|---|"
        parts.append(f"### {role.capitalize()}\n{meaning}\n\n{header}\n{rows}")
    rules = "\n".join(f"| `{rule.code}` | {rule.severity} | {rule.sentence} |" for rule in RULES)
    parts.append(
        "## Rules\nA row that breaks an *error* rule goes to quarantine; a *warning* keeps the row and lowers the "
        f"quality score.\n\n| code | severity | meaning |\n|---|---|---|\n{rules}"
    )
    parts.append("## Tables\n" + tables())
    return "\n\n".join(parts) + "\n"


def tables() -> str:
    """Return every table and view with its comment, grain and columns, as the migrations declare them."""
    text = "\n".join(sql for _, _, sql in warehouse.migrations())
    comments = dict(re.findall(r"COMMENT ON (?:TABLE|VIEW) ([\w.]+) IS\s+'((?:[^']|'')*)'", text))
    column_comments = {
        (table, column): comment
        for table, column, comment in re.findall(r"COMMENT ON COLUMN ([\w.]+)\.(\w+) IS\s+'((?:[^']|'')*)'", text)
    }
    parts = []
    for name, body in re.findall(r"CREATE TABLE (\w+) \(\n(.*?)\n\)", text, flags=re.S):
        columns = re.findall(
            r"^    ([a-z_0-9]+) ((?:DOUBLE PRECISION|[A-Z]+)(?:\([\d, ]+\))?(?: \[\])?)", body, flags=re.M
        )
        lines = [
            f"| `{column}` | {kind.lower()} | {column_comments.get((name, column), '')} |" for column, kind in columns
        ]
        parts.append(
            f"### `{name}`\n{comments[name]}\n\n| column | type | meaning |\n|---|---|---|\n" + "\n".join(lines)
        )
    views = "\n".join(f"| `{name}` | {comment} |" for name, comment in comments.items() if name.startswith("bi."))
    parts.append(f"### Views for BI\n\n| view | meaning |\n|---|---|\n{views}")
    return "\n\n".join(parts).replace("''", "'")


def dags_page() -> str:
    """Return the page of the DAGs, made of their docstrings."""
    parts = ["# DAGs", "Generated from the DAG files; `make docs` makes it again."]
    for path in sorted((ROOT / "dags").glob("*.py")):
        documentation = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        parts.append(f"## `{path.stem}`\n\n" + (documentation or "").replace("### ", "**", 1).replace("\n", "**\n", 1))
    return "\n\n".join(parts) + "\n"


def readme() -> str:
    """Return README.md with its table of formats up to date."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = "\n".join(f"| `{item.format}` | {item.title} |" for item in ADAPTERS)
    table = f"<!-- formats -->\n| format | what it is |\n|---|---|\n{rows}\n<!-- /formats -->"
    return re.sub(r"<!-- formats -->.*<!-- /formats -->", lambda _: table, text, flags=re.S)


def main() -> int:
    """Write the pages, or check them; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail if a page is out of date, write nothing")
    check = parser.parse_args().check
    pages = {"docs/data-dictionary.md": data_dictionary(), "docs/dags.md": dags_page(), "README.md": readme()}
    stale = []
    for name, content in pages.items():
        path = ROOT / name
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            stale.append(name)
            if not check:
                path.write_text(content, encoding="utf-8")
    if check and stale:
        print(f"out of date: {', '.join(stale)}. Run `make docs` and commit the result.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
