"""How the command speaks: answers on standard output, as tables or as one JSON object for a machine; bars and errors on standard error."""

import functools
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from flows.run import Outcome
    from tasks.plan import Plan
    from tasks.progress import Step

EXIT_FAULT, EXIT_JOBS, EXIT_OUTAGE = 2, 3, 4
OUTAGES = ("store.", "ledger.", "disk.", "setup.", "memory.", "voice.unavailable")
MARKS = {"delivered": "[green]✔[/]", "flagged": "[yellow]⚑[/]", "rejected": "[red]⚑[/]", "failed": "[red]✘[/]", "cancelled": "[dim]✘[/]"}


class Voice:
    """One command's output: answers on standard output, progress and errors on standard error. In JSON mode nothing but `result` is written."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    @functools.cached_property
    def console(self) -> "Console":
        """For answers to people."""
        from rich.console import Console

        return Console(quiet=self.as_json, highlight=False, width=None if sys.stdout.isatty() else 160)

    @functools.cached_property
    def aside(self) -> "Console":
        """For what people see beside the answer: progress, what went wrong."""
        from rich.console import Console

        return Console(stderr=True, quiet=self.as_json, highlight=False, width=None if sys.stderr.isatty() else 160)

    def say(self, text: str = "") -> None:
        """A line for a person; rich's markup is understood."""
        self.console.print(text)

    def plain(self, text: str) -> None:
        """A line for a person, taken literally."""
        self.console.print(text, markup=False, soft_wrap=True)

    def remark(self, text: str) -> None:
        """A line beside the answer, taken literally."""
        self.aside.print(text, markup=False, soft_wrap=True)

    def result(self, tree: dict[str, Any]) -> None:
        """The one JSON object, in JSON mode."""
        if self.as_json:
            sys.stdout.write(json.dumps(tree, ensure_ascii=False, default=str) + "\n")

    def table(self, title: str, columns: list[str], rows: list[list[str]], *, one_line: bool = False) -> None:
        """A table for a person; one_line: cells are cut rather than folded."""
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="dim")
        wide = [max(len(text) for text in (column, *(row[number] for row in rows))) for number, column in enumerate(columns)]
        wide[-1] = max(10, min(wide[-1], self.console.width - sum(wide[:-1]) - 2 * len(columns)))  # what is cut: the others keep their width
        for column, width in zip(columns, wide, strict=True):
            table.add_column(column, overflow="ellipsis" if one_line else "fold", no_wrap=one_line, width=width if one_line else None)
        for row in rows:
            table.add_row(*[escape(cell) if not cell.startswith("[") else cell for cell in row])
        self.console.print(table)

    def fail(self, error: Any) -> int:
        """Tell an error with its next step; returns the exit code."""
        tree = error.to_dict() | ({"faults": error.faults} if getattr(error, "faults", None) else {})
        self.result({"error": tree})
        self.aside.print(f"[red]error[/] [dim]{error.code}[/]")
        self.remark(f"  {f'{error.job}: ' if error.job else ''}{error.message}")
        for fault in tree.get("faults", []):
            self.remark(f"  - {fault['row']}, {fault['field'] or 'whole row'}: {fault['problem']}. Fix: {fault['fix']}")
        self.remark(f"  next: {error.next_step}")
        if error.code == "internal.error":
            return 1
        return EXIT_OUTAGE if error.code.startswith(OUTAGES) and not error.code.endswith((".missing", ".scheme", ".name")) else EXIT_FAULT


class Bars:
    """Watches a run: one bar for the batch, one for the stage at work."""

    def __init__(self, voice: Voice) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self.voice = voice
        self.progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=28), MofNCompleteColumn(), TimeElapsedColumn(),
            console=voice.aside, refresh_per_second=4, transient=True, disable=voice.as_json,
        )  # fmt: skip
        self.batch = self.progress.add_task("batch", total=None, visible=False)
        self.stage = self.progress.add_task("starting", total=None)

    @contextmanager
    def shown(self) -> Iterator["Bars"]:
        """The bars while the block runs."""
        with self.progress:
            yield self

    def phase(self, text: str) -> None:
        """Something that takes a while begins."""
        self.progress.reset(self.stage, description=text, total=None)

    def looked(self, done: int, total: int) -> None:
        """Inputs looked at."""
        self.progress.update(self.stage, completed=done, total=total)

    def planned(self, made: "Plan") -> None:
        """Invalid jobs are told at once."""
        for job in made.of("invalid"):
            assert job.error is not None
            self.voice.aside.print(f"[red]✘[/] {job.name}  [dim]{job.error.code}[/]")
            self.voice.remark(f"    {job.error.message}. {job.error.next_step}")
        about = f", about {clock(made.estimate)} of work" if made.of("made") else ""
        self.voice.remark(f"{len(made.jobs)} jobs: {len(made.of('made'))} to make{about}, {len(made.of('exists'))} exist, {len(made.of('invalid'))} cannot be made")

    def step(self, step: "Step") -> None:
        """A stage went on, or a job ended."""
        if step.state:
            self.voice.aside.print(f"{MARKS.get(step.state, '·')} {step.job}  {step.state}")
            self.progress.advance(self.batch, 0 if step.state == "queued" else 1)
            return
        self.progress.update(self.stage, description=f"{step.job}  {step.stage}", completed=step.done, total=step.total or None)

    def states(self, states: dict[str, int]) -> None:
        """How many of the batch's jobs stand where."""
        total = sum(states.values())
        self.progress.update(self.batch, completed=total - states.get("queued", 0) - states.get("running", 0), total=total, visible=True)


