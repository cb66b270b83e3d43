"""The verbs about whose picture it is and who made it: consent, erase, detect. cli.py adds them to the command."""

import getpass
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli_common import Json, known_database, known_settings
from console import Voice

if TYPE_CHECKING:
    from infra.settings import Settings

By = Annotated[str, typer.Option(help="Who does this; your user name when left out.")]
Id = Annotated[str, typer.Argument(help="A consent record, as c-2026-0142.", show_default=False)]
Files = list[str] | None
Portraits = Annotated[Files, typer.Option("--portrait", help="A portrait: a file, s3:// place or SHA-256. Repeat for more.")]
Videos = Annotated[Files, typer.Option("--video", help="A video that shows and is spoken by the person.")]
Voices = Annotated[Files, typer.Option("--voice", help="A recording of the person's voice.")]
Faces = Annotated[Files, typer.Option("--face", help="The person's face in a video that others are seen in, too: VIDEO@SECONDS,X,Y, a point in it as shares of width and height. Once for each face track.")]

consent_app = typer.Typer(help="Consent records: whose face and voice may be used, for what, until when.", no_args_is_help=True, rich_markup_mode=None)


def add_record(
    person: Annotated[str, typer.Option(help="Whose face or voice it is.", show_default=False)],
    basis: Annotated[str, typer.Option(help="own-performance, replica, licence, employee, public-domain or synthetic.", show_default=False)],
    portrait: Portraits = None,
    video: Videos = None,
    voice_files: Voices = None,
    face: Faces = None,
    evidence: Annotated[str, typer.Option(help="The signed agreement: a file, of which the hash is kept. Needed but for public-domain and synthetic.")] = "",
    title: Annotated[Files, typer.Option(help="A title that it is limited to. Repeat for more.")] = None,
    locale: Annotated[Files, typer.Option(help="A locale that it is limited to; es covers es-ES and es-MX.")] = None,
    territory: Annotated[Files, typer.Option(help="A country code that it is limited to; the manifest must then say `territory`.")] = None,
    use: Annotated[Files, typer.Option(help="A use that it is limited to; the manifest must then say `use`.")] = None,
    starts: Annotated[str, typer.Option("--from", help="First day, as 2026-12-01; now when left out.")] = "",
    ends: Annotated[str, typer.Option("--until", help="When it ends, as 2027-12-31; never when left out.")] = "",
    minor: Annotated[bool, typer.Option("--minor", help="The person is under age; needs --guardian.")] = False,
    guardian: Annotated[str, typer.Option(help="Who consents for a minor or as an heir.")] = "",
    note: Annotated[str, typer.Option(help="In your own words; kept with the record.")] = "",
    number: Annotated[str, typer.Option("--id", help="Its id; the next of the year when left out.")] = "",
    by: By = "",
    as_json: Json = False,
) -> None:
    """Enter a record, bound to portraits, videos and voices by their hashes."""
    from db import consents
    from tasks.consent import digest, moment

    voice, known = Voice(as_json), known_settings()
    record = consents.Record(
        person, basis, number, tuple(title or ()), tuple(locale or ()), tuple(territory or ()), tuple(use or ()), moment(starts), moment(ends),
        digest(evidence, known) if evidence else "", minor, guardian, note, _subjects(known, portrait, video, voice_files, face),
    )  # fmt: skip
    made = consents.add(known_database(), record, by or getpass.getuser())
    _show(made, voice)
    voice.plain(f"next: dubwright run MANIFEST; it finds the record by the files' hashes, or name it as consent: {made}")


def bind(
    id: Id, portrait: Portraits = None, video: Videos = None, voice_files: Voices = None, face: Faces = None, by: By = "", as_json: Json = False
) -> None:
    """Bind further portraits, videos, voices and faces of videos to a record."""
    from db import consents

    voice = Voice(as_json)
    consents.bind(known_database(), id, _subjects(known_settings(), portrait, video, voice_files, face), by or getpass.getuser())
    _show(id, voice)


def list_records(person: Annotated[str, typer.Option(help="Of one person alone.")] = "", as_json: Json = False) -> None:
    """List records, the newest first."""
    from db.erasure import records

    voice, found = Voice(as_json), records(known_database(), person)
    voice.result({"consents": found})
    voice.table("", ["record", "person", "basis", "state", "until", "bound", "deliveries"], [_cells(row) for row in found])
    if not found:
        voice.plain("no record yet; next: dubwright consent add --person NAME --basis ... --portrait FILE")


def show(id: Id, as_json: Json = False) -> None:
    """Show a record, what it is bound to, and what was delivered on it."""
    _show(id, Voice(as_json), deliveries=True)


def revoke(
    id: Id, why: Annotated[str, typer.Option(help="Why; kept with the record.")] = "", by: By = "", as_json: Json = False
) -> None:
    """Revoke a record for good: what waits or runs on it is cancelled, and what was delivered is listed."""
    from db import erasure

    voice = Voice(as_json)
    told = erasure.revoke(known_database(), id, by or getpass.getuser(), why)
    voice.result(told)
    voice.plain(f"{id} is revoked; {len(told['cancelled'])} job(s) cancelled" + "".join(f"\n  {name}" for name in told["cancelled"]))
    _list_delivered(told["delivered"], voice)


def hold(
    id: Id,
    why: Annotated[str, typer.Option(help="Who wants the person's material kept, and why.")] = "",
    release: Annotated[bool, typer.Option("--release", help="End the hold.")] = False,
    as_json: Json = False,
) -> None:
    """Put a record under legal hold: nothing that was made on it is erased."""
    from db import erasure
    from infra.errors import ConsentError

    if release == bool(why):
        raise ConsentError("a hold needs its reason, or --release", code="consent.refused", next_step="Give --why TEXT, or --release.")
    voice = Voice(as_json)
    erasure.keep(known_database(), id, why)
    voice.result({"consent": id, "hold": why})
    voice.plain(f"{id} is under hold: {why}" if why else f"{id} is under no hold")


