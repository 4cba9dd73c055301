-- Grain: one row a vehicle that sent data in the four weeks before the week and none in it, longest silent first.
WITH seen AS (
    SELECT
        vehicle_id,
        max(log_date) AS last_seen_on
    FROM vehicle_days
    WHERE log_date BETWEEN %(monday)s::DATE - 28 AND %(sunday)s
    GROUP BY vehicle_id
    HAVING max(log_date) < %(monday)s
)

SELECT
    seen.vehicle_id::TEXT AS vehicle_id,
    vehicles.make,
    vehicles.model,
    vehicles.year,
    seen.last_seen_on
FROM seen
INNER JOIN vehicles ON seen.vehicle_id = vehicles.id
ORDER BY seen.last_seen_on ASC, seen.vehicle_id ASC;
