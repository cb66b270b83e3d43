"""A manifest (YAML, JSON, CSV) to jobs. Every fault of every row is reported at once, with row, field and fix.

Only the text is judged here: whether objects exist and portraits work is tasks/plan.py's business.
"""

import csv
import difflib
import io
import json
import re
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError

from infra.errors import InputError, ManifestError
from infra.settings import Settings
from infra.store import fetch, split_url
from tasks.deliverables.asked import ORIGINAL, Deliver, deliver_from
from tasks.rows import Defaults, JobRow, LadderRow, voices_from
from tasks.scripts.lines import name_key

LARGEST_BYTES = 32 * 2**20
MOST_JOBS = 100_000
MOST_NODES = 2_000_000  # values of a YAML document, aliases followed
Fault = dict[str, str]


class Manifest(BaseModel):
    """One batch: a name, where deliveries go, and the jobs with defaults filled in."""

    model_config = ConfigDict(frozen=True)

    batch: str
    output: str
    jobs: tuple[JobRow, ...]
    base: str  # where relative names start: a folder, or s3://bucket/prefix
    ladder: LadderRow = LadderRow()


BATCH_FIELDS = {
    "batch": "Name of the batch.",
    "output": "Where deliveries go: `s3://bucket/prefix/` or a folder relative to the manifest.",
    "defaults": "Values for every job that does not give its own.",
    "ladder": "How far jobs whose takes fall short may climb: takes, job_seconds, batch_seconds.",
    "jobs": "The jobs, one for each output.",
}


def load_manifest(place: str | Path, *, output: str = "", batch: str = "", settings: Settings | None = None) -> Manifest:
    """Read and check a manifest, a file or `s3://bucket/key`; `output` and `batch` replace what it says.

    Raises InputError, StoreError where a bucket does not give it, ManifestError with every fault.
    """
    named = str(place)
    base = split_url(named)[0] if named.startswith("s3://") else str(Path(named).absolute().parent)
    with tempfile.TemporaryDirectory(prefix="dubwright-") as folder:
        path = Path(named)
        if named.startswith("s3://"):
            path = Path(folder) / Path(named).name
            fetch(named, path, settings)
        text = _text(path)
    tree = parse(text, path.suffix.lower(), path.stem)
    if output:
        tree["output"] = output
    if batch:
        tree["batch"] = batch
    return check(tree, base)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
        if len(data) > LARGEST_BYTES:
            raise InputError(f"the manifest {path.name} is larger than {LARGEST_BYTES >> 20} MiB", code="manifest.too_large", next_step="Split it into several batches.")
        return data.decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"there is no manifest at {path}", code="manifest.missing", next_step="Check the path; `dubwright demo` shows a manifest that works.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the manifest {path.name} is not UTF-8 text", code="manifest.not_text", next_step="Save it as UTF-8.") from error


def parse(text: str, suffix: str, name: str = "batch") -> dict[str, Any]:
    """The manifest's tree. CSV holds jobs alone, a column for each field; its batch is named after the file. Raises ManifestError."""
    if suffix == ".csv":
        return {"batch": name, "output": f"{name}-out", "jobs": list(_csv_rows(text))}
    try:
        tree = json.loads(text) if suffix == ".json" else _yaml(text)
    except RecursionError as error:
        raise _refused("the manifest is nested too deep", "a manifest has three levels: batch, jobs, fields") from error
    except ValueError as error:
        raise _refused(f"the manifest cannot be read: {' '.join(str(error).split())}", "correct the text at that place") from error
    if not isinstance(tree, dict):
        raise _refused(f"the manifest holds a {type(tree).__name__}, not fields", "begin with batch:, output: and jobs:")
    return tree


def _csv_rows(text: str) -> Iterator[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="extra columns", strict=True)
    try:
        for row in reader:
            yield {key.strip(): value.strip() if isinstance(value, str) else value for key, value in row.items() if value}
    except csv.Error as error:
        raise _refused(f"line {reader.line_num} is not CSV ({error})", "export the table as comma-separated UTF-8") from error


