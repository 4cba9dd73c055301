"""The state folder: secrets made once and kept private, ports remembered, one owner at a time."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from packwatch.errors import UsageError
from packwatch.stack import state
from packwatch.stack.state import Ports, Record


def test_secrets_are_generated_once(state_dir: Path) -> None:
    first = state.load_secrets(state_dir)
    assert state.load_secrets(state_dir) == first


def test_secrets_of_two_folders_differ(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        state.prepare(folder)
    assert state.load_secrets(one).postgres_packwatch != state.load_secrets(other).postgres_packwatch


def test_only_the_owner_can_read_what_is_secret(state_dir: Path) -> None:
    old = os.umask(0)  # the worst umask: everything open
    try:
        state.load_secrets(state_dir)
        state.remember_ports(state_dir, Ports(1, 2, 3))
    finally:
        os.umask(old)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state_dir.iterdir() if path.is_file()}
    assert modes == {".gitignore": 0o600, "secrets.json": 0o600, "ports.json": 0o600, "lock": 0o600}
    assert stat.S_IMODE(state_dir.stat().st_mode) & (stat.S_IROTH | stat.S_IRGRP) == 0


def test_passwords_need_no_quoting_in_a_url(state_dir: Path) -> None:
    for password in state.load_secrets(state_dir).postgres_passwords().values():
        assert re.fullmatch(r"[A-Za-z0-9]{24}", password)


def test_damaged_secrets_are_not_replaced(state_dir: Path) -> None:
    (state_dir / "secrets.json").write_text('{"postgres_superuser": "old"')
    with pytest.raises(UsageError, match=r"secrets\.json.*make clean"):
        state.load_secrets(state_dir)
    assert "old" in (state_dir / "secrets.json").read_text()


def test_ports_are_remembered(state_dir: Path) -> None:
    assert state.remembered_ports(state_dir) == {}
    state.remember_ports(state_dir, Ports(airflow=8081, postgres=5433, s3=5556))
    assert state.remembered_ports(state_dir) == {"airflow": 8081, "postgres": 5433, "s3": 5556}


def test_record_comes_back_as_written(state_dir: Path) -> None:
    record = Record(root="/fleet", supervisor_pid=7, started_at=12.5, ports=Ports(1, 2, 3), pids={"S3": 8})
    state.write_record(state_dir, record)
    assert state.read_record(state_dir) == record
    state.remove_record(state_dir)
    assert state.read_record(state_dir) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"root": "/fleet"}', '{"ports": {}}'])
def test_a_broken_record_is_no_record(state_dir: Path, content: str) -> None:
    (state_dir / "stack.json").write_text(content)
    assert state.read_record(state_dir) is None


def test_a_second_owner_is_refused_until_the_first_is_killed(state_dir: Path) -> None:
    code = f"""
import pathlib, sys, time
from packwatch.stack import state
print(state.lock(pathlib.Path({str(state_dir)!r})) is not None, flush=True)
time.sleep(60)
"""
    include = str(Path(state.__file__).parents[2])
    owner = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": include}
    )
    with owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"True\n"
        assert state.lock(state_dir) is None
        owner.kill()
    mine = state.lock(state_dir)
    assert mine is not None
    os.close(mine)
