-- Settle the ledger: what became of the rows that passed validation.
UPDATE ingested_objects AS ledger
SET
    rows_clean = settled.rows_clean,
    rows_duplicate = settled.rows_duplicate
FROM (
    SELECT
        object_key,
        sum(rows_valid - rows_duplicate)::BIGINT AS rows_clean,
        sum(rows_duplicate)::BIGINT AS rows_duplicate
    FROM object_slices
    GROUP BY object_key
) AS settled
WHERE
    ledger.object_key = settled.object_key
    AND (ledger.rows_clean, ledger.rows_duplicate) IS DISTINCT FROM (settled.rows_clean, settled.rows_duplicate);
