"""What every file of verbs stands on: the process's settings, which cli.py sets up once, and the ledger that they name."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from db.session import Database
    from infra.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")]
_SETTINGS: list[Callable[[], "Settings"]] = []


def set_up_by(settings: Callable[[], "Settings"]) -> None:
    """Have a call set the process up and give its settings, where a verb asks for them."""
    _SETTINGS.append(settings)


def known_settings() -> "Settings":
    """The settings; the process is set up by them."""
    return _SETTINGS[-1]()


def known_database(known: "Settings | None" = None) -> "Database":
    """The ledger that the settings name, migrated."""
    from db.session import open_database

    return open_database(known or known_settings())
