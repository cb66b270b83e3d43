"""The verb `versions`: what became of a title over time, and what differs between two of its versions."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli_common import Json, known_database, known_settings
from console import Voice

if TYPE_CHECKING:
    from tasks.plan import Plan


def versions(
    title: Annotated[str, typer.Argument(help="A title of a manifest.", show_default=False)],
    locale: Annotated[str, typer.Option(help="One locale alone.")] = "",
    compare: Annotated[tuple[int, int], typer.Option(help="Two of its versions, by their jobs' numbers: what differs.")] = (0, 0),
    as_json: Json = False,
) -> None:
    """Show the versions of a title, locale by locale: takes, scores, windows; or what differs between two of them."""
    from db import listing
    from infra.artifacts import open_artifacts
    from tasks import catalogue

    voice, database, artifacts = Voice(as_json), known_database(), open_artifacts(known_settings())
    locales = [locale] if locale else sorted({row["locale"] for row in listing.jobs(database, None, catalogue.MOST, title=title)})
    found = {name: catalogue.versions(database, artifacts, title, name) for name in locales}
    if any(compare):
        told = catalogue.compared([one for several in found.values() for one in several], *compare)
        voice.result(told)
        voice.table("", ["cue", "", "before", "after"], [[str(row["place"]), row["what"], _words(row.get("before")), _words(row.get("after"))] for row in told["cues"]])
        voice.plain(f"{len(told['cues'])} cue(s) differ; {told['after']['windows_rendered']} of {told['after']['windows']} windows were rendered for job {compare[1]}")
        return
    voice.result({"title": title, "locales": {name: [one.told() for one in several] for name, several in found.items()}})
    rows = [[name, *(str(one.told()[key] if one.told()[key] is not None else "") for key in ("job", "batch", "state", "cues", "engine", "verdict", "windows_rendered", "windows"))] for name, several in found.items() for one in several]
    voice.table("", ["locale", "job", "batch", "state", "cues", "engine", "verdict", "rendered", "of windows"], rows)
    voice.plain(f"next: dubwright versions {title} --compare JOB JOB" if any(len(several) > 1 for several in found.values()) else "no two versions to compare")


def costs(made: "Plan", settings: Any) -> dict[str, dict[str, Any]]:
    """What the changed scripts of a plan cost, by job's name: windows to render beside the newest version of each, and seconds."""
    from db.session import open_database
    from infra.artifacts import open_artifacts
    from tasks import catalogue
    from tasks.look import reading_for
    from tasks.scripts import open_cues

    database, artifacts, found = open_database(settings), open_artifacts(settings), {}
    for job in made.of("made"):
        if "script" not in job.inputs or job.row.engine not in ("auto", "avct", "lipmemory", "coherence"):
            continue
        there = catalogue.versions(database, artifacts, job.row.title, job.row.locale)
        if there:
            cues = open_cues(job.inputs["script"].path, reading_for(job.row, "script")).cues
            found[job.name] = {"job": there[-1].job, **catalogue.cost(there[-1], cues)}
    return found


def _words(cue: dict[str, Any] | None) -> str:
    return f"{cue['start']:.2f}-{cue['end']:.2f} {cue['text']}" if cue else ""


def add(app: typer.Typer, verb: Callable[..., Any]) -> None:
    """Add the verb to the command."""
    app.command()(verb(versions))
