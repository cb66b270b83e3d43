"""What Prefect's own page shows of a run that a work pool made: its jobs as a table, with the report's place. Never a reason to fail."""

import logging
from typing import Any

from flows.pool import pooled
from infra.errors import DubwrightError


def shard(batch_id: int, ended: dict[str, str]) -> None:
    """A shard's jobs and how they ended."""
    _table(f"dubwright-batch-{batch_id}-shard", [{"job": name, "state": state} for name, state in ended.items()], f"Batch {batch_id}: what this shard worked on")


def batch(rows: dict[str, Any], report: str) -> None:
    """A batch's jobs and how they stand, where its videos are, and its report. rows: `db.queries.report`'s."""
    table = [_row(job) for job in rows["jobs"]]
    place = f"[report]({report})" if report.startswith("http") else f"report: `{report}`"
    _table(f"dubwright-batch-{rows['batch']}", table, f"**{rows['name']}**, delivered to `{rows['output']}`; {place}")


def _row(job: dict[str, Any]) -> dict[str, Any]:
    error, delivery = job["error"] or {}, job["delivery"] or {}
    told = delivery.get("url") or " ".join(str(error.get(part) or "") for part in ("code", "message", "next_step"))
    return {"job": f"{job['title']}/{job['locale']}", "state": job["state"], "takes": len(job["takes"]), "where or why": told}


def _table(key: str, table: list[dict[str, Any]], text: str) -> None:
    from prefect.artifacts import create_table_artifact

    if not table or not pooled():
        return
    try:
        create_table_artifact(table=table, key=key, description=text)
    except Exception as error:  # Prefect's page is a window; the ledger keeps the same rows
        logging.getLogger(__name__).warning("Prefect does not keep the table %s: %s", key, error)


def summary(rows: dict[str, Any]) -> str:
    """A batch in a line: how many jobs stand where, and the codes of what failed."""
    states = [job["state"] for job in rows["jobs"]]
    counts = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    codes = sorted({(job["error"] or {}).get("code") or DubwrightError.default_code for job in rows["jobs"] if job["state"] == "failed"})
    return f"batch {rows['batch']} ({rows['name']}): {counts}" + (f"; failed by {', '.join(codes)}" if codes else "")
