"""What Prefect's own page shows of a run that a work pool made: its jobs as a table, a summary, a link to the report. Never a reason to fail."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from db.prices import costs_words
from flows.pool import pooled
from infra.errors import DubwrightError

MOST = 500  # jobs of a table; Prefect keeps every version of it, and the report holds them all
FIRST = ("failed", "flagged", "rejected", "cancelled", "running", "queued", "delivered")  # what a table that is too long shows
EXAMPLES = 10  # deliveries and codes of a summary


def shard(batch_id: int, ended: dict[str, str]) -> None:
    """A shard's jobs and how they ended."""
    text = f"Batch {batch_id}: what this shard worked on. `dubwright status {batch_id}` shows the whole batch."
    _table(f"dubwright-batch-{batch_id}-shard", [{"job": name, "state": state} for name, state in ended.items()], text)


def batch(rows: dict[str, Any], report: str) -> None:
    """A batch's jobs and how they stand, where its videos are, what it cost, and its report. rows: `flows.run.finish`'s; report: a URL or a path."""
    if not pooled():
        return
    key, link = f"dubwright-batch-{rows['batch']}", report if "://" in report else Path(report).absolute().as_uri()
    table = [_row(job) for job in sorted(rows["jobs"], key=lambda job: FIRST.index(job["state"]))] if len(rows["jobs"]) > MOST else [_row(job) for job in rows["jobs"]]
    left = f"; {len(table) - MOST} more are in the report" if len(table) > MOST else ""
    _table(key, table[:MOST], f"**{_plain(rows['name'])}**, delivered to `{_plain(rows['output'])}`{left}")
    _put("text", f"{key}-summary", lambda put: put.create_markdown_artifact(markdown=markdown(rows, report), key=f"{key}-summary", description=summary(rows)))
    _put("link", f"{key}-report", lambda put: put.create_link_artifact(link=link, link_text=f"report of batch {rows['batch']}", key=f"{key}-report", description=summary(rows)))


def markdown(rows: dict[str, Any], report: str) -> str:
    """A batch's summary for a person: counts, causes, deliveries, costs, and the commands that say more."""
    jobs, number = rows["jobs"], rows["batch"]
    lines = [f"# {_plain(rows['name'])}", "", f"{_counts(jobs)}. Report: `{_plain(report)}`"]
    if words := costs_words(rows.get("costs")):
        lines += ["", words]
    failed = [job["error"] or {} for job in jobs if job["state"] == "failed"]
    if failed:
        lines += ["", "| code | jobs | next step |", "|---|---|---|"]
        codes = [str(error.get("code") or DubwrightError.default_code) for error in failed]
        steps = dict(zip(codes, [str(error.get("next_step") or "") for error in failed], strict=True))
        lines += [f"| {_plain(code)} | {codes.count(code)} | {_plain(steps[code])} |" for code in sorted(steps, key=codes.count, reverse=True)[:EXAMPLES]]
    given = [job for job in jobs if job["delivery"]]
    if given:
        lines += ["", "| delivered | at | lineage |", "|---|---|---|"]
        lines += [f"| {_plain(_name(job))} | `{_plain(job['delivery']['url'])}` | `dubwright lineage {job['delivery']['sha256']}` |" for job in given[:EXAMPLES]]
        lines += [f"| and {len(given) - EXAMPLES} more | | |"] if len(given) > EXAMPLES else []
    more = [f"`dubwright status {number}`", f"`dubwright report {number}`", *([f"`dubwright review {number}`"] if any(job["state"] == "flagged" for job in jobs) else [])]
    return "\n".join([*lines, "", f"More: {', '.join(more)}"])


def summary(rows: dict[str, Any]) -> str:
    """A batch in a line: how many jobs stand where, and the codes of what failed."""
    codes = sorted({(job["error"] or {}).get("code") or DubwrightError.default_code for job in rows["jobs"] if job["state"] == "failed"})
    return f"batch {rows['batch']} ({rows['name']}): {_counts(rows['jobs'])}" + (f"; failed by {', '.join(codes)}" if codes else "")


def _counts(jobs: list[dict[str, Any]]) -> str:
    states = [job["state"] for job in jobs]
    return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))


def _name(job: dict[str, Any]) -> str:
    return f"{job['title']}/{job['locale']}"


def _row(job: dict[str, Any]) -> dict[str, Any]:
    error, delivery = job["error"] or {}, job["delivery"] or {}
    told = delivery.get("url") or " ".join(str(error.get(part) or "") for part in ("code", "message", "next_step"))
    return {"job": _name(job), "state": job["state"], "takes": len(job["takes"]), "where or why": told, "trace": job.get("trace_id", "")}


def _plain(text: str) -> str:
    """A text that stays what it is in markdown: titles and messages may hold anything."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("`", "'").replace("<", "&lt;")


def _table(key: str, table: list[dict[str, Any]], text: str) -> None:
    if table and pooled():
        _put("table", key, lambda put: put.create_table_artifact(table=table, key=key, description=text))


def _put(what: str, key: str, make: Callable[[Any], Any]) -> None:
    from prefect import artifacts

    try:
        make(artifacts)
    except Exception as error:  # Prefect's page is a window; the ledger keeps the same rows
        logging.getLogger(__name__).warning("Prefect does not keep the %s %s: %s", what, key, error)
