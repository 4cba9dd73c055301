-- Grain: one row an object that this run takes; lives as long as the planning transaction.
CREATE TEMPORARY TABLE batches (
    object_key TEXT PRIMARY KEY,
    batch_id TEXT NOT NULL
) ON COMMIT DROP;
