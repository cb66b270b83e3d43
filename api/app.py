"""The API as one application, to be served alone or mounted by the review desk."""

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from sqlalchemy import text

from api import batches, jobs, problems, webhooks
from api.access import PUBLIC, Limits, ScopedRoute, needs
from api.planning import Planner
from api.schemas import Health, ManifestBody
from api.shell import Shell
from db.session import Database
from db.tokens import SCOPES
from infra.errors import DatabaseUnavailable
from infra.settings import Settings
from infra.version import VERSION

SUMMARY = "Submit batches of lip-synced video, follow them, take their results, decide on what was flagged, and be told of events."
inner = APIRouter(route_class=ScopedRoute, tags=["service"])


@inner.get("/healthz", response_model=Health, **needs(PUBLIC))
async def alive() -> dict[str, str]:
    """Whether this process answers. It needs no thread, so it does while all are busy."""
    return {"status": "ok", "version": VERSION}


@inner.get("/readyz", response_model=Health, responses={503: {"model": Health}}, **needs(PUBLIC))
def ready(request: Request) -> JSONResponse:
    """Whether the ledger answers. What is wrong with it is for the log."""
    database: Database = request.app.state.database
    try:
        with database.begin() as session:
            session.execute(text("SELECT 1"))
    except DatabaseUnavailable:
        return JSONResponse({"status": "unavailable", "version": VERSION}, 503)
    return JSONResponse({"status": "ok", "version": VERSION})


@inner.get("/openapi.json", include_in_schema=False, **needs("read"))
def description(request: Request) -> JSONResponse:
    """The OpenAPI description."""
    root = request.scope.get("root_path", "")
    return JSONResponse(request.app.openapi() | ({"servers": [{"url": root}]} if root else {}))


def create_api(database: Database, settings: Settings) -> FastAPI:
    """The application. What it needs is in its `state`; nothing is kept outside of it."""
    app = FastAPI(title="Dubwright", version=VERSION, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.database, app.state.settings = database, settings
    app.state.limits, app.state.planner = Limits(settings.api_rate), Planner(database, settings)
    app.add_middleware(Shell, largest=settings.api_body_mib << 20)
    problems.add(app)
    for router in (inner, batches.router, jobs.router, webhooks.router):
        app.include_router(router)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


def describe(app: FastAPI) -> dict[str, Any]:
    """The application's OpenAPI 3.1 description."""
    if app.openapi_schema is None:
        tree = get_openapi(title=app.title, version=app.version, summary=SUMMARY, routes=app.routes)
        parts = tree.setdefault("components", {})
        parts["schemas"].update(_schemas(problems.Problem, ManifestBody))
        words = "; ".join(f"`{scope}`: {what}" for scope, what in SCOPES.items())
        parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer", "description": f"A token of `dubwright token create`. Scopes: {words}."}}
        for route in tree["paths"].values():
            for operation in route.values():
                _common(operation)
        app.openapi_schema = tree
    return app.openapi_schema


def _schemas(*models: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for model in models:
        tree = model.model_json_schema(ref_template="#/components/schemas/{model}")
        found |= {**tree.pop("$defs", {}), model.__name__: tree}
    return found


def _common(operation: dict[str, Any]) -> None:
    """What every route may answer; FastAPI's own form of a validation error is not used here."""
    answers = operation["responses"]
    if operation["security"]:
        answers |= {str(status): told for status, told in problems.responses(401, 403, 429).items()}
        if "422" in answers:
            answers["422"] = problems.responses(422)[422]
    if "requestBody" in operation:
        answers |= {str(status): told for status, told in problems.responses(400).items()}  # a body that cannot be read as what it says it is
    answers |= {str(status): told for status, told in problems.responses(500).items()}
