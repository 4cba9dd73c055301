-- Grain: one row a listed raw object; lives as long as the planning transaction.
CREATE TEMPORARY TABLE listing (
    object_key TEXT PRIMARY KEY,
    etag TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    ingest_date DATE NOT NULL
) ON COMMIT DROP;
