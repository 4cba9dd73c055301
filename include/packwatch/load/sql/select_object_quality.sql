SELECT
    vehicle_id,
    sum(rows_in)::BIGINT AS rows_in,
    sum(rows_quarantined)::BIGINT AS rows_quarantined,
    sum(rows_warned)::BIGINT AS rows_warned
FROM object_quality
WHERE log_date = %(log_date)s AND shard = %(shard)s
GROUP BY vehicle_id
ORDER BY vehicle_id;
