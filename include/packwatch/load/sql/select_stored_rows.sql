-- Clean rows by the ledger, and by the vehicle days they were analyzed into.
SELECT
    (SELECT coalesce(sum(rows_clean), 0)::BIGINT FROM ingested_objects) AS rows_ledger,
    (SELECT coalesce(sum(row_count), 0)::BIGINT FROM vehicle_days) AS rows_analyzed,
    (
        SELECT count(*) FROM slices
        WHERE analyzed_version < clean_version OR assessed_version < analyzed_version)
        AS slices_stale;
