"""Plan: what a manifest would make, what exists, what cannot work, and how long it would take. Nothing is rendered here.

Every distinct input is looked at once (tasks/look.py); a job's key is the hash of what it asks for, so that the
same manifest is the same batch however often and from wherever it is submitted.
"""

import hashlib
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from db import consents, ledger, queries
from db.session import Database
from infra.artifacts import Artifacts
from infra.errors import ConsentError, DubwrightError, InputError, LicenceError
from infra.settings import Settings
from infra.store import within
from models import checkpoints
from models.imports import PAPER
from models.types import Cue
from tasks import licences
from tasks.deliverables import asked as deliverables
from tasks.engines import LIPS
from tasks.ingest import Input
from tasks.look import CHARACTERS_A_SECOND, SCRIPTS, Inputs, Looked, pictured, places_of, reading_for, voices_of
from tasks.manifest import JobRow, Manifest
from tasks.rows import Ducking, Face, Loudness
from tasks.scripts import Reading, from_text
from tasks.speech import letters
from tasks.speech.assigned import check_faces, voices_for
from tasks.speech.lexicon import check, read_lexicon
from tasks.speech.recorded import too_long
from tasks.speech.voices import Room, espeak_of, inputs_of, named, open_voice

SHIPPED_RATE = 1.3  # seconds of work for a second of video, two cores; used until this ledger has its own
SHIPPED_RATES = {("avct", "paper"): 16.0}  # of what takes far longer


@dataclass
class Planned:
    """One job of a plan: what happens to it, its key, inputs, estimated seconds of video and work, and the error of an invalid one."""

    row: JobRow
    state: Literal["made", "exists", "invalid"]
    key: str
    inputs: dict[str, Input]
    seconds: float = 0.0
    estimate: float = 0.0
    error: DubwrightError | None = None
    delivered: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """Title and locale."""
        return f"{self.row.title}/{self.row.locale}"


@dataclass
class Plan:
    """A manifest's jobs with what happens to each, and the batch that they are."""

    manifest: Manifest
    output: str
    key: str
    jobs: list[Planned] = field(default_factory=list)

    def of(self, state: str) -> list[Planned]:
        """The jobs of one state."""
        return [job for job in self.jobs if job.state == state]

    @property
    def estimate(self) -> float:
        """Seconds of work on one worker."""
        return sum(job.estimate for job in self.of("made"))


def plan(manifest: Manifest, database: Database, settings: Settings, tell: Callable[[int, int], None] = lambda done, total: None) -> Plan:
    """Look at every job. tell(done, total) is called as distinct inputs are looked at."""
    found = Inputs(manifest, settings, tell)
    output = within(manifest.base, manifest.output)
    jobs = [_planned(row, output, found) for row in manifest.jobs]
    key = _hash([manifest.batch, output, [job.key for job in jobs]])
    there = queries.delivered(database, [job.key for job in jobs])
    rates = Rates(queries.worked(database))
    for job in jobs:
        job.estimate = job.seconds * rates.of(engine_of(job.row), job.row.preset, video=bool(job.row.video))
        if job.state == "made" and job.key in there:
            job.state, job.delivered = "exists", there[job.key]
    _ask_consent(database, jobs)
    _ask_licences(jobs, settings)
    return Plan(manifest, output, key, jobs)


class Rates:
    """Seconds of work for a second of video, by what this ledger recorded: the median over jobs alike, all their takes counted."""

    def __init__(self, worked: list[queries.Worked]) -> None:
        machines = [job.machine for job in worked[:100]]
        usual = max(machines, key=machines.count, default="")  # of the kind that works now, when a pool was moved to other machines
        self.worked = [job for job in worked if job.machine == usual]

    def of(self, engine: str, preset: str, *, video: bool) -> float:
        """For an engine and preset, on portraits or videos. Where none was recorded: of any engine at the preset, of that kind of input; else the shipped figure."""
        kind = [job for job in self.worked if job.preset == preset and job.video == video]
        alike = [job for job in kind if job.engine == engine] or kind
        return statistics.median(job.work / job.seconds for job in alike) if alike else SHIPPED_RATES.get((engine, preset), SHIPPED_RATE)


def _ask_consent(database: Database, jobs: list[Planned]) -> None:
    """Jobs that would be made without a valid consent record cannot be. The ledger keeps no such fault: a record may come yet."""
    wanted = [job for job in jobs if job.state == "made"]
    found = consents.resting_on(database, [consents.Use.of_job(job.row.title, job.row.locale, _asked(job)) for job in wanted])
    for job, rest in zip(wanted, found, strict=True):
        if isinstance(rest, ConsentError):
            job.state, job.error, job.estimate = "invalid", rest, 0.0


def _ask_licences(jobs: list[Planned], settings: Settings) -> None:
    """Jobs for commercial use that would be made by what may not be used so cannot be. The ledger keeps no such fault either."""
    found: dict[tuple[str, str, bool], LicenceError | None] = {}
    for job in jobs:
        if job.state == "made" and job.row.commercial:
            ask = (job.row.engine, job.row.preset, bool(job.row.video))
            if ask not in found:
                found[ask] = licences.fault(ask[0], ask[1], video=ask[2], commercial=True, settings=settings)
            if (known := found[ask]) is not None:
                job.state, job.estimate = "invalid", 0.0
                job.error = LicenceError(known.message, code=known.code, job=job.name, next_step=known.next_step)


