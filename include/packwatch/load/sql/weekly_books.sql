-- Grain: one row an arrival day of the week: what came in and what became of every row, as the ledger stands.
SELECT
    ingest_date,
    count(*) AS object_count,
    count(*) FILTER (WHERE state <> 'clean') AS not_clean_count,
    sum(rows_in)::BIGINT AS rows_in,
    sum(rows_clean)::BIGINT AS rows_clean,
    sum(rows_quarantined)::BIGINT AS rows_quarantined,
    sum(rows_duplicate)::BIGINT AS rows_duplicate
FROM ingested_objects
WHERE ingest_date BETWEEN %(monday)s AND %(sunday)s
GROUP BY ingest_date
ORDER BY ingest_date;
