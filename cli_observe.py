"""The verbs of those who watch: where batches stand, what is installed and what is broken, and metrics of the whole service. cli.py adds them to the command."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli_common import Json, known_settings
from console import Voice

if TYPE_CHECKING:
    from db.session import Database
    from infra.mend import Finding
    from infra.settings import Settings



def metrics(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to serve at, on DUBWRIGHT_METRICS_HOST.")] = 9464,
    once: Annotated[bool, typer.Option("--once", help="Print the page and end.")] = False,
    as_json: Json = False,
) -> None:
    """Serve the service's metrics for Prometheus until stopped: queue, leases, reviews, late batches, deliveries, costs (docs/observing.md)."""
    voice, settings = Voice(as_json), known_settings()
    from tasks.service_metrics import metrics_app, registry

    if as_json:
        rows = [{"name": s.name, "labels": s.labels, "value": s.value} for family in registry(settings).collect() for s in family.samples]
        voice.result({"metrics": rows})
        return
    if once:
        from prometheus_client import generate_latest

        typer.echo(generate_latest(registry(settings)).decode(), nl=False)
        return
    import uvicorn

    Voice(settings.log_format == "json").plain(f"metrics: http://{settings.metrics_host}:{port}/metrics")
    uvicorn.run(metrics_app(settings), host=settings.metrics_host, port=port, log_config=None, access_log=False)


def status(
    batch: Annotated[str, typer.Argument(help="Number or name; the newest batches when left out.")] = "",
    watch: Annotated[float, typer.Option(min=0, help="Show it again every so many seconds, until the batch has ended or you stop it.")] = 0.0,
    every: Annotated[bool, typer.Option("--all", help="Every job, even where the terminal is too small for them.")] = False,
    as_json: Json = False,
) -> None:
    """Show where batches stand, or every job of one."""
    voice, settings = Voice(as_json), known_settings()
    from db.session import open_database

    database = open_database(settings)
    while True:
        if watch and voice.console.is_terminal:
            voice.console.clear()
        over = _one(database, batch, settings, voice, every) if batch else _newest(database, settings, voice)
        if not watch or over:
            return
        time.sleep(watch)


def _late(database: "Database", settings: "Settings", voice: Voice) -> list[dict[str, Any]]:
    """Reports that were missing and are written now."""
    from flows.reports import overdue

    late = [{name: row[name] for name in ("batch", "name", "report")} for row in overdue(database, settings)]
    for row in late:
        voice.plain(f"batch {row['batch']} ({row['name']}) ended after whoever ran it was gone; its report: {row['report']}")
    return late


def _newest(database: "Database", settings: "Settings", voice: Voice) -> bool:
    import console_status as draw
    from db import operations, queries
    from db.prices import costs_of, costs_words
    from db.reviews import agreed_words, agreement

    late, people, live = _late(database, settings, voice), agreement(database), operations.live(database)
    rows = [row | ({"live": live[row["batch"]]} if row["batch"] in live else {}) for row in queries.batches(database)]
    spent = costs_of(database, [row["batch"] for row in rows], settings)
    voice.result({"batches": rows, "agreement": people, "control": operations.service_control(database), "costs": spent, "reports": late})
    draw.overview(rows, spent, voice)
    if not rows:
        voice.plain("no batch yet; next: dubwright demo")
    for line in filter(None, (agreed_words(people) if people["reviews"] else "", costs_words(spent))):
        voice.plain(line)
    return False