def _asked(job: Planned) -> dict[str, Any]:
    inputs = {role: {"sha256": told.sha256, "place": told.place} for role, told in job.inputs.items()}
    return {"inputs": inputs, "consent": job.row.consent, "use": job.row.use, "territory": job.row.territory}


def _planned(row: JobRow, output: str, found: Inputs) -> Planned:
    places = places_of(row)
    error = _installed(row)
    inputs: dict[str, Input] = {}
    seconds = len(row.text) / CHARACTERS_A_SECOND + 0.9 if row.text else 0.0
    for role, place in places.items():
        there, looked = found.found[place], found.looked[role, place, reading_for(row, role)]
        if isinstance(there, Input):
            inputs[role] = there
        problem = there if isinstance(there, DubwrightError) else looked
        if isinstance(problem, DubwrightError):
            error = error or _of_role(problem, role, place)
        else:
            seconds = problem.seconds if role == "video" or (role in ("script", "audio") and not row.video) else seconds
            error = error or (_voiced(row, problem.cues, role) if role in SCRIPTS else _sayable(row, inputs[role]) if role == "lexicon" else None)
    error = _speakable(row, inputs, found.settings) or error
    error = error or _readable(row, inputs, found) or _alignable(row, found)
    hashes = {role: inputs[role].sha256 if role in inputs else f"missing {place}" for role, place in places.items()}
    words = row.transcript if "transcript" not in places else ""
    asks = [output, row.title, row.locale, engine_of(row), row.preset, row.gate, row.seed, row.voice, row.text, words, hashes]
    asks += [] if row.engine == "auto" else ["no other engine"]
    asks += [{"label": row.label}] if row.label else []
    asks += [] if row.commercial else ["not for commercial use"]
    if row.video:
        asks.append(dubbing_of(row))
    if asked := asked_of(row):
        asks.append(asked)
    return Planned(row, "invalid" if error else "made", _hash(asks), inputs, 0.0 if error else seconds, 0.0, error)


def _of_role(problem: DubwrightError, role: str, place: str) -> DubwrightError:
    """The input's error as the job's, naming the place that the manifest names."""
    name = Path(place).name
    text = problem.message if name in problem.message or place in problem.message else f"{role} {place}: {problem.message}"
    told = InputError(text, code=problem.code, next_step=problem.next_step)
    told.picture = getattr(problem, "picture", None)
    return told


def _speakable(row: JobRow, inputs: dict[str, Input], settings: Settings) -> DubwrightError | None:
    """What is wrong with the job's voices, as far as their files are there."""
    room = Room({told.place: told.path for told in inputs.values()}, settings)
    try:
        if row.text:
            cues = from_text(row.text, reading_for(row, "script") or Reading())
            check_faces(cues, row.faces)
            voices_for(cues, row.voice, row.voices)
        if not row.audio or row.transcript:
            for voice in voices_of(row):
                espeak_of(row.locale, voice)
        for voice in voices_of(row) if not row.audio else ():
            if named(voice).backend != "espeak" and all(place in room.files for place in inputs_of([voice]).values()):
                open_voice(voice, row.locale, room)
    except DubwrightError as error:
        return InputError(error.message, code=error.code, next_step=error.next_step)
    return None


def _readable(row: JobRow, inputs: dict[str, Input], found: Inputs) -> DubwrightError | None:
    """What is wrong where a voice of the job does not know letters of what it is to say."""
    script = found.looked.get(("script", row.script, reading_for(row, "script")))
    cues = from_text(row.text, reading_for(row, "script") or Reading()) if row.text else script.cues if isinstance(script, Looked) else ()
    lexicon = read_lexicon(inputs["lexicon"].path, row.locale) if "lexicon" in inputs else None
    try:
        said: dict[str, list[str]] = {}
        for cue, voice in zip(cues, voices_for(cues, row.voice, row.voices), strict=True):
            said.setdefault(voice, []).append(cue.text)
        for voice, texts in said.items():
            if named(voice).backend == "espeak":
                letters.check(texts, espeak_of(row.locale, voice), lexicon)
    except DubwrightError as error:
        return InputError(error.message, code=error.code, next_step=error.next_step)
    return None


def _alignable(row: JobRow, found: Inputs) -> DubwrightError | None:
    """What is wrong where a recording is too long for a transcript without times."""
    recording = found.looked.get(("audio", row.audio, None))
    words = found.looked.get(("transcript", row.transcript, reading_for(row, "transcript")))
    try:
        if row.transcript and isinstance(recording, Looked):
            too_long(recording.seconds, words.cues if isinstance(words, Looked) else ())
    except InputError as error:
        return error
    return None


