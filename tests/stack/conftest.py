"""A state folder of its own for each test, with the environment and the secrets of a stack."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from packwatch.stack import state
from packwatch.stack.processes import MARKER, stack_id
from packwatch.stack.state import Secrets
from packwatch.stack.supervisor import end_processes, stack_members

INCLUDE = Path(__file__).parents[2] / "include"


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """An empty state folder; whatever still runs in it after the test is ended and reported."""
    folder = tmp_path / "state"
    state.prepare(folder)
    yield folder
    left = [process.pid for process in stack_members(folder)]
    end_processes(folder)
    assert left == [], "the test left processes behind"


@pytest.fixture
def environment(state_dir: Path) -> dict[str, str]:
    """Environment of a process of the stack in `state_dir`."""
    return {**os.environ, "PYTHONPATH": str(INCLUDE), MARKER: stack_id(state_dir)}


@pytest.fixture
def stack_secrets(state_dir: Path) -> Secrets:
    """The secrets of `state_dir`."""
    return state.load_secrets(state_dir)
