"""Speech and portrait of a job, made or fetched: what motion and render stand on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from db.consents import unnumbered
from infra.version import source_hash
from models.types import Cue, Portrait
from tasks import sound
from tasks.scripts import Reading, Script, from_text, open_cues
from tasks.speech import SpeechTrack
from tasks.speech.lexicon import Lexicon, read_lexicon
from tasks.speech.voices import CONFIG, VOICE, Room
from tasks.stages import Work, keep
from tasks.values import load_landmarks, load_speech, save_landmarks, save_speech


def speech(work: Work) -> None:
    """Fill the job's speech and the sound that is delivered with it. Raises InputError, ManifestError, MediaError, EngineError.

    Speech is spoken from text or script, or aligned to the recording.
    """
    spec = work.spec
    asks = {
        "code": source_hash("tasks/speech", "tasks/scripts", "infra/lexicons.py", "tasks/values.py", "models/avct/phonemes.py"),
        "inputs": {role: facts["sha256"] for role, facts in spec["inputs"].items() if is_said(role)},
        "text": spec["text"],
        "transcript": spec["transcript"],
        "locale": work.lease.locale,
        "voice": spec["voice"],
        "voices": spec.get("voices", {}),
        "timecode": spec.get("timecode"),
        "encoding": spec.get("encoding", ""),
    }
    if said := said_of(work.wish):
        asks["cues"] = said
    if "video" in work.inputs:
        asks["length"] = spec["dubbing"]["length"]
    sources = (*work.sources("script", "audio", "transcript", "lexicon", "video"), *voices_of(spec["inputs"]))
    work.made["speech"] = keep(work, "speech", "speech.npz", asks, sources, lambda path: save_speech(path, make_speech(work)))
    work.speech = load_speech(work.made["speech"].path)
    sound.make(work)


def is_said(role: str) -> bool:
    """Whether speech is made from an input of a role: pictures, beds and further recordings (audio2) are none of it, voices (voice.1) are."""
    return unnumbered(role) not in ("portrait", "face", "bed") and (role == unnumbered(role) or "." in role)


def voices_of(inputs: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """(hash, role) of the voices that a job's inputs hold, for lineage. What a voice is stands for a recording of it: consent is asked by that role."""
    roles = {VOICE: "audio", CONFIG: CONFIG}
    return tuple((facts["sha256"], roles[role.partition(".")[0]]) for role, facts in inputs.items() if role.partition(".")[0] in roles)


def make_speech(work: Work) -> SpeechTrack:
    """The job's speech from its inputs; for a video fitted to its length, as the notes tell."""
    found = spoken(work)
    if "video" not in work.inputs:
        return found
    from infra.video import inspect
    from tasks.speech.fit import fitted, told

    mode = work.spec["dubbing"]["length"]
    track, fits = fitted(found, inspect(work.inputs["video"]).seconds, mode, fill="audio" not in work.inputs)
    return replace(track, lost=sum(fit.lost for fit in fits) if mode == "fit" else 0.0, fits=tuple(told(fit) for fit in fits))


def spoken(work: Work) -> SpeechTrack:
    """The job's speech as it is spoken or recorded."""
    from tasks.speech import from_recording, synthesise

    spec, locale = work.spec, work.lease.locale
    lexicon = read_lexicon(work.inputs["lexicon"], locale) if "lexicon" in work.inputs else Lexicon()
    lexicon = lexicon.beside(work.wish.get("lexicon", {}))
    if "audio" in work.inputs:
        said = open_cues(work.inputs["transcript"], reading_of(spec)).cues if "transcript" in work.inputs else ()
        words = " ".join(cue.text for cue in said) or spec["transcript"]
        return from_recording(work.inputs["audio"], words, locale, spec["voice"], lexicon, said)
    script = open_cues(work.inputs["script"], reading_of(spec)) if "script" in work.inputs else Script(from_text(spec["text"], reading_of(spec)))
    cues = reworded(script.cues, work.wish.get("cues", {}), work.wish.get("times", {})) if "script" in work.inputs else script.cues
    room = Room({facts["place"]: work.inputs[role] for role, facts in spec["inputs"].items()}, work.settings, job=True)
    made = synthesise(cues, locale, spec["voice"], {**spec.get("voices", {}), **work.wish.get("voices", {})}, lexicon, room)
    return replace(made, speech=replace(made.speech, notes=(*script.notes, *made.speech.notes)))


def reading_of(spec: dict[str, Any]) -> Reading:
    """How the job's script is to be read."""
    timecode = spec.get("timecode") or {}
    return Reading(timecode.get("rate", ""), timecode.get("start", ""), spec.get("encoding", ""), tuple(spec.get("voices", {})))


def said_of(wish: Mapping[str, Any]) -> dict[str, Any]:
    """What a reviewer changed of single cues, as speech and takes keep it: texts by place, `times`, `lexicon` and `voices` beside them."""
    return {**wish.get("cues", {}), **{name: wish[name] for name in ("times", "lexicon", "voices") if wish.get(name)}}


def reworded(cues: tuple[Cue, ...], texts: Mapping[str, str], times: Mapping[str, Sequence[float]] | None = None) -> tuple[Cue, ...]:
    """Cues with other words, or at other times, where a reviewer gave some, by their place from 0; speakers stay, and so does their order."""
    moved = [replace(cue, text=texts.get(str(place), cue.text)) for place, cue in enumerate(cues)]
    for place, (start, end) in (times or {}).items():
        if int(place) < len(moved) and moved[int(place)].end > 0:
            moved[int(place)] = replace(moved[int(place)], start=float(start), end=float(end))
    return tuple(moved)


def faces(work: Work) -> None:
    """Fill the job's portrait, its landmarks found once for each picture. Raises InputError."""
    from tasks.faces import read_picture, read_portrait

    picture = work.inputs["portrait"]
    asks = {"code": source_hash("tasks/faces.py", "infra/guard/stills.py", "models/faces"), "portrait": work.spec["inputs"]["portrait"]["sha256"]}
    work.made["faces"] = keep(
        work, "faces", "faces.npz", asks, work.sources("portrait"), lambda path: save_landmarks(path, read_portrait(picture).landmarks)
    )
    work.portrait = Portrait(read_picture(picture), load_landmarks(work.made["faces"].path))
