SELECT
    sessions.id::TEXT AS session_id,
    sessions.vehicle_id,
    sessions.log_date,
    sessions.cycle_type AS kind,
    sessions.ended_at,
    sessions.start_soc::DOUBLE PRECISION AS soc_start_percent,
    sessions.end_soc::DOUBLE PRECISION AS soc_end_percent,
    sessions.full_charge,
    sessions.observed_capacity_ah,
    sessions.observed_capacity_sigma_ah,
    sessions.observed_soc_delta_percent
FROM charge_cycles AS sessions
INNER JOIN replay ON sessions.vehicle_id = replay.vehicle_id AND sessions.log_date >= replay.from_date
ORDER BY sessions.vehicle_id, sessions.ended_at, sessions.id;
