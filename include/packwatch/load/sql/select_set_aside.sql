-- Grain: one row a reason for setting whole objects aside.
SELECT
    coalesce(reason, state) AS reason,
    count(*) AS objects,
    min(object_key) AS example
FROM ingested_objects
WHERE state <> 'clean'
GROUP BY coalesce(reason, state)
ORDER BY objects DESC, reason ASC;