def _yaml(text: str) -> Any:
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        _weigh(node, yaml)
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _weigh(root: Any, yaml: Any) -> None:
    """Refuse documents whose aliases unfold to more values than a manifest can have."""
    sizes: dict[int, int] = {}

    def size(node: Any) -> int:
        if id(node) in sizes:
            return sizes[id(node)]
        sizes[id(node)] = MOST_NODES  # a node that contains itself
        parts: list[Any] = [x for pair in node.value for x in pair] if isinstance(node, yaml.MappingNode) else node.value if isinstance(node, yaml.SequenceNode) else []
        sizes[id(node)] = 1 + sum(map(size, parts))
        return sizes[id(node)]

    if root is not None and size(root) >= MOST_NODES:
        raise ValueError("its aliases unfold to more values than a manifest can have")


def _refused(problem: str, fix: str) -> ManifestError:
    return ManifestError(problem, faults=[{"row": "manifest", "field": "", "problem": problem, "fix": fix}])


def check(tree: dict[str, Any], base: str) -> Manifest:
    """A tree as a manifest. Raises ManifestError that holds every fault."""
    faults: list[Fault] = []
    faults += _unknown(tree, set(BATCH_FIELDS), "manifest")
    for name in ("batch", "output"):
        if not isinstance(tree.get(name), str) or not tree[name].strip():
            faults.append(_fault("manifest", name, f"{name} is missing" if not tree.get(name) else f"{name} is not text", BATCH_FIELDS[name]))
    output = str(tree.get("output") or "")
    scheme = re.match(r"([a-z][a-z0-9+.-]*)://", output)
    if scheme and scheme[1] != "s3":
        faults.append(_fault("manifest", "output", f"{scheme[1]}:// cannot be written", "use s3://bucket/prefix/ or a folder"))
    defaults, jobs = tree.get("defaults") or {}, tree.get("jobs")
    if not isinstance(defaults, dict):
        faults.append(_fault("manifest", "defaults", "defaults are not fields", "write defaults: {engine: auto}"))
        defaults = {}
    faults += _check_defaults(defaults)
    ladder, found = _check_ladder(tree.get("ladder"))
    faults += found
    if not isinstance(jobs, list) or not jobs or len(jobs) > MOST_JOBS:
        count = f"{len(jobs)} jobs" if isinstance(jobs, list) else "no list of jobs"
        raise _all([*faults, _fault("manifest", "jobs", f"the manifest has {count}", f"list 1 to {MOST_JOBS} jobs")])
    rows: list[JobRow] = []
    for number, given in enumerate(jobs, 1):
        row, found = _check_job(number, given, {k: v for k, v in defaults.items() if k in Defaults.model_fields})
        faults += found
        rows += [row] if row else []
    faults += _twice(jobs, defaults)
    if faults:
        raise _all(faults)
    return Manifest(batch=str(tree["batch"]).strip(), output=output.strip(), jobs=tuple(rows), base=base, ladder=ladder)


def _check_defaults(defaults: dict[str, Any]) -> list[Fault]:
    faults = _unknown(defaults, set(Defaults.model_fields), "defaults")
    try:
        Defaults(**{str(k): v for k, v in defaults.items() if k in Defaults.model_fields})
    except ValidationError as error:
        faults += [_of_pydantic("defaults", part) for part in error.errors()]
    return faults


def _check_ladder(given: object) -> tuple[LadderRow, list[Fault]]:
    if given is None:
        return LadderRow(), []
    if not isinstance(given, dict):
        return LadderRow(), [_fault("manifest", "ladder", "ladder is not fields", "write ladder: {takes: 4}")]
    known = {str(k): v for k, v in given.items() if k in LadderRow.model_fields}
    try:
        return LadderRow(**known), _unknown(given, set(LadderRow.model_fields), "ladder")
    except ValidationError as error:
        return LadderRow(), [*_unknown(given, set(LadderRow.model_fields), "ladder"), *(_of_pydantic("ladder", part) for part in error.errors())]


