INSERT INTO clean_files (file_key, batch_id, log_date, shard, row_count)
SELECT
    file_key,
    batch_id,
    log_date,
    shard,
    row_count
FROM batch_files
ON CONFLICT (file_key) DO UPDATE SET row_count = excluded.row_count;
