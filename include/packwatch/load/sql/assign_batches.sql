UPDATE ingested_objects
SET batch_id = batches.batch_id
FROM batches
WHERE ingested_objects.object_key = batches.object_key;
