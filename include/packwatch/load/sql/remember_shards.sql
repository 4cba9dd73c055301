INSERT INTO lake_settings (shards) VALUES (%(shards)s) ON CONFLICT DO NOTHING;
