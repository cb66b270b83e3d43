"""Where a worker's metrics are read: a page of this process, or of all processes that `dubwright worker` started."""

import logging
import os
import re
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from infra.settings import Settings

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
PORTS = 16  # that are tried from the one that is set: several commands on a host need one each
FILE = re.compile(r"(counter|histogram|gauge_\w+?)_(\d+)\.db")
ENDED = 0  # no process's number: the file of all that have ended


class Shared(Collector):
    """The sum of what processes counted into a folder. Of those that have ended counts stay, and what they held is no more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Any]:
        """This project's metrics; Prefect counts into the same folder."""
        with self._lock:  # one scrape at a time: it moves files
            found = self._read()
        yield from (metric for metric in found if metric.name.startswith("dubwright_"))

    def _read(self, tries: int = 5) -> list[Any]:
        """Every metric. A file that a process is just making is read once it is made."""
        try:
            tidy(self.folder)
            return list(MultiProcessCollector(None, str(self.folder)).collect())
        except (struct.error, RuntimeError, FileNotFoundError):
            if not tries:
                raise
            time.sleep(0.05)
            return self._read(tries - 1)


def tidy(folder: Path) -> None:
    """Put the counts of processes that have ended into one file: there is one process a shard, hundreds a night."""
    for path in folder.glob("*_*.db"):
        found = FILE.fullmatch(path.name)
        if not found or int(found[2]) == ENDED or _alive(int(found[2])):
            continue
        if not found[1].startswith("gauge"):
            total = MmapedDict(str(folder / f"{found[1]}_{ENDED}.db"))
            for key, value, stamp, _ in MmapedDict.read_all_values_from_file(str(path)):
                total.write_value(key, total.read_value(key)[0] + value, stamp)
            total.close()
        path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def serve(registry: CollectorRegistry, settings: Settings) -> int:
    """Show a registry at DUBWRIGHT_METRICS_PORT, or at the next port that is free; returns it, 0 where none is set or free."""
    for port in range(settings.metrics_port, settings.metrics_port + PORTS) if settings.metrics_port else ():
        try:
            start_http_server(port, settings.metrics_host, registry)
            return port
        except OSError:
            continue
    if settings.metrics_port:
        logging.getLogger(__name__).warning("no metrics: ports %d to %d are taken", settings.metrics_port, settings.metrics_port + PORTS - 1)
    return 0
