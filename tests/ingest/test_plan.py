"""Planning a night against a real Postgres and a real S3 protocol."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import psycopg
import pytest

from packwatch.config import Settings
from packwatch.errors import ServiceUnreachable, UsageError
from packwatch.ingest.lake import Lake
from packwatch.ingest.plan import divide, list_arrivals, plan_day

DAY = dt.date(2026, 11, 18)


def put(lake: Lake, day: dt.date, *names: str, content: bytes = b"x") -> None:
    for name in names:
        lake.write(f"raw/ingest_date={day}/{name}", content)


def states(database: psycopg.Connection) -> dict[str, tuple[str, str]]:
    rows = database.execute("SELECT object_key, state, run_key FROM ingested_objects").fetchall()
    return {key.rsplit("/", 1)[1]: (state, run_key) for key, state, run_key in rows}


def objects_of(batches: list[dict[str, object]]) -> int:
    return sum(int(str(batch["objects"])) for batch in batches)


def finish(database: psycopg.Connection) -> None:
    database.execute("UPDATE ingested_objects SET state = 'clean'")


def test_a_late_upload_into_an_older_prefix_is_found_once(database: psycopg.Connection, lake: Lake) -> None:
    put(lake, DAY, "a.csv")
    assert objects_of(plan_day(database, lake, DAY, Settings())) == 1
    finish(database)
    put(lake, DAY, "late.csv")
    put(lake, DAY + dt.timedelta(days=1), "b.csv")
    # The next day's run takes its own object and the late one; the run after it finds nothing.
    assert objects_of(plan_day(database, lake, DAY + dt.timedelta(days=1), Settings())) == 2
    finish(database)
    assert plan_day(database, lake, DAY + dt.timedelta(days=2), Settings()) == []
    assert states(database)["late.csv"] == ("clean", "2026-11-19")


def test_uploads_older_than_the_look_back_wait_for_their_own_run(database: psycopg.Connection, lake: Lake) -> None:
    put(lake, DAY - dt.timedelta(days=3), "old.csv")
    assert plan_day(database, lake, DAY, Settings(lookback_days=2)) == []
    assert objects_of(plan_day(database, lake, DAY, Settings(lookback_days=3))) == 1


def test_later_days_are_not_taken(database: psycopg.Connection, lake: Lake) -> None:
    put(lake, DAY + dt.timedelta(days=1), "tomorrow.csv")
    assert plan_day(database, lake, DAY, Settings()) == []


def test_a_killed_plan_is_made_again_with_the_same_batches(database: psycopg.Connection, lake: Lake) -> None:
    put(lake, DAY, "a.csv", "b.csv", "c.csv")
    first = plan_day(database, lake, DAY, Settings())
    assert plan_day(database, lake, DAY, Settings()) == first


def test_what_another_run_is_working_on_is_left_to_it(database: psycopg.Connection, lake: Lake) -> None:
    put(lake, DAY, "a.csv")
    plan_day(database, lake, DAY, Settings())
    next_day = DAY + dt.timedelta(days=1)
    assert plan_day(database, lake, next_day, Settings()) == []
    database.execute("UPDATE ingested_objects SET planned_at = now() - INTERVAL '7 hours'")
    assert objects_of(plan_day(database, lake, next_day, Settings())) == 1


def test_an_overwritten_object_is_taken_again(database: psycopg.Connection, lake: Lake) -> None:
    put(lake, DAY, "a.csv")
    plan_day(database, lake, DAY, Settings())
    finish(database)
    put(lake, DAY, "a.csv", content=b"other")
    assert objects_of(plan_day(database, lake, DAY, Settings())) == 1


def test_reprocess_takes_the_day_again_and_a_subset_of_it(database: psycopg.Connection, lake: Lake) -> None:
    put(lake, DAY, "leaf.csv", "zoe.csv")
    put(lake, DAY - dt.timedelta(days=1), "before.csv")
    plan_day(database, lake, DAY, Settings())
    finish(database)
    ids = ["00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"]
    for vehicle_id, make, vin, name in zip(ids, ("Nissan", "Renault"), ("VIN1", "VIN2"), ("leaf", "zoe"), strict=True):
        database.execute(
            "INSERT INTO vehicles (id, vin, make, shard, spec_source, identified_by)"
            " VALUES (%s, %s, %s, 0, 'neutral', '')",
            (vehicle_id, vin, make),
        )
        database.execute(
            "INSERT INTO object_quality VALUES (%s, %s, %s, 0, 1, 0, 0)",
            (f"raw/ingest_date={DAY}/{name}.csv", vehicle_id, DAY),
        )
    assert objects_of(plan_day(database, lake, DAY, Settings(), reprocess=True)) == 2
    finish(database)
    assert objects_of(plan_day(database, lake, DAY, Settings(), reprocess=True, makes=["nissan"])) == 1
    assert states(database)["leaf.csv"][0] == "planned"
    finish(database)
    assert objects_of(plan_day(database, lake, DAY, Settings(), reprocess=True, vehicles=["vin2"])) == 1
    assert states(database)["zoe.csv"][0] == "planned"


def test_a_subset_without_reprocess_is_refused(database: psycopg.Connection, lake: Lake) -> None:
    with pytest.raises(UsageError, match="set reprocess too"):
        plan_day(database, lake, DAY, Settings(), makes=["Nissan"])


def test_another_number_of_shards_is_refused(database: psycopg.Connection, lake: Lake) -> None:
    plan_day(database, lake, DAY, Settings(shards=4))
    with pytest.raises(UsageError, match="PACKWATCH_SHARDS=4"):
        plan_day(database, lake, DAY, Settings(shards=16))


def test_listing_goes_beyond_one_page(lake: Lake) -> None:
    # S3 lists at most 1 000 objects a page.
    put(lake, DAY, *(f"{number:04d}" for number in range(1003)))
    assert len(list_arrivals(lake, DAY, Settings(lookback_days=0))) == 1003


def test_a_missing_bucket_says_what_to_check(lake: Lake) -> None:
    with pytest.raises(ServiceUnreachable, match=r"no-such-bucket.*packwatch_s3"):
        list_arrivals(Lake(lake.client, "no-such-bucket"), DAY, Settings())


def test_batches_are_cut_by_bytes() -> None:
    # 40 + 40 reach 50 with the second; 70 alone passes it; 10 is left.
    objects = pd.DataFrame({"object_key": list("abcd"), "etag": list("1234"), "size_bytes": [40, 40, 70, 10]})
    divided = divide(objects, 50)
    sizes = divided.groupby("batch_id", sort=False)["size_bytes"].agg(list).tolist()
    assert sizes == [[40, 40], [70], [10]]
    assert divide(objects.sample(frac=1, random_state=1), 50).equals(divided)


def test_no_objects_make_no_batches() -> None:
    assert divide(pd.DataFrame({"object_key": [], "etag": [], "size_bytes": []}), 50).empty
