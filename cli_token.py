"""The verbs of the HTTP API's tokens: `dubwright token create, list, revoke`. cli.py adds them to the command."""

import getpass
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli_common import Json, known_database
from console import Voice

if TYPE_CHECKING:
    pass

app = typer.Typer(help="Tokens of the HTTP API.", no_args_is_help=True, rich_markup_mode=None)


def create(
    name: Annotated[str, typer.Argument(help="What it is for.", show_default=False)],
    scope: Annotated[list[str], typer.Option(help="read, submit, operate, review or admin; may be given several times.", show_default=False)],
    owner: Annotated[str, typer.Option(help="In whose name it acts; your user name when left out.")] = "",
    days: Annotated[float, typer.Option(min=0, help="Days until it expires; 0 never does.")] = 90,
    as_json: Json = False,
) -> None:
    """Make a token and print it, this once."""
    from db import tokens

    voice = Voice(as_json)
    secret, row = tokens.create(known_database(), name, owner or getpass.getuser(), scope, days)
    voice.result({"secret": secret, **row})
    voice.plain(f"{secret}\n\nIt cannot be shown again. It may: {', '.join(row['scopes'])}, in the name of {row['owner']}, until {row['expires_at'] or 'it is revoked'}.")


def show(as_json: Json = False) -> None:
    """Tokens, with what they may and when they were used last."""
    from db import tokens

    voice, rows = Voice(as_json), tokens.every(known_database())
    voice.result({"tokens": rows})
    cells = [[r["token"], r["name"], r["owner"], " ".join(r["scopes"]), (r["last_used"] or "never")[:16], "revoked" if r["revoked_at"] else (r["expires_at"] or "does not expire")[:16]] for r in rows]
    voice.table("", ["token", "name", "owner", "scopes", "used", "until"], cells)
    voice.plain("" if rows else "no token yet; next: dubwright token create NAME --scope read")


def revoke(token: Annotated[str, typer.Argument(help="The token as `list` shows it.", show_default=False)], as_json: Json = False) -> None:
    """Make a token worthless, at once and for good."""
    from db import tokens

    voice, row = Voice(as_json), tokens.revoke(known_database(), token)
    voice.result(row)
    voice.plain(f"{row['token']} ({row['name']}) is revoked")


def add(parent: typer.Typer, verb: Callable[[Callable[..., Any]], Callable[..., None]]) -> None:
    """Add the verbs to a command; `verb` tells their errors."""
    for name, call in (("create", create), ("list", show), ("revoke", revoke)):
        app.command(name)(verb(call))
    parent.add_typer(app, name="token")
