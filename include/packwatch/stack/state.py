"""The state folder of a stack: its secrets, its remembered ports, and the record of what runs.

.packwatch/
  .gitignore     keeps everything here out of version control
  secrets.json   generated once; mode 0600
  ports.json     the ports of the last start, tried first by the next
  stack.json     the running stack: pids and ports
  lock           held by the supervisor while it lives
  postgres/ s3/ airflow/ logs/
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import secrets
import string
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packwatch.errors import UsageError

DEFAULT_NAME = ".packwatch"
PREFERRED_PORTS = {"airflow": 8080, "postgres": 5432, "s3": 5555}
"""What people type from habit; taken when free."""

PASSWORD_CHARS = 24
"""Letters and digits of a generated password: 142 bits."""


@dataclass(frozen=True)
class Secrets:
    """Everything secret of one stack. Passwords are letters and digits, so they fit into any URL unquoted."""

    postgres_superuser: str
    postgres_airflow: str
    postgres_packwatch: str
    postgres_bi_reader: str
    s3_access_key: str
    s3_secret_key: str
    airflow_admin: str
    fernet_key: str
    jwt_secret: str
    api_secret: str

    def postgres_passwords(self) -> dict[str, str]:
        """Return the password of every Postgres role."""
        return {
            "postgres": self.postgres_superuser,
            "airflow": self.postgres_airflow,
            "packwatch": self.postgres_packwatch,
            "bi_reader": self.postgres_bi_reader,
        }


@dataclass(frozen=True)
class Ports:
    """TCP ports on 127.0.0.1."""

    airflow: int
    postgres: int
    s3: int


@dataclass(frozen=True)
class Record:
    """What `stack.json` says about a stack that is up."""

    root: str
    supervisor_pid: int
    started_at: float
    ports: Ports
    pids: dict[str, int]


def check_is_state_dir(state_dir: Path) -> None:
    """Refuse a folder with somebody's files in it, because its mode is changed and `clean` deletes it.

    Raises:
        UsageError: The folder has a content and is no state folder.
    """
    known = state_dir.name == DEFAULT_NAME or (state_dir / "lock").exists()
    if not known and state_dir.exists() and any(state_dir.iterdir()):
        raise UsageError(f"{state_dir} is not empty and not a state folder of Packwatch; name another folder")


def prepare(state_dir: Path) -> None:
    """Create the state folder. Root leaves a way through for the Postgres user; nobody else can list it.

    Raises:
        UsageError: The folder is there and holds something else.
    """
    check_is_state_dir(state_dir)
    state_dir.mkdir(parents=True, exist_ok=True)
    state_dir.chmod(0o711 if os.geteuid() == 0 else 0o700)
    for name in ("airflow", "logs", "s3"):
        (state_dir / name).mkdir(mode=0o700, exist_ok=True)
    (state_dir / "lock").touch(mode=0o600)
    write_private(state_dir / ".gitignore", "*\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step by one that only its owner can read."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # created with mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; None when it is missing or not JSON."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def load_secrets(state_dir: Path) -> Secrets:
    """Return the secrets of a state folder, generating them the first time.

    Raises:
        UsageError: The file is there but unreadable; new secrets would lock the old data.
    """
    path = state_dir / "secrets.json"
    if not path.exists():
        write_private(path, json.dumps(asdict(_new_secrets()), indent=1))
    try:
        return Secrets(**read_json(path))
    except (OSError, TypeError) as error:
        raise UsageError(f"{path} cannot be used ({error}); restore it, or `make clean` to start over") from error


def _new_secrets() -> Secrets:
    def password() -> str:
        return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(PASSWORD_CHARS))

    return Secrets(
        postgres_superuser=password(),
        postgres_airflow=password(),
        postgres_packwatch=password(),
        postgres_bi_reader=password(),
        s3_access_key=password(),
        s3_secret_key=password(),
        airflow_admin=password(),
        fernet_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        jwt_secret=secrets.token_urlsafe(48),
        api_secret=secrets.token_urlsafe(48),
    )


def remembered_ports(state_dir: Path) -> dict[str, int]:
    """Return the ports of the last start, by service; empty before the first."""
    ports = read_json(state_dir / "ports.json")
    return ports if isinstance(ports, dict) else {}


def remember_ports(state_dir: Path, ports: Ports) -> None:
    """Keep the ports for the next start."""
    write_private(state_dir / "ports.json", json.dumps(asdict(ports)))


def write_record(state_dir: Path, record: Record) -> None:
    """Say that the stack is up."""
    write_private(state_dir / "stack.json", json.dumps(asdict(record), indent=1))


def read_record(state_dir: Path) -> Record | None:
    """Return what the state folder says is running; None when it says nothing."""
    content = read_json(state_dir / "stack.json")
    try:
        return Record(**{**content, "ports": Ports(**content["ports"])})
    except (TypeError, KeyError):
        return None


def remove_record(state_dir: Path) -> None:
    """Say that the stack is down."""
    with contextlib.suppress(FileNotFoundError):
        (state_dir / "stack.json").unlink()


def lock(state_dir: Path) -> int | None:
    """Take the lock of a state folder for the life of this process; None when another process holds it.

    Returns the open descriptor; the lock goes with it, also when the process is killed.
    """
    descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
