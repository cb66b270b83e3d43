"""The verbs of operators: cancel, put first, pause, resume, drain, clean up, back up and restore. cli.py adds them to the command."""

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli_common import Json, known_database, known_settings
from console import Voice

if TYPE_CHECKING:
    from db.session import Database

By = Annotated[str, typer.Option(help="Who decides; your user name when left out.")]
Batch = Annotated[str, typer.Argument(help="Number or name of a batch.", show_default=False)]
Every = Annotated[bool, typer.Option("--all", help="All batches, those to come as well.")]


def cancel(batch: Batch, job: Annotated[str, typer.Option(help="One job alone, as TITLE/LOCALE.")] = "", by: By = "", as_json: Json = False) -> None:
    """End a batch's waiting and running jobs, or one of them, as cancelled. Deliveries stay."""
    from db import operations

    voice, database = Voice(as_json), known_database()
    number = _number(database, batch)
    ended = operations.cancel(database, number, by or getpass.getuser(), job)
    voice.result({"batch": number, "cancelled": [*ended["queued"], *ended["running"]], "were_running": ended["running"]})
    voice.plain(f"batch {number}: {len(ended['queued'])} waiting and {len(ended['running'])} running job(s) cancelled; whoever works on one of these can record and deliver nothing more")


def prioritise(batch: Batch, priority: Annotated[int, typer.Argument(help="From -1000 to 1000; a batch begins with 0.", show_default=False)], by: By = "", as_json: Json = False) -> None:
    """Work on a batch before those of a lower priority."""
    from db import operations

    voice, database = Voice(as_json), known_database()
    number = _number(database, batch)
    was = operations.prioritise(database, number, priority, by or getpass.getuser())
    voice.result({"batch": number, "priority": priority, "was": was})
    voice.plain(f"batch {number} has priority {priority}; it was {was}")


def pause(batch: Batch = "", every: Every = False, by: By = "", as_json: Json = False) -> None:
    """Begin no more jobs, of a batch or of all; running ones end, workers wait for `resume`."""
    _steer("paused", batch, every, by, as_json)


def drain(batch: Batch = "", every: Every = False, by: By = "", as_json: Json = False) -> None:
    """Begin no more jobs, of a batch or of all; workers end after their job."""
    _steer("draining", batch, every, by, as_json)


def resume(batch: Batch = "", every: Every = False, by: By = "", as_json: Json = False) -> None:
    """Begin jobs again, of a batch or of all, after `pause` or `drain`."""
    _steer("open", batch, every, by, as_json)


def gc(
    older_than: Annotated[str, typer.Option(help="Age that an artifact must have, as 30d or 12h.", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Remove stored results that no delivery, no take under review and no input reaches. Safe to repeat and to kill."""
    from flows.collect import collect, seconds_of
    from infra.artifacts import open_artifacts

    voice, age = Voice(as_json), seconds_of(older_than)
    database = known_database()
    told = collect(database, open_artifacts(known_settings()), age, dry_run=dry_run)
    voice.result(told)
    if dry_run:
        voice.plain(f"{told['artifacts']} artifacts, {told['bytes'] / 2**20:.1f} MiB, would be removed")
        return
    voice.plain(f"{told['removed']} artifacts, {told['bytes'] / 2**20:.1f} MiB, removed")
    if told["waiting"]:
        voice.plain(f"{told['waiting']} more wait until the jobs that run now have ended; run it again then")


def backup(file: Annotated[Path, typer.Argument(help="File to write.", show_default=False)], as_json: Json = False) -> None:
    """Write the ledger into a file, while work goes on. Artifacts are the object store's to keep."""
    from infra.backup import dump

    voice, known = Voice(as_json), known_settings()
    size = dump(_url(known), file)
    voice.result({"file": str(file), "bytes": size})
    voice.plain(f"the ledger is in {file}, {size / 2**20:.1f} MiB; next: dubwright restore {file} where it is to live")


def restore(file: Annotated[Path, typer.Argument(help="A file that `backup` wrote.", show_default=False)], as_json: Json = False) -> None:
    """Read a backup into an empty ledger; one that holds a batch is left as it is."""
    from db import queries
    from db.session import open_database
    from infra.backup import load

    voice, known = Voice(as_json), known_settings()
    load(_url(known), file)
    found = queries.batches(open_database(known))
    voice.result({"file": str(file), "batches": len(found)})
    voice.plain(f"{file} is restored; next: dubwright status")


VERBS: tuple[Callable[..., Any], ...] = (cancel, prioritise, pause, resume, drain, gc, backup, restore)


def add(app: typer.Typer, verb: Callable[[Callable[..., Any]], Callable[..., None]]) -> None:
    """Add the verbs to a command; `verb` tells their errors."""
    for call in VERBS:
        app.command()(verb(call))


def _url(known: Any) -> str:
    from infra.postgres import embedded_url

    return str(known.database_url.get_secret_value() or embedded_url(known.home))


def _number(database: "Database", batch: str) -> int:
    from flows.run import find

    return find(database, batch)


def _steer(control: str, batch: str, every: bool, by: str, as_json: bool) -> None:
    from db import operations
    from infra.errors import LedgerError

    if every == bool(batch):
        raise LedgerError("give a batch, or --all for every one", code="job.which", next_step="`dubwright status` lists batches.")
    voice, database = Voice(as_json), known_database()
    number = None if every else _number(database, batch)
    running = operations.steer(database, control, by or getpass.getuser(), number)
    stands = control if number is None else operations.control_of(database, number)
    voice.result({"batch": number, "control": stands, "running": running})
    voice.plain(f"{'all batches are' if number is None else f'batch {number} is'} {stands}; {running} job(s) running")
    if stands != control:
        voice.plain("all batches are held as well; next: dubwright resume --all")
