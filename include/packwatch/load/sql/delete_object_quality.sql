DELETE FROM object_quality
USING batch_outcomes
WHERE object_quality.object_key = batch_outcomes.object_key;
