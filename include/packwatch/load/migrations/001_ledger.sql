-- The ledger: which raw objects came in, what became of every row, and which slices of the fleet are out of date.

CREATE TABLE lake_settings (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    shards SMALLINT NOT NULL
);
COMMENT ON TABLE lake_settings IS 'Settings that the stored data depend on; changing them needs a reprocess.';
COMMENT ON COLUMN lake_settings.shards IS 'Number of shards the clean zone is divided into.';

-- Grain: one row a raw object. Key: the object key.
CREATE TABLE ingested_objects (
    object_key TEXT PRIMARY KEY,
    etag TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    ingest_date DATE NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('planned', 'clean', 'set_aside', 'rejected')),
    run_key TEXT NOT NULL,
    batch_id TEXT NOT NULL,
    format TEXT,
    reason TEXT,
    message TEXT,
    rows_in BIGINT NOT NULL DEFAULT 0,
    rows_quarantined BIGINT NOT NULL DEFAULT 0,
    rows_clean BIGINT NOT NULL DEFAULT 0,
    rows_duplicate BIGINT NOT NULL DEFAULT 0,
    method_version TEXT,
    planned_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    finished_at TIMESTAMPTZ
);
CREATE INDEX ingested_objects_batch ON ingested_objects (batch_id);
CREATE INDEX ingested_objects_day ON ingested_objects (ingest_date, state);
COMMENT ON TABLE ingested_objects IS
'Ledger of raw objects. For every object rows_in = rows_clean + rows_quarantined + rows_duplicate.';
COMMENT ON COLUMN ingested_objects.state IS
'planned: taken by a run; clean: its rows are in the lake; set_aside: unreadable; rejected: its batch failed the gate.';
COMMENT ON COLUMN ingested_objects.reason IS 'Why the object was set aside or rejected, a short code.';
COMMENT ON COLUMN ingested_objects.run_key IS 'Partition (arrival day) of the run that took the object.';

-- Grain: one row an object and slice it has valid rows in. A clean file counts only through these rows.
CREATE TABLE object_slices (
    object_key TEXT NOT NULL REFERENCES ingested_objects (object_key) ON DELETE CASCADE,
    log_date DATE NOT NULL,
    shard SMALLINT NOT NULL,
    batch_id TEXT NOT NULL,
    rows_valid BIGINT NOT NULL,
    rows_duplicate BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (object_key, log_date, shard)
);
CREATE INDEX object_slices_slice ON object_slices (log_date, shard);
COMMENT ON TABLE object_slices IS
'Rows of an object that passed validation, by log day and shard, and how many of them repeat another row.';

-- Grain: one row an object, vehicle and log day.
CREATE TABLE object_quality (
    object_key TEXT NOT NULL REFERENCES ingested_objects (object_key) ON DELETE CASCADE,
    vehicle_id UUID NOT NULL,
    log_date DATE NOT NULL,
    shard SMALLINT NOT NULL,
    rows_in BIGINT NOT NULL,
    rows_quarantined BIGINT NOT NULL,
    rows_warned BIGINT NOT NULL,
    PRIMARY KEY (object_key, vehicle_id, log_date)
);
CREATE INDEX object_quality_slice ON object_quality (log_date, shard);
COMMENT ON TABLE object_quality IS 'What validation found, by object, vehicle and log day; data_quality sums it.';

-- Grain: one row a clean Parquet file.
CREATE TABLE clean_files (
    file_key TEXT PRIMARY KEY,
    batch_id TEXT NOT NULL,
    log_date DATE NOT NULL,
    shard SMALLINT NOT NULL,
    row_count BIGINT NOT NULL
);
CREATE INDEX clean_files_slice ON clean_files (log_date, shard);
COMMENT ON TABLE clean_files IS
'Manifest of the clean zone: a file that is not listed here was left by a killed task and does not count.';

-- Grain: one row a log day and shard. A stage is out of date while its version is below the one before it.
CREATE TABLE slices (
    log_date DATE NOT NULL,
    shard SMALLINT NOT NULL,
    clean_version BIGINT NOT NULL DEFAULT 0,
    analyzed_version BIGINT NOT NULL DEFAULT 0,
    assessed_version BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (log_date, shard)
);
COMMENT ON TABLE slices IS 'Which slices of the fleet must be analyzed or assessed again.';

-- Grain: one row a run of the daily DAG.
CREATE TABLE pipeline_runs (
    run_key TEXT PRIMARY KEY,
    dag_run_id TEXT NOT NULL,
    state TEXT NOT NULL,
    objects BIGINT NOT NULL,
    rows_in BIGINT NOT NULL,
    rows_clean BIGINT NOT NULL,
    rows_quarantined BIGINT NOT NULL,
    rows_duplicate BIGINT NOT NULL,
    report_dates DATE[] NOT NULL DEFAULT '{}',
    finished_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE pipeline_runs IS 'The books of each night, as they stood when it was published.';
