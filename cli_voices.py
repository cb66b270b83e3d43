"""The verbs about voices: what there is, under which licence, and how one sounds. cli.py adds them to the command."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli_common import Json, known_settings
from console import Voice as Console

if TYPE_CHECKING:
    from infra.settings import Settings

voices_app = typer.Typer(help="Voices: what there is, and how one sounds.", no_args_is_help=True, rich_markup_mode=None)
ESPEAK_LICENCE = "GPL-3.0-or-later; what it says is free to use"


def list_voices(
    files: Annotated[list[Path] | None, typer.Argument(help="Voices of Piper (.onnx), or folders of them.", show_default=False)] = None, as_json: Json = False
) -> None:
    """List back ends, and Piper's voices in files and folders with their hash, languages, speakers and licence."""
    from tasks.speech import espeak

    voice, known = Console(as_json), known_settings()
    rows: list[dict[str, Any]] = [{"voice": "espeak:CODE", "back_end": "espeak", "state": f"{len(espeak.voices())} languages", "licence": ESPEAK_LICENCE}]
    rows.append({"voice": "openai:MODEL/VOICE", "back_end": "openai", "state": known.speech_url or "DUBWRIGHT_SPEECH_URL is not set", "licence": "the service's terms"})
    rows.append({"voice": "piper:FILE.onnx", "back_end": "piper", "state": "name files or folders to see theirs", "licence": "each voice's own"})
    found = [path for place in files or [] for path in (sorted(place.rglob("*.onnx")) if place.is_dir() else [place])]
    rows += [_of_piper(path) for path in found]
    voice.result({"voices": rows})
    voice.table("", ["voice", "what", "licence"], [[row["voice"], row["state"], row["licence"]] for row in rows])
    voice.plain('next: dubwright voices test VOICE --locale es-ES --say "Hola", then voice: VOICE in the manifest')


def _of_piper(path: Path) -> dict[str, Any]:
    from infra.errors import DubwrightError
    from infra.store import sha256_of
    from tasks.speech.voices.piper import read_config

    row = {"voice": f"piper:{path}", "back_end": "piper", "licence": _licence(path)}
    try:
        told = read_config(Path(f"{path}.json"))
        digest = sha256_of(path)
    except (DubwrightError, OSError) as error:
        return row | {"state": f"cannot be used: {getattr(error, 'message', error)}"}
    speakers = told.get("num_speakers") or 1
    return row | {
        "state": f"{told['espeak']['voice']}, {told['audio']['sample_rate']} Hz, {speakers} speaker(s), sha256 {digest[:12]}", "sha256": digest,
        "language": told["espeak"]["voice"], "rate": told["audio"]["sample_rate"], "speakers": list(told.get("speaker_id_map") or {}) or speakers,
    }  # fmt: skip


def _licence(path: Path) -> str:
    """The licence that the MODEL_CARD beside a voice names, as Piper's collection has them."""
    card = path.with_name("MODEL_CARD")
    lines = card.read_text(errors="replace").splitlines() if card.is_file() else []
    told = [line.partition(":")[2].strip() for line in lines if line.strip(" *-").lower().startswith("license")]
    return (told[0][:120] if told and told[0] else "") or "not said; see where the file is from"


def test_voice(
    name: Annotated[str, typer.Argument(help="As a manifest names it: espeak:es+f3, piper:FILE.onnx, openai:MODEL/VOICE.", show_default=False)],
    locale: Annotated[str, typer.Option(help="Language and region, as es-ES.")] = "en-US",
    say: Annotated[str, typer.Option(help="What it says.")] = "Good morning.",
    out: Annotated[Path, typer.Option(help="WAV file to write.")] = Path("voice.wav"),
    as_json: Json = False,
) -> None:
    """Speak with a voice: a WAV, its phones, how figures were read, and what consent would be bound to."""
    from tasks.scripts import from_text
    from tasks.speech import synthesise
    from tasks.speech.voices import inputs_of

    voice, known = Console(as_json), known_settings()
    subjects, room = _found(name, known)
    track = synthesise(from_text(say), locale, name, room=room)
    track.write(out)
    told = {
        "voice": name, "file": str(out), "seconds": round(track.speech.seconds, 2), "rate": track.rate, "phones": [phone.symbol for phone in track.speech.phones],
        "notes": list(track.speech.notes), "inputs": inputs_of([name]), "consent_subject": subjects,
    }  # fmt: skip
    voice.result(told)
    voice.plain(f"{out}: {told['seconds']} s at {track.rate} Hz, phones {' '.join(told['phones'])}" + "".join(f"\n  {note}" for note in track.speech.notes))
    if subjects:
        voice.plain(f"next: dubwright consent add --person NAME --basis ... --voice {name.partition('?')[0]} (sha256 {subjects})")


def _found(name: str, known: "Settings") -> tuple[str, Any]:
    """The hash that consent for a voice is bound to ('' for espeak-ng), and where the voice finds its files."""
    from tasks.ingest import bring
    from tasks.speech.voices import Room, inputs_of

    inputs = {role: bring(place, str(Path.cwd()), known) for role, place in inputs_of([name]).items()}
    return next((told.sha256 for role, told in inputs.items() if role.startswith("voice.")), ""), Room({told.place: told.path for told in inputs.values()}, known)


def add(app: typer.Typer, verb: Callable[[Callable[..., Any]], Callable[..., None]]) -> None:
    """Add the verbs to a command; `verb` tells their errors."""
    for name, call in (("list", list_voices), ("test", test_voice)):
        voices_app.command(name)(verb(call))
    app.add_typer(voices_app, name="voices")
