"""Ids: the same natural key gives the same id, whatever its spelling, order or run."""

from __future__ import annotations

import uuid
import zlib

import numpy as np
import pandas as pd

from packwatch.ingest.identity import NAMESPACE, make_id, make_ids, shard_of, vehicle_ids


def test_an_id_is_the_uuid5_of_its_parts() -> None:
    assert make_id("a", 1) == str(uuid.uuid5(NAMESPACE, "a|1"))
    assert make_ids(["a", "b"], [1, 2]) == [make_id("a", 1), make_id("b", 2)]
    assert make_ids([], []) == []


def test_a_vin_is_known_in_any_spelling_and_null_stays_null() -> None:
    ids = vehicle_ids(pd.Series(["ab1", " AB1 ", None, "XY2"]))
    assert ids[0] == ids[1] == make_id("vehicle", "AB1")
    assert ids.isna().tolist() == [False, False, True, False]
    assert ids[3] != ids[0]


def test_shards_are_the_crc_of_the_id() -> None:
    ids = pd.Series([make_id("vehicle", number) for number in range(200)])
    shards = shard_of(ids, 16)
    assert shards[7] == zlib.crc32(ids[7].encode()) % 16
    # 200 ids over 16 shards: none is empty unless the hash is broken (chance of that below 1 in 20 000).
    assert len(np.unique(shards)) == 16


def test_no_vehicles_have_no_shards() -> None:
    assert shard_of(pd.Series([], dtype="str"), 4).tolist() == []
