"""The embedded Postgres keeps what was committed through kills, and lets in only who knows a password."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from packwatch.errors import ServiceUnreachable, UsageError
from packwatch.stack import postgres, state
from packwatch.stack.processes import MARKER, choose_port, members, spawn, stack_id, wait_gone, wait_until
from packwatch.stack.state import Secrets

Server = tuple[subprocess.Popen[bytes], int]


@pytest.fixture(scope="module")
def new_cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State folder of a stopped server with all roles and databases: creating one takes seconds, copying does not."""
    folder = tmp_path_factory.mktemp("postgres")
    state.prepare(folder)
    environment = {**os.environ, MARKER: stack_id(folder)}
    postgres.stop(start(folder, choose_port([]), environment, state.load_secrets(folder)))
    return folder


@pytest.fixture
def stack_secrets(state_dir: Path, new_cluster: Path) -> Secrets:
    """The secrets of `state_dir`, which holds a stopped server now."""
    for name in ("secrets.json", "postgres"):
        subprocess.run(["cp", "-a", new_cluster / name, state_dir], check=True)  # keeps the owner
    return state.load_secrets(state_dir)


@pytest.fixture
def server(state_dir: Path, environment: dict[str, str], stack_secrets: Secrets) -> Iterator[Server]:
    """A running server and its port."""
    port = choose_port([])
    process = start(state_dir, port, environment, stack_secrets)
    yield process, port
    postgres.stop(process)


def start(state_dir: Path, port: int, environment: dict[str, str], stack_secrets: Secrets) -> subprocess.Popen[bytes]:
    return postgres.start(
        state_dir,
        port,
        stack_secrets.postgres_passwords(),
        environment=environment,
        log=state_dir / "logs" / "postgres.log",
    )


def test_a_killed_server_comes_back_with_its_data(
    server: Server, state_dir: Path, environment: dict[str, str], stack_secrets: Secrets
) -> None:
    process, port = server
    address = postgres.dsn(port, stack_secrets.postgres_packwatch)
    with psycopg.connect(address) as connection:
        connection.execute("CREATE TABLE kept AS SELECT * FROM generate_series(1, 1000) AS row")
    process.kill()
    process.wait()
    # The backends outlive their server for a moment, and postmaster.pid stays behind: both are in the way.
    assert (postgres.data_dir(state_dir) / "postmaster.pid").exists()
    again = start(state_dir, port, environment, stack_secrets)
    try:
        with psycopg.connect(address) as connection:
            assert connection.execute("SELECT count(*), sum(row) FROM kept").fetchone() == (1000, 500_500)
    finally:
        postgres.stop(again)
    assert again.returncode == 0
    assert members(state_dir, data_dir=postgres.data_dir(state_dir)) == []


def test_a_pid_file_that_names_a_living_stranger_is_no_obstacle(
    state_dir: Path, environment: dict[str, str], stack_secrets: Secrets
) -> None:
    port = choose_port([])
    process = start(state_dir, port, environment, stack_secrets)
    pid_file = postgres.data_dir(state_dir) / "postmaster.pid"
    content = pid_file.read_text()
    postgres.stop(process)
    pid_file.write_text(content.replace(str(process.pid), str(os.getpid()), 1))
    postgres.stop(start(state_dir, port, environment, stack_secrets))
    assert psutil.pid_exists(os.getpid())


def test_an_orphaned_server_is_stopped_first(
    server: Server, state_dir: Path, environment: dict[str, str], stack_secrets: Secrets
) -> None:
    orphan, _ = server
    second = start(state_dir, choose_port([]), environment, stack_secrets)
    assert orphan.wait(5) == 0
    postgres.stop(second)


def test_every_role_has_its_password_and_nobody_else_gets_in(server: Server, stack_secrets: Secrets) -> None:
    _, port = server
    for role, password in stack_secrets.postgres_passwords().items():
        database = "airflow" if role == "airflow" else "packwatch"
        with psycopg.connect(postgres.dsn(port, password, role=role, database=database)) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (role,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.dsn(port, "wrong"))
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(postgres.dsn(port, stack_secrets.postgres_bi_reader, role="bi_reader", database="airflow"))


def test_commits_are_durable_and_only_this_machine_is_served(server: Server, stack_secrets: Secrets) -> None:
    _, port = server
    with psycopg.connect(postgres.dsn(port, stack_secrets.postgres_superuser, role="postgres")) as connection:
        rows = connection.execute(
            "SELECT name, setting FROM pg_settings WHERE name IN "
            "('fsync', 'synchronous_commit', 'full_page_writes', 'listen_addresses', 'unix_socket_directories')"
        ).fetchall()
    assert dict(rows) == {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
    }


