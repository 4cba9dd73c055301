-- Give each replayed report the anomalies of its day, most severe first.
UPDATE battery_health_reports
SET anomalies = found.list
FROM (
    SELECT
        anomalies.vehicle_id,
        anomalies.log_date,
        jsonb_agg(
            jsonb_build_object(
                'code', anomalies.code,
                'severity', anomalies.severity,
                'subject', anomalies.subject,
                'message', anomalies.message
            )
            ORDER BY anomalies.severity DESC, anomalies.code ASC, anomalies.subject ASC
        ) AS list
    FROM anomalies
    INNER JOIN replay ON anomalies.vehicle_id = replay.vehicle_id AND anomalies.log_date >= replay.from_date
    GROUP BY anomalies.vehicle_id, anomalies.log_date
) AS found
WHERE battery_health_reports.vehicle_id = found.vehicle_id AND battery_health_reports.report_date = found.log_date;
