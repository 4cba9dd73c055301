"""The embedded S3 confirms nothing that a kill could take back, and speaks with boto3 and Arrow alike."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pyarrow import fs

from packwatch.errors import ServiceUnreachable
from packwatch.stack import objectstore, s3
from packwatch.stack.processes import MARKER, choose_port, is_free, stack_id, wait_until

ACCESS_KEY = "testkey"
BUCKET = "packwatch"
INCLUDE = Path(s3.__file__).parents[2]
PART_BYTES = 5 * 1024 * 1024
"""S3's smallest part of a multipart upload but the last."""

Start = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def port() -> int:
    """A free port; the server keeps it through restarts."""
    return choose_port([])


@pytest.fixture
def start(state_dir: Path, environment: dict[str, str], port: int) -> Iterator[Start]:
    """Starts the server on the objects that are there, and returns its process."""
    started: list[subprocess.Popen[bytes]] = []
    log = state_dir / "logs" / "s3.log"

    def launch() -> subprocess.Popen[bytes]:
        process = s3.launch(state_dir, port, ACCESS_KEY, environment=environment, log=log)
        started.append(process)
        s3.wait_until_ready(process, port, ACCESS_KEY, bucket=BUCKET, log=log)
        return process

    yield launch
    for process in started:
        s3.stop(process)


@pytest.fixture
def client(port: int) -> Any:
    """A client that does not hide errors behind retries."""
    return client_of(port)


@dataclass(frozen=True)
class Serving:
    """A server that stays up for all tests of this module; each uses keys of its own."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    client: Any


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A running server."""
    folder = tmp_path_factory.mktemp("s3")
    environment = {**os.environ, "PYTHONPATH": str(INCLUDE), MARKER: stack_id(folder)}
    port, log = choose_port([]), folder / "s3.log"
    process = s3.launch(folder, port, ACCESS_KEY, environment=environment, log=log)
    try:
        s3.wait_until_ready(process, port, ACCESS_KEY, bucket=BUCKET, log=log)
        yield Serving(process, port, s3.data_dir(folder), client_of(port))
    finally:
        s3.stop(process)


def client_of(port: int, access_key: str = ACCESS_KEY) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key="unused",
        config=Config(retries={"max_attempts": 1}),
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def keys(client: Any, **parameters: Any) -> list[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, **parameters)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def test_everything_confirmed_is_there_after_a_kill(start: Start, client: Any) -> None:
    process = start()
    client.put_object(
        Bucket=BUCKET, Key="plain", Body=b"plain", ContentType="text/csv", Metadata={"vehicle": "42"}, Tagging="a=b"
    )
    client.put_object(Bucket=BUCKET, Key="overwritten", Body=b"old")
    client.put_object(Bucket=BUCKET, Key="overwritten", Body=b"newer")
    client.put_object(Bucket=BUCKET, Key="deleted", Body=b"x")
    client.delete_object(Bucket=BUCKET, Key="deleted")
    for number in range(3):
        client.put_object(Bucket=BUCKET, Key=f"many/{number}", Body=b"x")
    client.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "many/0"}, {"Key": "many/2"}]})
    client.copy_object(Bucket=BUCKET, Key="copied", CopySource={"Bucket": BUCKET, "Key": "plain"})
    client.create_bucket(Bucket="second")
    client.create_bucket(Bucket="third")
    client.delete_bucket(Bucket="third")
    upload = client.create_multipart_upload(Bucket=BUCKET, Key="unfinished")["UploadId"]
    client.upload_part(Bucket=BUCKET, Key="unfinished", UploadId=upload, PartNumber=1, Body=b"half")
    before = {key: client.head_object(Bucket=BUCKET, Key=key) for key in keys(client)}
    kill(process)
    start()

    assert keys(client) == ["copied", "many/1", "overwritten", "plain"]
    assert client.get_object(Bucket=BUCKET, Key="overwritten")["Body"].read() == b"newer"
    for key, head in before.items():
        after = client.head_object(Bucket=BUCKET, Key=key)
        for name in ("ETag", "LastModified", "ContentLength", "ContentType", "Metadata"):
            assert after[name] == head[name], (key, name)
    assert before["plain"]["ETag"] == f'"{hashlib.md5(b"plain").hexdigest()}"'
    assert before["plain"]["ContentType"] == "text/csv"
    assert before["plain"]["Metadata"] == {"vehicle": "42"}
    assert client.get_object_tagging(Bucket=BUCKET, Key="plain")["TagSet"] == [{"Key": "a", "Value": "b"}]
    assert [bucket["Name"] for bucket in client.list_buckets()["Buckets"]] == [BUCKET, "second"]


