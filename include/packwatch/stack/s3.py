"""The embedded S3: start it as a process of its own and ask whether it is up.

`python -m packwatch.stack.s3 --dir DIR --port PORT` serves the objects in DIR on 127.0.0.1. The access key that
requests must be signed with is read from the environment, so that no list of processes shows it.
"""

from __future__ import annotations

import argparse
import http.client
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from packwatch.errors import PackwatchError, ServiceUnreachable
from packwatch.stack.processes import Check, nothing_to_check, spawn, wait_until

ACCESS_KEY_VARIABLE = "PACKWATCH_S3_ACCESS_KEY"

START_TIMEOUT_S = 300.0
"""Longest start, in seconds: every object is read and verified, some 500 MB/s."""

REQUEST_TIMEOUT_S = 5.0

MOTO_SETTINGS = {
    "MOTO_ACCOUNT_ID": "123456789012",  # one account whatever the key looks like
    "MOTO_DISABLE_GLOBAL_CORS": "true",  # no web page may read the lake through the user's browser
    "MOTO_S3_DEFAULT_MAX_KEYS": "1000",
    "S3_IGNORE_SUBDOMAIN_BUCKETNAME": "true",
}
"""moto reads these when it is imported."""


def data_dir(state_dir: Path) -> Path:
    """Return the folder of the objects that belong to a state folder."""
    return state_dir.resolve() / "s3"


def launch(
    state_dir: Path, port: int, access_key: str, *, environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Start the server process; it answers some time later.

    Args:
        state_dir: State folder; the objects lie in `s3` below it.
        port: Free TCP port on 127.0.0.1.
        access_key: Key id that every request must be signed with.
        environment: Environment of the server, with the stack's marker and a PYTHONPATH that finds this package.
        log: Log file, appended to.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    return spawn(
        [sys.executable, "-m", "packwatch.stack.s3", "--dir", data_dir(state_dir), "--port", str(port)],
        environment={**environment, ACCESS_KEY_VARIABLE: access_key},
        log=log,
        cwd=state_dir,
    )


def wait_until_ready(
    process: subprocess.Popen[bytes],
    port: int,
    access_key: str,
    *,
    bucket: str,
    log: Path,
    check: Check = nothing_to_check,
) -> None:
    """Wait until the server answers, and create the bucket when it is missing.

    Raises:
        ServiceUnreachable: The server did not come up; the message quotes its log.
    """
    # That it turns away other keys tells it from another S3 server that was faster with the port.
    wait_until(
        lambda: _status("GET", "/", port, access_key) == 200 and _status("GET", "/", port, f"not{access_key}") == 403,
        what="S3",
        timeout_s=START_TIMEOUT_S,
        watched={"S3": (process, log)},
        check=check,
    )
    if _status("HEAD", f"/{bucket}", port, access_key) == 404:
        status = _status("PUT", f"/{bucket}", port, access_key)
        if status != 200:
            raise ServiceUnreachable(f"S3 on port {port}: bucket {bucket!r} cannot be created (HTTP {status})")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the server; what it confirmed is on disk, so it need not be asked twice."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(REQUEST_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _status(method: str, path: str, port: int, access_key: str) -> int | None:
    """Return the HTTP status of a request without body; None when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_TIMEOUT_S)
    authorization = f"AWS4-HMAC-SHA256 Credential={access_key}/20000101/us-east-1/s3/aws4_request"
    try:
        connection.request(method, path, headers={"Authorization": authorization})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def main(arguments: list[str] | None = None) -> int:
    """Serve until terminated; return 1 when the store is damaged."""
    parser = argparse.ArgumentParser(prog="python -m packwatch.stack.s3", description="A durable S3 on 127.0.0.1.")
    parser.add_argument("--dir", type=Path, required=True, help="folder of the objects, created when missing")
    parser.add_argument("--port", type=int, required=True, help="TCP port")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, _exit_on_signal)
    os.environ.update(MOTO_SETTINGS)
    from packwatch.stack.s3_server import serve

    try:
        serve(options.dir.resolve(), options.port, os.environ.get(ACCESS_KEY_VARIABLE))
    except PackwatchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
