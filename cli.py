"""The command `dubwright`: its verbs, each a thin door to flows and tasks. Heavy imports happen inside the verbs.

Exit codes: 0 done; 1 a fault of the program; 2 a fault in what was given; 3 some jobs failed, were flagged, rejected or cancelled, or wait;
4 an outage or something not installed; 130 interrupted.
"""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import cli_catalogue
import cli_common
import cli_measure
import cli_observe
import cli_operate
import cli_quality
import cli_rights
import cli_serve
import cli_supply
import cli_token
import cli_voices
import cli_webhooks
from cli_common import Json
from console import (
    EXIT_JOBS,
    Bars,
    Voice,
    clock,
    summary,
    tell_outcome,
    tell_pending,
    tell_rewrites,
    tell_tracks,
    tree_lines,
)

if TYPE_CHECKING:
    from infra.settings import Settings

DEMO = Path(__file__).resolve().parent / "demo" / "demo.yaml"

app = typer.Typer(
    help="Lip-synced video in batches: rendered, scored, gated, delivered, traceable.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip
models_app = typer.Typer(help="Weights: what they are, and whether they are what their cards say.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(models_app, name="models")

ManifestFile = Annotated[str, typer.Argument(help="A manifest (YAML, JSON or CSV): a file, or s3://bucket/key.", show_default=False)]


def verb(call: Callable[..., int | None]) -> Callable[..., None]:
    """A command whose errors are told plainly and whose return value is the exit code."""

    @functools.wraps(call)
    def told(*arguments: Any, **options: Any) -> None:
        voice = Voice(bool(options.get("as_json")))
        try:
            code = call(*arguments, **options)
        except KeyboardInterrupt:
            voice.remark("interrupted; finished work is kept, the same command goes on from here")
            code = 130
        except Exception as error:
            code = voice.fail(_told(error))
        sys.stdout.flush()
        raise typer.Exit(code or 0)

    return told


def _told(error: Exception) -> Any:
    from infra.errors import classify

    known = classify(error)
    if known.code == "internal.error" and os.environ.get("DUBWRIGHT_LOG", "").lower() == "debug":
        raise error
    return known


def _settings() -> "Settings":
    """The settings; logging and Prefect are set up by them. Raises SetupError for settings that cannot be."""
    from pydantic import ValidationError

    from flows.conductor import configure
    from infra.errors import SetupError
    from infra.logs import quiet_native_code, set_up_logging
    from infra.memory import one_heap
    from infra.settings import get_settings

    try:
        settings = get_settings()
    except ValidationError as error:
        faults = "; ".join(f"DUBWRIGHT_{str(part['loc'][0]).upper()}: {part['msg']}" for part in error.errors())
        raise SetupError(f"settings cannot be used: {faults}", code="settings.invalid", next_step="Correct these environment variables; docs/settings.md lists them.") from error
    os.environ.setdefault("OMP_NUM_THREADS", str(settings.threads))
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"the home folder {settings.home} cannot be made ({error})", code="setup.home", next_step="Point DUBWRIGHT_HOME at a folder that can be written.") from error
    one_heap()
    if settings.log.lower() != "debug" or settings.log_format == "json":
        quiet_native_code(settings.home / "logs" / "native.log")
    set_up_logging(settings)
    configure(settings)
    return settings


@app.command()
@verb
def demo(
    output: Annotated[str, typer.Option(help="Folder or s3:// prefix for the videos.")] = "dubwright-demo",
    as_json: Json = False,
) -> int:
    """Make the shipped batch: two portraits, several languages, text, WebVTT and a recording."""
    place, voice = output if output.startswith("s3://") else str(Path(output).absolute()), Voice(as_json)
    cli_rights.enter_demo(DEMO.parent / "consents.yaml")
    code = _run(DEMO, place, "", "", False, voice)
    voice.plain("review desk: dubwright serve shows what was flagged, with its curves, and takes decisions")
    return code


@app.command()
@verb
def run(
    manifest: ManifestFile,
    output: Annotated[str, typer.Option(help="Put deliveries here instead of where the manifest says.")] = "",
    name: Annotated[str, typer.Option(help="Name of the batch, instead of the manifest's.")] = "",
    pool: Annotated[str, typer.Option(help="Send the work to this Prefect work pool.")] = "",
    retry: Annotated[bool, typer.Option("--retry", help="Judge flagged jobs anew and make cancelled ones, too.")] = False,
    as_json: Json = False,
) -> int:
    """Plan, render, gate and deliver a manifest. Safe to repeat: what is delivered is not made again."""
    return _run(manifest, output, name, pool, retry, Voice(as_json))


def _run(path: str | Path, output: str, name: str, pool: str, retry: bool, voice: Voice) -> int:
    from tasks.manifest import load_manifest

    manifest = load_manifest(path, output=output, batch=name)
    settings = _settings()
    from flows.run import run_manifest

    with Bars(voice).shown() as bars:
        done = run_manifest(manifest, settings, bars, pool=pool, retry=retry)
    tree = summary(done)
    voice.result(tree)
    tell_outcome(tree, voice)
    return EXIT_JOBS if set(tree["counts"]) - {"delivered"} else 0


@app.command()
@verb
def plan(
    manifest: ManifestFile,
    output: Annotated[str, typer.Option(help="Plan for this output instead of the manifest's.")] = "",
    rewrites: Annotated[Path | None, typer.Option(help="Write a sheet of the cues that do not go into their slots, for each job, into this folder.")] = None,
    as_json: Json = False,
) -> int:
    """Show what a manifest would make, what exists, what cannot work, which cues are too long, and how long it would take."""
    from tasks.manifest import load_manifest

    voice = Voice(as_json)
    found = load_manifest(manifest, output=output)
    settings = _settings()
    from db.session import open_database
    from tasks import rewrites as rewriting
    from tasks.plan import plan as look

    with Bars(voice).shown() as bars:
        bars.phase("looking at the inputs")
        made = look(found, open_database(settings), settings, bars.looked)
        long = _too_long(made, rewrites is not None)
    counts = {state: len(made.of(state)) for state in ("made", "exists", "invalid")}
    costs = cli_catalogue.costs(made, settings)
    rows: list[dict[str, Any]] = [
        {
            "title": job.row.title, "locale": job.row.locale, "state": job.state, "video_seconds": round(job.seconds, 1), "work_seconds": round(job.estimate, 1),
            "error": job.error and job.error.to_dict(), "url": job.delivered and job.delivered["url"], "change": costs.get(job.name),
        }
        for job in made.jobs
    ]  # fmt: skip
    voice.result({"batch": found.batch, "output": made.output, "counts": counts, "work_seconds": round(made.estimate, 1), "jobs": rows, "rewrites": rewriting.tree(long)})
    words = {"made": "would be made", "exists": "exists", "invalid": "cannot be made"}
    cells = [[f"{r['title']}/{r['locale']}", words[r["state"]], f"{r['video_seconds']:.1f} s", r["error"]["message"] if r["error"] else r["url"] or ""] for r in rows]
    voice.table("", ["job", "", "video", ""], cells)
    for name, told in costs.items():
        voice.plain(f"{name}: {told['cues']} cue(s) of job {told['job']} changed, {told['windows']} of {told['of']} windows to render, about {clock(told['seconds'])}")
    for step in dict.fromkeys(r["error"]["next_step"] for r in rows if r["error"] and r["error"]["code"].startswith(("consent.", "input.unread"))):
        voice.plain(f"next: {step}")
    tell_rewrites(rewriting.tree(long), rewriting.write(long, rewrites) if rewrites else [], voice)
    voice.plain(f"\n{counts['made']} to make in about {clock(made.estimate)}, {counts['exists']} exist, {counts['invalid']} cannot be made")
    voice.plain(f"next: dubwright run {manifest}" if not counts["invalid"] else "next: mend the jobs that cannot be made, or run the others as they are")
    return EXIT_JOBS if counts["invalid"] else 0


def _too_long(made: Any, asked: bool) -> Any:
    from tasks import rewrites

    jobs = rewrites.looked_at(made)
    return list(rewrites.expected(jobs)) if asked or len(jobs) <= rewrites.MOST else []


@app.command()
@verb
def review(
    what: Annotated[str, typer.Argument(help="A batch (number or name; the newest when left out) to list; with a decision the number of a take.")] = "",
    approve: Annotated[bool, typer.Option("--approve", help="Deliver this take.")] = False,
    reject: Annotated[str, typer.Option(help="End the job without a delivery; why: sync, mouth, identity, picture, speech, face or other.")] = "",
    again: Annotated[bool, typer.Option("--again", help="Render another take, by the ladder's next rung.")] = False,
    note: Annotated[str, typer.Option(help="In your own words; kept with the decision.")] = "",
    by: Annotated[str, typer.Option(help="Who decides; your user name when left out.")] = "",
    go_on: Annotated[bool, typer.Option("--go-on", help="Deliver and render what earlier decisions ask for and nobody works on.")] = False,
    as_json: Json = False,
) -> int:
    """List takes that wait for a person, the best first; or decide on one."""
    voice, settings = Voice(as_json), _settings()
    from flows import review as desk

    wanted = [name for name, given in (("approve", approve), ("reject", reject), ("again", again)) if given]
    if go_on:
        with Bars(voice).shown() as bars:
            worked = desk.go_on(settings, bars)
        voice.result({"jobs": worked})
        voice.plain(f"{len(worked)} job(s) worked on" if worked else "nothing waits")
        return 0
    if not wanted:
        told = desk.pending(what, settings)
        voice.result(told)
        tell_pending(told["jobs"], voice)
        return 0
    with Bars(voice).shown() as bars:
        made = desk.decide(what, wanted, reject, note, by, settings, bars)
    voice.result(made)
    voice.plain(f"{made['name']}, take {made['number']}: {made['decision']} by {made['actor']}; the job is {made['state']}" + (f"\nvideo:  {made['url']}" if made["url"] else ""))
    voice.plain(f"report: {made['report']}")
    return EXIT_JOBS if made["state"] in ("failed", "flagged") else 0


@app.command()
@verb
def report(
    batch: Annotated[str, typer.Argument(help="Number or name; the newest when left out.")] = "",
    output: Annotated[Path | None, typer.Option(help="File to write.")] = None,
    as_json: Json = False,
) -> None:
    """Write a batch's report: one HTML file with videos, scores, failures and lineage."""
    voice, settings = Voice(as_json), _settings()
    from db import queries
    from db.session import open_database
    from flows.run import find, finish, write
    from infra.artifacts import open_artifacts

    database = open_database(settings)
    number = find(database, batch)
    if output is None:
        rows, path, _ = finish(database, open_artifacts(settings), settings, number)
    else:
        rows = queries.report(database, number)
        path = write(database, open_artifacts(settings), rows, output)
    voice.result({"batch": rows["batch"], "report": str(path)})
    voice.plain(f"report: {path}")


@app.command()
@verb
def score(
    video: Annotated[Path, typer.Argument(help="A video with faces and speech.", show_default=False)],
    chart: Annotated[Path | None, typer.Option(help="Draw the curves into this SVG file.")] = None,
    cropped: Annotated[bool, typer.Option("--cropped", help="It shows a face and nothing else, as clips of LRS do: LSE-D and LSE-C of whole pictures.")] = False,
    transcript: Annotated[str, typer.Option(help="What is said, or a script of it: whether the lips close for p, b and m is scored as well.")] = "",
    locale: Annotated[str, typer.Option(help="Language of the transcript, as en-GB.")] = "",
    as_json: Json = False,
) -> None:
    """Score how well lips and speech agree in any video, as a whole, by face track and by second; LSE-D and LSE-C where SyncNet was imported."""
    voice = Voice(as_json)
    _settings()
    from tasks import closures
    from tasks.gate import decide, load_thresholds
    from tasks.score import score_video
    from tasks.scored import draw, lse_of, scored_tracks
    from tasks.values import score_tree

    with Bars(voice).shown() as bars:
        phones, notes = closures.phones_of(video, transcript, locale)
        bars.phase("scoring the whole")
        found, thresholds = score_video(video, phones=phones), load_thresholds()
        bars.phase("scoring each face")
        tracks = scored_tracks(video, published=not cropped)
        published = lse_of(video, tracks, cropped)
    verdict = decide(found, thresholds)
    if chart is not None:
        chart.write_text(draw(video.name, tracks, thresholds))
    voice.result({"video": str(video), **score_tree(found), "verdict": verdict.verdict, "reasons": list(verdict.reasons), "tracks": tracks, "published": published, "chart": chart and str(chart), "notes": notes})
    of_one = ", one of its faces" if len({track["identity"] for track in tracks}) > 1 else ""
    voice.plain(f"{video.name}{of_one}: {verdict.verdict}" + (f", offset {found.offset:+d} frames, confidence {found.confidence:.3f}, distance {found.distance:.3f}" if found.scorable else ""))
    lips = [closures.told(score_tree(found)) or "no p, b or m is seen, so nothing is known of mouth closures"] if transcript else []
    for line in (*verdict.reasons, *lips, *notes):
        voice.plain(f"  {line}")
    tell_tracks(tracks, published, voice)
    voice.plain(f"curves: {chart}" if chart else "next: --chart FILE.svg draws the curves")


@app.command()
@verb
def lineage(
    file: Annotated[str, typer.Argument(help="A delivered file, its URL, or a SHA-256.", show_default=False)],
    openlineage: Annotated[bool, typer.Option("--openlineage", help="As an OpenLineage run event (with --json).")] = False,
    as_json: Json = False,
) -> None:
    """Show what a file was made from: inputs, weights, code, parameters, machine, seconds, verdicts."""
    voice, settings = Voice(as_json), _settings()
    from db.lineage import lineage as walk
    from db.lineage import to_openlineage
    from db.session import open_database
    from infra.errors import InputError

    digest = _digest_of(file, settings)
    tree = walk(open_database(settings), digest)
    if tree is None:
        raise InputError(f"the ledger knows no file {digest[:16]}", code="lineage.unknown", next_step="Give a delivered video as it was delivered; an edited one has another hash.")
    voice.result(to_openlineage(tree) if openlineage else tree)
    for line in tree_lines(tree):
        voice.plain(line)


def _digest_of(file: str, settings: "Settings") -> str:
    import re

    from infra.errors import ObjectMissing
    from infra.store import fetch, sha256_of

    if re.fullmatch(r"[0-9a-f]{64}", file):
        return file
    if not file.startswith("s3://"):
        if not Path(file).is_file():
            raise ObjectMissing(f"there is no file {file}", next_step="Give a path, an s3:// URL, or a SHA-256.")
        return sha256_of(Path(file))
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        fetch(file, Path(folder) / "file", settings)
        return sha256_of(Path(folder) / "file")


@models_app.command("import")
@verb
def models_import(
    kind: Annotated[str, typer.Argument(help="avct, fomm or syncnet.")],
    files: Annotated[list[Path], typer.Argument(help="avct: generator.ckpt and, if there is one, audio2pose.ckpt. fomm: the checkpoint. syncnet: syncnet_v2.model.")],
    licence: Annotated[str, typer.Option(help="What allows you to use them; kept on their cards.")],
    open_licence: Annotated[bool, typer.Option("--commercial", help="The licence allows commercial use.")] = False,
    align_corners: Annotated[bool, typer.Option("--align-corners", help="They were trained with torch before 1.3, whose grids align corners.")] = False,
    as_json: Json = False,
) -> None:
    """Turn published checkpoints that you may use into weights: of the preset paper, or of the scorer that LSE-D and LSE-C are measured with."""
    from dataclasses import asdict

    from models.imports import bring

    voice = Voice(as_json)
    cards = bring(kind, files, licence=licence, open_licence=open_licence, align_corners=align_corners)
    voice.result({"weights": [asdict(card) for card in cards]})
    voice.table("imported", ["weights", "parameters", "licence", "sha256"], [[f"{c.engine}/{c.name}", f"{c.parameters:,}", c.licence, c.sha256[:16]] for c in cards])


@models_app.command("verify")
@verb
def models_verify(as_json: Json = False) -> int:
    """Check every weights file against its card."""
    from models import checkpoints

    voice, found = Voice(as_json), checkpoints.verify()
    voice.result({"ok": not any(problem for _, problem in found), "weights": [{"name": name, "problem": problem} for name, problem in found]})
    voice.table("", ["weights", ""], [[name, problem or "as its card says"] for name, problem in found])
    return 2 if any(problem for _, problem in found) else 0


@app.command()
@verb
def deploy(
    kind: Annotated[str, typer.Option("--type", help="What work pools start: process or kubernetes.")] = "process",
    as_json: Json = False,
) -> None:
    """Register work pools, schedules, limits, automations and notifications on the Prefect server. Safe to repeat (docs/deploying.md)."""
    voice, settings = Voice(as_json), _settings()
    from flows.deploy import deploy as register

    rows = register(settings, kind)
    voice.result({"made": rows})
    voice.table("", ["what", "name", ""], [[row["what"], row["name"], row["done"]] for row in rows])
    voice.plain("" if settings.nightly_manifest else "the nightly batch has no schedule: set DUBWRIGHT_NIGHTLY_MANIFEST and deploy again")
    voice.plain("" if settings.notify.get_secret_value() else "nobody is told of failed batches: set DUBWRIGHT_NOTIFY and deploy again")
    voice.plain("next: dubwright worker --pool cpu" if kind == "process" else "next: kubectl apply -k infra/deploy/kubernetes/jobs")


@app.command()
@verb
def worker(
    pool: Annotated[str, typer.Option(help="The Prefect work pool to work on.")] = "cpu",
    count: Annotated[int, typer.Option(min=0, help="Workers on this machine; 0 is one, in the pool gpu one for each GPU.")] = 0,
    health: Annotated[int, typer.Option(min=0, max=65000, help="Port for the first worker's health check, at /health; further workers take the next ones.")] = 0,
) -> None:
    """Work on a Prefect work pool until stopped: one shard at a time, and one GPU, for each worker."""
    settings = _settings()
    voice = Voice(settings.log_format == "json")  # nothing but records on standard error then
    from flows import workers

    workers.check(pool)
    made = workers.workers(pool, count, workers.devices(), health)
    for one in made:
        voice.plain(f"worker {one.name}" + (f" on GPU {one.environment['CUDA_VISIBLE_DEVICES']}" if one.environment.get("CUDA_VISIBLE_DEVICES") else ""))
    with workers.counted(made, pool, settings) as place:
        voice.plain(f"metrics: {place}" if place else "")
        workers.supervise(made)


cli_common.set_up_by(_settings)
cli_operate.add(app, verb)
cli_measure.add(app, verb)
cli_catalogue.add(app, verb)
cli_observe.add(app, verb)
cli_token.add(app, verb)
cli_webhooks.add(app, verb)
cli_serve.add(app, verb)
cli_rights.add(app, verb)
cli_supply.add(app, models_app, verb)
cli_quality.add(app, verb)
cli_voices.add(app, verb)


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()