def _one(database: "Database", batch: str, settings: "Settings", voice: Voice, every: bool) -> bool:
    """Show a batch; whether it has ended."""
    import console_status as draw
    from db import operations, queries
    from db.prices import costs_of
    from db.reviews import agreed_words
    from db.throughput import throughput, throughput_words
    from flows.run import find

    late, told = _late(database, settings, voice), queries.report(database, find(database, batch))
    live, spent = operations.live(database, told["batch"])[told["batch"]], costs_of(database, [told["batch"]], settings)
    names, traces = ("job", "title", "locale", "state", "priority", "attempts", "outages", "not_before", "error"), queries.traces(database, told["batch"])
    jobs = [{name: job[name] for name in names} | {"trace_id": traces.get(job["job"], ""), "url": (job["delivery"] or {}).get("url"), "takes": len(job["takes"])} for job in told["jobs"]]
    time = throughput(database, told["batch"])
    voice.result({**{name: told[name] for name in ("batch", "name", "output")}, "jobs": jobs, "agreement": told["agreement"], "live": live, "costs": spent, "throughput": time, "reports": late})
    draw.batch(told, jobs, live, spent, voice, every=every)
    for words in filter(None, (throughput_words(time), agreed_words(told["agreement"]))):
        voice.plain(words)
    return not any(job["state"] in operations.OPEN for job in jobs)


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended, after a list of it and a yes.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --fix: mend without asking.")] = False,
    package: Annotated[Path | None, typer.Option(help="With --fix: a wheel of this version, to restore weights from.", exists=True, dir_okay=False)] = None,
    as_json: Json = False,
) -> int:
    """Show what is installed, what is missing, what that costs, and how to get it; find what is broken, and mend it with --fix."""
    voice, settings = Voice(as_json), known_settings()
    from console import Bars
    from flows.repair import findings
    from tasks.doctor import examine

    def look() -> list["Finding"]:
        with Bars(voice).shown() as bars:
            bars.phase("looking for what is broken")
            return findings(settings, package)

    found, mended, tried = look(), list[dict[str, str]](), set[tuple[str, str]]()
    while fix and (able := [one for one in found if one.mend and (one.name, one.what) not in tried]):
        _tell(found, voice)
        if not (yes or (sys.stderr.isatty() and sys.stdin.isatty() and typer.confirm(f"mend {len(able)} of these?", default=False, err=True))):
            voice.plain("nothing was changed; --fix --yes mends without asking" if not sys.stdin.isatty() else "nothing was changed")
            break
        mended += [_mend(one, voice) for one in able]
        tried |= {(one.name, one.what) for one in able}
        found = look()  # some of what is wrong can be seen only now
    if not fix or not mended:
        _tell([] if fix else found, voice)
    with Bars(voice).shown() as bars:
        bars.phase("looking around")
        rows = examine(settings)
    broken = [row for row in rows if row["needed"] and not row["ok"]]
    harm = [one for one in found if one.harmful]
    voice.result({"ok": not broken and not harm, "checks": rows, "findings": [one.to_dict() for one in found], "mended": mended})
    cells = [["[green]✔[/]" if r["ok"] else "[red]✘[/]" if r["needed"] else "[yellow]-[/]", r["name"], r["detail"], "" if r["ok"] else f"{r['cost']} {r['fix']}".strip()] for r in rows]
    voice.table("", ["", "part", "", "what to do"], cells)
    voice.plain("\neverything needed is here" if not broken else f"\n{len(broken)} needed part(s) missing")
    if mended and found:
        _tell(found, voice)
    elif found:
        voice.plain(f"{len(found)} thing(s) are broken or left over, told above" + ("; next: dubwright doctor --fix" if any(one.mend for one in found) else ""))
    return 4 if broken or harm else 0


def _tell(found: list["Finding"], voice: Voice) -> None:
    from rich.markup import escape

    for one in found:
        voice.say(f"[{'red' if one.harmful else 'yellow'}]{'✘' if one.harmful else '-'}[/] [bold]{escape(one.name)}[/]")
        voice.plain(f"    {one.what}\n    {one.why}\n    {'fix' if one.mend else 'to do'}: {one.fix}")


def _mend(one: "Finding", voice: Voice) -> dict[str, str]:
    from infra.errors import classify

    assert one.mend is not None
    try:
        done = one.mend()
    except Exception as error:  # the others are mended all the same
        known = classify(error)
        done = f"not mended: {known.message}. {known.next_step}"
    voice.plain(f"{one.name}: {done}")
    return {"name": one.name, "done": done}


VERBS: tuple[Callable[..., Any], ...] = (status, doctor, metrics)


def add(app: typer.Typer, verb: Callable[[Callable[..., Any]], Callable[..., None]]) -> None:
    """Add the verbs to a command; `verb` tells their errors."""
    for call in VERBS:
        app.command()(verb(call))
