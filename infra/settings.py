"""Settings, from environment variables that start with DUBWRIGHT_. docs/settings.md lists them all."""

import functools
from pathlib import Path

from platformdirs import user_data_path
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What an operator can set; the defaults run everything on one machine."""

    model_config = SettingsConfigDict(env_prefix="DUBWRIGHT_", extra="ignore")

    home: Path = Field(default_factory=lambda: user_data_path("dubwright"), description="Folder of embedded Postgres, artifacts and caches.")
    database_url: SecretStr = Field(SecretStr(""), description="SQLAlchemy URL of Postgres; empty starts the embedded one under `home`.")
    store_url: str = Field("", description="Where artifacts live: `s3://bucket/prefix` or a folder; empty is a folder under `home`.")
    s3_endpoint_url: str = Field("", description="Endpoint of an S3 server other than AWS.")
    s3_region: str = Field("us-east-1", description="Region of the S3 server.")
    threads: int = Field(2, ge=1, le=64, description="CPU threads of one process's networks.")
    lease_seconds: int = Field(90, ge=5, description="How long a worker holds a job without renewing.")
    max_attempts: int = Field(3, ge=1, description="How often a job whose worker died is tried again.")
    max_outages: int = Field(6, ge=1, description="How often a job that an outage cut off is tried before it fails.")
    backoff_seconds: float = Field(30.0, ge=0, description="Wait before a job that an outage or dead workers cut off is tried again; it doubles each time.")
    outage_seconds: float = Field(600.0, ge=0, description="How long a run waits for a database that does not answer.")
    prices: Path | None = Field(None, description="File with what an hour of a worker costs; without it nothing is said of costs.")
    max_takes: int = Field(4, ge=1, le=12, description="Takes rendered before a job is flagged.")
    ladder_job_seconds: float = Field(0.0, ge=0, description="Seconds of work that a job's takes after its first may take; 0 is no such limit.")
    ladder_batch_seconds: float = Field(0.0, ge=0, description="The same of all jobs of a batch together.")
    shard_minutes: float = Field(5.0, gt=0, description="Estimated minutes of work in one shard.")
    video_crf: int = Field(18, ge=0, le=40, description="x264 quality of deliveries; less is better and larger.")
    video_preset: str = Field("veryfast", description="x264 preset of deliveries.")
    sign_certificates: Path | None = Field(None, description="PEM chain of who signs deliveries, the signer first; empty signs by a local key that nobody vouches for.")
    sign_key: Path | None = Field(None, description="Its private key (PEM, P-256).")
    sign_command: str = Field("", description="Instead of a key: a program that signs its standard input, as a key service's client.")
    timestamp_url: str = Field("", description="RFC 3161 time stamp server of signatures; empty leaves the stamp out.")
    pool: str = Field("cpu", description="Work pool that scheduled and ordered batches are rendered on.")
    pool_shards: int = Field(64, ge=1, description="Shards that may run at once, over all work pools.")
    nightly_manifest: str = Field("", description="Manifest of the nightly batch, a file of the workers or `s3://bucket/key`; empty registers it without its schedule.")
    nightly_cron: str = Field("0 1 * * *", description="When the nightly batch starts.")
    nightly_zone: str = Field("UTC", description="Time zone of `nightly_cron`.")
    batch_hours: float = Field(10.0, gt=0, description="Hours after which a batch of a deployment that has not ended is told of.")
    notify: SecretStr = Field(SecretStr(""), description="Who is told of failed, crashed and late batches: Apprise URLs, separated by spaces.")
    image: str = Field("dubwright:0.1.0", description="Container image of Kubernetes work pools; the pool `gpu` takes it with `-gpu` at the end.")
    log: str = Field("warning", description="Log level: debug, info, warning, error.")

    @property
    def cache(self) -> Path:
        """Folder for local copies of artifacts and scratch files."""
        return self.home / "cache"


@functools.cache
def get_settings() -> Settings:
    """The process's settings, read once."""
    return Settings()  # type: ignore[call-arg]  # every field has a default
