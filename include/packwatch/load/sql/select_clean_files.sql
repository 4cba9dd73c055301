-- Clean files of a shard that count, with the objects whose rows in them count.
SELECT
    clean_files.file_key,
    array_agg(object_slices.object_key ORDER BY object_slices.object_key) AS object_keys
FROM clean_files
INNER JOIN object_slices
    ON
        clean_files.batch_id = object_slices.batch_id
        AND clean_files.log_date = object_slices.log_date
        AND clean_files.shard = object_slices.shard
WHERE clean_files.shard = %(shard)s AND clean_files.log_date BETWEEN %(first)s AND %(last)s
GROUP BY clean_files.file_key
ORDER BY clean_files.file_key;
