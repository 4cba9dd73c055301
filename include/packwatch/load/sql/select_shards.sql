SELECT shards FROM lake_settings;
