SELECT
    log_date,
    analyzed_version
FROM slices
WHERE shard = %(shard)s AND assessed_version < analyzed_version
ORDER BY log_date;
