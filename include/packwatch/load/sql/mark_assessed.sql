UPDATE slices
SET assessed_version = analyzed_version
WHERE shard = %(shard)s AND assessed_version < analyzed_version;
