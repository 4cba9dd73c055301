-- People and access: owners (encrypted), dealers, keys, audit.

CREATE TABLE subject_keys (
    subject_id UUID PRIMARY KEY,
    wrapped_key BYTEA,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    destroyed_at TIMESTAMPTZ
);
COMMENT ON TABLE subject_keys IS 'One encryption key a person; destroying it erases the person everywhere.';

CREATE TABLE owners (
    id UUID PRIMARY KEY,
    subject_id UUID NOT NULL REFERENCES subject_keys (subject_id),
    vehicle_id UUID NOT NULL REFERENCES vehicles (id),
    name_encrypted BYTEA,
    contact_encrypted BYTEA,
    owned_from DATE,
    owned_to DATE
);
COMMENT ON TABLE owners IS 'Owners of vehicles, encrypted with the key of the person.';

CREATE TABLE dealers (
    id UUID PRIMARY KEY,
    name TEXT NOT NULL,
    active BOOLEAN NOT NULL DEFAULT TRUE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE dealers IS 'Dealers who read reports.';

CREATE TABLE api_keys (
    id UUID PRIMARY KEY,
    dealer_id UUID NOT NULL REFERENCES dealers (id),
    key_hash BYTEA NOT NULL UNIQUE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    revoked_at TIMESTAMPTZ
);
COMMENT ON TABLE api_keys IS 'Hashes of the keys dealers hold.';

CREATE TABLE audit_log (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    happened_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT,
    detail JSONB NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE audit_log IS 'Who did what to data that matters.';