def _check_job(number: int, given: object, defaults: dict[str, Any]) -> tuple[JobRow | None, list[Fault]]:
    row = f"job {number}"
    if not isinstance(given, dict):
        return None, [_fault(row, "", f"it holds a {type(given).__name__}, not fields", "write title:, locale:, portrait: and text:")]
    if isinstance(given.get("title"), str):
        row = f"job {number} ({ascii(given['title'][:40])[1:-1]})"
    faults = _unknown(given, set(JobRow.model_fields), row)
    fields = merged(given, defaults)
    faults += _missing(row, fields)
    try:
        made = JobRow(**fields)
    except ValidationError as error:
        known = {(part["loc"], part["type"]) for part in _faults_of(defaults)}  # said once, of the defaults
        return None, faults + [_of_pydantic(row, part) for part in error.errors() if part["loc"][0] in given or (part["loc"], part["type"]) not in known]
    return (None if faults else made), faults


def merged(given: dict[Any, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """A job's fields with the defaults it takes; one that names a video takes no default portrait, nor the other way round."""
    own = {str(k): v for k, v in given.items() if k in JobRow.model_fields and v is not None}
    other = {"video": "portrait", "portrait": "video"}
    left = {other[name] for name in other if own.get(name)}
    if own.get("voices") and defaults.get("voices"):
        own["voices"] = _both(defaults["voices"], own["voices"])
    if isinstance(own.get("deliver"), dict) and isinstance(defaults.get("deliver"), dict):
        own["deliver"] = {**defaults["deliver"], **own["deliver"]}
    return {**{k: v for k, v in defaults.items() if k not in left}, **own}


def _both(defaults: object, own: object) -> object:
    """A batch's voices by speaker with a job's own in front; the job's alone where one of the two is none."""
    try:
        batch, job = voices_from(defaults), voices_from(own)
    except PydanticCustomError:
        return own
    if not isinstance(batch, dict) or not isinstance(job, dict):
        return own
    mine = {name_key(str(name)) for name in job}
    return {**{name: voice for name, voice in batch.items() if name_key(str(name)) not in mine}, **job}


def _missing(row: str, fields: dict[str, Any]) -> list[Fault]:
    faults = [] if fields.get("locale") else [_fault(row, "locale", "locale is missing", "give it in the job or under defaults")]
    if not fields.get("portrait") and not fields.get("video"):
        faults.append(_fault(row, "portrait", "portrait is missing", "give a portrait, or a video to dub, in the job or under defaults"))
    elif fields.get("portrait") and fields.get("video"):
        faults.append(_fault(row, "video", "the job has a portrait and a video", "give one of them"))
    elif fields.get("video") and fields.get("engine") == "avct":
        faults.append(_fault(row, "engine", "avct moves a portrait; it cannot dub a video", "use auto, lipmemory or coherence"))
    if fields.get("face") and not fields.get("video"):
        faults.append(_fault(row, "face", "which face speaks is asked of videos alone", "remove it, or give a video"))
    if fields.get("faces") and (not fields.get("video") or fields.get("face")):
        problem = "one face is named, and faces by speaker" if fields.get("video") else "whose face says what is asked of videos alone"
        faults.append(_fault(row, "faces", problem, "keep one of face and faces" if fields.get("video") else "remove it, or give a video"))
    if fields.get("faces") and fields.get("audio") and not fields.get("transcript"):
        faults.append(_fault(row, "faces", "a recording does not say who speaks when", "give its transcript as a timed script that names the speakers"))
    if fields.get("original_sound") == "keep" and ORIGINAL in _tracks(fields.get("deliver")):
        faults.append(_fault(row, "deliver", "the original sound would be there twice", "remove original_sound: keep, or the track original"))
    elif ORIGINAL in _tracks(fields.get("deliver")) and not fields.get("video"):
        faults.append(_fault(row, "deliver", "a portrait has no original sound", "remove the track original, or give a video"))
    if fields.get("ducking") and not fields.get("bed"):
        faults.append(_fault(row, "ducking", "there is no bed that could give way to speech", "give bed, or remove ducking"))
    sources = [name for name in ("text", "script", "audio") if fields.get(name)]
    if len(sources) != 1:
        said = " and ".join(sources) if sources else "nothing to say"
        faults.append(_fault(row, sources[-1] if sources else "text", f"the job has {said}", "give exactly one of text, script and audio"))
    if fields.get("transcript") and not fields.get("audio"):
        faults.append(_fault(row, "transcript", "a transcript belongs to a recording", "give audio too, or use text"))
    return faults


def _tracks(deliver: object) -> list[str]:
    """What the tracks of a `deliver` name, as far as it is well formed."""
    try:
        asked = Deliver.model_validate(deliver_from(deliver))
    except (ValidationError, PydanticCustomError):
        return []
    return [track.audio for track in asked.tracks]


def _faults_of(defaults: dict[str, Any]) -> list[Any]:
    try:
        Defaults(**defaults)
    except ValidationError as error:
        return list(error.errors())
    return []


def _of_pydantic(row: str, part: Any) -> Fault:
    field = str(part["loc"][0]) if part["loc"] else ""
    problem, _, fix = part["msg"].partition("|")
    if part["type"] == "literal_error":
        known = part["ctx"]["expected"].replace("'", "")
        near = difflib.get_close_matches(str(part["input"]), re.split(r", | or ", known), 1)
        problem, fix = f"{str(part['input'])[:40]!r} is not one of {known}", f"use {near[0]}" if near else f"use {known}"
    elif part["type"] == "missing":
        problem, fix = f"{field} is missing", JobRow.model_fields[field].description or "give it"
    elif not fix:
        problem, fix = f"{part['msg'][0].lower()}{part['msg'][1:]}", _described(field) or "correct it"
    inside = ".".join(map(str, part["loc"][1:])) if field == "deliver" else ""
    return _fault(row, field, f"{inside}: {problem}" if inside else problem, fix)


def _described(field: str) -> str:
    known = {**LadderRow.model_fields, **JobRow.model_fields}
    return (known[field].description if field in known else "") or ""


def _unknown(given: dict[Any, Any], known: set[str], row: str) -> list[Fault]:
    faults = []
    for name in given:
        if name in known:
            continue
        near = difflib.get_close_matches(str(name), sorted(known), 1)
        faults.append(_fault(row, str(name)[:40], "there is no such field", f"did you mean {near[0]}?" if near else f"remove it; known are {', '.join(sorted(known))}"))
    return faults


def _twice(jobs: list[Any], defaults: dict[str, Any]) -> list[Fault]:
    """Two jobs with one name would deliver to one file; names are compared as file systems may compare them."""
    seen: dict[tuple[str, str], int] = {}
    faults = []
    for number, job in enumerate(jobs, 1):
        if not isinstance(job, dict) or not job.get("title"):
            continue
        locale = str(job.get("locale") or defaults.get("locale") or "")
        name = (unicodedata.normalize("NFC", str(job["title"]).strip()).casefold(), locale.casefold())
        if name in seen:
            faults.append(_fault(f"job {number} ({ascii(str(job['title'])[:40])[1:-1]})", "title", f"title and locale are those of job {seen[name]}", "give another title or locale"))
        seen.setdefault(name, number)
    return faults


def _fault(row: str, field: str, problem: str, fix: str) -> Fault:
    return {"row": row, "field": field, "problem": problem, "fix": fix}


def _all(faults: list[Fault]) -> ManifestError:
    first = faults[0]
    more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
    return ManifestError(f"the manifest has {len(faults)} fault(s): {first['row']}, {first['field']}: {first['problem']}{more}", faults=faults)
