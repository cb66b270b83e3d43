"""What the API takes and gives, as OpenAPI shows it."""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Path, Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from db.tables import DECISIONS, JOB_STATES
from infra.errors import ManifestError
from tasks.rows import Defaults, JobRow, LadderRow

BIGGEST = 2**63 - 2
LARGEST_PAGE = 200
T = TypeVar("T")


def _storable(value: str) -> str:
    if "\x00" in value or any(0xD800 <= ord(c) < 0xE000 for c in value):
        raise ValueError("it holds characters that cannot be stored")
    return value


Plain = Annotated[str, AfterValidator(_storable)]
Number = Annotated[int, Path(ge=1, le=BIGGEST)]
Asked = Annotated[int | None, Query(ge=1, le=BIGGEST)]
Size = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="Rows of a page.")]
Cursor = Annotated[str, Query(max_length=64, description="`next` of the page before.")]
State = Literal[JOB_STATES]  # type: ignore[valid-type]
Decision = Literal[DECISIONS]  # type: ignore[valid-type]
Kind = Literal["job.delivered", "job.flagged", "job.failed", "job.cancelled", "job.rejected", "review.decided", "batch.ended"]


def cursor(number: int) -> str:
    """Where a page ended, as a word that says nothing."""
    return base64.urlsafe_b64encode(str(number).encode()).decode().rstrip("=")