def test_a_kill_amid_writes_takes_back_nothing_confirmed(start: Start, client: Any) -> None:
    process = start()
    confirmed: dict[str, str] = {}

    def write() -> None:
        number = 0
        with contextlib.suppress(BotoCoreError, ClientError):  # the kill cuts one request off
            while True:
                key = f"k{number % 7}"  # overwrites as well as creates
                body = f"{number}".encode() * 20_000
                confirmed[key] = client.put_object(Bucket=BUCKET, Key=key, Body=body)["ETag"]
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: len(confirmed) == 7, what="the writer", timeout_s=30, watched={})
    kill(process)
    writer.join(30)
    start()
    after = {key: client.get_object(Bucket=BUCKET, Key=key) for key in keys(client)}
    differing = [key for key, etag in confirmed.items() if after[key]["ETag"] != etag]
    # The write that was cut off may be there or not, but whole.
    assert len(differing) <= 1
    for key, found in after.items():
        body = found["Body"].read()
        assert found["ETag"] == f'"{hashlib.md5(body).hexdigest()}"', key


def test_a_multipart_upload_keeps_its_etag_through_a_kill(start: Start, client: Any) -> None:
    process = start()
    parts = [b"a" * PART_BYTES, b"b" * PART_BYTES, b"c"]
    upload = client.create_multipart_upload(Bucket=BUCKET, Key="log", Metadata={"vehicle": "42"})["UploadId"]
    place = {"Bucket": BUCKET, "Key": "log", "UploadId": upload}
    tags = [client.upload_part(**place, PartNumber=number, Body=part) for number, part in enumerate(parts, 1)]
    assert keys(client) == []
    done = {"Parts": [{"PartNumber": number, "ETag": tag["ETag"]} for number, tag in enumerate(tags, 1)]}
    etag = client.complete_multipart_upload(**place, MultipartUpload=done)["ETag"]
    # A multipart etag is the MD5 of the parts' MD5s, a dash, and their number.
    digest = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()
    assert etag == f'"{digest}-3"'
    kill(process)
    start()
    found = client.get_object(Bucket=BUCKET, Key="log")
    assert (found["ETag"], found["Metadata"]) == (etag, {"vehicle": "42"})
    assert found["Body"].read() == b"".join(parts)


def test_hostile_keys_are_kept_apart_and_inside(start: Start, client: Any, state_dir: Path) -> None:
    hostile = [
        "../x",
        "a/../b",
        "..",
        "a//b",
        "/lead",
        "trail/",
        "ü/漢字 🚗",
        "A",
        "a",
        "é",
        "e\u0301",
        "k" * 300,
        "a%2Fb",
    ]
    hostile += ["x=1/q?y&z#h", "a/b"]
    process = start()
    for key in hostile:
        client.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
    kill(process)
    start()
    assert keys(client) == sorted(hostile)
    for key in hostile:
        assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == key.encode()
    folder = s3.data_dir(state_dir)
    assert {path.parent for path in folder.rglob("*") if path.is_file()} == {folder / BUCKET}
    for key in hostile:
        client.delete_object(Bucket=BUCKET, Key=key)
    assert list((folder / BUCKET).iterdir()) == []


