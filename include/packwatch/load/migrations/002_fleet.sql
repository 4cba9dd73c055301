-- Vehicles and what they did: sessions, days, cell readings, anomalies, data quality.

-- Grain: one row a vehicle.
CREATE TABLE vehicles (
    id UUID PRIMARY KEY,
    vin VARCHAR(17) UNIQUE NOT NULL,
    make VARCHAR(50),
    model VARCHAR(100),
    year INTEGER,
    battery_original_capacity_kwh NUMERIC(8, 2),
    manufacturing_date DATE,
    created_at TIMESTAMPTZ DEFAULT now(),
    shard SMALLINT NOT NULL,
    spec_model TEXT,
    spec_source TEXT NOT NULL,
    identified_by TEXT NOT NULL
);
CREATE INDEX vehicles_shard ON vehicles (shard);
COMMENT ON TABLE vehicles IS 'Vehicle registry.';
COMMENT ON COLUMN vehicles.vin IS 'Vehicle identification number. Personal data: not visible to bi_reader.';
COMMENT ON COLUMN vehicles.battery_original_capacity_kwh IS 'Usable energy when new, kWh, from the vehicle catalogue.';
COMMENT ON COLUMN vehicles.spec_model IS 'The catalogue row that the limits come from; null when the type is unknown.';
COMMENT ON COLUMN vehicles.spec_source IS
'catalogue, or neutral when the type is unknown and chemistry-neutral limits apply.';
COMMENT ON COLUMN vehicles.identified_by IS
'The raw object that make, model and year were taken from: the first by key.';

-- Grain: one row a charge or discharge session, on the UTC day it ends in.
CREATE TABLE charge_cycles (
    id UUID PRIMARY KEY,
    vehicle_id UUID NOT NULL REFERENCES vehicles (id),
    cycle_timestamp TIMESTAMPTZ NOT NULL,
    start_soc NUMERIC(5, 2),
    end_soc NUMERIC(5, 2),
    energy_transferred_kwh NUMERIC(8, 3),
    cycle_type VARCHAR(20) NOT NULL CHECK (cycle_type IN ('charge', 'discharge')),
    log_date DATE NOT NULL,
    shard SMALLINT NOT NULL,
    ended_at TIMESTAMPTZ NOT NULL,
    duration_s DOUBLE PRECISION NOT NULL,
    row_count BIGINT NOT NULL,
    charge_ah DOUBLE PRECISION,
    power_max_kw DOUBLE PRECISION,
    charge_type VARCHAR(2),
    temperature_start_c DOUBLE PRECISION,
    temperature_max_c DOUBLE PRECISION,
    sampling_interval_s DOUBLE PRECISION,
    gap_s DOUBLE PRECISION,
    odometer_start_km DOUBLE PRECISION,
    odometer_end_km DOUBLE PRECISION,
    observed_capacity_ah DOUBLE PRECISION,
    observed_capacity_sigma_ah DOUBLE PRECISION,
    observed_soc_delta_percent DOUBLE PRECISION,
    full_charge BOOLEAN NOT NULL,
    quality_flags INTEGER NOT NULL
);
CREATE INDEX charge_cycles_slice ON charge_cycles (log_date, shard);
CREATE INDEX charge_cycles_vehicle ON charge_cycles (vehicle_id, ended_at);
COMMENT ON TABLE charge_cycles IS 'Charge and discharge sessions.';
COMMENT ON COLUMN charge_cycles.cycle_timestamp IS 'Start of the session.';
COMMENT ON COLUMN charge_cycles.energy_transferred_kwh IS
'Net energy at the pack terminals, kWh, positive in both directions.';
COMMENT ON COLUMN charge_cycles.observed_capacity_ah IS
'Capacity that this charge shows, Ah; null when it is too small or too sparse to tell.';

-- Grain: one row a vehicle and log day with data.
CREATE TABLE vehicle_days (
    vehicle_id UUID NOT NULL REFERENCES vehicles (id),
    log_date DATE NOT NULL,
    shard SMALLINT NOT NULL,
    row_count BIGINT NOT NULL,
    first_recorded_at TIMESTAMPTZ NOT NULL,
    last_recorded_at TIMESTAMPTZ NOT NULL,
    charge_throughput_ah DOUBLE PRECISION,
    discharge_throughput_ah DOUBLE PRECISION,
    equivalent_full_cycles DOUBLE PRECISION,
    odometer_km DOUBLE PRECISION,
    soc_min_percent DOUBLE PRECISION,
    soc_max_percent DOUBLE PRECISION,
    temperature_max_c DOUBLE PRECISION,
    temperature_mean_c DOUBLE PRECISION,
    cell_spread_median_mv DOUBLE PRECISION,
    cell_spread_max_mv DOUBLE PRECISION,
    bms_soh_percent DOUBLE PRECISION,
    bms_capacity_ah DOUBLE PRECISION,
    completeness DOUBLE PRECISION,
    PRIMARY KEY (vehicle_id, log_date)
);
CREATE INDEX vehicle_days_slice ON vehicle_days (log_date, shard);
COMMENT ON TABLE vehicle_days IS 'Daily statistics of a vehicle, the input of its health report.';

