-- A slice that gains or loses rows is out of date, and so are its neighbours in time: a session crosses midnight.
WITH touched AS (
    SELECT
        log_date,
        shard
    FROM batch_slices
    UNION
    SELECT
        log_date,
        shard
    FROM batch_quality
    UNION
    SELECT
        object_slices.log_date,
        object_slices.shard
    FROM object_slices
    INNER JOIN batch_outcomes ON object_slices.object_key = batch_outcomes.object_key
    UNION
    SELECT
        object_quality.log_date,
        object_quality.shard
    FROM object_quality
    INNER JOIN batch_outcomes ON object_quality.object_key = batch_outcomes.object_key
),

stale AS (
    SELECT DISTINCT
        touched.log_date + step.days AS log_date,
        touched.shard
    FROM touched
    CROSS JOIN (VALUES (-1), (0), (1)) AS step (days)
)

INSERT INTO slices AS slice (log_date, shard, clean_version)
SELECT
    log_date,
    shard,
    1 AS clean_version
FROM stale
ORDER BY log_date, shard
ON CONFLICT (log_date, shard) DO UPDATE SET clean_version = slice.clean_version + 1;
