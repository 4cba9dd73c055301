DELETE FROM anomalies
WHERE log_date = %(log_date)s AND shard = %(shard)s;
