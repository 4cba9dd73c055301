-- Grain: one row a vehicle with data in the week. Its week, its last health report of the week, and the first report
-- ever that had a state of health, to tell the change. The VIN is left out on purpose.
WITH in_week AS (
    SELECT
        vehicle_id,
        max(temperature_max_c) AS temperature_max_c,
        (array_agg(log_date ORDER BY temperature_max_c DESC NULLS LAST, log_date ASC))[1] AS hottest_on,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY cell_spread_median_mv) AS cell_spread_mv,
        min(odometer_km) AS odometer_min_km,
        max(odometer_km) AS odometer_end_km
    FROM vehicle_days
    WHERE log_date BETWEEN %(monday)s AND %(sunday)s
    GROUP BY vehicle_id
),

week_before AS (
    SELECT
        vehicle_id,
        max(odometer_km) AS odometer_end_km
    FROM vehicle_days
    WHERE log_date >= %(monday)s::DATE - 7 AND log_date < %(monday)s
    GROUP BY vehicle_id
),

moved AS (
    SELECT
        vehicle_id,
        min(odometer_start_km) AS odometer_start_km
    FROM charge_cycles
    WHERE log_date BETWEEN %(monday)s AND %(sunday)s
    GROUP BY vehicle_id
),

latest AS (
    SELECT DISTINCT ON (vehicle_id) *
    FROM battery_health_reports
    WHERE report_date BETWEEN %(monday)s AND %(sunday)s
    ORDER BY vehicle_id ASC, report_date DESC
)

SELECT
    vehicles.id::TEXT AS vehicle_id,
    vehicles.make,
    vehicles.model,
    vehicles.year,
    vehicles.spec_model,
    latest.state_of_health_percent::DOUBLE PRECISION AS soh_percent,
    latest.soh_lower_90_percent::DOUBLE PRECISION AS soh_lower_percent,
    latest.soh_upper_90_percent::DOUBLE PRECISION AS soh_upper_percent,
    latest.confidence_score::DOUBLE PRECISION AS confidence_score,
    latest.degradation_rate_per_year::DOUBLE PRECISION AS rate_per_year,
    coalesce(latest.rate_is_prior, TRUE) AS rate_is_prior,
    coalesce(latest.evidence_missing, 'Its week is not assessed yet.') AS evidence_missing,
    latest.bms_soh_percent,
    earliest.state_of_health_percent::DOUBLE PRECISION AS first_soh_percent,
    earliest.report_date AS first_report_on,
    in_week.temperature_max_c,
    in_week.hottest_on,
    in_week.cell_spread_mv,
    in_week.odometer_end_km,
    coalesce(week_before.odometer_end_km, least(moved.odometer_start_km, in_week.odometer_min_km)) AS odometer_begin_km
FROM in_week
INNER JOIN vehicles ON in_week.vehicle_id = vehicles.id
LEFT JOIN week_before ON in_week.vehicle_id = week_before.vehicle_id
LEFT JOIN moved ON in_week.vehicle_id = moved.vehicle_id
LEFT JOIN latest ON in_week.vehicle_id = latest.vehicle_id
LEFT JOIN LATERAL (
    SELECT
        reports.state_of_health_percent,
        reports.report_date
    FROM battery_health_reports AS reports
    WHERE
        reports.vehicle_id = latest.vehicle_id
        AND reports.report_date < latest.report_date
        AND reports.state_of_health_percent IS NOT NULL
    ORDER BY reports.report_date
    LIMIT 1
) AS earliest ON TRUE
ORDER BY vehicles.id;
