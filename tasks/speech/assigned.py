"""Which voice says which cue: the manifest's map of speakers to voices, which has to be complete."""

from collections.abc import Mapping, Sequence

from infra.errors import ManifestError
from models.types import Cue
from tasks.scripts.lines import name_key

MOST_NAMED = 20  # speakers that a message names


def voices_for(cues: Sequence[Cue], voice: str, voices: Mapping[str, str]) -> tuple[str, ...]:
    """The manifest's voice for each cue; '' is the locale's own. Raises ManifestError that names every speaker without one.

    voices: by speaker, whatever the capitals. voice: for whoever is not in it. Without either, a script that names no speaker is said
    by the locale's voice, and one that names speakers is refused.
    """
    by_key = {name_key(name): own for name, own in voices.items()}
    if not voice and any(cue.speaker for cue in cues):
        _complete(cues, by_key)
    return tuple(by_key.get(name_key(cue.speaker), voice) if cue.speaker else voice for cue in cues)


def check_faces(cues: Sequence[Cue], faces: Mapping[str, object]) -> None:
    """Raise ManifestError where the manifest tells the face of somebody who says nothing: a name that is misspelt, as a rule."""
    speakers: dict[str, str] = {}
    for cue in cues:
        if cue.speaker:
            speakers.setdefault(name_key(cue.speaker), cue.speaker)
    strange = [name for name in faces if name_key(name) not in speakers]
    if not strange:
        return
    known = ", ".join(list(speakers.values())[:MOST_NAMED]) or "nobody"
    fix = f"Name speakers as the script does: {known}."
    faults = [{"row": "faces", "field": name, "problem": "the script names no such speaker", "fix": fix} for name in strange]
    raise ManifestError(f"the script has no cue of {', '.join(strange[:MOST_NAMED])}", code="faces.unknown", faults=faults, next_step=fix)


def _complete(cues: Sequence[Cue], by_key: Mapping[str, str]) -> None:
    missing: dict[str, str] = {}
    for cue in cues:
        if cue.speaker and name_key(cue.speaker) not in by_key:
            missing.setdefault(name_key(cue.speaker), cue.speaker)
    nameless = sum(not cue.speaker for cue in cues)
    if not missing and not nameless:
        return
    names = list(missing.values())
    told = ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
    problems = [f"no voice is given for {told}"] if names else []
    problems += [f"{nameless} cue(s) name no speaker while others do"] if nameless else []
    mapping = ", ".join(f"{name}: espeak:..." for name in names[:3]) or "NAME: espeak:..."
    fix = f"Give each speaker a voice in the manifest, as voices: {{{mapping}}}, or `voice` for all who have none."
    faults = [{"row": "script", "field": name, "problem": "the speaker has no voice", "fix": fix} for name in names]
    raise ManifestError("; ".join(problems), code="voices.unmapped", faults=faults, next_step=fix)
