"""Unpack gzip and zstd, known by their first bytes, never beyond a limit of size."""

from __future__ import annotations

import zlib

import pyarrow as pa

from packwatch.errors import UnreadableLog

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# A step small enough that a bomb is noticed long before it hurts.
_CHUNK_BYTES = 4 * 1024 * 1024


def decompress(data: bytes, name: str, limit_bytes: int) -> bytes:
    """Return `data` unpacked when it is gzip or zstd, unchanged otherwise.

    Args:
        data: content of an object.
        name: how messages call it.
        limit_bytes: most bytes the content may have, packed or not.

    Raises:
        UnreadableLog: too_large, truncated_compression or corrupt_compression.
    """
    if len(data) > limit_bytes:
        raise _too_large(name, limit_bytes)
    if data.startswith(GZIP_MAGIC):
        return _gunzip(data, name, limit_bytes)
    if data.startswith(ZSTD_MAGIC):
        return _unzstd(data, name, limit_bytes)
    return data


def _gunzip(data: bytes, name: str, limit_bytes: int) -> bytes:
    """Unpack every gzip member; zero padding after the last one is allowed, as gzip itself does."""
    parts, size, rest = [], 0, data
    while rest:
        stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            while not stream.eof:
                chunk = stream.decompress(rest, _CHUNK_BYTES)
                rest = stream.unconsumed_tail
                size += len(chunk)
                if size > limit_bytes:
                    raise _too_large(name, limit_bytes)
                parts.append(chunk)
                if not chunk and not rest and not stream.eof:
                    raise _truncated(name, "gzip")
        except zlib.error as error:
            raise _corrupt(name, "gzip", error) from error
        rest = stream.unused_data.lstrip(b"\0")
        if rest and not rest.startswith(GZIP_MAGIC):
            raise _corrupt(name, "gzip", "other bytes follow the end of the stream")
    return b"".join(parts)


def _unzstd(data: bytes, name: str, limit_bytes: int) -> bytes:
    parts, size = [], 0
    try:
        with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                size += len(chunk)
                if size > limit_bytes:
                    raise _too_large(name, limit_bytes)
                parts.append(chunk)
    except OSError as error:
        if "Truncated" in str(error):
            raise _truncated(name, "zstd") from error
        raise _corrupt(name, "zstd", error) from error
    return b"".join(parts)


def _too_large(name: str, limit_bytes: int) -> UnreadableLog:
    return UnreadableLog(
        "too_large",
        f"{name}: larger than {limit_bytes} bytes when unpacked. Split it, or raise PACKWATCH_OBJECT_BYTES_MAX.",
    )


def _truncated(name: str, kind: str) -> UnreadableLog:
    return UnreadableLog(
        "truncated_compression", f"{name}: the {kind} stream ends too early. Upload the whole file again."
    )


def _corrupt(name: str, kind: str, why: object) -> UnreadableLog:
    return UnreadableLog("corrupt_compression", f"{name}: the {kind} stream is damaged ({why}). Upload the file again.")
