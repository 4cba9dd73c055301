-- Close the night: its books by state, as they stand now.
INSERT INTO pipeline_runs AS run (
    run_key, dag_run_id, state, objects, rows_in, rows_clean, rows_quarantined, rows_duplicate, report_dates
)
SELECT
    %(run_key)s,
    %(dag_run_id)s,
    CASE WHEN count(*) FILTER (WHERE state IN ('planned', 'rejected')) > 0 THEN 'incomplete' ELSE 'complete' END
        AS state,
    count(*) AS objects,
    coalesce(sum(rows_in), 0)::BIGINT AS rows_in,
    coalesce(sum(rows_clean), 0)::BIGINT AS rows_clean,
    coalesce(sum(rows_quarantined), 0)::BIGINT AS rows_quarantined,
    coalesce(sum(rows_duplicate), 0)::BIGINT AS rows_duplicate,
    %(report_dates)s::DATE[] AS report_dates
FROM ingested_objects
WHERE run_key = %(run_key)s
ON CONFLICT (run_key) DO UPDATE
    SET
        dag_run_id = excluded.dag_run_id,
        state = excluded.state,
        objects = excluded.objects,
        rows_in = excluded.rows_in,
        rows_clean = excluded.rows_clean,
        rows_quarantined = excluded.rows_quarantined,
        rows_duplicate = excluded.rows_duplicate,
        report_dates = CASE
            WHEN cardinality(excluded.report_dates) > 0 THEN excluded.report_dates ELSE run.report_dates
        END,
        finished_at = now()
RETURNING state, objects, rows_in, rows_clean, rows_quarantined, rows_duplicate;
