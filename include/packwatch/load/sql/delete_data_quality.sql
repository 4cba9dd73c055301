DELETE FROM data_quality
WHERE log_date = %(log_date)s AND shard = %(shard)s;
