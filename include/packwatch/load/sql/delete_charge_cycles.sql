DELETE FROM charge_cycles
WHERE log_date = %(log_date)s AND shard = %(shard)s;
