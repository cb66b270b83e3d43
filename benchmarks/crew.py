"""Processes of trials (trials.py): workers that say where they are, and ports that can go away."""

import multiprocessing
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

WINDOW = 25  # pictures of a window: settings of trials.py make it a second
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Said:
    """What a worker says: where it is in which stage of which job. number: of windows begun, or objects put, in the stage; error: what ended it."""

    pid: int
    kind: str  # before, after, window, put, ended
    stage: str = ""
    job: str = ""
    number: int = 0
    error: str = ""


class Front:
    """A port before a server, as a load balancer is: TCP of `host` goes on to a port or a socket's path. It can end and start again."""

    def __init__(self, target: int | str, host: str = "127.0.0.1") -> None:
        from servers import free_port  # type: ignore[import-not-found]

        self.target, self.host, self.port = target, host, free_port()
        self.process: Any = None
        self.start()

    def start(self) -> None:
        """Accept connections."""
        self.process, hear = start(_forward, self.host, self.port, self.target)
        hear.recv()

    def stop(self) -> None:
        """Connections end, and none is accepted."""
        self.process.kill()
        self.process.join()


def _forward(host: str, port: int, target: int | str, tell: Any) -> None:
    import asyncio

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        with suppress(OSError):
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened = asyncio.open_unix_connection(target) if isinstance(target, str) else asyncio.open_connection("127.0.0.1", target)
        beyond_reader, beyond_writer = await opened
        await asyncio.gather(pump(reader, beyond_writer), pump(beyond_reader, writer))

    async def listen() -> None:
        server = await asyncio.start_server(serve, host, port)
        tell.send(True)
        await server.serve_forever()

    asyncio.run(listen())


def start(call: Any, *given: Any) -> tuple[Any, Any]:
    """A new process, and what it says: a pipe of its own, since one that is killed as it speaks would lock a shared one."""
    hear, tell = FORK.Pipe(duplex=False)
    process = FORK.Process(target=call, args=(*given, tell), daemon=True)
    process.start()
    tell.close()
    return process, hear


def heard(workers: dict[Any, Any], seconds: float = 1.0) -> Said | None:
    """What a worker says next; one that has ended is let go."""
    ready: list[Any] = wait(list(workers), seconds)
    for hear in ready:
        try:
            said: Said = hear.recv()
            return said
        except EOFError:
            workers.pop(hear).join()
    return None


def worker(batch: int, tell: Any) -> None:
    """Work on a batch until it has ended, whatever goes down in between; say where it is. Runs in a process of its own."""
    from db import queries
    from db.session import open_database
    from db.workers import reclaim, waiting
    from flows.batch import ended
    from flows.shard import shard
    from infra.errors import DubwrightError
    from infra.settings import get_settings
    from tasks import progress

    tell = _Aloud(tell)
    _speak(tell)
    settings = get_settings()
    with progress.listening(_Windows(tell)):
        while True:
            try:
                database = open_database(settings)
                while not ended(queries.state_counts(database, batch)):
                    reclaim(database, batch)
                    if free := waiting(database, batch):
                        shard.fn(batch, free)
                    time.sleep(0.2)
                return
            except DubwrightError as error:  # an outage: a supervisor would start it again
                tell.send(Said(os.getpid(), "ended", error=f"{error.code}: {error.message}"))
                time.sleep(0.5)


class _Aloud:
    """A pipe that several threads speak into, one after the other."""

    def __init__(self, tell: Any) -> None:
        self.tell, self.free = tell, threading.Lock()

    def send(self, said: Said) -> None:
        """As the pipe's."""
        with self.free:
            self.tell.send(said)


class _Windows:
    """Says each window that begins."""

    def __init__(self, tell: Any) -> None:
        self.tell = tell

    def __call__(self, told: Any) -> None:
        if told.stage == "render" and told.done % WINDOW == 1:
            self.tell.send(Said(os.getpid(), "window", "render", told.job, told.done // WINDOW + 1))


def _speak(tell: Any) -> None:
    """Stages of this process say when they begin and end, and deliveries each object that they put."""
    from db import ledger
    from flows import job
    from infra.store import S3Store

    here = threading.local()  # a delivery runs beside the next job's stages
    put = S3Store.put

    def stage(work: Any, name: str, call: Any, *rest: Any) -> None:
        ledger.renew(work.database, work.lease, work.settings.lease_seconds)
        here.stage, here.job, here.put = name, work.name, 0
        tell.send(Said(os.getpid(), "before", name, work.name))
        call(work, *rest)
        tell.send(Said(os.getpid(), "after", name, work.name))

    def said(store: Any, *given: Any, **how: Any) -> Any:
        made = put(store, *given, **how)
        if getattr(here, "stage", "") == "deliver":
            here.put += 1
            tell.send(Said(os.getpid(), "put", "deliver", here.job, here.put))
        return made

    job._stage = stage
    S3Store.put = said  # type: ignore[assignment, method-assign]


def stop(workers: dict[Any, Any]) -> None:
    """End what still runs."""
    for process in workers.values():
        with suppress(OSError):
            process.kill()
        process.join()
