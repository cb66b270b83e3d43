"""Errors as RFC 9457 problem documents, one shape for all: what failed, a stable code, what to do next, and the request's number."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from infra.errors import (
    AccessError,
    DatabaseUnavailable,
    DiskFull,
    DubwrightError,
    EngineError,
    InputError,
    ManifestError,
    MediaError,
    SetupError,
    StoreError,
    StoreUnavailable,
    classify,
)

TYPE = "application/problem+json"
STATUS: dict[str, int] = {
    "access.token": 401, "access.scope": 403, "access.busy": 429,
    "batch.missing": 404, "job.unknown": 404, "review.unknown": 404, "lineage.unknown": 404, "webhook.unknown": 404, "webhook.message": 404, "delivery.unknown": 404,
    "job.ended": 409, "review.closed": 409, "idempotency.busy": 409, "webhook.disabled": 409,
    "idempotency.other": 422, "job.priority": 422, "review.reason": 422, "review.actor": 422, "webhook.kind": 422, "webhook.asked": 422, "outbound.refused": 422, "outbound.lookup": 422,
    "manifest.too_large": 413, "api.busy": 503, "ledger.stale_token": 409,
}  # fmt: skip
KINDS: tuple[tuple[type[DubwrightError], int], ...] = (
    (AccessError, 403), (ManifestError, 422), (InputError, 422), (MediaError, 422), (EngineError, 422), (DatabaseUnavailable, 503), (StoreError, 503), (DiskFull, 503), (SetupError, 503),
)  # fmt: skip
PASSING = (DatabaseUnavailable, StoreUnavailable, DiskFull)  # what may be over in a moment
WORDS = {404: ("request.not_found", "docs/api.md lists what there is."), 405: ("request.method", "The header Allow says which methods there are."), 413: ("request.too_large", "Split it.")}


class Fault(BaseModel):
    """One thing that is wrong with what was sent."""

    row: str = Field(description="Where: a row of the manifest, or a part of the request.")
    field: str
    problem: str
    fix: str = ""


class Problem(BaseModel):
    """What every error looks like (RFC 9457)."""

    type: str = Field(description="`urn:dubwright:error:` and the code.")
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What failed.")
    code: str = Field(description="Stays the same for the same cause.")
    next_step: str = Field(description="What to do about it.")
    instance: str = Field(description="This occurrence: `urn:uuid:` and the request's number, which the server's log has too.")
    job: str | None = None
    faults: list[Fault] | None = None


class Refusal(HTTPException):
    """An error that a request meets before there is anything to be done, with headers."""

    def __init__(self, error: DubwrightError, status: int, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, error.message, headers)
        self.error = error


def status_of(error: DubwrightError) -> int:
    """The HTTP status of an error of the project's tree."""
    if error.code in STATUS:
        return STATUS[error.code]
    return next((status for kind, status in KINDS if isinstance(error, kind)), 500)


def problem(error: DubwrightError, status: int, number: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The answer that tells an error. What servers are called and where they stand is for the log alone."""
    message = error.message
    if isinstance(error, DatabaseUnavailable):
        message = "the database does not answer"
    elif status == 500:
        message = "something went wrong inside"
    body = Problem(
        type=f"urn:dubwright:error:{error.code}", title=HTTPStatus(status).phrase, status=status, detail=message, code=error.code,
        next_step=error.next_step if status != 500 else "Send it again; if it goes on, give the operator the number under `instance`.",
        instance=f"urn:uuid:{number}", job=error.job, faults=[Fault(**fault) for fault in getattr(error, "faults", [])] or None,
    )  # fmt: skip
    more = {"Retry-After": "1"} if error.code == "idempotency.busy" else {"Retry-After": "5"} if isinstance(error, PASSING) else {}
    return JSONResponse(body.model_dump(mode="json", exclude_none=True), status, {**more, **(headers or {})}, TYPE)


def number_of(request: Request) -> str:
    """The request's number, as api/shell.py gave it."""
    return str(request.scope.get("state", {}).get("request_id", "0"))


def tell(request: Request, error: Exception) -> JSONResponse:
    """Any error as a problem document; those of the program go to the log with their trace and the request's number."""
    if isinstance(error, Refusal):
        return problem(error.error, error.status_code, number_of(request), dict(error.headers or {}))
    if isinstance(error, HTTPException):
        code, step = WORDS.get(error.status_code, (f"request.{error.status_code}", "docs/api.md shows requests that work."))
        known = DubwrightError(str(error.detail), code=code, next_step=step)
        return problem(known, error.status_code, number_of(request), dict(error.headers or {}))
    if isinstance(error, RequestValidationError):
        return problem(_of_pydantic(error), 422, number_of(request))
    known = DatabaseUnavailable("all connections are in use") if isinstance(error, PoolTimeout) else classify(error)
    status = status_of(known)
    if status >= 500:
        logging.getLogger(__name__).error("request %s: %s", number_of(request), known.message, exc_info=error if status == 500 else None)
    return problem(known, status, number_of(request))


def _of_pydantic(error: RequestValidationError) -> ManifestError:
    """What FastAPI found wrong with a request. Values that were sent are not repeated."""
    faults = []
    for part in error.errors():
        where = [str(word) for word in part["loc"]]
        faults.append({"row": where[0] if where else "request", "field": ".".join(where[1:]), "problem": str(part["msg"])[:300]})
    words = "; ".join(f"{fault['row']} {fault['field']}: {fault['problem']}".replace(" :", ":") for fault in faults[:3])
    return ManifestError(f"the request cannot be read: {words}", code="request.invalid", next_step="Correct it; openapi.json says what is expected.", faults=faults)


def add(app: FastAPI) -> None:
    """Have an application tell all its errors this way."""
    for kind in (HTTPException, RequestValidationError, DubwrightError, PoolTimeout):
        app.add_exception_handler(kind, tell)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, for OpenAPI."""
    return {status: {"description": HTTPStatus(status).phrase, "content": {TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}} for status in statuses}
