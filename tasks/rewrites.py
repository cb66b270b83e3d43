"""What a plan foresees of the cues of its videos, and the sheets of those that need rewriting, for translators."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.errors import DubwrightError
from tasks.deliver import slug
from tasks.look import reading_for
from tasks.plan import Plan, Planned
from tasks.scripts import Reading, open_cues
from tasks.speech.foresee import Foreseen, foreseen, rewrites, sheet

MOST = 50  # jobs that are looked at where nobody asks for it: a tenth of a second each


def looked_at(made: Plan) -> list[Planned]:
    """The jobs whose cues have slots in a video that keeps its length."""
    return [job for job in made.jobs if job.state != "invalid" and job.row.video and job.row.length == "fit" and "script" in job.inputs]


def expected(jobs: list[Planned]) -> Iterator[tuple[Planned, list[Foreseen]]]:
    """Each job with the cues that do not go into their slots even at the fastest rate. A script without times has none."""
    from infra.video import inspect

    for job in jobs:
        try:
            cues = open_cues(job.inputs["script"].path, reading_for(job.row, "script") or Reading()).cues
            timed = any(cue.end > 0 for cue in cues)
            yield job, rewrites(foreseen(cues, inspect(job.inputs["video"].path).seconds, job.row.locale, job.row.voice, job.row.voices)) if timed else []
        except DubwrightError:
            yield job, []  # the plan itself tells what is wrong with it


def write(found: list[tuple[Planned, list[Foreseen]]], folder: Path) -> list[Path]:
    """A dubbing sheet for every job that has cues to rewrite, as `welcome.es-ES.rewrite.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for job, cues in found:
        if cues:
            written.append(folder / f"{slug(job.row.title)}.{job.row.locale}.rewrite.csv")
            written[-1].write_text(sheet(cues), encoding="utf-8")
    return written


def tree(found: list[tuple[Planned, list[Foreseen]]]) -> dict[str, list[dict[str, Any]]]:
    """The cues to rewrite by job, as plain values."""
    return {job.name: [{"cue": one.number, "start": one.cue.start, "end": one.cue.end, "speaker": one.cue.speaker, "text": one.cue.text, "syllables": one.syllables,
                        "excess": round(one.excess, 2), "expected": round(one.natural, 2)} for one in cues] for job, cues in found if cues}  # fmt: skip
