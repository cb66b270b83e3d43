"""Speech and portrait of a job, made or fetched: what motion and render stand on."""

from collections.abc import Mapping
from dataclasses import replace

from infra.version import source_hash
from models.types import Cue, Portrait
from tasks.scripts import from_text, read_script
from tasks.speech import SpeechTrack
from tasks.stages import Work, keep
from tasks.values import load_landmarks, load_speech, save_landmarks, save_speech


def speech(work: Work) -> None:
    """Fill the job's speech: spoken from text or script, or aligned to the recording. Raises InputError, ManifestError, MediaError."""
    spec = work.spec
    asks = {
        "code": source_hash("tasks/speech", "tasks/scripts.py", "tasks/values.py", "models/avct/phonemes.py"),
        "inputs": {role: facts["sha256"] for role, facts in spec["inputs"].items() if role not in ("portrait", "face")},
        "text": spec["text"],
        "transcript": spec["transcript"],
        "locale": work.lease.locale,
        "voice": spec["voice"],
    }
    if work.wish.get("cues"):
        asks["cues"] = work.wish["cues"]
    if "video" in work.inputs:
        asks["length"] = spec["dubbing"]["length"]
    sources = work.sources("script", "audio", "transcript", "video")
    work.made["speech"] = keep(work, "speech", "speech.npz", asks, sources, lambda path: save_speech(path, make_speech(work)))
    work.speech = load_speech(work.made["speech"].path)


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
    if "audio" in work.inputs:
        words = spec["transcript"]
        if "transcript" in work.inputs:
            words = " ".join(cue.text for cue in read_script(work.inputs["transcript"]))
        return from_recording(work.inputs["audio"], words, locale, spec["voice"])
    cues = reworded(read_script(work.inputs["script"]), work.wish.get("cues", {})) if "script" in work.inputs else from_text(spec["text"])
    return synthesise(cues, locale, spec["voice"])


def reworded(cues: tuple[Cue, ...], texts: Mapping[str, str]) -> tuple[Cue, ...]:
    """Cues with other words where a reviewer gave some, by their place from 0; times and speakers stay."""
    return tuple(replace(cue, text=texts.get(str(place), cue.text)) for place, cue in enumerate(cues))


def faces(work: Work) -> None:
    """Fill the job's portrait, its landmarks found once for each picture. Raises InputError."""
    from tasks.faces import read_picture, read_portrait

    picture = work.inputs["portrait"]
    asks = {"code": source_hash("tasks/faces.py", "models/faces"), "portrait": work.spec["inputs"]["portrait"]["sha256"]}
    work.made["faces"] = keep(
        work, "faces", "faces.npz", asks, work.sources("portrait"), lambda path: save_landmarks(path, read_portrait(picture).landmarks)
    )
    work.portrait = Portrait(read_picture(picture), load_landmarks(work.made["faces"].path))
