"""Objects on disk: one self-describing file each, whole or not there at all.

A file is one line and the body:

    packwatch-object-1 <CRC-32 of the JSON, 8 hex digits> <JSON on one line>\\n<body>

It is written beside its place, synced and renamed, so a killed process leaves either the old object or the new one.
The JSON holds size and CRC-32 of the body: damage is found when the store is opened, and told with the file's name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import urllib.parse
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAGIC = b"packwatch-object-1 "
SUFFIX = ".object"
TEMPORARY_SUFFIX = ".tmp"

READABLE_NAME_CHARS = 150
"""Characters of the quoted key kept in a file name; with the digest it stays below the 255 bytes file systems allow."""

DIGEST_CHARS = 32
"""Hex digits of the key's digest in a file name: 128 bits tell keys apart that differ in case or far behind."""

CHUNK_BYTES = 1 << 20
HEADER_BYTES_MAX = 1 << 20
"""Longest first line that is read; S3 allows 2 kB of metadata and 1 kB of key."""


class DamagedObjectError(ValueError):
    """A file of the store is not what was written; the message says why."""


@dataclass(frozen=True)
class StoredObject:
    """What the store keeps of one object besides its body."""

    bucket: str
    key: str
    size: int
    crc32: int
    etag: str
    last_modified: str
    storage_class: str = "STANDARD"
    metadata: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    checksum: dict[str, Any] = field(default_factory=dict)


@dataclass
class StoredBody:
    """The body of a stored object as a read-only file that is open only while it is read."""

    path: Path
    offset: int
    size: int
    position: int = 0

    def seek(self, position: int) -> None:
        """Set where the next read starts, in bytes from the start of the body."""
        self.position = position

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes, all that is left by default."""
        left = max(self.size - self.position, 0)
        count = left if size < 0 else min(size, left)
        with self.path.open("rb") as file:
            file.seek(self.offset + self.position)
            data = file.read(count)
        self.position += len(data)
        return data

    def close(self) -> None:
        """Do nothing: no file is held open."""


def object_path(root: Path, bucket: str, key: str) -> Path:
    """Return the file of a key; whatever the key holds, the file lies directly in the bucket's folder."""
    readable = urllib.parse.quote(key, safe="=-_.")[:READABLE_NAME_CHARS]
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_CHARS]
    return root / bucket / f"{readable}~{digest}{SUFFIX}"


def write_object(root: Path, description: StoredObject, body: bytes) -> StoredBody:
    """Write an object durably and return its body; size and CRC-32 of the description are filled in here."""
    description = dataclasses.replace(description, size=len(body), crc32=zlib.crc32(body))
    text = json.dumps(dataclasses.asdict(description)).encode()
    header = MAGIC + b"%08x " % zlib.crc32(text) + text + b"\n"
    path = object_path(root, description.bucket, description.key)
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        with temporary.open("wb") as file:
            file.write(header)
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return StoredBody(path, len(header), len(body))


def delete_object(root: Path, bucket: str, key: str) -> None:
    """Remove an object durably; one that is not there is fine."""
    path = object_path(root, bucket, key)
    if path.exists():
        path.unlink()
        _sync_folder(path.parent)


def create_bucket(root: Path, bucket: str) -> None:
    """Create the folder of a bucket durably."""
    (root / bucket).mkdir(mode=0o700, exist_ok=True)
    _sync_folder(root)


def delete_bucket(root: Path, bucket: str) -> None:
    """Remove the folder of a bucket durably."""
    shutil.rmtree(root / bucket)
    _sync_folder(root)


def buckets(root: Path) -> list[str]:
    """Return the names of the buckets."""
    return sorted(path.name for path in root.iterdir() if path.is_dir())


def object_files(root: Path, bucket: str) -> Iterator[Path]:
    """Yield the files of a bucket's objects, after removing what unfinished writes left.

    An unfinished write was never confirmed to its client, so nothing is lost with it.
    """
    for path in (root / bucket).glob(f"*{TEMPORARY_SUFFIX}"):
        path.unlink()
    yield from (root / bucket).glob(f"*{SUFFIX}")


def read_object(root: Path, path: Path) -> tuple[StoredObject, StoredBody]:
    """Read and verify one file: header, place, size and checksum of the body.

    Raises:
        DamagedObjectError: The file differs from what was written.
    """
    with path.open("rb") as file:
        line = file.readline(HEADER_BYTES_MAX)
        description = _parse_header(line)
        if object_path(root, description.bucket, description.key) != path:
            raise DamagedObjectError(
                f"holds key {description.key!r} of bucket {description.bucket!r}, whose file it is not"
            )
        size, crc32 = 0, 0
        while chunk := file.read(CHUNK_BYTES):
            size += len(chunk)
            crc32 = zlib.crc32(chunk, crc32)
    if size != description.size:
        raise DamagedObjectError(f"body has {size} bytes instead of {description.size}")
    if crc32 != description.crc32:
        raise DamagedObjectError(f"body has CRC-32 {crc32:08x} instead of {description.crc32:08x}")
    return description, StoredBody(path, len(line), size)


def _parse_header(line: bytes) -> StoredObject:
    text = line[len(MAGIC) + 9 : -1]
    if not line.startswith(MAGIC) or not line.endswith(b"\n"):
        raise DamagedObjectError("first line is incomplete or not of this format")
    if line[len(MAGIC) : len(MAGIC) + 9] != b"%08x " % zlib.crc32(text):
        raise DamagedObjectError("first line does not match its checksum")
    return StoredObject(**json.loads(text))


def _sync_folder(folder: Path) -> None:
    """Make a rename or removal in this folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
