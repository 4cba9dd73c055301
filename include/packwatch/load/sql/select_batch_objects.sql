SELECT
    object_key,
    etag,
    size_bytes,
    ingest_date
FROM ingested_objects
WHERE batch_id = %(batch_id)s
ORDER BY object_key;
