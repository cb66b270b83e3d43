"""What `dubwright doctor` finds wrong and `--fix` mends: looked for in an order in which each look stands on what the ones before it found well."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from db import workers
from db.session import Database
from flows import conductor
from infra import mend
from infra.errors import DubwrightError
from infra.mend import Finding
from infra.settings import Settings

OLD = 86400.0  # seconds after which a scratch folder that names nobody is left over


def findings(settings: Settings, package: Path | None = None) -> list[Finding]:
    """What is wrong. Changes nothing, but starts the embedded Postgres where it is there and would start.

    package: a wheel of this version, to take weights from. The ledger is not looked at while its server or its folders are broken.
    """
    found = [*mend.folders(settings.home), *([] if _own(settings) else mend.postgres(settings.home)), *_servers(settings), *_weights(package)]
    if not any(one.harmful and one.name.startswith(("folder", "embedded")) for one in found):
        found += _ledger(settings)
        found += _store(settings)
    return [*found, *_scratch(settings), *_prefect(settings)]


def _own(settings: Settings) -> str:
    return settings.database_url.get_secret_value()


def _servers(settings: Settings) -> Iterator[Finding]:
    notes = settings.home / "prefect" / "servers"
    dead = [note.name for note in notes.glob("[0-9]*") if workers.is_dead(note.read_text())]
    if dead:
        what = f"Prefect servers of commands that were killed: process {', '.join(sorted(dead))}"
        yield Finding("leftover servers", what, "They take memory for nobody.", "Stops those that still run and forgets them.", harmful=False, mend=lambda: f"{conductor.sweep(notes)} stopped")


def _scratch(settings: Settings) -> Iterator[Finding]:
    left = [folder for folder in (settings.cache / "work").glob("*") if folder.is_dir() and _left(folder)]
    if left:
        size = sum(path.stat().st_size for folder in left for path in folder.rglob("*") if path.is_file())
        what = f"{len(left)} scratch folder(s) of dead workers, {size / 2**20:.1f} MiB, under {settings.cache / 'work'}"
        yield Finding("leftover scratch", what, "They take room.", "Removes them.", harmful=False, mend=lambda: _remove(left))


def _left(folder: Path) -> bool:
    try:
        return workers.is_dead((folder / workers.OWNER).read_text())
    except OSError:
        return time.time() - folder.stat().st_mtime > OLD


def _remove(folders: list[Path]) -> str:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return f"{sum(not folder.exists() for folder in folders)} removed"


def _weights(package: Path | None) -> Iterator[Finding]:
    from tasks import restore

    for name, problem, shipped in restore.broken():
        if not shipped:
            yield Finding(f"weights {name}", problem, "Whatever needs them ends with weights.hash.", "They were imported: import them anew by `dubwright models import`.")
            continue

        def again(name: str = name) -> str:
            return f"restored from {restore.restore(name, package)}"

        yield Finding(f"weights {name}", problem, "Whatever needs them ends with weights.hash.", "Restores file and card from the checkout's commit or from --package; both are checked against each other.", mend=again)


def _ledger(settings: Settings) -> Iterator[Finding]:
    if not _own(settings) and not (settings.home / "postgres" / "PG_VERSION").exists():
        return
    try:
        database = _opened(settings)
    except DubwrightError as error:
        yield Finding("ledger", error.message, "No batch can run.", error.next_step)
        return
    try:
        yield from _schema(database)
        if database.standing().found:
            yield from _leases(database, settings)
    except DubwrightError as error:
        yield Finding("ledger", error.message, "No batch can run.", error.next_step)
    finally:
        database.close()


def _opened(settings: Settings) -> Database:
    from infra.postgres import embedded_url

    return Database(_own(settings) or embedded_url(settings.home))


def _with(settings: Settings, change: Callable[[Database], str]) -> Callable[[], str]:
    """A change on a connection of its own: the look's is closed when it is made."""

    def made() -> str:
        database = _opened(settings)
        try:
            return change(database)
        finally:
            database.close()

    return made


def _schema(database: Database) -> Iterator[Finding]:
    at = database.standing()
    if at.refuses:
        yield Finding("ledger's schema", f"it is {at.found}, and {at.oldest} is the least version that works on it", "This version ends with ledger.newer.", "Install the newer version here too (docs/upgrading.md).")
    elif at.behind:
        what = f"it is {at.found or 'not there'}, {at.behind} migration(s) behind {at.known[-1]}"

        def migrate() -> str:
            database.migrate()
            database.close()
            return f"it is {at.known[-1]}"

        yield Finding("ledger's schema", what, "The next command that opens the ledger migrates it, at a moment that you did not choose.", "Migrates it; workers of the older version go on (docs/upgrading.md).", harmful=False, mend=migrate)


def _leases(database: Database, settings: Settings) -> Iterator[Finding]:
    if database.standing().behind:
        return  # the columns may not be there yet
    lapsed = workers.lapsed(database)
    names = [name for jobs in lapsed.values() for name in jobs]
    if not names:
        return

    def end(opened: Database) -> str:
        for batch in lapsed:
            workers.reclaim(opened, batch)
        with opened.begin() as session:
            return f"{workers.expire(session, None, settings.max_attempts, settings.backoff_seconds)} queued again"

    what = f"{len(names)} job(s) are held by workers that are dead: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
    yield Finding("leases", what, "They wait until somebody looks for work.", "Ends the leases; the jobs are queued again. `dubwright run` of their manifest, a worker or the sweep goes on with them.", harmful=False, mend=_with(settings, end))


def _store(settings: Settings) -> Iterator[Finding]:
    from infra.artifacts import open_artifacts

    try:
        open_artifacts(settings).put(b"dubwright doctor\n", "doctor.txt")
    except (DubwrightError, OSError) as error:
        told = error if isinstance(error, DubwrightError) else None
        step = told.next_step if told else "Check the folder, its disk and its permissions."
        yield Finding("artifact store", told.message if told else str(error), "No batch can run; jobs under way wait and are tried again.", f"Nothing here can mend it. {step}")


def _prefect(settings: Settings) -> Iterator[Finding]:
    if not os.environ.get("PREFECT_API_URL"):
        return
    from flows import deploy

    try:
        wrong = deploy.outdated(settings)
    except DubwrightError as error:
        yield Finding("Prefect server", error.message, "Work pools stand; `dubwright run` without --pool works.", error.next_step)
        return
    if wrong:
        what = f"missing or outdated: {', '.join(wrong[:6])}{f' and {len(wrong) - 6} more' if len(wrong) > 6 else ''}"
        yield Finding("Prefect deployments", what, "Nights are not started, dead shards are not seen, or runs start with old settings.", "Does what `dubwright deploy` does.", mend=lambda: f"{len(deploy.deploy(settings, deploy.kind_of(settings)))} things are as they should be")