-- Grain: one row a cell and interval (an hour by default). Partitioned by month.
CREATE TABLE battery_cell_readings (
    time TIMESTAMPTZ NOT NULL,
    vehicle_id UUID NOT NULL,
    cell_id VARCHAR(20) NOT NULL,
    voltage NUMERIC(6, 4),
    temperature NUMERIC(5, 2),
    internal_resistance NUMERIC(6, 3),
    voltage_min NUMERIC(6, 4),
    voltage_max NUMERIC(6, 4),
    deviation_mv NUMERIC(7, 2),
    reading_count INTEGER NOT NULL,
    shard SMALLINT NOT NULL
) PARTITION BY RANGE (time);
CREATE TABLE battery_cell_readings_default PARTITION OF battery_cell_readings DEFAULT;
CREATE INDEX battery_cell_readings_time ON battery_cell_readings USING brin (time);
CREATE INDEX battery_cell_readings_vehicle ON battery_cell_readings (vehicle_id, time);
COMMENT ON TABLE battery_cell_readings IS
'Cell voltages and temperatures averaged over an interval; every reading stays in the lake.';
COMMENT ON COLUMN battery_cell_readings.temperature IS 'Mean of the probe nearest to the cell by number, °C.';
COMMENT ON COLUMN battery_cell_readings.internal_resistance IS
'Resistance of the cell, milliohm; null while no method has measured it.';
COMMENT ON COLUMN battery_cell_readings.deviation_mv IS 'Mean deviation from the average cell of the same instant, mV.';

CREATE FUNCTION ensure_cell_partition(month DATE) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    first_day DATE := date_trunc('month', month)::DATE;
    partition_name TEXT := 'battery_cell_readings_' || to_char(first_day, 'YYYY_MM');
BEGIN
    IF to_regclass(partition_name) IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtext('ensure_partition'));
        EXECUTE format(
            'CREATE TABLE IF NOT EXISTS %I PARTITION OF battery_cell_readings FOR VALUES FROM (%L) TO (%L)',
            partition_name,
            first_day::TEXT || ' 00:00:00+00',
            (first_day + INTERVAL '1 month')::DATE::TEXT || ' 00:00:00+00'
        );
    END IF;
END;
$$;

-- Grain: one row a vehicle, log day, kind of anomaly and subject (a cell, a probe or the pack).
CREATE TABLE anomalies (
    id UUID PRIMARY KEY,
    alert_id UUID NOT NULL,
    vehicle_id UUID NOT NULL REFERENCES vehicles (id),
    log_date DATE NOT NULL,
    shard SMALLINT NOT NULL,
    code TEXT NOT NULL,
    severity SMALLINT NOT NULL CHECK (severity BETWEEN 1 AND 4),
    subject TEXT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    ended_at TIMESTAMPTZ NOT NULL,
    row_count BIGINT NOT NULL,
    value DOUBLE PRECISION,
    unit TEXT,
    normal_value DOUBLE PRECISION,
    limit_value DOUBLE PRECISION,
    message TEXT NOT NULL,
    action TEXT NOT NULL
);
CREATE INDEX anomalies_slice ON anomalies (log_date, shard);
CREATE INDEX anomalies_vehicle ON anomalies (vehicle_id, log_date);
COMMENT ON TABLE anomalies IS 'What the rules found on a day, with its evidence.';
COMMENT ON COLUMN anomalies.alert_id IS
'The alert this belongs to: the same for every day of a vehicle, code and subject.';
COMMENT ON COLUMN anomalies.severity IS '1 watch, 2 warning, 3 critical, 4 emergency.';

-- Grain: one row a vehicle and log day.
CREATE TABLE data_quality (
    vehicle_id UUID NOT NULL REFERENCES vehicles (id),
    log_date DATE NOT NULL,
    shard SMALLINT NOT NULL,
    rows_in BIGINT NOT NULL,
    rows_quarantined BIGINT NOT NULL,
    rows_duplicate BIGINT NOT NULL,
    rows_warned BIGINT NOT NULL,
    validity_percent NUMERIC(5, 2) NOT NULL,
    uniqueness_percent NUMERIC(5, 2) NOT NULL,
    plausibility_percent NUMERIC(5, 2) NOT NULL,
    completeness_percent NUMERIC(5, 2) NOT NULL,
    quality_score NUMERIC(5, 2) NOT NULL,
    PRIMARY KEY (vehicle_id, log_date)
);
CREATE INDEX data_quality_slice ON data_quality (log_date, shard);
COMMENT ON TABLE data_quality IS 'Quality of the data of a vehicle and day: a score of 0 to 100 and its parts.';
