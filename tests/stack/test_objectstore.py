"""One file an object: whatever the key, inside the folder; whatever the damage, told with its name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packwatch.stack import objectstore
from packwatch.stack.objectstore import DamagedObjectError, StoredBody, StoredObject, object_path

ROOT = Path("/lake")

HOSTILE_KEYS = [
    "../x",
    "a/../b",
    "..",
    ".",
    "/etc/passwd",
    "a//b",
    "trail/",
    "\x00",
    "ü/漢字/🚗",
    "%2e%2e%2f",
    "k" * 1024,
]


def store(root: Path, key: str, body: bytes) -> StoredObject:
    """Write an object of bucket `lake` and return what was said about it."""
    (root / "lake").mkdir(exist_ok=True)
    description = StoredObject("lake", key, 0, 0, "etag-2", "2026-11-22T02:00:00.123456", metadata={"a": "ü\n"})
    objectstore.write_object(root, description, body)
    return description


@pytest.mark.parametrize("key", HOSTILE_KEYS)
def test_a_hostile_key_stays_in_its_bucket(key: str) -> None:
    path = object_path(ROOT, "lake", key)
    assert path.parent == ROOT / "lake"
    assert os.path.normpath(path) == str(path)
    assert len(path.name.encode()) + len(objectstore.TEMPORARY_SUFFIX) <= 255


@settings(database=None)
@given(st.text(max_size=300))
def test_any_key_stays_in_its_bucket(key: str) -> None:
    path = object_path(ROOT, "lake", key)
    assert os.path.dirname(os.path.normpath(path)) == "/lake/lake"
    assert path.name.isascii()


@pytest.mark.parametrize(
    ("one", "other"), [("A", "a"), ("k" * 300 + "1", "k" * 300 + "2"), ("é", "e\u0301"), ("a/b", "a%2Fb")]
)
def test_keys_that_look_alike_have_different_files(one: str, other: str) -> None:
    # Lower case: there are file systems that do not tell it from upper case.
    assert object_path(ROOT, "lake", one).name.lower() != object_path(ROOT, "lake", other).name.lower()


def test_an_object_comes_back_as_written(tmp_path: Path) -> None:
    store(tmp_path, "raw/a.csv", b"123456789")
    read, body = objectstore.read_object(tmp_path, object_path(tmp_path, "lake", "raw/a.csv"))
    assert read == StoredObject(
        "lake",
        "raw/a.csv",
        size=9,
        crc32=0xCBF43926,  # of the digits 1 to 9: the check value in the definition of CRC-32
        etag="etag-2",
        last_modified="2026-11-22T02:00:00.123456",
        metadata={"a": "ü\n"},
    )
    assert body.read() == b"123456789"


def test_a_body_may_look_like_a_header(tmp_path: Path) -> None:
    body = b"packwatch-object-1 00000000 {}\n\n"
    store(tmp_path, "k", body)
    assert objectstore.read_object(tmp_path, object_path(tmp_path, "lake", "k"))[1].read() == body


def test_a_body_is_read_in_parts(tmp_path: Path) -> None:
    store(tmp_path, "k", b"0123456789")
    _, body = objectstore.read_object(tmp_path, object_path(tmp_path, "lake", "k"))
    body.seek(7)
    assert [body.read(2), body.read(5), body.read(5)] == [b"78", b"9", b""]
    body.seek(0)
    assert body.read() == b"0123456789"


def test_an_empty_object_is_an_object(tmp_path: Path) -> None:
    store(tmp_path, "empty", b"")
    read, body = objectstore.read_object(tmp_path, object_path(tmp_path, "lake", "empty"))
    assert (read.size, body.read()) == (0, b"")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: content[:-1], "body has 9 bytes instead of 10"),
        (lambda content: content + b"x", "body has 11 bytes instead of 10"),
        (lambda content: content[:-1] + b"x", "CRC-32"),
        (lambda content: b"", "first line is incomplete"),
        (lambda content: content[:30], "first line is incomplete"),
        (lambda content: b"\0" * len(content), "first line is incomplete"),
        (lambda content: content.replace(b"etag-2", b"etag-3"), "first line does not match"),
        (lambda content: content.replace(b"object-1", b"object-2"), "not of this format"),
    ],
)
def test_damage_is_told(tmp_path: Path, damage: object, reason: str) -> None:
    store(tmp_path, "k", b"0123456789")
    path = object_path(tmp_path, "lake", "k")
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DamagedObjectError, match=reason):
        objectstore.read_object(tmp_path, path)


def test_a_file_under_a_wrong_name_is_told(tmp_path: Path) -> None:
    store(tmp_path, "k", b"0123456789")
    moved = object_path(tmp_path, "lake", "other")
    object_path(tmp_path, "lake", "k").rename(moved)
    with pytest.raises(DamagedObjectError, match="holds key 'k' of bucket 'lake'"):
        objectstore.read_object(tmp_path, moved)


def test_what_an_unfinished_write_left_is_removed(tmp_path: Path) -> None:
    store(tmp_path, "k", b"old")
    half = object_path(tmp_path, "lake", "k").with_name("k~0.object.tmp")
    half.write_bytes(b"packwatch-obj")
    assert list(objectstore.object_files(tmp_path, "lake")) == [object_path(tmp_path, "lake", "k")]
    assert not half.exists()


def test_a_failed_write_leaves_the_old_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path, "k", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store(tmp_path, "k", b"new")
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "lake").iterdir()] == [object_path(tmp_path, "lake", "k").name]
    assert objectstore.read_object(tmp_path, object_path(tmp_path, "lake", "k"))[1].read() == b"old"


def test_deleting_twice_is_deleting(tmp_path: Path) -> None:
    store(tmp_path, "k", b"body")
    objectstore.delete_object(tmp_path, "lake", "k")
    objectstore.delete_object(tmp_path, "lake", "k")
    assert list((tmp_path / "lake").iterdir()) == []


def test_buckets_come_and_go(tmp_path: Path) -> None:
    objectstore.create_bucket(tmp_path, "one")
    objectstore.create_bucket(tmp_path, "two")
    objectstore.create_bucket(tmp_path, "two")
    objectstore.delete_bucket(tmp_path, "one")
    assert objectstore.buckets(tmp_path) == ["two"]


def test_a_stored_body_holds_no_file_open(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"headbody")
    bodies = [StoredBody(path, 4, 4) for _ in range(5000)]
    assert {body.read() for body in bodies} == {b"body"}
