-- Register vehicles. Of several descriptions the first by object key stays, one with a make before one without.
INSERT INTO vehicles AS known
SELECT * FROM batch_vehicles
ORDER BY id
ON CONFLICT (id) DO UPDATE
    SET
        make = excluded.make,
        model = excluded.model,
        year = excluded.year,
        battery_original_capacity_kwh = excluded.battery_original_capacity_kwh,
        spec_model = excluded.spec_model,
        spec_source = excluded.spec_source,
        identified_by = excluded.identified_by
    WHERE (excluded.make IS NULL, excluded.identified_by) < (known.make IS NULL, known.identified_by);
