UPDATE ingested_objects AS ledger
SET
    state = outcome.state,
    method_version = outcome.method_version,
    format = outcome.format,
    reason = outcome.reason,
    message = outcome.message,
    rows_in = outcome.rows_in,
    rows_quarantined = outcome.rows_quarantined,
    rows_clean = 0,
    rows_duplicate = 0,
    finished_at = now()
FROM batch_outcomes AS outcome
WHERE ledger.object_key = outcome.object_key;
