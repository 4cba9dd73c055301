-- Grain: one row a log day and charge type (AC, DC, or unknown) with charge sessions in the week.
SELECT
    log_date,
    coalesce(charge_type, 'unknown') AS charge_type,
    count(*) AS session_count,
    coalesce(sum(energy_transferred_kwh), 0)::DOUBLE PRECISION AS energy_kwh
FROM charge_cycles
WHERE cycle_type = 'charge' AND log_date BETWEEN %(monday)s AND %(sunday)s
GROUP BY log_date, coalesce(charge_type, 'unknown')
ORDER BY log_date, charge_type;
