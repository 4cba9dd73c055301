INSERT INTO object_quality
SELECT * FROM batch_quality;
