"""Plan: what a manifest would make, what exists, what cannot work, and how long it would take. Nothing is rendered here.

Every distinct input is fetched, hashed and looked at once, in parallel; a job's key is the hash of what it asks for, so that the
same manifest is the same batch however often and from wherever it is submitted.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from db import consents, ledger, queries
from db.session import Database
from infra.artifacts import Artifacts
from infra.errors import ConsentError, DubwrightError, InputError, classify
from infra.media import probe
from infra.settings import Settings
from infra.store import within
from models import checkpoints
from models.imports import PAPER
from tasks.engines import LIPS
from tasks.ingest import ROLES, Input, bring
from tasks.manifest import JobRow, Manifest
from tasks.scripts import from_text, read_script

SHIPPED_RATE = 1.3  # seconds of work for a second of video, two cores; used until this ledger has its own
CHARACTERS_A_SECOND = 13.0
THREADS = 4
WORDS = (".txt", ".vtt")  # a transcript of these suffixes is a file


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
    found = _Inputs(manifest, settings, tell)
    output = within(manifest.base, manifest.output)
    jobs = [_planned(row, output, found) for row in manifest.jobs]
    key = _hash([manifest.batch, output, [job.key for job in jobs]])
    there = queries.delivered(database, [job.key for job in jobs])
    rate = measured_rate(database)
    for job in jobs:
        job.estimate = job.seconds * rate
        if job.state == "made" and job.key in there:
            job.state, job.delivered = "exists", there[job.key]
    _ask_consent(database, jobs)
    return Plan(manifest, output, key, jobs)


def _ask_consent(database: Database, jobs: list[Planned]) -> None:
    """Jobs that would be made without a valid consent record cannot be. The ledger keeps no such fault: a record may come yet."""
    wanted = [job for job in jobs if job.state == "made"]
    found = consents.resting_on(database, [consents.Use.of_job(job.row.title, job.row.locale, _asked(job)) for job in wanted])
    for job, rest in zip(wanted, found, strict=True):
        if isinstance(rest, ConsentError):
            job.state, job.error, job.estimate = "invalid", rest, 0.0


def _asked(job: Planned) -> dict[str, Any]:
    inputs = {role: {"sha256": told.sha256, "place": told.place} for role, told in job.inputs.items()}
    return {"inputs": inputs, "consent": job.row.consent, "use": job.row.use, "territory": job.row.territory}


def measured_rate(database: Database) -> float:
    """Seconds of work for a second of video: of this ledger's last takes, or the shipped figure."""
    rows = [row for row in queries.stage_rates(database) if row["frames"]]
    frames = sum(row["frames"] for row in rows)
    return sum(sum(row["seconds"].values()) for row in rows) / (frames / 25) if frames else SHIPPED_RATE


class _Inputs:
    """The distinct inputs of a manifest: fetched, and looked at by role. An error is kept for every job that names the input."""

    def __init__(self, manifest: Manifest, settings: Settings, tell: Callable[[int, int], None]) -> None:
        self.found: dict[str, Input | DubwrightError] = {}
        self.looked: dict[tuple[str, str], float | DubwrightError] = {}
        places = sorted({place for row in manifest.jobs for place in places_of(row).values()})
        asks = sorted({(role, place) for row in manifest.jobs for role, place in places_of(row).items()})
        self.done, self.total, self.tell = 0, len(places) + len(asks), tell
        with ThreadPoolExecutor(THREADS) as pool:
            self._each(pool.map(lambda place: _tried(lambda: bring(place, manifest.base, settings)), places), places, self.found)
            self._each(pool.map(lambda ask: _tried(lambda: self._look(*ask)), asks), asks, self.looked)

    def _each(self, results: Iterable[Any], names: list[Any], into: dict[Any, Any]) -> None:
        for name, result in zip(names, results, strict=True):
            into[name] = result
            self.done += 1
            self.tell(self.done, self.total)

    def _look(self, role: str, place: str) -> float:
        """Seconds of speech that the input holds, as far as it says; raises what is wrong with it."""
        there = self.found[place]
        return 0.0 if isinstance(there, DubwrightError) else LOOKS[role](there.path)


