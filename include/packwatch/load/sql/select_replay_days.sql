SELECT vehicle_days.*
FROM vehicle_days
INNER JOIN replay ON vehicle_days.vehicle_id = replay.vehicle_id AND vehicle_days.log_date >= replay.from_date
ORDER BY vehicle_days.vehicle_id, vehicle_days.log_date;
