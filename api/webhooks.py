"""Routes of webhooks: who is told of what, what was sent, and sending it again."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request

from api import schemas as s
from api.access import ScopedRoute, caller_of, needs
from api.problems import responses
from db import webhooks
from db.session import Database
from infra import outbound
from infra.sealing import seal
from infra.settings import Settings

router = APIRouter(prefix="/v1", route_class=ScopedRoute, tags=["webhooks"])


def add(database: Database, settings: Settings, url: str, by: str, kinds: list[str], batch: str) -> dict[str, Any]:
    """A new endpoint with its secret, its URL judged. Raises OutboundError for one that may not be called."""
    outbound.judge(url, outbound.Allowed.read(settings.webhook_allow))
    secret = webhooks.new_secret()
    return webhooks.add(database, url, seal(secret, settings), by, kinds, batch) | {"secret": secret}


def rotate(database: Database, settings: Settings, number: int) -> dict[str, Any]:
    """An endpoint with a new secret."""
    secret = webhooks.new_secret()
    return webhooks.rotate(database, number, seal(secret, settings)) | {"secret": secret}


@router.post("/webhooks", response_model=s.WebhookSecret, status_code=201, responses=responses(422), **needs("admin"))
def add_webhook(request: Request, body: s.WebhookBody) -> dict[str, Any]:
    """Have a URL told of events. The answer holds the secret that its messages are signed with; it is shown this once."""
    state = request.app.state
    return add(state.database, state.settings, body.url, caller_of(request).owner, list(body.kinds), body.batch)


@router.get("/webhooks", response_model=list[s.Webhook], **needs("admin"))
def list_webhooks(request: Request) -> list[dict[str, Any]]:
    """All endpoints, and how many messages are in which state."""
    return webhooks.every(request.app.state.database)


@router.delete("/webhooks/{webhook}", status_code=204, responses=responses(404, 422), **needs("admin"))
def remove_webhook(request: Request, webhook: s.Number) -> None:
    """Send nothing more there. Its log stays, its secrets go."""
    webhooks.remove(request.app.state.database, webhook)


@router.post("/webhooks/{webhook}/rotate", response_model=s.WebhookSecret, responses=responses(404, 422), **needs("admin"))
def rotate_webhook(request: Request, webhook: s.Number) -> dict[str, Any]:
    """A new secret. For 24 hours messages carry a signature of the one before as well."""
    return rotate(request.app.state.database, request.app.state.settings, webhook)


@router.post("/webhooks/{webhook}/activate", response_model=s.Webhook, responses=responses(404, 422), **needs("admin"))
def activate_webhook(request: Request, webhook: s.Number) -> dict[str, Any]:
    """Send again to an endpoint that was disabled. Events since then are sent by a replay."""
    return webhooks.activate(request.app.state.database, webhook)


@router.post("/webhooks/{webhook}/test", response_model=s.WebhookDelivery, status_code=202, responses=responses(404, 409, 422), **needs("admin"))
def test_webhook(request: Request, webhook: s.Number) -> dict[str, Any]:
    """Send a message that stands for nothing, of the kind `webhook.test`."""
    return webhooks.test(request.app.state.database, webhook)


@router.post("/webhooks/{webhook}/replay", response_model=s.Replayed, status_code=202, responses=responses(404, 409, 422), **needs("admin"))
def replay_webhook(request: Request, webhook: s.Number, body: s.ReplayBody) -> dict[str, Any]:
    """Send a message again, or every event of a time range that the endpoint wants, also those that it was never sent. Messages keep their ids."""
    return {"webhook": webhook, "messages": webhooks.replay(request.app.state.database, webhook, body.message, body.since, body.until)}


@router.get("/webhook-deliveries", response_model=s.Page[s.WebhookDelivery], responses=responses(422), **needs("admin"))
def list_webhook_deliveries(
    request: Request, cursor: s.Cursor = "", limit: s.Size = 50, webhook: s.Asked = None, state: Annotated[Literal["", "pending", "delivered", "given up"], Query()] = ""
) -> dict[str, Any]:
    """Messages, the newest first, each with its sendings and what was answered."""
    return s.page(webhooks.log(request.app.state.database, webhook, s.number_at(cursor), limit + 1, state), limit, "delivery")
