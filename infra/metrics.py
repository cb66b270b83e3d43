"""What a worker counts, for Prometheus. docs/observing.md lists every metric; infra/metrics_page.py shows them.

Where PROMETHEUS_MULTIPROC_DIR is set (`dubwright worker` sets it) each process counts into a file of its own there, and the page adds them up.
"""

import os
import sys

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)

stage_seconds = Histogram("dubwright_stage_seconds", "Seconds that a stage took, waits between its tries left out", ["stage", "engine"], buckets=BUCKETS, registry=REGISTRY)
stage_ends = Counter("dubwright_stage_ends_total", "Stages by how they ended: made, kept (found under its key), failed, lost (its job went to another)", ["stage", "end"], registry=REGISTRY)
stage_retries = Counter("dubwright_stage_retries_total", "Stages tried again after an outage", ["stage"], registry=REGISTRY)
jobs = Counter("dubwright_jobs_total", "Jobs that a worker put down, by state; queued is one that an outage cut off, lost one that another holds now or that was cancelled, released one that was interrupted", ["state"], registry=REGISTRY)
takes = Counter("dubwright_takes_total", "Takes that the gate judged", ["engine", "verdict"], registry=REGISTRY)
windows = Counter("dubwright_windows_total", "Windows rendered", ["engine"], registry=REGISTRY)
frames = Counter("dubwright_frames_total", "Frames rendered", ["engine"], registry=REGISTRY)
outages = Counter("dubwright_outages_total", "Jobs that an outage cut off, by its code", ["code"], registry=REGISTRY)
lease_refused = Counter("dubwright_lease_renewals_refused_total", "Leases that were lost to another worker or a cancellation while the job ran", registry=REGISTRY)
running = Gauge("dubwright_jobs_running", "Jobs that workers of this host hold now", registry=REGISTRY, multiprocess_mode="livesum")
gpu_memory = Gauge("dubwright_gpu_memory_bytes", "GPU memory of this host's workers: reserved by torch now, and the most since their start", ["gpu", "kind"], registry=REGISTRY, multiprocess_mode="livesum")


def look_at_gpu() -> None:
    """Note the GPU memory of this process, where it uses a GPU; torch is not loaded for it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return
    card = os.environ.get("CUDA_VISIBLE_DEVICES") or str(torch.cuda.current_device())
    gpu_memory.labels(card, "reserved").set(torch.cuda.memory_reserved())
    gpu_memory.labels(card, "peak").set(torch.cuda.max_memory_reserved())
