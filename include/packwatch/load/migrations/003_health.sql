-- Health: reports, forecasts, alerts.

-- Grain: one row a vehicle and report day. Partitioned by make, each make by year: see `ensure_report_partition`.
CREATE TABLE battery_health_reports (
    id UUID NOT NULL,
    vehicle_id UUID NOT NULL REFERENCES vehicles (id),
    analysis_timestamp TIMESTAMPTZ DEFAULT now(),
    state_of_health_percent NUMERIC(5, 2),
    charge_cycle_count INTEGER,
    degradation_rate_per_year NUMERIC(5, 2),
    confidence_score NUMERIC(5, 4),
    anomalies JSONB NOT NULL DEFAULT '[]',
    raw_data_s3_path TEXT,
    make TEXT NOT NULL,
    report_date DATE NOT NULL,
    shard SMALLINT NOT NULL,
    soh_lower_90_percent NUMERIC(5, 2),
    soh_upper_90_percent NUMERIC(5, 2),
    degradation_rate_lower_90 NUMERIC(5, 2),
    degradation_rate_upper_90 NUMERIC(5, 2),
    rate_is_prior BOOLEAN NOT NULL,
    equivalent_full_cycles DOUBLE PRECISION,
    reference_capacity_ah DOUBLE PRECISION,
    reference_source TEXT,
    observation_count INTEGER NOT NULL,
    observation_kinds TEXT,
    evidence_status TEXT NOT NULL CHECK (evidence_status IN ('ok', 'insufficient_evidence')),
    evidence_missing TEXT,
    bms_soh_percent DOUBLE PRECISION,
    odometer_km DOUBLE PRECISION,
    method_version TEXT NOT NULL,
    state_soh DOUBLE PRECISION NOT NULL,
    state_rate_per_day DOUBLE PRECISION NOT NULL,
    state_var_soh DOUBLE PRECISION NOT NULL,
    state_cov DOUBLE PRECISION NOT NULL,
    state_var_rate DOUBLE PRECISION NOT NULL,
    state_evidence DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (id, make, report_date)
) PARTITION BY LIST (make);
CREATE TABLE battery_health_reports_default PARTITION OF battery_health_reports DEFAULT PARTITION BY RANGE (
    report_date
);
CREATE TABLE battery_health_reports_default_default PARTITION OF battery_health_reports_default DEFAULT;
CREATE INDEX battery_health_reports_vehicle ON battery_health_reports (vehicle_id, report_date);
COMMENT ON TABLE battery_health_reports IS 'Battery health of a vehicle on each day with data.';
COMMENT ON COLUMN battery_health_reports.state_of_health_percent IS
'Capacity now as a share of the reference capacity, %; null while the evidence is insufficient.';
COMMENT ON COLUMN battery_health_reports.charge_cycle_count IS
'Charge sessions seen so far; equivalent_full_cycles is the measure of use.';
COMMENT ON COLUMN battery_health_reports.degradation_rate_per_year IS
'Points of state of health lost a year; positive is loss.';
COMMENT ON COLUMN battery_health_reports.confidence_score IS
'Probability (0 to 1) that the state of health is right within 3 points.';
COMMENT ON COLUMN battery_health_reports.bms_soh_percent IS
'What the BMS itself says: a source of its own, never mixed into the state of health.';
COMMENT ON COLUMN battery_health_reports.rate_is_prior IS
'True while the rate rests on the fleet, not yet on this vehicle.';
COMMENT ON COLUMN battery_health_reports.raw_data_s3_path IS 'Clean rows this report was made from.';

CREATE FUNCTION ensure_report_partition(make TEXT, report_year INTEGER) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    -- A make is data: letters and digits of it name the partition, a digest keeps two makes apart.
    make_table TEXT := 'battery_health_reports_'
        || left(regexp_replace(lower(make), '[^a-z0-9]+', '_', 'g'), 20) || '_' || left(md5(make), 6);
    year_table TEXT := make_table || '_' || report_year;
BEGIN
    IF to_regclass(year_table) IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtext('ensure_partition'));
        EXECUTE format(
            'CREATE TABLE IF NOT EXISTS %I PARTITION OF battery_health_reports FOR VALUES IN (%L) PARTITION BY RANGE (report_date)',
            make_table, make
        );
        EXECUTE format(
            'CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
            year_table, make_table, report_year || '-01-01', (report_year + 1) || '-01-01'
        );
    END IF;
END;
$$;

-- Grain: one row a vehicle, day it was made and threshold.
CREATE TABLE forecasts (
    id UUID PRIMARY KEY,
    vehicle_id UUID NOT NULL REFERENCES vehicles (id),
    forecast_date DATE NOT NULL,
    threshold_percent NUMERIC(5, 2) NOT NULL,
    crossing_date DATE,
    crossing_date_lower_90 DATE,
    crossing_date_upper_90 DATE,
    method_version TEXT NOT NULL
);
COMMENT ON TABLE forecasts IS
'When a vehicle is expected to fall below a state of health. Empty until the forecaster lands.';

-- Grain: one row a vehicle, kind of anomaly and subject.
CREATE TABLE alerts (
    id UUID PRIMARY KEY,
    vehicle_id UUID NOT NULL REFERENCES vehicles (id),
    code TEXT NOT NULL,
    subject TEXT NOT NULL,
    severity SMALLINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'resolved')),
    opened_on DATE NOT NULL,
    last_seen_on DATE NOT NULL,
    day_count INTEGER NOT NULL,
    message TEXT NOT NULL,
    action TEXT NOT NULL,
    notified_severity SMALLINT NOT NULL DEFAULT 0,
    notified_at TIMESTAMPTZ
);
CREATE INDEX alerts_open ON alerts (state, severity);
COMMENT ON TABLE alerts IS 'Anomalies that someone must act on, one row from first sight to resolution.';
COMMENT ON COLUMN alerts.notified_severity IS 'Highest severity that was sent out; a higher one is sent again.';
