"""Training: prepare clips, train a part, publish it. Each is a Prefect task; processes and steps are the task's own affair."""

from collections.abc import Callable
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.conductor import OwnServer
from infra.settings import Settings
from tasks import learn, progress


def _stage(order: learn.Order, name: str, call: Callable[..., Any], *rest: Any) -> Any:
    """Run a stage as a task. None is tried again: what stops training (a folder, a card, a loss) does not mend itself."""
    progress.tell(order.name, {"prepare": "preparing clips", "train": "loading", "publish": "publishing"}[name])
    return task(name=name, task_run_name=f"{name} {order.name}", cache_policy=NO_CACHE, persist_result=False)(call)(order, *rest)


@flow(name="dubwright-train", flow_run_name="{order.name}", persist_result=False)
def train(order: learn.Order) -> dict[str, Any]:
    """Bring a part to the end of its budget, from where an earlier run left it; its figures, and the weights' names."""
    _stage(order, "prepare", learn.prepare)
    figures = _stage(order, "train", learn.train)
    weights = _stage(order, "publish", learn.publish, figures) if order.publish else []
    return {"figures": figures, "weights": weights}


def run_training(order: learn.Order, settings: Settings, listener: progress.Listener) -> dict[str, Any]:
    """The flow, with a server of its own where none is configured. Raises what a stage raised."""
    learn.check(order)
    OwnServer(settings).start().wait()
    with progress.listening(listener):
        return train(order)
