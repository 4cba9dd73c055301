"""The lake: objects in one S3 bucket, by key."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import botocore.exceptions
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from packwatch.errors import ServiceUnreachable

# S3 answers in tens of milliseconds; a few requests in flight hide that without holding many objects in memory.
_PARALLEL_READS = 8
_UNREACHABLE = (botocore.exceptions.HTTPClientError, botocore.exceptions.NoCredentialsError)


@dataclass(frozen=True)
class ObjectInfo:
    """What a listing says of an object."""

    key: str
    etag: str
    size_bytes: int


@dataclass(frozen=True)
class Lake:
    """A bucket and the boto3 client that reaches it."""

    client: Any
    bucket: str

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield every object below `prefix`, page by page.

        Raises:
            ServiceUnreachable: S3 does not answer, or the bucket is not there.
        """
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        try:
            for page in pages:
                for item in page.get("Contents", ()):
                    yield ObjectInfo(item["Key"], item["ETag"].strip('"'), item["Size"])
        except (*_UNREACHABLE, self.client.exceptions.NoSuchBucket) as error:
            raise self._unreachable(error) from error

    def read(self, key: str) -> bytes:
        """Return the content of the object `key`."""
        try:
            return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except _UNREACHABLE as error:
            raise self._unreachable(error) from error

    def read_many(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield (key, content) in the order of `keys`, reading a few ahead."""
        waiting = list(keys)
        with ThreadPoolExecutor(_PARALLEL_READS) as pool:
            for start in range(0, len(waiting), _PARALLEL_READS):
                group = waiting[start : start + _PARALLEL_READS]
                yield from zip(group, pool.map(self.read, group), strict=True)

    def write(self, key: str, content: bytes, content_type: str = "application/octet-stream") -> None:
        """Store `content` under `key`, replacing what was there."""
        try:
            self.client.put_object(Bucket=self.bucket, Key=key, Body=content, ContentType=content_type)
        except _UNREACHABLE as error:
            raise self._unreachable(error) from error

    def write_table(self, key: str, table: pa.Table | pd.DataFrame) -> None:
        """Store `table` as Parquet (zstd)."""
        if isinstance(table, pd.DataFrame):
            table = pa.Table.from_pandas(table, preserve_index=False)
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        self.write(key, buffer.getvalue())

    def read_table(self, key: str) -> pa.Table:
        """Return the Parquet file `key`."""
        return pq.read_table(pa.BufferReader(self.read(key)))

    def _unreachable(self, error: Exception) -> ServiceUnreachable:
        return ServiceUnreachable(
            f"S3 at {self.client.meta.endpoint_url}, bucket {self.bucket}, did not answer ({error}). "
            "Check that it runs, that the bucket exists and that the connection packwatch_s3 has its address and keys."
        )


def slice_prefix(zone: str, log_date: Any, shard: int) -> str:
    """Return where the files of one slice lie, for example clean/log_date=2026-11-22/shard=03/."""
    return f"{zone}/log_date={log_date}/shard={shard:02d}/"
