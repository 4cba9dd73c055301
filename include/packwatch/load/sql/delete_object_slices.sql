DELETE FROM object_slices
USING batch_outcomes
WHERE object_slices.object_key = batch_outcomes.object_key;
