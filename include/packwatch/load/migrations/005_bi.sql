-- What BI reads: documented views without VIN and owner, for the role bi_reader alone.

CREATE SCHEMA bi;
COMMENT ON SCHEMA bi IS 'The contract with BI tools.';

CREATE VIEW bi.vehicle_history AS
SELECT
    r.vehicle_id,
    v.make,
    v.model,
    v.year,
    r.report_date,
    r.state_of_health_percent,
    r.soh_lower_90_percent,
    r.soh_upper_90_percent,
    r.confidence_score,
    r.degradation_rate_per_year,
    r.degradation_rate_lower_90,
    r.degradation_rate_upper_90,
    r.rate_is_prior,
    r.charge_cycle_count,
    r.equivalent_full_cycles,
    r.odometer_km,
    r.bms_soh_percent,
    r.evidence_status,
    r.evidence_missing,
    r.observation_count,
    r.method_version,
    jsonb_array_length(r.anomalies) AS anomaly_count
FROM battery_health_reports AS r
INNER JOIN vehicles AS v ON r.vehicle_id = v.id;
COMMENT ON VIEW bi.vehicle_history IS 'Health of every vehicle on every day with data.';

CREATE VIEW bi.vehicle_latest AS
SELECT DISTINCT ON (vehicle_id) *
FROM bi.vehicle_history
ORDER BY vehicle_id ASC, report_date DESC;
COMMENT ON VIEW bi.vehicle_latest IS 'The newest report of every vehicle.';

CREATE VIEW bi.sessions AS
SELECT
    id AS session_id,
    vehicle_id,
    cycle_type,
    cycle_timestamp AS started_at,
    ended_at,
    start_soc AS start_soc_percent,
    end_soc AS end_soc_percent,
    energy_transferred_kwh,
    charge_ah,
    charge_type,
    power_max_kw,
    temperature_max_c,
    observed_capacity_ah
FROM charge_cycles;
COMMENT ON VIEW bi.sessions IS 'Charge and discharge sessions.';

CREATE VIEW bi.alerts_open AS
SELECT
    a.id AS alert_id,
    a.vehicle_id,
    v.make,
    v.model,
    a.code,
    a.subject,
    a.severity,
    a.opened_on,
    a.last_seen_on,
    a.day_count,
    a.message,
    a.action
FROM alerts AS a
INNER JOIN vehicles AS v ON a.vehicle_id = v.id
WHERE a.state = 'open';
COMMENT ON VIEW bi.alerts_open IS 'Alerts nobody has closed yet.';

CREATE VIEW bi.data_quality AS
SELECT
    vehicle_id,
    log_date,
    rows_in,
    rows_quarantined,
    rows_duplicate,
    rows_warned,
    validity_percent,
    uniqueness_percent,
    plausibility_percent,
    completeness_percent,
    quality_score
FROM public.data_quality;
COMMENT ON VIEW bi.data_quality IS 'Quality of the data of a vehicle and day.';

CREATE VIEW bi.pipeline_freshness AS
SELECT
    run_key AS arrival_date,
    state,
    objects,
    rows_in,
    rows_clean,
    rows_quarantined,
    rows_duplicate,
    finished_at
FROM pipeline_runs;
COMMENT ON VIEW bi.pipeline_freshness IS 'The books of each night.';

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bi_reader') THEN
        CREATE ROLE bi_reader NOLOGIN;
    END IF;
END;
$$;
GRANT USAGE ON SCHEMA bi TO bi_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA bi TO bi_reader;
