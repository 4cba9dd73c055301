-- Grain: one row a log day and charge type (AC, DC, or unknown) with charge sessions in the week.
WITH charges AS (
    SELECT
        log_date,
        energy_transferred_kwh,
        CASE WHEN charge_type IN ('AC', 'DC') THEN charge_type ELSE 'unknown' END AS charge_type
    FROM charge_cycles
    WHERE cycle_type = 'charge' AND log_date BETWEEN %(monday)s AND %(sunday)s
)

SELECT
    log_date,
    charge_type,
    count(*) AS session_count,
    coalesce(sum(energy_transferred_kwh), 0)::DOUBLE PRECISION AS energy_kwh
FROM charges
GROUP BY log_date, charge_type
ORDER BY log_date, charge_type;
