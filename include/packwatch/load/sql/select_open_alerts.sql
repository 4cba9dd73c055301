SELECT
    vehicle_id::TEXT AS vehicle_id,
    make,
    model,
    severity,
    opened_on,
    message,
    action
FROM bi.alerts_open
ORDER BY severity DESC, opened_on ASC, alert_id ASC;