def export(as_json: Json = False) -> None:
    """Print every record as JSON, as `consent load` reads it."""
    import json

    from db.erasure import records

    found = records(known_database())
    typer.echo(json.dumps({"consents": found}, indent=None if as_json else 2, ensure_ascii=False))


def load(file: Annotated[Path, typer.Argument(help="YAML or JSON: a list of records under consents.", show_default=False)], by: By = "", as_json: Json = False) -> None:
    """Enter the records of a file; those that are there stay as they are."""
    from tasks.consent import enter

    voice = Voice(as_json)
    made = enter(known_database(), file, known_settings(), by or getpass.getuser())
    voice.result({"consents": made})
    voice.plain(f"{len(made)} record(s): {', '.join(made)}")


def erase(
    person: Annotated[str, typer.Argument(help="A person, as their records name them.", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Revoke a person's records and remove their pictures, voices, and all that was made of them. What is under legal hold stays."""
    from db import erasure
    from infra.artifacts import open_artifacts

    voice, known = Voice(as_json), known_settings()
    artifacts = open_artifacts(known)

    def delete(key: str, sha256: str) -> None:
        artifacts.store.delete(key)
        for copy in [artifacts.cache / sha256[:2] / sha256, *(known.cache / "inputs").glob(f"{sha256}*")]:
            copy.unlink(missing_ok=True)
        shutil.rmtree(known.cache / "speech" / sha256, ignore_errors=True)  # what a voice said

    told = erasure.erase(known_database(), person, by or getpass.getuser(), delete, dry_run=dry_run)
    voice.result(told)
    words = "would be removed" if dry_run else "removed"
    voice.plain(f"{told['artifacts']} artifacts, {told['bytes'] / 2**20:.1f} MiB, {words}; {told['kept']} stay under legal hold; {len(told['cancelled'])} job(s) cancelled")
    _list_delivered(told["delivered"], voice)


def detect(file: Annotated[Path, typer.Argument(help="A video, as it was delivered or as it was found.", show_default=False)], as_json: Json = False) -> None:
    """Tell whether a video is ours, and what of its marks survived: C2PA manifest, watermark, and the deliveries they lead to."""
    from tasks.detect import detect as look
    from tasks.detect import lines_of

    voice = Voice(as_json)
    told = look(file, known_database(), known_settings())
    voice.result(told)
    for line in lines_of(told):
        voice.plain(line)


RECORDS: dict[str, Callable[..., Any]] = {
    "add": add_record, "bind": bind, "list": list_records, "show": show, "revoke": revoke, "hold": hold, "export": export, "load": load,
}  # fmt: skip
VERBS: tuple[Callable[..., Any], ...] = (erase, detect)


def add(app: typer.Typer, verb: Callable[[Callable[..., Any]], Callable[..., None]]) -> None:
    """Add the verbs to a command; `verb` tells their errors."""
    app.add_typer(consent_app, name="consent")
    for name, call in RECORDS.items():
        consent_app.command(name)(verb(call))
    for call in VERBS:
        app.command()(verb(call))


def enter_demo(file: Path) -> None:
    """Enter the demo's records."""
    from tasks.consent import enter

    enter(known_database(), file, known_settings(), "dubwright demo")


def _subjects(known: "Settings", portraits: Files, videos: Files, voices: Files, faces: Files) -> tuple[tuple[str, str, str], ...]:
    from tasks.consent import digest, face_of

    named = [(kind, place) for kind, places in (("portrait", portraits), ("video", videos), ("voice", voices)) for place in places or ()]
    return (*((kind, digest(place, known), place) for kind, place in named), *(face_of(told, known) for told in faces or ()))


def _show(id: str, voice: Voice, deliveries: bool = False) -> None:
    from db.erasure import delivered, records
    from infra.errors import ConsentError

    database = known_database()
    found = records(database, consent_id=id)
    if not found:
        raise ConsentError(f"there is no consent record {id[:60]!r}", code="consent.unknown", next_step="`dubwright consent list` lists them.")
    row = found[0] | ({"delivered": delivered(database, [id])} if deliveries else {})
    voice.result(row)
    for name in ("id", "person", "basis", "state", "hold", "titles", "locales", "territories", "uses", "starts", "ends", "evidence", "guardian", "note", "revoked_at", "revoked_by", "revoked_why"):
        if row[name] not in ("", None, [], False):
            voice.plain(f"{name:<12} {', '.join(row[name]) if isinstance(row[name], list) else row[name]}")
    for one in row["subjects"]:
        voice.plain(f"{one['kind']:<12} {one['sha256'][:16]}  {one['place']}")
    if deliveries:
        _list_delivered(row["delivered"], voice)


def _list_delivered(rows: list[dict[str, Any]], voice: Voice) -> None:
    if not rows:
        voice.plain("nothing was delivered of it")
        return
    voice.table("delivered; these copies, and reports beside them, are yours to withdraw", ["job", "when", "where"], [[row["job"], row["at"][:10], row["url"]] for row in rows])


def _cells(row: dict[str, Any]) -> list[str]:
    until = row["ends"][:10] if row["ends"] else ""
    return [row["id"], row["person"], row["basis"], row["state"] + (", held" if row["hold"] else ""), until, str(len(row["subjects"])), str(row["deliveries"])]
