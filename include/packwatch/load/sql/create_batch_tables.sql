-- What validation found in a batch; lives as long as the transaction that enters it.
CREATE TEMPORARY TABLE batch_outcomes (
    object_key TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    method_version TEXT,
    format TEXT,
    reason TEXT,
    message TEXT,
    rows_in BIGINT NOT NULL,
    rows_quarantined BIGINT NOT NULL
) ON COMMIT DROP;
CREATE TEMPORARY TABLE batch_vehicles (LIKE vehicles INCLUDING DEFAULTS) ON COMMIT DROP;
CREATE TEMPORARY TABLE batch_slices (
    object_key TEXT NOT NULL,
    batch_id TEXT NOT NULL,
    log_date DATE NOT NULL,
    shard SMALLINT NOT NULL,
    rows_valid BIGINT NOT NULL
) ON COMMIT DROP;
CREATE TEMPORARY TABLE batch_quality (LIKE object_quality) ON COMMIT DROP;
CREATE TEMPORARY TABLE batch_files (
    file_key TEXT PRIMARY KEY,
    batch_id TEXT NOT NULL,
    log_date DATE NOT NULL,
    shard SMALLINT NOT NULL,
    row_count BIGINT NOT NULL
) ON COMMIT DROP;
