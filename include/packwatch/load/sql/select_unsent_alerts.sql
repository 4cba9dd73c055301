SELECT
    alerts.id::TEXT AS alert_id,
    alerts.vehicle_id::TEXT AS vehicle_id,
    vehicles.make,
    vehicles.model,
    alerts.code,
    alerts.subject,
    alerts.severity,
    alerts.opened_on,
    alerts.last_seen_on,
    alerts.message,
    alerts.action
FROM alerts
INNER JOIN vehicles ON alerts.vehicle_id = vehicles.id
WHERE alerts.state = 'open' AND alerts.notified_severity < alerts.severity
ORDER BY alerts.severity DESC, alerts.opened_on ASC, alerts.id ASC;
