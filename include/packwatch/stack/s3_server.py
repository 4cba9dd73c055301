"""A durable S3 endpoint: moto speaks the protocol, every confirmed change is on disk before the client hears of it.

moto keeps objects in memory. Here a request that changes something is handled by moto, then the touched keys are
written through to files, and only then the response leaves. A kill at any moment therefore loses no confirmed change,
and the lake cannot disagree with a database that recorded it. Bodies are dropped from memory once they are on disk.

What is not stored (versions, ACLs, bucket policies and the like) is refused with 501 rather than forgotten later.
"""

from __future__ import annotations

import collections
import datetime
import errno
import hmac
import io
import logging
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import xmltodict
from moto.core.model_instances import model_data
from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
from moto.s3.models import FakeBucket, FakeKey, s3_backends
from werkzeug.serving import make_server
from werkzeug.wsgi import get_input_stream

from packwatch.errors import DataError
from packwatch.stack import objectstore
from packwatch.stack.objectstore import DamagedObjectError, StoredBody, StoredObject

ACCOUNT = "123456789012"
PARTITION = "aws"
REGION = "us-east-1"

BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""S3's own rule for bucket names; it also keeps them harmless as folder names."""

CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/")

KEY_QUERIES: dict[str, tuple[set[str], ...]] = {
    "PUT": (set(), {"uploadId", "partNumber"}, {"tagging"}),
    "POST": ({"uploads"}, {"uploadId"}),
    "DELETE": (set(), {"uploadId"}, {"tagging"}),
}
"""Query parameters of the changing requests on a key that are stored (or, for parts, need not be)."""

BUCKET_QUERIES: dict[str, tuple[set[str], ...]] = {"PUT": (set(),), "POST": ({"delete"},), "DELETE": (set(),)}
"""The same for requests on a bucket."""

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_log = logging.getLogger(__name__)


def serve(root: Path, port: int, access_key: str | None) -> None:
    """Restore all objects from `root`, then answer on 127.0.0.1 until the process ends.

    Args:
        root: Folder of the objects; one folder a bucket.
        port: TCP port.
        access_key: Requests that are not signed with this key id are refused; None lets every local process in.

    Raises:
        DataError: Files of the store are damaged; the message names each.
    """
    _stop_tracking_instances()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    count = restore(root)
    _log.warning("serving %d objects from %s on port %d", count, root, port)
    application = create_backend_app("s3")
    application.debug = False
    server = make_server(
        "127.0.0.1", port, durable(application, root, access_key), threaded=True, request_handler=_QuietRequestHandler
    )
    server.serve_forever()


class _QuietRequestHandler(MotoRequestHandler):
    """Handle requests without a log line for each and without waiting for acknowledgements between small packets."""

    disable_nagle_algorithm = True

    def handle_expect_100(self) -> bool:
        """Leave `100 Continue` to werkzeug: sent twice, it costs the AWS clients some 5 ms a request."""
        return True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing."""


def _stop_tracking_instances() -> None:
    """Keep moto from holding every object ever stored: it lists all instances of its models for a dashboard."""
    for model in model_data["s3"].values():
        model.instances_tracked = collections.deque(maxlen=0)  # type: ignore[attr-defined]


def restore(root: Path) -> int:
    """Load every object of the store into moto and return their number.

    Raises:
        DataError: Naming every damaged file.
    """
    damaged = []
    count = 0
    backend = s3_backends[ACCOUNT][PARTITION]
    for bucket in objectstore.buckets(root):
        if bucket not in backend.buckets:
            backend.create_bucket(bucket, REGION)
        for path in objectstore.object_files(root, bucket):
            try:
                description, body = objectstore.read_object(root, path)
            except DamagedObjectError as error:
                damaged.append(f"{path}: {error}")
                continue
            _put(backend.buckets[bucket], description, body)
            count += 1
    if damaged:
        raise DataError(
            "damaged objects in the embedded S3:\n  "
            + "\n  ".join(sorted(damaged))
            + "\nRestore these files from a backup, or move them away to go on without the objects."
        )
    return count


def _put(bucket: FakeBucket, description: StoredObject, body: StoredBody) -> None:
    """Put a stored object into moto as if it had just been uploaded, with its old times and tags."""
    key = FakeKey(
        name=description.key,
        value=b"",
        account_id=ACCOUNT,
        region_name=bucket.region_name,
        storage=description.storage_class,
        etag=description.etag,
        version_id="null",
        bucket_name=bucket.name,
        checksum_value=description.checksum.get("value"),
        checksum_type=description.checksum.get("type"),
        checksum_parts=description.checksum.get("parts"),
    )
    key.checksum_algorithm = description.checksum.get("algorithm")
    key.last_modified = datetime.datetime.fromisoformat(description.last_modified)
    key.set_metadata(dict(description.metadata), replace=True)
    _use_stored_body(key, body)
    bucket.keys.setlist(description.key, [key])
    tagger = s3_backends[ACCOUNT][PARTITION].tagger
    tagger.delete_all_tags_for_resource(key.arn)
    if description.tags:
        tagger.tag_resource(key.arn, tagger.convert_dict_to_tags_input(description.tags))


def _use_stored_body(key: FakeKey, body: StoredBody) -> None:
    key._value_buffer.close()
    key._value_buffer = body  # type: ignore[assignment]
    key.contentsize = body.size
    if key.multipart is not None:
        # The parts' bytes are in the object now; the upload itself stays, completing it twice is allowed.
        key.multipart.dispose()
        key.multipart.parts.clear()


def durable(application: WSGIApplication, root: Path, access_key: str | None) -> WSGIApplication:
    """Wrap moto's S3 application so that a change is on disk before its response is sent."""
    lock = threading.Lock()

    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if access_key is not None and not _is_signed_with(environ, access_key):
            return _error(start_response, "403 Forbidden", "InvalidAccessKeyId", "Not signed with this stack's key.")
        bucket, _, key = _path(environ).partition("/")
        method = environ["REQUEST_METHOD"]
        if method not in ("GET", "HEAD", "OPTIONS"):
            problem = _refusal(method, bucket, key, environ.get("QUERY_STRING", ""))
            if problem is not None:
                return _error(start_response, *problem)
            # Read the body outside the lock: a slow client must not hold up the others.
            body = get_input_stream(environ).read()
            environ["wsgi.input"] = io.BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
        else:
            body = b""
        answer: list[Any] = []
        with lock:
            chunks = list(application(environ, lambda *start: answer.extend(start[:2])))
            if method not in ("GET", "HEAD", "OPTIONS") and answer[0].startswith("2"):
                try:
                    _write_through(root, method, bucket, key, environ.get("QUERY_STRING", ""), body)
                except OSError as error:
                    _log.exception("%s %s/%s was not stored", method, bucket, key)
                    return _error(start_response, "500 Internal Server Error", "InternalError", str(error.strerror))
        start_response(answer[0], answer[1])
        return chunks

    return respond