def test_the_owner_of_the_database_may_define_roles(server: Server, stack_secrets: Secrets) -> None:
    _, port = server
    with psycopg.connect(postgres.dsn(port, stack_secrets.postgres_packwatch), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA bi")
        connection.execute("CREATE VIEW bi.one AS SELECT 1 AS value")
        connection.execute("GRANT USAGE ON SCHEMA bi TO bi_reader")
        connection.execute("GRANT SELECT ON bi.one TO bi_reader")
        connection.execute("ALTER ROLE bi_reader SET search_path = bi")
        connection.execute("CREATE ROLE dealer NOLOGIN")
    address = postgres.dsn(port, stack_secrets.postgres_bi_reader, role="bi_reader")
    with psycopg.connect(address) as connection:
        assert connection.execute("SELECT value FROM one").fetchone() == (1,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE public.mine (value int)")


def test_a_creation_that_was_killed_half_way_is_done_again(
    state_dir: Path, environment: dict[str, str], stack_secrets: Secrets
) -> None:
    shutil.rmtree(postgres.data_dir(state_dir))
    half = postgres.data_dir(state_dir).with_name("new")
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    postgres.stop(start(state_dir, choose_port([]), environment, stack_secrets))
    assert not half.exists()
    assert (postgres.data_dir(state_dir) / "PG_VERSION").read_text() == "18\n"


def test_a_foreign_folder_is_not_overwritten(
    state_dir: Path, environment: dict[str, str], stack_secrets: Secrets
) -> None:
    data = postgres.data_dir(state_dir)
    shutil.rmtree(data)
    data.mkdir()
    (data / "photo.jpg").write_text("precious")
    with pytest.raises(UsageError, match="not empty"):
        start(state_dir, choose_port([]), environment, stack_secrets)
    assert (data / "photo.jpg").read_text() == "precious"


def test_a_changed_password_is_explained(state_dir: Path, environment: dict[str, str], stack_secrets: Secrets) -> None:
    passwords = {**stack_secrets.postgres_passwords(), "postgres": "other"}
    with pytest.raises(ServiceUnreachable, match="make clean"):
        postgres.start(
            state_dir, choose_port([]), passwords, environment=environment, log=state_dir / "logs" / "postgres.log"
        )


def test_a_port_in_use_is_told_with_the_log(
    state_dir: Path, environment: dict[str, str], stack_secrets: Secrets
) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        with pytest.raises(ServiceUnreachable, match=r"(?s)Postgres ended.*postgres\.log.*Address already in use"):
            start(state_dir, busy.getsockname()[1], environment, stack_secrets)


def test_only_the_server_can_look_into_its_data(server: Server, state_dir: Path) -> None:
    data = postgres.data_dir(state_dir)
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert not (data.parent / "password").exists()
    assert stat.S_IMODE(state_dir.stat().st_mode) & (stat.S_IROTH | stat.S_IWOTH) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to make way for another user")
def test_root_opens_no_more_than_the_way(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    opened = tmp_path / "open"
    opened.mkdir()
    opened.chmod(0o755)
    postgres._let_pass(closed, user=12345)
    postgres._let_pass(opened, user=12345)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o701
    assert stat.S_IMODE(opened.stat().st_mode) == 0o755


def test_a_stopped_server_leaves_no_backend(server: Server, state_dir: Path, stack_secrets: Secrets) -> None:
    process, port = server
    with psycopg.connect(postgres.dsn(port, stack_secrets.postgres_packwatch)) as connection:
        connection.execute("SELECT 1")
        running = members(state_dir, data_dir=postgres.data_dir(state_dir))
        assert any("packwatch packwatch" in " ".join(backend.cmdline()) for backend in running)
        postgres.stop(process)
        assert wait_gone(running, 1) == []
        connection.close()


def test_a_server_that_ignores_the_fast_stop_is_killed(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "FAST_STOP_S", 0.3)
    stubborn = (
        "import signal, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGQUIT, signal.SIG_IGN)\n"
        "print('up', flush=True); time.sleep(60)"
    )
    log = tmp_path / "log"
    process = spawn([sys.executable, "-c", stubborn], environment=environment, log=log, cwd=tmp_path)
    wait_until(lambda: log.read_text() == "up\n", what="it", timeout_s=20, watched={})
    postgres.stop(process)
    assert process.returncode == -signal.SIGKILL
