-- Grain: one row a vehicle with a report, the lowest state of health first.
SELECT
    latest.vehicle_id::TEXT AS vehicle_id,
    latest.make,
    latest.model,
    latest.state_of_health_percent::DOUBLE PRECISION AS state_of_health_percent,
    latest.soh_lower_90_percent::DOUBLE PRECISION AS soh_lower_90_percent,
    latest.soh_upper_90_percent::DOUBLE PRECISION AS soh_upper_90_percent,
    latest.confidence_score::DOUBLE PRECISION AS confidence_score,
    latest.degradation_rate_per_year::DOUBLE PRECISION AS degradation_rate_per_year,
    latest.rate_is_prior,
    latest.charge_cycle_count,
    latest.equivalent_full_cycles,
    (
        SELECT string_agg(DISTINCT anomalies.code, ', ')
        FROM anomalies
        WHERE anomalies.vehicle_id = latest.vehicle_id
    ) AS anomalies
FROM bi.vehicle_latest AS latest
ORDER BY latest.state_of_health_percent ASC NULLS LAST, latest.make ASC, latest.vehicle_id ASC;
