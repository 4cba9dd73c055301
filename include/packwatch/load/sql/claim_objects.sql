-- Enter listed objects into the ledger and return those that this run takes: new ones, overwritten ones, its own from
-- an earlier try, those another run took six hours ago and never finished, and, to reprocess, those of the day itself.
WITH wanted AS (
    SELECT DISTINCT object_quality.object_key
    FROM object_quality
    INNER JOIN vehicles ON object_quality.vehicle_id = vehicles.id
    WHERE
        (cardinality(%(makes)s::TEXT[]) = 0 OR lower(vehicles.make) = any(%(makes)s::TEXT[]))
        AND (
            cardinality(%(vehicles)s::TEXT[]) = 0
            OR lower(vehicles.vin) = any(%(vehicles)s::TEXT[])
            OR vehicles.id::TEXT = any(%(vehicles)s::TEXT[])
        )
)

INSERT INTO ingested_objects AS ledger (object_key, etag, size_bytes, ingest_date, state, run_key, batch_id)
SELECT
    object_key,
    etag,
    size_bytes,
    ingest_date,
    'planned' AS state,
    %(run_key)s,
    '' AS batch_id
FROM listing
ORDER BY object_key
ON CONFLICT (object_key) DO UPDATE
    SET
        etag = excluded.etag,
        size_bytes = excluded.size_bytes,
        state = 'planned',
        run_key = excluded.run_key,
        planned_at = now()
    WHERE
    ledger.etag <> excluded.etag
    OR (
        ledger.state = 'planned'
        AND (ledger.run_key = excluded.run_key OR ledger.planned_at < now() - INTERVAL '6 hours')
    )
    OR (
        %(reprocess)s AND ledger.ingest_date = %(ingest_date)s
        AND (
            cardinality(%(makes)s::TEXT[]) + cardinality(%(vehicles)s::TEXT[]) = 0
            OR ledger.object_key IN (SELECT wanted.object_key FROM wanted)
        )
    )
RETURNING object_key, etag, size_bytes;
