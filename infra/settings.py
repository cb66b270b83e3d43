"""Settings, from environment variables that start with DUBWRIGHT_. docs/settings.md lists them all."""

import functools
from pathlib import Path
from typing import Literal

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
    outage_seconds: float = Field(600.0, ge=0, description="How long a run waits for a database or a Prefect server that does not answer.")
    prices: Path | None = Field(None, description="File with what an hour of a worker costs; without it nothing is said of costs.")
    max_takes: int = Field(4, ge=1, le=12, description="Takes rendered before a job is flagged.")
    ladder_job_seconds: float = Field(0.0, ge=0, description="Seconds of work that a job's takes after its first may take; 0 is no such limit.")
    ladder_batch_seconds: float = Field(0.0, ge=0, description="The same of all jobs of a batch together.")
    shard_minutes: float = Field(30.0, gt=0, description="Estimated minutes of work in one shard at most.")
    overlap: bool = Field(True, description="Whether a worker delivers a job, and fetches the next one's inputs, while it renders another.")
    input_gib: float = Field(50.0, gt=0, description="Largest input file.")
    input_hours: float = Field(4.0, gt=0, le=24, description="Longest sound or video that is taken.")
    input_side: int = Field(8192, ge=64, le=16384, description="Most pixels of a video's longer side that are decoded.")
    input_megapixels: int = Field(100, ge=1, le=400, description="Most pixels of a portrait.")
    input_streams: int = Field(64, ge=1, le=1000, description="Most streams of a media file.")
    guard_memory_mib: int = Field(3072, ge=256, description="Memory of the process that looks at media files first.")
    guard_seconds: float = Field(60.0, gt=0, description="How long that may be silent, and how long it may work beyond what a file's length grants.")
    guard_whole: bool = Field(True, description="Whether a job's media are decoded there to their end before they are worked on, not their beginning alone.")
    video_crf: int = Field(18, ge=0, le=40, description="x264 quality of deliveries; less is better and larger.")
    video_preset: str = Field("veryfast", description="x264 preset of deliveries.")
    window_seconds: int = Field(10, ge=1, le=600, description="Seconds of pictures, at 25 a second, that are rendered and kept in one piece: what a resumed job redoes at most.")
    speech_url: str = Field("", description="Address of a speech service that speaks OpenAI's protocol, as https://api.openai.com/v1; empty is none.")
    speech_key: SecretStr = Field(SecretStr(""), description="Its key; empty sends none.")
    speech_seconds: float = Field(60.0, gt=0, description="Time limit of one call of it.")
    sign_certificates: Path | None = Field(None, description="PEM chain of who signs deliveries, the signer first; empty signs by a local key that nobody vouches for.")
    sign_key: Path | None = Field(None, description="Its private key (PEM, P-256).")
    sign_command: str = Field("", description="Instead of a key: a program that signs its standard input, as a key service's client.")
    licences_accepted: str = Field("", description="Names of packages whose licences somebody has read and found fit for commercial use, separated by spaces.")
    timestamp_url: str = Field("", description="RFC 3161 time stamp server of signatures; empty leaves the stamp out.")
    pool: str = Field("cpu", description="Work pool that scheduled and ordered batches are rendered on.")
    pool_shards: int = Field(64, ge=1, description="Shards that may run at once, over all work pools.")
    nightly_manifest: str = Field("", description="Manifest of the nightly batch, a file of the workers or `s3://bucket/key`; empty registers it without its schedule.")
    nightly_cron: str = Field("0 1 * * *", description="When the nightly batch starts.")
    nightly_zone: str = Field("UTC", description="Time zone of `nightly_cron`.")
    batch_hours: float = Field(10.0, gt=0, description="Hours after which a batch of a deployment that has not ended is told of.")
    notify: SecretStr = Field(SecretStr(""), description="Who is told of failed, crashed and late batches: Apprise URLs, separated by spaces.")
    image: str = Field("dubwright:0.1.0", description="Container image of Kubernetes work pools; the pool `gpu` takes it with `-gpu` at the end.")
    api_places: str = Field("", description="Folders and s3:// prefixes that manifests sent over HTTP may name; empty is any bucket and no folder.")
    api_rate: int = Field(600, ge=1, description="Requests a minute of one API token.")
    api_body_mib: int = Field(8, ge=1, le=32, description="Largest body of an API request.")
    api_link_seconds: int = Field(300, ge=10, le=86400, description="How long a signed link of the API is valid.")
    webhook_allow: str = Field("", description="Hosts and networks that webhooks may call though they are not public, by http as well, separated by spaces.")
    webhook_key: SecretStr = Field(SecretStr(""), description="Fernet keys that webhooks' secrets are sealed with, the newest first; empty keeps them as they are.")
    webhook_seconds: float = Field(10.0, gt=0, description="Time limit of one sending of a webhook.")
    webhook_hours: float = Field(24.0, gt=0, description="How long a webhook is sent again before it is given up and its endpoint disabled.")
    desk_host: str = Field("127.0.0.1", description="Address that `dubwright serve` listens at.")
    desk_port: int = Field(8765, ge=0, le=65535, description="Port of that; 0 is any free one.")
    desk_url: str = Field("", description="The desk's own address as readers see it, such as https://desk.example.com; empty is as they ask for it.")
    oidc_issuer: str = Field("", description="Issuer of OpenID Connect that people sign in by; empty is none.")
    oidc_client_id: str = Field("", description="The desk's name at the issuer.")
    oidc_client_secret: SecretStr = Field(SecretStr(""), description="The desk's secret there; empty for a public client.")
    oidc_role: str = Field("", description="Role of somebody who signs in by it for the first time; empty lets in only whom an admin added by `accounts add --openid`.")
    log: str = Field("warning", description="Log level: debug, info, warning, error.")
    log_format: Literal["text", "json"] = Field("text", description="Log lines for people, or a JSON object a line.")
    metrics_port: int = Field(0, ge=0, le=65000, description="Port of the metrics of workers and runs; 0 is none.")
    metrics_host: str = Field("127.0.0.1", description="Address that metrics are shown at; 0.0.0.0 is every one of the machine's.")

    @property
    def cache(self) -> Path:
        """Folder for local copies of artifacts and scratch files."""
        return self.home / "cache"


@functools.cache
def get_settings() -> Settings:
    """The process's settings, read once."""
    return Settings()  # type: ignore[call-arg]  # every field has a default
