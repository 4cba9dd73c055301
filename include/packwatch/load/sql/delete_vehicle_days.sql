DELETE FROM vehicle_days
WHERE log_date = %(log_date)s AND shard = %(shard)s;
