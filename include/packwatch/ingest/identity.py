"""Who a vehicle is: a pseudonymous id from its VIN, and the shard it belongs to."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterable

import numpy as np
import pandas as pd

# Every id of Packwatch is a UUIDv5 of a natural key in this namespace, so that a rerun gives the same ids.
NAMESPACE = uuid.UUID("5f2d3c0e-7c0a-5b1e-9a54-7061636b7774")


def make_id(*parts: object) -> str:
    """Return the UUIDv5 of the natural key `parts`."""
    return str(uuid.uuid5(NAMESPACE, "|".join(str(part) for part in parts)))


def make_ids(*parts: Iterable[object]) -> list[str]:
    """Return the UUIDv5 of each natural key, whose parts come as parallel columns.

    Hashing has no array form: this is the one loop, and it runs over results, not over logged rows.
    """
    return [make_id(*key) for key in zip(*parts, strict=True)]


def vehicle_ids(vins: pd.Series) -> pd.Series:
    """Map VINs to vehicle ids: the UUIDv5 of the upper-cased VIN; a null VIN stays null.

    Each distinct VIN is hashed once, whatever the number of rows.
    """
    cleaned = vins.astype("str").str.strip().str.upper().where(vins.notna())
    known = cleaned.dropna().unique()
    return cleaned.map({vin: make_id("vehicle", vin) for vin in known}).astype("str").where(cleaned.notna())


def shard_of(ids: pd.Series, shards: int) -> np.ndarray:
    """Return the shard (0 to `shards` - 1) of each vehicle id: CRC-32 of the id, modulo the number of shards."""
    distinct = ids.unique()
    table = {vehicle_id: zlib.crc32(vehicle_id.encode()) % shards for vehicle_id in distinct}
    return ids.map(table).to_numpy(dtype=np.int16)
