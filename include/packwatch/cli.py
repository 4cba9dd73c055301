"""The command `packwatch`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import date, datetime
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from packwatch.errors import PackwatchError, UsageError

app = typer.Typer(
    name="packwatch",
    help="Nightly battery health for electric-vehicle fleets.\n\n"
    "Start with `packwatch analyze FILE` on a log you have, or `packwatch demo` for the whole pipeline.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

ROOT = Path(__file__).resolve().parents[2]
StateDir = Annotated[
    Path,
    typer.Option("--state", envvar="PACKWATCH_STATE", help="Folder that holds the stack's databases, lake and logs."),
]
STATE_DIR = ROOT / ".packwatch"


def explained(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn an error raised on purpose into one message and its exit code: 1 bad data, 2 usage, 3 unreachable."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except PackwatchError as error:
            typer.secho(f"packwatch: {error}", fg="red", err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return run


@app.command()
@explained
def analyze(
    files: Annotated[
        list[Path], typer.Argument(help="Log files of one or more vehicles.", exists=True, dir_okay=False)
    ],
    make: Annotated[str | None, typer.Option(help="Maker, where the log does not say it: Nissan.")] = None,
    model: Annotated[str | None, typer.Option(help="Model, where the log does not say it: 'Leaf 40'.")] = None,
    year: Annotated[int | None, typer.Option(help="Model year, where the log does not say it.")] = None,
    vin: Annotated[str | None, typer.Option(help="VIN, where the log does not say it.")] = None,
    format: Annotated[str, typer.Option(help="Log format; `packwatch formats` lists them.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a report.")] = False,
) -> None:
    """Analyze log files here and now: no Airflow, no Postgres, no S3.

    Prints what came in, sessions, health with its interval, and anomalies. Ends with 1 if a file was refused.

        packwatch analyze trip.csv

        packwatch analyze *.parquet --json > health.json
    """
    from packwatch.laptop import analyze_files
    from packwatch.publish.terminal import print_laptop_report

    given = {"vin": vin, "make": make, "model": model, "year": year}
    hints = {name: str(value) for name, value in given.items() if value is not None}
    report = analyze_files(files, hints=hints, format=format, today=date.today())
    if as_json:
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        print_laptop_report(report)
    if report["refused"]:
        raise typer.Exit(1)


@app.command()
@explained
def formats() -> None:
    """List the log formats that can be read."""
    from packwatch.ingest.formats import ADAPTERS

    for adapter in ADAPTERS:
        typer.echo(f"{adapter.format:18} {adapter.title}")


@app.command()
@explained
def simulate(
    out: Annotated[Path, typer.Option(help="Folder to write `raw/ingest_date=…/` into.")],
    vehicles: Annotated[int, typer.Option(min=1, help="Number of vehicles.")] = 48,
    days: Annotated[int, typer.Option(min=1, help="Number of days.")] = 7,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 1,
    first_day: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First day of the logs.")] = datetime(
        2026, 1, 5
    ),
    truth: Annotated[Path | None, typer.Option(help="File for the true health and faults.")] = None,
) -> None:
    """Write the logs of a made-up fleet, with known faults and dirty files."""
    from rich.progress import Progress

    from packwatch.simulate import simulate as run

    with Progress(transient=True) as progress:
        bar = progress.add_task("simulating", total=1.0)
        summary = run(
            out,
            vehicles=vehicles,
            days=days,
            seed=seed,
            first_day=first_day.date(),
            truth=truth,
            on_progress=lambda what, share: progress.update(bar, completed=share, description=what),
        )
    typer.echo(f"{summary.vehicles} vehicles, {summary.files} files, {summary.rows} rows in {out}")


@app.command()
@explained
def demo(
    state: StateDir = STATE_DIR,
    vehicles: Annotated[int, typer.Option(min=40, help="Number of simulated vehicles.")] = 48,
    seed: Annotated[int, typer.Option(help="Seed of the simulated fleet.")] = 1,
    serve: Annotated[
        bool | None, typer.Option("--serve/--no-serve", help="Keep serving until Ctrl-C; default on a terminal.")
    ] = None,
) -> None:
    """Run a demo fleet through the real pipeline: Postgres, S3 and Airflow start on this machine."""
    from packwatch.demo import run_demo

    keep = sys.stdout.isatty() if serve is None else serve
    raise typer.Exit(run_demo(ROOT, state.resolve(), vehicles=vehicles, seed=seed, serve=keep))


@app.command()
@explained
def up(state: StateDir = STATE_DIR) -> None:
    """Start Postgres, S3 and Airflow on this machine, in the background."""
    from packwatch.demo import bring_up

    bring_up(ROOT, state.resolve())


@app.command()
@explained
def down(state: StateDir = STATE_DIR) -> None:
    """Stop what `up` or `demo` started; the data stays."""
    from packwatch.stack.control import stop_stack

    stopped = stop_stack(state.resolve())
    typer.echo("stopped" if stopped else "nothing was running")


@app.command()
@explained
def clean(
    state: StateDir = STATE_DIR,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Stop the stack and remove its data."""
    from packwatch.stack.control import clean_stack

    if not yes:
        typer.confirm(f"Remove the database, the lake and the logs in {state}?", abort=True)
    clean_stack(state.resolve())
    typer.echo(f"removed {state}")


Dsn = Annotated[
    str | None, typer.Option("--dsn", envvar="PACKWATCH_DSN", help="Postgres to use; default: the stack running here.")
]


def warehouse_dsn(dsn: str | None, state: Path) -> str:
    """Return the connection string given, or that of the running embedded stack.

    Raises:
        UsageError: neither is there.
    """
    if dsn:
        return dsn
    from packwatch.stack.control import running_stack

    stack = running_stack(state.resolve())
    if stack is None:
        raise UsageError("no Postgres given and no stack is running: set PACKWATCH_DSN or run `packwatch up`")
    return stack.dsn


@app.command()
@explained
def migrate(dsn: Dsn = None, state: StateDir = STATE_DIR) -> None:
    """Bring the warehouse to the newest schema."""
    from packwatch.load import warehouse

    with warehouse.connect(warehouse_dsn(dsn, state)) as connection:
        applied = warehouse.migrate(connection)
    typer.echo("\n".join(applied) or "the warehouse is up to date")


@app.command()
@explained
def fingerprint(
    table: Annotated[list[str] | None, typer.Option(help="Only this table; may be repeated.")] = None,
    dsn: Dsn = None,
    state: StateDir = STATE_DIR,
) -> None:
    """Print one hash a table over its business columns: equal hashes mean equal data."""
    from packwatch.load import warehouse
    from packwatch.load.fingerprint import TABLES, fingerprint

    unknown = sorted(set(table or ()) - set(TABLES))
    if unknown:
        raise UsageError(f"no such table: {', '.join(unknown)}. There are: {', '.join(TABLES)}")
    with warehouse.connect(warehouse_dsn(dsn, state)) as connection:
        for name in table or TABLES:
            rows, digest = fingerprint(connection, name)
            typer.echo(f"{digest}  {rows:>9}  {name}")


def main() -> None:
    """Run the command line; broken pipes (`packwatch … | head`) are not an error."""
    try:
        app()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
