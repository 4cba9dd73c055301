-- The books of everything that ever came in.
SELECT
    count(*) AS objects,
    count(*) FILTER (WHERE state <> 'clean') AS objects_set_aside,
    coalesce(sum(rows_in), 0)::BIGINT AS rows_in,
    coalesce(sum(rows_clean), 0)::BIGINT AS rows_clean,
    coalesce(sum(rows_quarantined), 0)::BIGINT AS rows_quarantined,
    coalesce(sum(rows_duplicate), 0)::BIGINT AS rows_duplicate
FROM ingested_objects;
