INSERT INTO object_slices (object_key, batch_id, log_date, shard, rows_valid)
SELECT
    object_key,
    batch_id,
    log_date,
    shard,
    rows_valid
FROM batch_slices;
