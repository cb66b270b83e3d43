"""The verbs of webhooks: who is told of what, what was sent, sending it again, and the sender itself. cli.py adds them to the command."""

import getpass
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli_common import Json, known_database, known_settings
from console import Voice

if TYPE_CHECKING:
    pass

Number = Annotated[int, typer.Argument(min=1, help="The webhook, as `list` shows it.", show_default=False)]
app = typer.Typer(help="Webhooks: signed messages about what happened.", no_args_is_help=True, rich_markup_mode=None)


def add_one(
    url: Annotated[str, typer.Argument(help="https://host/path of the receiver.", show_default=False)],
    kind: Annotated[list[str] | None, typer.Option(help="Of these events alone, as job.failed; may be given several times.", show_default=False)] = None,
    batch: Annotated[str, typer.Option(help="Of batches of this name alone; `spring*` is all that begin with spring.")] = "",
    by: Annotated[str, typer.Option(help="Who adds it; your user name when left out.")] = "",
    as_json: Json = False,
) -> None:
    """Have a URL told of events; prints the secret that its messages are signed with, this once."""
    from api.webhooks import add

    voice, known = Voice(as_json), known_settings()
    row = add(known_database(known), known, url, by or getpass.getuser(), kind or [], batch)
    voice.result(row)
    voice.plain(f"webhook {row['webhook']}: {row['url']}\nsecret: {row['secret']}\n\nThe secret cannot be shown again. next: dubwright webhooks test {row['webhook']}")


def show(as_json: Json = False) -> None:
    """Endpoints, and how many messages are in which state."""
    from db import webhooks

    voice, rows = Voice(as_json), webhooks.every(known_database())
    voice.result({"webhooks": rows})
    cells = [[str(r["webhook"]), r["url"], " ".join(r["kinds"]) or "all", r["batch"] or "all", r["note"] or "active", ", ".join(f"{n} {s}" for s, n in sorted(r["deliveries"].items()))] for r in rows]
    voice.table("", ["webhook", "url", "events", "batches", "", "messages"], cells)
    voice.plain("" if rows else "no webhook yet; next: dubwright webhooks add https://host/path")


def remove(webhook: Number, as_json: Json = False) -> None:
    """Send nothing more there; its secrets go, its log stays."""
    from db import webhooks

    voice = Voice(as_json)
    webhooks.remove(known_database(), webhook)
    voice.result({"webhook": webhook, "removed": True})
    voice.plain(f"webhook {webhook} is removed")


def rotate(webhook: Number, as_json: Json = False) -> None:
    """Make a new secret; the one before is used beside it for 24 hours."""
    from api.webhooks import rotate as renew

    voice, known = Voice(as_json), known_settings()
    row = renew(known_database(known), known, webhook)
    voice.result(row)
    voice.plain(f"secret: {row['secret']}\n\nUntil {row['previous_until']} messages are signed with the one before as well.")


def activate(webhook: Number, as_json: Json = False) -> None:
    """Send again to an endpoint that was disabled."""
    from db import webhooks

    voice, row = Voice(as_json), webhooks.activate(known_database(), webhook)
    voice.result(row)
    voice.plain(f"webhook {webhook} is active; events since it was disabled: dubwright webhooks replay {webhook} --since 24h")


def test(webhook: Number, as_json: Json = False) -> None:
    """Send a message that stands for nothing, now, and say what was answered."""
    from api.sender import Sender
    from db import webhooks

    voice, known = Voice(as_json), known_settings()
    database = known_database(known)
    made = webhooks.test(database, webhook)
    message = made["message"]
    Sender(database, known).one(made["delivery"])
    row = next(row for row in webhooks.log(database, webhook) if row["message"] == message)
    voice.result(row)
    said = row["tries"][-1] if row["tries"] else {"status": None, "note": "another sender is at it, or the endpoint rests after a failure"}
    voice.plain(f"{message}: {row['state']} ({said['status'] or said['note']})" + (f"; next: dubwright webhooks log {webhook}" if row["state"] != "delivered" else ""))


def replay(
    webhook: Number,
    message: Annotated[str, typer.Option(help="One message, as `log` shows it.")] = "",
    since: Annotated[str, typer.Option(help="All events of so long, as 24h or 7d; or since a time, as 2026-11-26T08:00:00+00:00.")] = "",
    until: Annotated[str, typer.Option(help="All events until a time; now when left out.")] = "",
    as_json: Json = False,
) -> None:
    """Send messages again, under their own ids; of a time also events that it was never sent."""
    from db import webhooks

    voice = Voice(as_json)
    count = webhooks.replay(known_database(), webhook, message, _time(since) if since else None, _time(until) if until else None)
    voice.result({"webhook": webhook, "messages": count})
    voice.plain(f"{count} message(s) are sent again by the next sender; next: dubwright webhooks deliver --once")


def log(
    webhook: Annotated[int, typer.Argument(min=0, help="A webhook; all when left out.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    as_json: Json = False,
) -> None:
    """Messages, the newest first, and what was answered."""
    from db import webhooks

    voice = Voice(as_json)
    rows = webhooks.log(known_database(), webhook or None, None, limit)
    voice.result({"messages": rows})
    cells = [[r["message"], str(r["webhook"]), r["kind"], r["state"], str(len(r["tries"])), (r["tries"][-1]["note"] or str(r["tries"][-1]["status"])) if r["tries"] else ""] for r in rows]
    voice.table("", ["message", "webhook", "event", "state", "tries", "last answer"], cells)


def deliver(once: Annotated[bool, typer.Option("--once", help="End when nothing is due.")] = False, as_json: Json = False) -> None:
    """Send messages until stopped. Any number of senders may run; `serve` runs one itself."""
    from api.sender import Sender

    voice, known = Voice(as_json), known_settings()
    sender = Sender(known_database(known), known)
    if not once:
        sender.start().wait()
        return
    told = sender.drain()
    voice.result({"messages": told})
    voice.plain(", ".join(f"{count} {state}" for state, count in sorted(told.items())) or "nothing is due")


VERBS: tuple[tuple[str, Callable[..., Any]], ...] = (
    ("add", add_one), ("list", show), ("remove", remove), ("rotate", rotate), ("activate", activate), ("test", test), ("replay", replay), ("log", log), ("deliver", deliver),
)  # fmt: skip


def add(parent: typer.Typer, verb: Callable[[Callable[..., Any]], Callable[..., None]]) -> None:
    """Add the verbs to a command; `verb` tells their errors."""
    for name, call in VERBS:
        app.command(name)(verb(call))
    parent.add_typer(app, name="webhooks")


def _time(words: str) -> datetime:
    """A time, or so long ago. Raises LedgerError."""
    from infra.errors import LedgerError

    units = {"m": "minutes", "h": "hours", "d": "days"}
    if words[:-1].isdecimal() and words[-1] in units and len(words) < 8:
        return datetime.now(UTC) - timedelta(**{units[words[-1]]: int(words[:-1])})
    try:
        found = datetime.fromisoformat(words)
    except ValueError as error:
        raise LedgerError(f"{words[:40]!r} is no time", code="webhook.time", next_step="Write 24h, 7d, or 2026-11-26T08:00:00+00:00.") from error
    return found if found.tzinfo else found.astimezone()
