-- Objects of an arrival day whose books do not balance, worst first.
SELECT
    object_key,
    rows_in,
    rows_clean,
    rows_quarantined,
    rows_duplicate
FROM ingested_objects
WHERE
    run_key = %(run_key)s
    AND state <> 'planned'
    AND rows_in <> rows_clean + rows_quarantined + rows_duplicate
ORDER BY abs(rows_in - rows_clean - rows_quarantined - rows_duplicate) DESC, object_key ASC
LIMIT 10;
