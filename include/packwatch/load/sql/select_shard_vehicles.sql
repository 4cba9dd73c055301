SELECT
    id::TEXT AS vehicle_id,
    make,
    model,
    year
FROM vehicles
WHERE shard = %(shard)s
ORDER BY id;
