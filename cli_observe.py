"""The verbs of those who watch: metrics of the whole service. cli.py adds them to the command."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console import Voice

if TYPE_CHECKING:
    from infra.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")]
_SETTINGS: list[Callable[[], "Settings"]] = []


def metrics(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to serve at, on DUBWRIGHT_METRICS_HOST.")] = 9464,
    once: Annotated[bool, typer.Option("--once", help="Print the page and end.")] = False,
    as_json: Json = False,
) -> None:
    """Serve the service's metrics for Prometheus until stopped: queue, leases, reviews, late batches, deliveries, costs (docs/observing.md)."""
    voice, settings = Voice(as_json), _settings()
    from tasks.service_metrics import metrics_app, registry

    if as_json:
        rows = [{"name": s.name, "labels": s.labels, "value": s.value} for family in registry(settings).collect() for s in family.samples]
        voice.result({"metrics": rows})
        return
    if once:
        from prometheus_client import generate_latest

        typer.echo(generate_latest(registry(settings)).decode(), nl=False)
        return
    import uvicorn

    voice.plain(f"metrics: http://{settings.metrics_host}:{port}/metrics")
    uvicorn.run(metrics_app(settings), host=settings.metrics_host, port=port, log_config=None, access_log=False)


VERBS: tuple[Callable[..., Any], ...] = (metrics,)


def add(app: typer.Typer, verb: Callable[[Callable[..., Any]], Callable[..., None]], settings: Callable[[], "Settings"]) -> None:
    """Add the verbs to a command: `verb` tells their errors, `settings` sets the process up."""
    _SETTINGS.append(settings)
    for call in VERBS:
        app.command()(verb(call))


def _settings() -> "Settings":
    return _SETTINGS[-1]()
