SELECT
    log_date,
    clean_version
FROM slices
WHERE shard = %(shard)s AND analyzed_version < clean_version
ORDER BY log_date;
