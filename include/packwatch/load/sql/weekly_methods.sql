-- Grain: one row a stage and version of its method that made figures of the week.
SELECT
    'health' AS stage,
    method_version,
    count(*) AS result_count
FROM battery_health_reports
WHERE report_date BETWEEN %(monday)s AND %(sunday)s
GROUP BY method_version
UNION ALL
SELECT
    'validation' AS stage,
    method_version,
    count(*) AS result_count
FROM ingested_objects
WHERE ingest_date BETWEEN %(monday)s AND %(sunday)s AND method_version IS NOT NULL
GROUP BY method_version
ORDER BY stage, method_version;
