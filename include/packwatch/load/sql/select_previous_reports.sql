-- The last report of each replayed vehicle before the replay: its state is where the recursion goes on.
SELECT DISTINCT ON (reports.vehicle_id) reports.*
FROM battery_health_reports AS reports
INNER JOIN replay ON reports.vehicle_id = replay.vehicle_id AND reports.report_date < replay.from_date
ORDER BY reports.vehicle_id ASC, reports.report_date DESC;
