"""Run one Airflow component in this process, started faster and ready to fork.

    python -m packwatch.stack.component [--preload pandas,pyarrow] scheduler --skip-serve-logs

Two things are done before Airflow's own command line takes over. The garbage collector is told to run rarely: importing
Airflow makes millions of objects that stay, and looking through them again and again is a quarter of the start-up time.
And modules are loaded that every task would import: tasks are forks of the scheduler and find them in memory.
"""

from __future__ import annotations

import gc
import pkgutil
import runpy
import sys

GC_THRESHOLDS = (50_000, 20, 100)
"""Allocations before a young collection (700 by default), and young before middle, middle before full ones."""


def main() -> None:
    """Load what is to be preloaded, then behave as `airflow` with the remaining arguments."""
    gc.set_threshold(*GC_THRESHOLDS)
    if sys.argv[1:2] == ["--preload"]:
        for name in filter(None, sys.argv[2].split(",")):
            pkgutil.resolve_name(name)
        del sys.argv[1:3]
    runpy.run_module("airflow", run_name="__main__")


if __name__ == "__main__":
    main()