def shortened(text: str, most: int = 100) -> str:
    """A text that fits a table's cell; the report holds the whole."""
    return text if len(text) <= most else f"{text[:most].rstrip()} ..."


def clock(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def tree_lines(node: dict[str, Any], depth: int = 0) -> Iterator[str]:
    """A lineage tree as indented lines."""
    pad = "  " * depth
    role = f"{node['role']}: " if "role" in node else ""
    yield f"{pad}{role}{node.get('kind', '?')}  {node.get('sha256', '')[:16]}  {node.get('size', 0)} bytes"
    for stage in node.get("stages", []):
        yield f"{pad}  made by {stage['stage']} in {stage['seconds']:.2f} s"
    for take in node.get("takes", []):
        verdict = take["verdict"] or {}
        yield f"{pad}  take {take['number']} of {take['job']}, {take['engine']}, verdict {verdict.get('verdict')} (confidence {verdict.get('confidence')})"
        yield f"{pad}    code {take['code_version']} on {take['machine'].get('processor')}, {take['machine'].get('cores')} cores"
        yield f"{pad}    parameters {json.dumps(take['parameters'], ensure_ascii=False)}"
        yield f"{pad}    seconds {json.dumps(take['seconds'])}"
        if take["trace_id"]:
            yield f"{pad}    trace {take['trace_id']}"
        for row in take["weights"]:
            yield f"{pad}    weights {row['engine']}/{row['name']}  {row['sha256'][:16]}  {row['licence']}"
        for row in take["reviews"]:
            yield f"{pad}    {row['actor']} decided: {row['decision']} {row['reason']} {row['note']}".rstrip()
        if take["delivered"]:
            yield f"{pad}    delivered at {take['delivered']}"
    for part in node.get("made_from", []):
        yield from tree_lines(part, depth + 1)


def summary(done: "Outcome") -> dict[str, Any]:
    """A finished run as one tree: every job of the manifest with its state, score and place."""
    rows = {(row["title"], row["locale"]): row for row in done.rows["jobs"]}
    jobs = [_job_summary(rows.get((job.row.title, job.row.locale)), job) for job in done.plan.jobs]
    counts: dict[str, int] = {}
    for job in jobs:
        counts[job["state"]] = counts.get(job["state"], 0) + 1
    return {
        "batch": done.batch_id, "name": done.plan.manifest.batch, "output": done.plan.output, "report": str(done.report), "report_url": done.report_url,
        "rendered": done.rendered, "counts": counts, "jobs": jobs, "figures": done.figures,
    }  # fmt: skip


def _job_summary(row: dict[str, Any] | None, job: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"title": job.row.title, "locale": job.row.locale, "state": "delivered" if row is None else row["state"]}
    if row is None:
        return told | {"url": job.delivered["url"], "sha256": job.delivered["sha256"], "batch": job.delivered["batch"]}
    delivery, takes = row["delivery"] or {}, row["takes"]
    best = (row["error"] or {}).get("best_take")
    take = next((t for t in takes if t["take"] == delivery.get("take") or t["number"] == best), takes[-1] if takes else {})
    told |= {name: take.get(name) for name in ("verdict", "offset", "confidence", "reasons", "number")}
    return told | {"url": delivery.get("url"), "sha256": delivery.get("sha256"), "error": row["error"]}


def tell_outcome(tree: dict[str, Any], voice: Voice) -> None:
    """A finished run for a person: a line a job, then where everything lies."""
    rows = []
    for job in tree["jobs"]:
        sure = f"{job['confidence']:.3f}" if job.get("confidence") is not None else ""
        offset = f"{job['offset']:+d}" if job.get("offset") is not None else ""
        error = job.get("error") or {}
        rows.append([f"{job['title']}/{job['locale']}", job["state"], str(job.get("verdict") or ""), sure, offset, str(job.get("url") or shortened(error.get("message", "")))])
    voice.say()
    voice.table("", ["job", "state", "verdict", "confidence", "offset", "video"], rows)
    voice.say()
    if tree["rendered"] == 0:
        voice.plain("Nothing was rendered: everything that can be made from this manifest exists.")
    speed = tree["figures"].get("seconds_per_video_second")
    if speed and tree["rendered"]:
        voice.plain(f"{tree['rendered']} takes rendered, {speed:.2f} s of work for a second of video (first job left out)")
    example = next((job["url"] for job in tree["jobs"] if job.get("url")), None)
    voice.plain(f"videos, captions, scores (JSON): {tree['output']}")
    voice.plain(f"report:                          {tree['report_url'] or tree['report']}")
    if example:
        voice.plain(f"lineage of a video:              dubwright lineage {example}")
    voice.plain(f"where the batch stands:          dubwright status {tree['batch']}")


def tell_pending(jobs: list[dict[str, Any]], voice: Voice) -> None:
    """Flagged jobs for a person: their takes, the best first, each with what the gate said and where its video lies."""
    for job in jobs:
        voice.plain(f"\n{job['title']}/{job['locale']}: {(job['error'] or {}).get('message', job['state'])}")
        for take in job["takes"]:
            sure = f", offset {take['offset']:+d}, confidence {take['confidence']:.3f}" if take["confidence"] is not None else ""
            voice.plain(f"  take {take['take']} ({take['engine']}): {take['verdict']}{sure}\n    {'; '.join(take['reasons'])}\n    {take['path'] or 'its video is not here'}")
            for row in take["reviews"]:
                voice.plain(f"    {row['actor']}: {row['decision']} {row['reason']} {row['note']}".rstrip())
    example = next((take["take"] for job in jobs for take in job["takes"]), None)
    voice.plain(f"\nnext: dubwright review {example} --approve, --reject REASON or --again" if example else "nothing waits for a review")


def _tell_published(tracks: list[dict[str, Any]], published: dict[str, Any] | None, voice: Voice) -> None:
    """A scored video's LSE-D and LSE-C for a person, or how to get them."""
    if published is None:
        voice.plain("these numbers are this project's own; LSE-D and LSE-C come with: dubwright models import syncnet syncnet_v2.model --licence ...")
        return
    rows = [(track["number"], track["published"]) for track in tracks if track["published"]]
    cells = [[str(n), *([f"{r['offset']:+d}", f"{r['lse_d']:.3f}", f"{r['lse_c']:.3f}"] if not r["reason"] else ["", r["reason"], ""])] for n, r in rows]
    if cells:
        voice.table("", ["track", "offset", "LSE-D", "LSE-C"], cells)
    sure = f"LSE-D {published['lse_d']:.3f}, LSE-C {published['lse_c']:.3f}" if published["scored"] else "no LSE-D or LSE-C: nothing could be scored"
    voice.plain(f"{sure} (published SyncNet, {published['mode']} mode, {published['scored']} scored)\n{published['note']}\nthe other numbers are this project's own")


def tell_tracks(tracks: list[dict[str, Any]], published: dict[str, Any] | None, voice: Voice) -> None:
    """A scored video's face tracks for a person: a line a track, then a line for each of their seconds; then LSE-D and LSE-C."""
    from tasks.scored import seconds_of

    rows, seconds = [], []
    for track in tracks:
        sure = [f"{track['offset']:+d}", f"{track['confidence']:.3f}"] if track["scorable"] else ["", track["reason"]]
        passing = ", ".join(f"{count} {why}" for why, count in track["passing"].items())
        rows.append([str(track["number"]), str(track["identity"]), f"{track['start']:.1f} to {track['end']:.1f} s", track["verdict"], *sure, passing])
        seconds += [[str(track["number"]), f"{at:g}", f"{offset:+d}", "" if value is None else f"{value:.3f}"] for at, offset, value in seconds_of(track)]
    if rows:
        voice.table("", ["track", "person", "seen", "verdict", "offset", "confidence", "pictures that pass through"], rows)
        voice.table("", ["track", "second", "offset", "confidence"], seconds)
    else:
        voice.plain("no face is seen long enough to be followed")
    _tell_published(tracks, published, voice)


def tell_rewrites(found: dict[str, list[dict[str, Any]]], written: Sequence[Path], voice: Voice) -> None:
    """Cues that a plan expects to be too long even at the fastest rate, a few of each job."""
    for name, cues in found.items():
        voice.plain(f"\n{name}: {len(cues)} cue(s) too long even at 1.20 times the pace, {sum(cue['syllables'] for cue in cues)} syllables to lose")
        for cue in cues[:5]:
            voice.plain(f"  cue {cue['cue']} at {cue['start']:.2f} s: {cue['excess']:.2f} s, about {cue['syllables']} syllable(s): {cue['text'][:60]}")
        if len(cues) > 5:
            voice.plain(f"  and {len(cues) - 5} more")
    if found:
        voice.plain("\n".join(f"sheet: {path}" for path in written) or "next: --rewrites FOLDER writes sheets of these cues for translators")
