-- Grain: one row an object with duplicate rows in the slice; lives as long as the transaction.
CREATE TEMPORARY TABLE slice_duplicates (
    object_key TEXT PRIMARY KEY,
    rows_duplicate BIGINT NOT NULL
) ON COMMIT DROP;
