UPDATE slices
SET analyzed_version = %(version)s
WHERE log_date = %(log_date)s AND shard = %(shard)s AND analyzed_version < %(version)s;
