"""Packed logs are unpacked by their first bytes, and nothing grows beyond the limit."""

from __future__ import annotations

import gzip
import zlib

import pyarrow as pa
import pytest

from packwatch.errors import UnreadableLog
from packwatch.ingest.formats.compression import decompress

TEXT = b"a line of some log\n" * 10_000  # 190 kB
LIMIT = 1_000_000


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


PACKERS = pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])


def reason_of(data: bytes, limit: int = LIMIT) -> str:
    with pytest.raises(UnreadableLog, match=r"log\.x: ") as caught:
        decompress(data, "log.x", limit)
    return caught.value.reason


def test_plain_content_stays_as_it_is():
    assert decompress(TEXT, "log.gz", LIMIT) == TEXT
    assert decompress(b"", "log.gz", LIMIT) == b""


@PACKERS
def test_packed_content_is_unpacked_whatever_the_name(pack):
    assert decompress(pack(TEXT), "log.csv", LIMIT) == TEXT


@PACKERS
def test_several_streams_follow_each_other(pack):
    assert decompress(pack(TEXT) + pack(b"end"), "log", LIMIT) == TEXT + b"end"


@PACKERS
def test_an_empty_stream_is_empty(pack):
    assert decompress(pack(b""), "log", LIMIT) == b""


def test_zero_padding_after_gzip_is_allowed():
    assert decompress(gzip.compress(TEXT) + b"\0" * 100, "log", LIMIT) == TEXT


@PACKERS
@pytest.mark.parametrize("kept", [0.99, 0.5, 0.1])
def test_a_stream_cut_short(pack, kept):
    packed = pack(TEXT)
    assert reason_of(packed[: int(len(packed) * kept)]) == "truncated_compression"


@PACKERS
def test_a_stream_of_its_first_bytes_alone(pack):
    assert reason_of(pack(TEXT)[:4]) == "truncated_compression"


def test_a_damaged_gzip_stream():
    packed = bytearray(gzip.compress(bytes(range(256)) * 100))
    packed[60] ^= 0xFF
    assert reason_of(bytes(packed)) == "corrupt_compression"


def test_a_wrong_checksum():
    packed = gzip.compress(TEXT)
    assert reason_of(packed[:-8] + b"\1\2\3\4" + packed[-4:]) == "corrupt_compression"


def test_a_damaged_zstd_stream():
    packed = zstd(" ".join(str(number**2) for number in range(20_000)).encode())
    # bytes 9 to 12 say what kind of block follows
    assert reason_of(packed[:9] + b"\xff" * 4 + packed[13:]) == "corrupt_compression"


@PACKERS
def test_other_bytes_after_the_stream(pack):
    assert reason_of(pack(TEXT) + b"other bytes") == "corrupt_compression"


@PACKERS
def test_a_bomb_is_stopped_at_the_limit(pack):
    bomb = pack(b"\0" * 50_000_000)  # 50 MB in a few kB
    assert len(bomb) < 60_000
    assert reason_of(bomb) == "too_large"


@PACKERS
def test_exactly_the_limit_is_allowed(pack):
    assert decompress(pack(TEXT), "log", len(TEXT)) == TEXT
    assert reason_of(pack(TEXT), len(TEXT) - 1) == "too_large"


def test_plain_content_beyond_the_limit():
    assert reason_of(TEXT, 100) == "too_large"


def test_raw_deflate_is_not_taken_for_gzip():
    packed = zlib.compress(TEXT)
    assert decompress(packed, "log", LIMIT) == packed