def _tried(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # every kind of failure is the input's, and is told as such
        return classify(error)


def _look_at_portrait(path: Path) -> float:
    from tasks.faces import read_portrait

    read_portrait(path)
    return 0.0


def _look_at_script(path: Path) -> float:
    cues = read_script(path)
    return max(cues[-1].end, sum(len(cue.text) for cue in cues) / CHARACTERS_A_SECOND) + 0.9


def _look_at_audio(path: Path) -> float:
    facts = probe(path)
    if not facts.audio_streams:
        raise InputError(f"{path.name} holds no sound", code="media.no_audio", next_step="Give a file with a sound stream.")
    return facts.seconds


def _look_at_video(path: Path) -> float:
    from infra.video import inspect

    return inspect(path).seconds


LOOKS: dict[str, Callable[[Path], float]] = {
    "portrait": _look_at_portrait,
    "video": _look_at_video,
    "face": _look_at_portrait,
    "script": _look_at_script,
    "audio": _look_at_audio,
    "transcript": _look_at_script,
}


def places_of(row: JobRow) -> dict[str, str]:
    """The job's input files by role; a transcript is one when its name ends in .txt or .vtt."""
    found = {role: getattr(row, role) for role in ROLES if role != "face" and getattr(row, role)}
    if row.face and row.face.picture:
        found["face"] = row.face.picture
    if not found.get("transcript", "").lower().endswith(WORDS):
        found.pop("transcript", None)
    return found


def _planned(row: JobRow, output: str, found: _Inputs) -> Planned:
    places = places_of(row)
    error = _speakable(row) or _installed(row)
    inputs: dict[str, Input] = {}
    seconds = len(row.text) / CHARACTERS_A_SECOND + 0.9 if row.text else 0.0
    for role, place in places.items():
        there, looked = found.found[place], found.looked[role, place]
        if isinstance(there, Input):
            inputs[role] = there
        problem = there if isinstance(there, DubwrightError) else looked
        if isinstance(problem, DubwrightError):
            error = error or _of_role(problem, role, place)
        elif role == "video" or (role in ("script", "audio") and not row.video):
            seconds = problem
    hashes = {role: inputs[role].sha256 if role in inputs else f"missing {place}" for role, place in places.items()}
    words = row.transcript if "transcript" not in places else ""
    asks = [output, row.title, row.locale, engine_of(row), row.preset, row.gate, row.seed, row.voice, row.text, words, hashes]
    asks += [] if row.engine == "auto" else ["no other engine"]
    asks += [{"label": row.label}] if row.label else []
    if row.video:
        asks.append(dubbing_of(row))
    return Planned(row, "invalid" if error else "made", _hash(asks), inputs, 0.0 if error else seconds, 0.0, error)


def _of_role(problem: DubwrightError, role: str, place: str) -> DubwrightError:
    """The input's error as the job's, naming the place that the manifest names."""
    name = Path(place).name
    text = problem.message if name in problem.message or place in problem.message else f"{role} {place}: {problem.message}"
    told = InputError(text, code=problem.code, next_step=problem.next_step)
    told.picture = getattr(problem, "picture", None)
    return told


def _speakable(row: JobRow) -> DubwrightError | None:
    from tasks.speech.espeak import voice_for

    try:
        if row.text:
            from_text(row.text)
        if not row.audio or row.transcript:
            voice_for(row.locale, row.voice)
    except DubwrightError as error:
        return InputError(error.message, code=error.code, next_step=error.next_step)
    return None


def dubbing_of(row: JobRow) -> dict[str, Any]:
    """What a job asks of the dubbing of its video."""
    face = row.face.model_dump(mode="json", exclude={"picture"}) if row.face else None
    return {"length": row.length, "original_sound": row.original_sound, "quiet_shots": row.quiet_shots, "face": face}


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
        "dubbing": dubbing_of(row) if row.video else None,
        "seconds": round(job.seconds, 2),
        "estimate": round(job.estimate, 2),
        "fault": None if job.error is None or isinstance(job.error, ConsentError) else job.error.to_dict() | {"job": job.name},
    }