def _path(environ: dict[str, Any]) -> str:
    """Return `bucket/key` of the request; WSGI hands the UTF-8 bytes over as Latin-1."""
    return environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace").removeprefix("/")


def _is_signed_with(environ: dict[str, Any], access_key: str) -> bool:
    header = CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
    query = urllib.parse.parse_qs(environ.get("QUERY_STRING", ""))
    presigned = query.get("X-Amz-Credential", query.get("AWSAccessKeyId", [""]))[0].partition("/")[0]
    return hmac.compare_digest((header.group(1) if header else presigned).encode(), access_key.encode())


def _query_names(query: str) -> set[str]:
    names = {name for name, _ in urllib.parse.parse_qsl(query, keep_blank_values=True)}
    return {name for name in names if not name.lower().startswith("x-")}  # x-id, X-Amz-Signature, ...


def _refusal(method: str, bucket: str, key: str, query: str) -> tuple[str, str, str] | None:
    """Return status, code and message for a changing request that could not be stored."""
    if not BUCKET_NAME.fullmatch(bucket) or bucket == "moto-api":
        return "400 Bad Request", "InvalidBucketName", f"The bucket name {bucket!r} is not valid."
    allowed = (KEY_QUERIES if key else BUCKET_QUERIES).get(method, ())
    if _query_names(query) not in allowed:
        return "501 Not Implemented", "NotImplemented", f"The embedded S3 does not store {method} ?{query}."
    return None


def _error(start_response: Callable[..., Any], status: str, code: str, message: str) -> list[bytes]:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>".encode()
    headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body))), ("Connection", "close")]
    start_response(status, headers)
    return [body]


def _write_through(root: Path, method: str, bucket: str, key: str, query: str, body: bytes) -> None:
    """Store what a successful request changed."""
    names = _query_names(query)
    if not key:
        if method == "PUT":
            objectstore.create_bucket(root, bucket)
        elif method == "DELETE":
            objectstore.delete_bucket(root, bucket)
        else:
            objects = xmltodict.parse(body, strip_whitespace=False, force_list=("Object",))["Delete"]["Object"]
            for item in objects:
                _write_key_through(root, bucket, item["Key"])
    elif not (names == {"uploads"} or "partNumber" in names or (method == "DELETE" and "uploadId" in names)):
        _write_key_through(root, bucket, key)
        if method != "DELETE" and key not in s3_backends[ACCOUNT][PARTITION].get_bucket(bucket).keys:
            raise OSError(errno.EIO, f"moto filed key {key!r} under another name")


def _write_key_through(root: Path, bucket_name: str, name: str) -> None:
    """Make the file of one key say what moto says; if that fails, make moto say again what the file says."""
    backend = s3_backends[ACCOUNT][PARTITION]
    bucket = backend.get_bucket(bucket_name)
    key = bucket.keys.get(name)
    try:
        if key is None:
            objectstore.delete_object(root, bucket_name, name)
            return
        description = StoredObject(
            bucket=bucket_name,
            key=name,
            size=key.contentsize,
            crc32=0,
            etag=key.etag.strip('"'),
            last_modified=key.last_modified.isoformat(),
            storage_class=key.storage_class or "STANDARD",
            metadata=dict(key.metadata),
            tags=backend.tagger.get_tag_dict_for_resource(key.arn),
            checksum={
                "algorithm": key.checksum_algorithm,
                "value": key.checksum_value,
                "type": key.checksum_type,
                "parts": key.checksum_parts,
            },
        )
        _use_stored_body(key, objectstore.write_object(root, description, key.value))
    except OSError:
        _read_back(root, bucket, name)
        raise


def _read_back(root: Path, bucket: FakeBucket, name: str) -> None:
    path = objectstore.object_path(root, bucket.name, name)
    if path.exists():
        _put(bucket, *objectstore.read_object(root, path))
    elif name in bucket.keys:
        bucket.keys.pop(name)