def _voiced(row: JobRow, cues: tuple[Cue, ...], role: str) -> DubwrightError | None:
    """What is wrong where a speaker of the script has no voice, or a face is told of somebody who says nothing."""
    try:
        check_faces(cues, row.faces)
        if role == "script":
            voices_for(cues, row.voice, row.voices)
    except DubwrightError as error:
        return error
    return None


def _sayable(row: JobRow, lexicon: Input) -> DubwrightError | None:
    """What is wrong where a voice of the job cannot make the sounds that the lexicon asks for."""
    try:
        for voice in voices_of(row):
            if named(voice).backend == "espeak":  # Piper takes any IPA, a service none
                check(read_lexicon(lexicon.path, row.locale), espeak_of(row.locale, voice))
    except DubwrightError as error:
        return InputError(error.message, code=error.code, next_step=error.next_step)
    return None


def asked_of(row: JobRow) -> dict[str, Any]:
    """What a job asks of its script, voices and captions, beyond what every job does."""
    timecode = row.timecode.model_dump() if row.timecode else None
    captions = [kind for kind in ("srt", "ttml") if kind in row.captions]
    asked: dict[str, Any] = {"voices": row.voices, "timecode": timecode, "encoding": row.encoding, "captions": captions, "deliver": deliverables.spec_of(row.deliver)}
    asked |= {"loudness": row.loudness.model_dump() if row.loudness != Loudness() else None}  # type: ignore[call-arg]
    asked |= {"ducking": row.ducking.model_dump() if row.bed and row.ducking != Ducking() else None}  # type: ignore[call-arg]
    return {name: value for name, value in asked.items() if value}


def dubbing_of(row: JobRow) -> dict[str, Any]:
    """What a job asks of the dubbing of its video."""
    asked = {"length": row.length, "original_sound": row.original_sound, "quiet_shots": row.quiet_shots, "face": _told_of(row.face) if row.face else None}
    roles = {name: role for role, (name, _) in pictured(row).items()}
    faces = {name: face if isinstance(face, str) else _told_of(face) | ({"picture": roles[name]} if name in roles else {}) for name, face in row.faces.items()}
    return asked | ({"faces": faces} if faces else {}) | ({"listeners": row.listeners} if row.listeners != "source" else {})


def _told_of(face: Face) -> dict[str, Any]:
    """A face as a job's name has it, without what it does not say."""
    return face.model_dump(mode="json", exclude={"picture"} if face.tracks else {"picture", "tracks"})


def _installed(row: JobRow) -> DubwrightError | None:
    """What is wrong where the preset's weights are not there. `compact` ships with its own."""
    if row.preset == "compact":
        return None
    if engine_of(row) in LIPS:
        return InputError(f"there are no weights of {engine_of(row)}'s preset paper", code="input.preset", next_step="Use the preset compact, or train paper yourself.")
    missing = [name for name in PAPER if not checkpoints.place("avct", name).exists()]
    if not missing:
        return None
    return InputError(
        f"the preset {row.preset} has no weights here: {', '.join(missing)} missing", code="input.preset",
        next_step="Import checkpoints that you may use (dubwright models import avct generator.ckpt audio2pose.ckpt), or use compact.",
    )  # fmt: skip


def engine_of(row: JobRow) -> str:
    """The engine that `auto` stands for in a job's key, which must not change with what engines win."""
    return row.engine if row.engine != "auto" else "lipmemory" if row.video else "avct"


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def submit(made: Plan, database: Database, artifacts: Artifacts) -> ledger.Submitted:
    """Keep the inputs as artifacts and enter the batch, once. Jobs that another batch has delivered are left out of a new one."""
    for sha, place in {(i.sha256, i.path) for job in made.jobs if job.state != "exists" for i in job.inputs.values()}:
        assert artifacts.put(place, place.suffix).sha256 == sha
    jobs = [ledger.JobSpec(job.key, job.row.title, job.row.locale, job.row.engine, job.row.preset, spec_of(made, job), job.row.priority) for job in made.jobs if job.state != "exists"]
    return ledger.submit(database, made.key, made.manifest.batch, made.output, jobs, made.manifest.ladder.model_dump(exclude_none=True))


def spec_of(made: Plan, job: Planned) -> dict[str, Any]:
    """What the ledger keeps of a job: all that its stages need, inputs by hash, and the error of one that cannot work."""
    row, places = job.row, places_of(job.row)
    return {
        "output": made.output,
        "inputs": {role: {"sha256": i.sha256, "size": i.size, "suffix": i.suffix, "place": i.place} for role, i in job.inputs.items()},
        "text": row.text,
        "transcript": row.transcript if "transcript" not in places else "",
        "voice": row.voice,
        "gate": row.gate,
        "seed": row.seed,
        "consent": row.consent,
        "use": row.use,
        "territory": row.territory,
        "label": row.label,
        "commercial": row.commercial,
        "dubbing": dubbing_of(row) if row.video else None,
        **asked_of(row),
        "seconds": round(job.seconds, 2),
        "estimate": round(job.estimate, 2),
        "fault": None if job.error is None or isinstance(job.error, ConsentError | LicenceError) else job.error.to_dict() | {"job": job.name},
    }
