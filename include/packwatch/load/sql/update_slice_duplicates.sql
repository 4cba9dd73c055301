UPDATE object_slices
SET
    rows_duplicate = coalesce(
        (
            SELECT d.rows_duplicate FROM slice_duplicates AS d
            WHERE d.object_key = object_slices.object_key
        ), 0
    )
WHERE log_date = %(log_date)s AND shard = %(shard)s;
