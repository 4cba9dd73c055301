-- Vehicles whose health must be replayed, and from which day: those with data or a report on a slice that changed.
CREATE TEMPORARY TABLE replay ON COMMIT DROP AS
WITH stale AS (
    SELECT log_date
    FROM slices
    WHERE shard = %(shard)s AND assessed_version < analyzed_version
),

touched AS (
    SELECT
        vehicle_days.vehicle_id,
        vehicle_days.log_date
    FROM vehicle_days
    INNER JOIN stale ON vehicle_days.log_date = stale.log_date
    WHERE vehicle_days.shard = %(shard)s
    UNION ALL
    SELECT
        battery_health_reports.vehicle_id,
        battery_health_reports.report_date
    FROM battery_health_reports
    INNER JOIN stale ON battery_health_reports.report_date = stale.log_date
    WHERE battery_health_reports.shard = %(shard)s
)

SELECT
    vehicle_id,
    min(log_date) AS from_date
FROM touched
GROUP BY vehicle_id;
