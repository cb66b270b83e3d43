"""How `dubwright status` is drawn: every job a line in a pipe; on a terminal what fits it, what needs a person first."""

from datetime import UTC, datetime
from typing import Any

from console import Voice, clock, shortened
from db.prices import costs_words

URGENT = ("failed", "running", "flagged", "rejected", "cancelled", "queued", "delivered")  # what a terminal shows first
FLOW = ("queued", "running", "delivered", "flagged", "rejected", "failed", "cancelled")
NARROW = 110  # columns under which a table leaves out what `status BATCH` tells
AROUND = 11  # lines of a terminal that a batch's table leaves to what stands around it
CAUSES = 3  # codes of failed jobs that are told of
Rows = list[dict[str, Any]]


def counted(counts: dict[str, int]) -> str:
    """Jobs by state in the order that they come to them."""
    return ", ".join(f"{counts[state]} {state}" for state in FLOW if counts.get(state))


def left(moment: str | None) -> str:
    """How long it is until a moment."""
    if not moment:
        return ""
    seconds = (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()
    return f"in {clock(seconds)}" if seconds > 0 else "now"


def live_words(live: dict[str, Any] | None, *, alone: bool = True) -> str:
    """How a batch stands right now, in a line; nothing where there is nothing to say. alone: nobody counts its running jobs beside it."""
    if not live:
        return ""
    words = [live["control"]] if live["control"] != "open" else []
    words += [f"priority {live['priority']}"] if live["priority"] else []
    if live["leases"]:
        lapsed = f", {live['lapsed']} of dead workers" if live["lapsed"] else ""
        running = f"{live['leases']} running{lapsed}, the oldest" if alone else f"the oldest running{lapsed}"
        words.append(f"{running} for {clock(live['oldest_lease'])}")
    words += [f"{live['deferred']} waiting after a fault, tried again {left(live['next_try'])}"] if live["deferred"] else []
    return "; ".join(words)


def overview(rows: Rows, spent: dict[str, Any] | None, voice: Voice) -> None:
    """The newest batches, a line each where the terminal is wide enough."""
    each = {row["batch"]: row["per_minute"] for row in spent["batch"]} if spent else {}
    cells = []
    for row in rows:
        price = each.get(row["batch"])
        cells.append([str(row["batch"]), row["name"], counted(row["jobs"]), live_words(row.get("live")), "" if price is None else f"{price:.3g}", row["output"]])
    columns = ["batch", "name", "jobs", "now", f"{spent['currency']}/min" if spent else "", "output"]
    kept = [0, 1, 2, 3, *([4] if spent else []), *([5] if voice.console.width >= NARROW else [])]
    voice.table("", [columns[number] for number in kept], [[row[number] for number in kept] for row in cells])


def batch(told: dict[str, Any], jobs: Rows, live: dict[str, Any], spent: dict[str, Any] | None, voice: Voice, *, every: bool) -> None:
    """One batch: how it stands in two lines, its jobs, why jobs failed, what it cost, what to do next."""
    counts = {state: sum(job["state"] == state for job in jobs) for state in FLOW}
    voice.plain(f"batch {told['batch']}: {told['name']}, to {told['output']}")
    voice.plain("; ".join(filter(None, (counted(counts), live_words(live, alone=False)))))
    console = voice.console
    room = max(5, console.height - AROUND - 2 * min(CAUSES, len(codes(jobs)))) if console.is_terminal and not every else 0
    shown, more = chosen(jobs, room)
    one_line = bool(room)
    cells = [[named(job, console.width * 2 // 5 if one_line else 0), job["state"], str(job["takes"]), where(job, told["output"])] for job in shown]
    voice.table("", ["job", "state", "takes", "where or why"], cells, one_line=one_line)
    if more:
        voice.plain(f"and {counted(more)}; --all shows them")
    for code, (count, error) in list(codes(jobs).items())[:CAUSES]:
        voice.plain(shortened(f"{count} failed by {code}: {error.get('message', '')}", console.width - 4) if one_line else f"{count} failed by {code}: {error.get('message', '')}")
        voice.plain(f"    next: {error.get('next_step', '')}")
    if words := costs_words(spent):
        voice.plain(words)
    voice.plain(f"next: dubwright {'review' if counts['flagged'] else 'report'} {told['batch']}")


def named(job: dict[str, Any], room: int) -> str:
    """A job's name, its title cut to `room` columns; 0 is no limit. Locales tell jobs of a title apart, and stay."""
    end = f"/{job['locale']}"
    title = str(job["title"])
    return f"{title[: room - len(end) - 1]}…{end}" if room and len(title) + len(end) > room else title + end


def where(job: dict[str, Any], output: str) -> str:
    """Where a job's video is, beside the batch's output, or why there is none."""
    if job["url"]:
        return str(job["url"]).removeprefix(output)
    error = job["error"] or {}
    waits = f"tried again {left(job['not_before'])}: " if job["state"] == "queued" and job["not_before"] else ""
    return f"{waits}{error.get('message', '')}"


def codes(jobs: Rows) -> dict[str, tuple[int, dict[str, Any]]]:
    """Failed jobs by code: how many, and the first one's error; the most frequent first."""
    failed = [job["error"] or {} for job in jobs if job["state"] == "failed"]
    names = [str(error.get("code") or "internal.error") for error in failed]
    first = dict(reversed(list(zip(names, failed, strict=True))))
    return {name: (names.count(name), first[name]) for name in sorted(first, key=lambda name: (-names.count(name), name))}


def chosen(jobs: Rows, room: int) -> tuple[Rows, dict[str, int]]:
    """The jobs that are shown, and the others counted by state. room: lines there are; 0 is no limit."""
    if not room or len(jobs) <= room:
        return jobs, {}
    ranked = sorted(jobs, key=lambda job: (URGENT.index(job["state"]), not job["not_before"]))
    shown = ranked[: room - 1]
    return shown, {state: sum(job["state"] == state for job in ranked[room - 1 :]) for state in FLOW}
