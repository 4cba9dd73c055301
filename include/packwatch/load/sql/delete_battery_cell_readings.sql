-- The day's edges in UTC, which the session's time zone is set to.
DELETE FROM battery_cell_readings
WHERE
    time >= %(log_date)s::DATE::TIMESTAMPTZ
    AND time < (%(log_date)s::DATE + 1)::TIMESTAMPTZ
    AND shard = %(shard)s;
