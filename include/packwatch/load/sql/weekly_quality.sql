-- Grain: one row a log day of the week with data. Every vehicle counts the same, however many rows it sent.
SELECT
    log_date,
    count(*) AS vehicle_count,
    avg(quality_score)::DOUBLE PRECISION AS score_mean,
    percentile_cont(0.1) WITHIN GROUP (ORDER BY quality_score) AS score_p10,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY quality_score) AS score_p90,
    min(quality_score)::DOUBLE PRECISION AS score_min
FROM data_quality
WHERE log_date BETWEEN %(monday)s AND %(sunday)s
GROUP BY log_date
ORDER BY log_date;
