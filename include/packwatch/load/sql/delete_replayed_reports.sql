DELETE FROM battery_health_reports
USING replay
WHERE battery_health_reports.vehicle_id = replay.vehicle_id AND battery_health_reports.report_date >= replay.from_date;
