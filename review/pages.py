"""Pages from templates: one environment for each language, and what every page holds."""

import functools
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import Request
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from db import pending
from review import texts
from review.access import form_token

TEMPLATES, STATIC = Path(__file__).parent / "templates", Path(__file__).parent / "static"
STATES = ("queued", "running", "delivered", "flagged", "rejected", "failed", "cancelled")


@functools.cache
def environment(locale: str) -> Environment:
    """Templates in a language."""
    made = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.i18n"])
    words = texts.catalogue(locale)
    made.install_gettext_callables(words.ugettext, words.ungettext, newstyle=True)  # type: ignore[attr-defined]
    made.filters |= {"when": when, "clock": clock, "whole": lambda seconds: clock(seconds).partition(".")[0], "hours": hours, "short": lambda text: str(text)[:12]}
    made.globals |= {"static": static, "locales": texts.LOCALES}
    return made


@functools.cache
def static(name: str) -> str:
    """Address of a static file, with its content in it so that it can be kept for good."""
    return f"/static/{name}?{hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:10]}"


def locale_of(request: Request) -> str:
    """The language of whoever asks."""
    held = getattr(request.state, "held", None)
    return texts.chosen(held.person.locale if held else "", request.headers.get("accept-language", ""))


def words_of(request: Request) -> Any:
    """The function that turns a text into the reader's language."""
    return texts.catalogue(locale_of(request)).ugettext


def states_of(say: Any) -> dict[str, str]:
    """The words for states of jobs, for drawings; templates have them in kinds.html."""
    return {
        "queued": say("waiting"), "running": say("running"), "delivered": say("delivered"), "flagged": say("flagged"), "rejected": say("rejected"),
        "failed": say("failed"), "cancelled": say("cancelled"),
    }  # fmt: skip


def page(request: Request, name: str, status: int = 200, headers: dict[str, str] | None = None, **values: Any) -> HTMLResponse:
    """A whole page."""
    held = getattr(request.state, "held", None)
    waiting = pending.of_person(request.app.state.database, held.person) if held else []
    return part(request, name, status, headers, waiting=waiting, **values)


def part(request: Request, name: str, status: int = 200, headers: dict[str, str] | None = None, **values: Any) -> HTMLResponse:
    """A piece of a page."""
    held = getattr(request.state, "held", None)
    locale = locale_of(request)
    shared = {"me": held.person if held else None, "csrf": form_token(held) if held else "", "locale": locale, "path": request.url.path, "now": datetime.now(UTC)}
    text = environment(locale).get_template(name).render(**shared, **values)
    return HTMLResponse(text, status, headers)


def when(at: datetime | str | None) -> Markup:
    """A time in UTC, which the page turns to the reader's zone."""
    if not at:
        return Markup("–")
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    moment = moment.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(timespec="seconds"), escape(moment.strftime("%Y-%m-%d %H:%M UTC")))


def clock(seconds: float | None) -> str:
    """Seconds as 0:07.4 or 1:02:03."""
    if seconds is None:
        return "–"
    whole = int(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
    return f"{whole // 60}:{whole % 60:02d}.{int(seconds * 10) % 10}"


def hours(value: float) -> str:
    """A stretch of hours in its largest unit: 12 min, 5 h, 3 d."""
    return f"{max(0, round(value * 60))} min" if value < 1 else f"{value:.0f} h" if value < 72 else f"{value / 24:.0f} d"
