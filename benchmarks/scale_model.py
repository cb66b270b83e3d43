"""What a million jobs on 500 GPUs need, from the figures of the scale benchmark (scale.json): arithmetic, with what it assumes said beside each line.

Everything that a job costs (queries, transactions, processor seconds of ledger and Prefect, requests, bytes) is taken to stay what was measured, however many
jobs there are; what grows with a batch (a look at its states) is taken to grow with it. Checked against the benchmark by predicting its own steps.
"""

import os
from typing import Any

from benchmarks.scale_work import recorded
from flows.workers import LOOKS
from infra.settings import Settings

CONNECTIONS = 2  # of a worker's pool that are open at once: its work and the renewal of its lease, or a delivery
POSTGRES_CONNECTIONS = 200  # that one Postgres serves well without a pooler
NIGHT = 10.0  # hours


def told(kept: dict[str, Any], jobs: float, gpus: int, seconds: float) -> str:
    """The model as a table in Markdown, then its check."""
    lines = ["| what | needs | from |", "|---|---|---|"]
    lines += [f"| {what} | {needs} | {source} |" for what, needs, source in rows(kept["figures"], jobs, gpus, seconds)]
    lines += ["", f"Checked: jobs a second of the benchmark's steps, {kept['figures']['seconds_a_job'] / kept['figures']['compress']:.2f} s of sleep a job", ""]
    lines += ["| workers | predicted | measured |", "|---|---|---|"]
    lines += [f"| {int(step['workers'])} | {expected:.2f} | {step['jobs_per_second']:.2f} |" for step, expected in zip(kept["steps"], predicted(kept), strict=True)]
    return "\n".join(lines)


def rows(found: dict[str, Any], jobs: float, gpus: int, seconds: float) -> list[tuple[str, str, str]]:
    """The model's lines: what, needs, and where it comes from."""
    own = found["worker_cpu_seconds_per_job"] + found["start_seconds_per_job"]
    rate = gpus / (seconds + own)  # jobs a second
    shard_jobs = Settings.model_fields["shard_minutes"].default * 60 / seconds
    sizes = recorded()["sizes"]
    up = sum(sizes.get(kind, 0) for kind in ("speech.npz", "faces.npz", "motion.npz", "render.mp4", "score.json")) + sizes.get("render.mp4", 0)
    down = sizes.get("portrait.jpg", 0)
    polls = gpus / float(LOOKS)
    prefect, ledger = found["prefect_cpu_seconds_per_job"], found["postgres_cpu_seconds_per_job"]
    look = 1.8e-6 * jobs  # seconds of a look at a batch's states: 18 ms for 10,000 jobs, without an index that holds states
    return [
        ("time", f"{jobs * (seconds + own) / gpus / 3600:.1f} h; {rate:.1f} jobs/s", f"{seconds:g} s a job and {own:.2f} s of orchestration (processor seconds, start of a shard's process)"),
        ("GPUs for a night of 10 h", f"{jobs * (seconds + own) / NIGHT / 3600:.0f}", "the same"),
        ("queue", f"median {jobs / rate / 7200:.1f} h, 95 % within {0.95 * jobs / rate / 3600:.1f} h", "all submitted at once, served in order"),
        ("ledger, queries", f"{rate * found['queries_per_job']:,.0f}/s", f"{found['queries_per_job']} a job"),
        ("ledger, transactions", f"{rate * found['transactions_per_job']:,.0f}/s, {rate * found['transactions_per_job'] * 0.55:,.0f} of them writing", f"{found['transactions_per_job']} a job; each writing one waits for the disk, and those at once share the wait"),
        ("ledger, processor", f"{rate * ledger:.1f} cores", f"{ledger} s a job"),
        ("ledger, connections", f"{gpus * CONNECTIONS}: a pooler (PgBouncer 1.21 or newer, transaction mode), since more than {POSTGRES_CONNECTIONS}", f"{CONNECTIONS} a worker"),
        ("ledger, size", f"{found['ledger_kib_per_job'] * jobs / 2**20:,.0f} GiB", f"{found['ledger_kib_per_job']} KiB a job, its index entries included"),
        ("ledger, a look at the batch", f"{look:.1f} s, every 10 s", "18 ms for 10,000 jobs"),
        ("Prefect, shards", f"{rate / shard_jobs:.2f} runs/s, {jobs / shard_jobs:,.0f} in all", f"{shard_jobs:.0f} jobs a shard"),
        ("Prefect, task runs", f"{8 * rate:.0f}/s, told by {rate * found['prefect_events_per_job']:.0f} events/s", f"8 stages and {found['prefect_events_per_job']} events a job"),
        ("Prefect, API calls", f"{rate * found['api_calls_per_job'] + polls:.0f}/s", f"{found['api_calls_per_job']} a job, and every worker's look each {LOOKS} s"),
        ("Prefect, processor", f"{rate * prefect:.1f} cores; one server process has one: {'enough' if rate * prefect < 0.7 else f'enough for {0.7 / prefect * (seconds + own):.0f} GPUs'}", f"{prefect} s a job"),
        ("Prefect, size", f"{found['prefect_kib_per_job'] * jobs / 2**20:,.0f} GiB for 14 days of it once", f"{found['prefect_kib_per_job']} KiB a job, runs kept for 14 days, events not kept"),
        ("object store, requests", f"{rate * found['store_requests_per_job']:,.0f}/s", f"{found['store_requests_per_job']} a job, over 256 prefixes"),
        ("object store, bandwidth", f"{rate * up / 2**20:.0f} MiB/s in, {rate * down / 2**20:.0f} MiB/s out", "median sizes of recorded artifacts, and a portrait a job at most"),
        ("object store, size", f"{jobs * up / 2**40:.2f} TiB", "until `dubwright gc`"),
    ]  # fmt: skip


def predicted(kept: dict[str, Any]) -> list[float]:
    """Jobs a second of the benchmark's steps, from its first one and what a job costs: sleeping in parallel, up to what the processors give."""
    found, steps = kept["figures"], kept["steps"]
    slept = found["seconds_a_job"] / found["compress"]
    cpu = sum(found[f"{name}_cpu_seconds_per_job"] for name in ("worker", "prefect", "postgres"))
    most = found.get("cores", os.cpu_count() or 1) / cpu
    return [min(most, step["workers"] / (slept + steps[0]["orchestration_seconds_per_job"])) for step in steps]
