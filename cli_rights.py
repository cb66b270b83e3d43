"""The verbs about whose picture it is and who made it: detect. cli.py adds them to the command."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console import Voice

if TYPE_CHECKING:
    from infra.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")]


def detect(file: Annotated[Path, typer.Argument(help="A video, as it was delivered or as it was found.", show_default=False)], as_json: Json = False) -> None:
    """Tell whether a video is ours, and what of its marks survived: C2PA manifest, watermark, and the deliveries they lead to."""
    from db.session import open_database
    from tasks.detect import detect as look
    from tasks.detect import lines_of

    voice, known = Voice(as_json), _settings()
    told = look(file, open_database(known), known)
    voice.result(told)
    for line in lines_of(told):
        voice.plain(line)


VERBS: tuple[Callable[..., Any], ...] = (detect,)
_SETTINGS: list[Callable[[], "Settings"]] = []


def add(app: typer.Typer, verb: Callable[[Callable[..., Any]], Callable[..., None]], settings: Callable[[], "Settings"]) -> None:
    """Add the verbs to a command: `verb` tells their errors, `settings` sets the process up."""
    _SETTINGS.append(settings)
    for call in VERBS:
        app.command()(verb(call))


def _settings() -> "Settings":
    return _SETTINGS[-1]()