def number_at(text: str) -> int | None:
    """The number in a cursor. Raises ManifestError for words that are none."""
    if not text:
        return None
    try:
        found = int(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii"))
    except (ValueError, binascii.Error, UnicodeError) as error:
        raise ManifestError("the cursor is none of this API's", code="request.cursor", next_step="Give `next` of the page before, or none.") from error
    if not 0 <= found <= BIGGEST:
        raise ManifestError("the cursor is none of this API's", code="request.cursor", next_step="Give `next` of the page before, or none.")
    return found


class Page(BaseModel, Generic[T]):
    """A page of rows. `next` is the cursor of the page after it, null where there is none."""

    items: list[T]
    next: str | None = None


def page(rows: list[Any], size: int, name: str) -> dict[str, Any]:
    """A page of rows of which one more than the page was asked for; name: of the number that orders them."""
    return {"items": rows[:size], "next": cursor(rows[size - 1][name]) if len(rows) > size else None}


class Body(BaseModel):
    """A request's body: nothing in it that is not known."""

    model_config = ConfigDict(extra="forbid")


class ManifestBody(Body):
    """A manifest (docs/manifest.md). Over HTTP inputs and output are `s3://bucket/key`, or lie in folders that the operator listed."""

    batch: str = Field(min_length=1)
    output: str = Field(min_length=1)
    defaults: Defaults | None = None
    ladder: LadderRow | None = None
    jobs: list[JobRow] = Field(min_length=1)


class Trouble(BaseModel):
    """What kept a job from being made."""

    code: str = ""
    message: str = ""
    next_step: str | None = None
    job: str | None = None


class PlannedJob(BaseModel):
    """One job of a plan. state: `made`, `exists` (at `url`), `invalid` (by `error`)."""

    title: str
    locale: str
    state: Literal["made", "exists", "invalid"]
    video_seconds: float
    work_seconds: float
    error: Trouble | None
    url: str | None


class Cost(BaseModel):
    """Money, from the operator's price table."""

    currency: str
    amount: float


class Planned(BaseModel):
    """What a manifest would make."""

    batch: str
    output: str
    counts: dict[str, int]
    work_seconds: float = Field(description="Seconds of work on one worker, estimated.")
    cost: Cost | None = Field(description="Null where the operator stated no prices.")
    jobs: list[PlannedJob]


class Submitted(BaseModel):
    """A batch that was entered, now or before."""

    batch: int
    name: str
    output: str
    created: bool = Field(description="Whether this request entered it.")
    counts: dict[str, int] = Field(description="Jobs of the manifest: made, exists, invalid.")
    jobs: dict[str, int] = Field(description="The batch's jobs by state.")
    work_seconds: float
    not_made: list[PlannedJob] = Field(description="Jobs that exist or that cannot be made.")
    manifest: str = Field(description="Where the manifest is kept, for `dubwright run`.")
    started: bool = Field(description="Whether somebody works on it now.")
    pool: str = Field(description="The work pool that it was sent to.")
    next_step: str


class Ordered(BaseModel):
    """Whether somebody works on a batch now."""

    batch: int
    queued_again: int = 0
    started: bool
    pool: str
    next_step: str


class Batch(BaseModel):
    """Where a batch stands."""

    batch: int
    name: str
    output: str
    created_at: datetime
    control: Literal["open", "paused", "draining"]
    priority: int
    jobs: dict[str, int] = Field(description="Counts by state.")
    ended: bool = Field(description="Whether no job waits or is worked on.")


class Live(BaseModel):
    """What goes on right now."""

    control: str = Field(description="Of the batch and of all together.")
    deferred: int = Field(description="Jobs that wait after a fault.")
    next_try: datetime | None
    leases: int = Field(description="Jobs that are worked on.")
    oldest_lease: float | None = Field(description="Seconds.")
    lapsed: int = Field(description="Leases of workers that are dead.")


class BatchNow(Batch):
    """Where a batch stands, what goes on, and what it cost."""

    live: Live
    costs: dict[str, Any] | None


class Job(BaseModel):
    """Where a job stands."""

    job: int
    batch: int
    title: str
    locale: str
    engine: str
    preset: str
    state: State
    priority: int
    attempts: int
    outages: int
    not_before: datetime | None
    updated_at: datetime
    error: Trouble | None
    url: str | None = Field(description="Where it is delivered.")


class Delivery(BaseModel):
    """A result: where it lies, its hash and size, and a link for those who have no keys to the bucket."""

    job: int
    batch: int
    title: str
    locale: str
    take: int
    url: str
    sha256: str
    size: int
    files: dict[str, str] = Field(description="URLs by role: video, captions, poster, sidecar, and what else the manifest asks for (mov, hls, stem_dialogue, qc_json).")
    at: datetime
    links: dict[str, str] = Field(description="Signed links by role, where the output is a bucket.")
    links_until: datetime | None


class Review(BaseModel):
    """A person's decision on a take."""

    review: int
    take: int
    at: datetime
    actor: str
    decision: Decision
    reason: str
    note: str
    verdict: str


class Take(BaseModel):
    """One attempt at a job, with its score and the gate's verdict."""

    take: int
    number: int
    at: datetime
    engine: str
    preset: str
    parameters: dict[str, Any]
    seconds: dict[str, float] = Field(description="Seconds by stage.")
    code_version: str
    video: str = Field(description="SHA-256 of the video.")
    link: str | None = Field(None, description="A signed link to it, where artifacts lie in a bucket.")
    weights: list[dict[str, str]]
    verdict: str | None = None
    reasons: list[str] = []
    offset: int | None = Field(None, description="Frames by which sound and lips are apart.")
    distance: float | None = None
    confidence: float | None = None
    curve: dict[str, Any] | None = Field(None, description="Scores by second and track.")
    scorer: str | None = None
    thresholds: dict[str, Any] | None = None
    reviews: list[Review] = []


class Input(BaseModel):
    """An input of a job, by content."""

    sha256: str
    size: int


class JobNow(Job):
    """A job with everything that was made for it."""

    inputs: dict[str, Input]
    takes: list[Take]
    delivery: Delivery | None


class Cancelled(BaseModel):
    """Jobs that were ended, as TITLE/LOCALE."""

    batch: int
    cancelled: list[str]
    were_running: list[str]


class PriorityBody(Body):
    """A batch of more is worked on first; 0 is what it begins with."""

    priority: int = Field(ge=-1000, le=1000)


class Prioritised(BaseModel):
    """A batch's priority, now and before."""

    batch: int
    priority: int
    was: int


class Controlled(BaseModel):
    """Whether jobs are begun. batch: null of all."""

    batch: int | None
    control: Literal["open", "paused", "draining"]
    running: int


class RetryBody(Body):
    """States from which jobs are queued again."""

    states: list[Literal["failed", "flagged", "cancelled"]] = Field(default=["failed"], min_length=1, max_length=3)


class DecisionBody(Body):
    """A decision on a take. A rejection needs a reason: sync, mouth, identity, picture, speech, face or other."""

    decision: Decision
    reason: Plain = Field("", max_length=40)
    note: Plain = Field("", max_length=2000)


class Decided(Ordered):
    """A decision that was recorded, and where its job stands now."""

    review: int
    take: int
    job: int
    state: State


class WebhookBody(Body):
    """Who is to be told of what."""

    url: Plain = Field(min_length=8, max_length=2000)
    kinds: list[Kind] = Field([], max_length=20, description="Empty: all.")
    batch: Plain = Field("", max_length=200, description="Name of the batches; `spring*` is all that begin with spring; empty is all.")


class Webhook(BaseModel):
    """An endpoint."""

    webhook: int
    url: str
    kinds: list[str]
    batch: str
    active: bool
    note: str
    failures: int
    created_by: str
    created_at: datetime
    accepted_at: datetime | None
    rest_until: datetime | None
    previous_until: datetime | None
    deliveries: dict[str, int] = {}


class WebhookSecret(Webhook):
    """An endpoint with its secret, which is shown this once."""

    secret: str


class Attempt(BaseModel):
    """One sending."""

    number: int
    at: datetime
    seconds: float
    status: int | None
    note: str


class WebhookDelivery(BaseModel):
    """An event on its way to an endpoint; `message` is the header `webhook-id`."""

    delivery: int
    message: str
    webhook: int
    event: int | None
    kind: str
    state: Literal["pending", "delivered", "given up"]
    created_at: datetime
    next_at: datetime | None
    ended_at: datetime | None
    tries: list[Attempt]


class ReplayBody(Body):
    """What to send again: a message, or all of a time range."""

    message: Plain = Field("", max_length=80)
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None


class Replayed(BaseModel):
    """How many messages are sent again."""

    webhook: int
    messages: int


class Health(BaseModel):
    """Whether it works."""

    status: Literal["ok", "unavailable"]
    version: str
