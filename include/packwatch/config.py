"""Settings, read once from the environment (prefix `PACKWATCH_`), and the ids of the Airflow connections.

Secrets are never settings: they live in the Airflow connections named here.
"""

from __future__ import annotations

import functools

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

POSTGRES_CONN_ID = "packwatch_postgres"
S3_CONN_ID = "packwatch_s3"
WEBHOOK_CONN_ID = "packwatch_webhook"
SMTP_CONN_ID = "packwatch_smtp"


class Settings(BaseSettings):
    """Every knob of the nightly run; `.env.example` lists them with their defaults."""

    model_config = SettingsConfigDict(env_prefix="PACKWATCH_", frozen=True)

    bucket: str = Field("packwatch", min_length=3, description="S3 bucket that holds all lake zones.")
    raw_prefix: str = Field("raw/ingest_date={date}/", description="Where a day's uploads lie; {date} is YYYY-MM-DD.")
    shards: int = Field(
        16, ge=1, le=1024, description="Parts a night is split into; one task holds one part in memory."
    )
    batch_bytes: int = Field(64_000_000, ge=1, description="Most bytes of raw objects one validation task reads.")
    object_bytes_max: int = Field(2_000_000_000, ge=1, description="Largest raw object that is opened at all.")
    lookback_days: int = Field(14, ge=0, description="Older arrival days searched for late uploads.")
    bad_share_max: float = Field(0.25, ge=0, le=1, description="Share of broken rows above which a batch is rejected.")
    cell_interval_s: int = Field(3600, ge=60, description="Interval to which cell readings are averaged, in seconds.")


@functools.cache
def settings() -> Settings:
    """Return the settings of this process."""
    return Settings()
