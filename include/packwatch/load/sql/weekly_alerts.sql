-- Grain: one row an alert that was open when the week ended, most severe first. It follows from the anomalies up to
-- that Sunday by the rule of update_alerts.sql and is not read from `alerts`, which knows today only: the report of a
-- past week must not change, and that of the newest must not depend on which of two DAGs was faster.
WITH found AS (
    SELECT
        alert_id,
        vehicle_id,
        code,
        subject,
        min(log_date) AS opened_on,
        max(log_date) AS last_seen_on,
        count(DISTINCT log_date)::INTEGER AS day_count,
        max(severity) AS severity,
        (array_agg(message ORDER BY severity DESC, log_date DESC))[1] AS message,
        (array_agg(action ORDER BY severity DESC, log_date DESC))[1] AS action
    FROM anomalies
    WHERE log_date <= %(sunday)s
    GROUP BY alert_id, vehicle_id, code, subject
    HAVING max(severity) >= 2
),

known_days AS (
    SELECT
        vehicle_id,
        log_date
    FROM vehicle_days
    WHERE log_date <= %(sunday)s
),

quiet AS (
    SELECT
        found.alert_id,
        count(known_days.log_date) AS days
    FROM found
    LEFT JOIN known_days ON found.vehicle_id = known_days.vehicle_id AND found.last_seen_on < known_days.log_date
    GROUP BY found.alert_id
)

SELECT
    found.alert_id::TEXT AS alert_id,
    found.vehicle_id::TEXT AS vehicle_id,
    vehicles.make,
    vehicles.model,
    vehicles.year,
    found.code,
    found.subject,
    found.severity,
    found.opened_on,
    found.last_seen_on,
    found.day_count,
    found.message,
    found.action
FROM found
INNER JOIN quiet ON found.alert_id = quiet.alert_id
INNER JOIN vehicles ON found.vehicle_id = vehicles.id
WHERE quiet.days < 7
ORDER BY found.severity DESC, found.opened_on ASC, found.alert_id ASC;
