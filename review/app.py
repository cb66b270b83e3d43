"""The desk as an app: what its routes share, and the order in which it is put together. `dubwright serve` runs it (cli_serve.py)."""

import logging
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import Scope

from db import desk, pending
from db.session import Database
from infra.artifacts import Artifacts
from infra.errors import AccessDenied, DatabaseUnavailable, DubwrightError, ObjectMissing, StoreUnavailable
from infra.settings import Settings
from review import access, pages
from review.access import Guarded, Refused
from review.derived import Derived

STATIC = Path(__file__).parent / "static"
EVERY = 0.5  # seconds between looks for decisions that have become final


@dataclass
class Site:
    """What every route may use: it is `request.app.state.site`."""

    database: Database
    artifacts: Artifacts
    settings: Settings
    derived: Derived
    facets: desk.Facets
    pulse: desk.Pulse


def create_desk(database: Database, artifacts: Artifacts, settings: Settings, queued: Callable[[], None] | None = None) -> FastAPI:
    """The desk's pages at /. queued: called after decisions that queued a job, which somebody then has to work on.

    Raises ValueError where a route does not declare who may use it.
    """
    settler = Settler(database, queued)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        settler.start()
        yield
        settler.stop()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.database, app.state.settings, app.state.settler = database, settings, settler
    app.state.site = Site(database, artifacts, settings, Derived(artifacts), desk.Facets(database), desk.Pulse(database))
    from review import batches, consents, decisions, people, queue, signing, statistics, take, titles

    for part in (signing, queue, take, decisions, batches, titles, consents, statistics, people):
        app.include_router(part.router)
    app.mount("/static", GZipMiddleware(Kept(directory=STATIC)), "static")  # pages, which hold their session's token, are not pressed: their length would tell of it
    app.add_middleware(Guarded, settings=settings)
    app.add_exception_handler(Refused, _refused)  # type: ignore[arg-type]
    app.add_exception_handler(DubwrightError, _told)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _missing)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _invalid)  # type: ignore[arg-type]
    access.all_guarded(app, ("/static",))
    return app


class Kept(StaticFiles):
    """Static files, which browsers keep for good where their address names their content (pages.static)."""

    def file_response(self, full_path: Any, stat_result: os.stat_result, scope: Scope, status_code: int = 200) -> Response:
        """A file, or that it is as it was."""
        found = super().file_response(full_path, stat_result, scope, status_code)
        if scope["query_string"]:
            found.headers["cache-control"] = "public, max-age=31536000, immutable"
        return found


class Settler:
    """Makes reviews of decisions that can no longer be taken back, in a thread, for as long as the server runs."""

    def __init__(self, database: Database, queued: Callable[[], None] | None) -> None:
        self.database, self.queued, self.over = database, queued, threading.Event()
        self.thread = threading.Thread(target=self._run, name="settler", daemon=True)

    def start(self) -> None:
        """Begin."""
        self.thread.start()

    def stop(self) -> None:
        """End; what is due later is settled by the next server."""
        self.over.set()
        self.thread.join(timeout=10)

    def _run(self) -> None:
        while not self.over.wait(EVERY):
            try:
                made = pending.settle(self.database)
            except Exception as error:  # whatever it is, decisions of others still have to be settled: the next look may do better
                if not isinstance(error, DatabaseUnavailable):
                    logging.getLogger(__name__).exception("decisions could not be made final")
                continue
            if self.queued and any(one.state == "queued" for one in made):
                self.queued()


def _refused(request: Request, error: Refused) -> Response:
    if error.where:
        return RedirectResponse(error.where, 303)
    headers = {"hx-redirect": "/sign-in"} if error.status == 401 and "hx-request" in request.headers else {}
    return _answer(request, error.status, error.why, "", headers)


def _told(request: Request, error: DubwrightError) -> Response:
    if isinstance(error, DatabaseUnavailable):  # a page would ask it again
        return PlainTextResponse(f"{error.message}. {error.next_step}", 503)
    status = 404 if isinstance(error, ObjectMissing) or error.code.endswith(".unknown") else 503 if isinstance(error, StoreUnavailable) else 502 if isinstance(error, AccessDenied) else 409
    return _answer(request, status, error.message, error.next_step, {})


def _missing(request: Request, error: HTTPException) -> Response:
    return _answer(request, error.status_code, "There is no such page." if error.status_code == 404 else str(error.detail), "", {})


def _invalid(request: Request, error: RequestValidationError) -> Response:
    return _answer(request, 422, "This request does not have the fields that it needs.", "", {})


def _answer(request: Request, status: int, why: str, step: str, headers: dict[str, str]) -> Response:
    if "hx-request" in request.headers:
        return pages.part(request, "alert.html", status, headers | {"hx-retarget": "#alerts", "hx-reswap": "afterbegin"}, why=why, step=step)
    if "text/html" in request.headers.get("accept", ""):
        return pages.page(request, "message.html", status, headers, why=why, step=step, number=status)
    told: dict[str, Any] = {"error": {"message": why, "next_step": step}}
    return JSONResponse(told, status, headers)
