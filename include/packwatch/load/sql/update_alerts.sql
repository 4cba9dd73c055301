-- Alerts follow from the anomalies: one a vehicle, code and subject whose severity ever reached a warning. An alert is
-- resolved when the vehicle has sent data on seven later days without it.
WITH found AS (
    SELECT
        anomalies.alert_id,
        anomalies.vehicle_id,
        anomalies.code,
        anomalies.subject,
        min(anomalies.log_date) AS opened_on,
        max(anomalies.log_date) AS last_seen_on,
        count(DISTINCT anomalies.log_date)::INTEGER AS day_count,
        max(anomalies.severity) AS severity,
        (array_agg(anomalies.message ORDER BY anomalies.severity DESC, anomalies.log_date DESC))[1] AS message,
        (array_agg(anomalies.action ORDER BY anomalies.severity DESC, anomalies.log_date DESC))[1] AS action
    FROM anomalies
    GROUP BY anomalies.alert_id, anomalies.vehicle_id, anomalies.code, anomalies.subject
    HAVING max(anomalies.severity) >= 2
),

quiet AS (
    SELECT
        found.alert_id,
        count(vehicle_days.log_date) AS days
    FROM found
    LEFT JOIN vehicle_days
        ON found.vehicle_id = vehicle_days.vehicle_id AND vehicle_days.log_date > found.last_seen_on
    GROUP BY found.alert_id
),

gone AS (
    DELETE FROM alerts
    WHERE alerts.id NOT IN (SELECT found.alert_id FROM found)
)

INSERT INTO alerts AS known (
    id, vehicle_id, code, subject, severity, state, opened_on, last_seen_on, day_count, message, action
)
SELECT
    found.alert_id AS id,
    found.vehicle_id,
    found.code,
    found.subject,
    found.severity,
    CASE WHEN quiet.days >= 7 THEN 'resolved' ELSE 'open' END AS state,
    found.opened_on,
    found.last_seen_on,
    found.day_count,
    found.message,
    found.action
FROM found
INNER JOIN quiet ON found.alert_id = quiet.alert_id
ON CONFLICT (id) DO UPDATE
    SET
        severity = excluded.severity,
        state = excluded.state,
        opened_on = excluded.opened_on,
        last_seen_on = excluded.last_seen_on,
        day_count = excluded.day_count,
        message = excluded.message,
        action = excluded.action;