def test_long_listings_are_paged(start: Start, client: Any, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # 1101 times, for a test that cuts no power
    folder = s3.data_dir(state_dir)
    objectstore.create_bucket(folder, BUCKET)
    names = [f"raw/{number:05d}" for number in range(1101)]
    for name in names:
        description = objectstore.StoredObject(BUCKET, name, 0, 0, "0" * 32, "2026-11-22T02:00:00")
        objectstore.write_object(folder, description, b"x")
    start()
    first = client.list_objects_v2(Bucket=BUCKET, Prefix="raw/")
    assert (first["KeyCount"], first["IsTruncated"]) == (1000, True)
    assert keys(client, Prefix="raw/") == names
    assert keys(client, Prefix="raw/", StartAfter="raw/01098") == ["raw/01099", "raw/01100"]


def test_arrow_reads_what_arrow_writes(serving: Serving) -> None:
    table = pa.table({"soc_percent": [20.0, 80.0, None], "vin": ["A", "B", "C"]})
    filesystem = fs.S3FileSystem(
        access_key=ACCESS_KEY,
        secret_key="unused",
        endpoint_override=f"127.0.0.1:{serving.port}",
        scheme="http",
        region="us-east-1",
    )
    pq.write_table(table, f"{BUCKET}/clean/log_date=2026-11-22/a.parquet", filesystem=filesystem)
    assert pq.read_table(f"{BUCKET}/clean/log_date=2026-11-22/a.parquet", filesystem=filesystem).equals(table)
    listed = filesystem.get_file_info(fs.FileSelector(f"{BUCKET}/clean", recursive=True))
    assert [info.path for info in listed if info.is_file] == [f"{BUCKET}/clean/log_date=2026-11-22/a.parquet"]


def test_damaged_files_are_named_and_nothing_is_served(start: Start, client: Any, state_dir: Path, port: int) -> None:
    process = start()
    for key in ("good", "raw/cut.csv", "raw/zero.csv"):
        client.put_object(Bucket=BUCKET, Key=key, Body=b"0123456789")
    kill(process)
    folder = s3.data_dir(state_dir)
    cut, zero = (objectstore.object_path(folder, BUCKET, f"raw/{name}.csv") for name in ("cut", "zero"))
    cut.write_bytes(cut.read_bytes()[:-1])
    zero.write_bytes(b"")
    with pytest.raises(ServiceUnreachable) as error:
        start()
    for expected in (f"{cut}: body has 9 bytes instead of 10", f"{zero}: first line", "move them away"):
        assert expected in str(error.value)
    assert is_free(port)
    assert cut.exists()
    for path in (cut, zero):
        path.unlink()
    start()
    assert keys(client) == ["good"]


def test_a_write_that_fails_is_not_confirmed_and_changes_nothing(serving: Serving) -> None:
    client = serving.client
    client.put_object(Bucket=BUCKET, Key="failing/k", Body=b"old")
    # A folder where the temporary file should go makes the write fail, as a full disk does.
    for key in ("failing/k", "failing/other"):
        path = objectstore.object_path(serving.folder, BUCKET, key)
        path.with_name(path.name + objectstore.TEMPORARY_SUFFIX).mkdir()
        with pytest.raises(ClientError, match="InternalError"):
            client.put_object(Bucket=BUCKET, Key=key, Body=b"new")
    assert keys(client, Prefix="failing/") == ["failing/k"]
    assert client.get_object(Bucket=BUCKET, Key="failing/k")["Body"].read() == b"old"


@pytest.mark.parametrize("access_key", ["other", "testkeyx"])
def test_another_key_is_turned_away(serving: Serving, access_key: str) -> None:
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        client_of(serving.port, access_key).list_buckets()


def test_a_request_without_a_key_is_turned_away(serving: Serving) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"http://127.0.0.1:{serving.port}/{BUCKET}")


def test_what_would_be_forgotten_is_refused(serving: Serving) -> None:
    client = serving.client
    client.put_object(Bucket=BUCKET, Key="k", Body=b"x")
    refused = [
        lambda: client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"}),
        lambda: client.put_object_acl(Bucket=BUCKET, Key="k", ACL="public-read"),
        lambda: client.put_bucket_policy(Bucket=BUCKET, Policy="{}"),
    ]
    for request in refused:
        with pytest.raises(ClientError, match="NotImplemented"):
            request()
    for name in ("UPPER", "moto-api"):
        with pytest.raises(ClientError, match="InvalidBucketName"):
            client.create_bucket(Bucket=name)


def test_objects_do_not_stay_in_memory(serving: Serving) -> None:
    process = psutil.Process(serving.process.pid)
    body = b"x" * 1_000_000
    for number in range(5):
        serving.client.put_object(Bucket=BUCKET, Key=f"warm/{number}", Body=body)
    before = process.memory_info().rss
    for number in range(60):
        serving.client.put_object(Bucket=BUCKET, Key=f"memory/{number % 30}", Body=body)
    # 60 MB were written, half of them over the other half.
    assert process.memory_info().rss - before < 20_000_000
    assert process.num_fds() < 30


def test_two_servers_do_not_see_each_other(start: Start, client: Any, serving: Serving) -> None:
    start()
    client.put_object(Bucket=BUCKET, Key="mine", Body=b"1")
    assert keys(client) == ["mine"]
    assert keys(serving.client, Prefix="mine") == []


def test_a_port_in_use_is_told(serving: Serving, state_dir: Path, environment: dict[str, str]) -> None:
    log = state_dir / "logs" / "second.log"
    process = s3.launch(state_dir, serving.port, "otherkey", environment=environment, log=log)
    with pytest.raises(ServiceUnreachable, match=r"(?s)S3 ended with exit code 1.*second\.log.*in use"):
        s3.wait_until_ready(process, serving.port, "otherkey", bucket=BUCKET, log=log)
