"""Pack canonical rows as the uploads of a fleet come: Parquet, CSV or JSON Lines, compressed or not."""

from __future__ import annotations

import gzip

import pyarrow as pa

from packwatch.ingest.formats import write_log

# The canonical writer packs as tightly as gzip can; a demo is written in seconds and needs a tenth of that effort.
GZIP_LEVEL = 5
ZSTD_LEVEL = 3


def encode(table: pa.Table, file_format: str) -> bytes:
    """Return canonical rows in a format such as parquet, csv, csv.gz, jsonl.gz or jsonl.zst, always the same bytes."""
    text, _, compression = file_format.partition(".")
    return compress(write_log(table, f"log.{text}"), compression)


def compress(data: bytes, compression: str) -> bytes:
    """Compress with `gz` or `zst`, not at all for an empty name. The gzip header holds no time."""
    if compression == "gz":
        return gzip.compress(data, GZIP_LEVEL, mtime=0)
    return pa.Codec("zstd", ZSTD_LEVEL).compress(data, asbytes=True) if compression == "zst" else data
