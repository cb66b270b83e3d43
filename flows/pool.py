"""Shards on a Prefect work pool: one deployment of the shard flow a pool, a flow run of it for each shard."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any
from uuid import UUID

from infra.errors import SetupError
from infra.settings import Settings

WAITING = ("SCHEDULED", "PENDING")
SHARDS = "dubwright-shards"  # the global limit of shards that run at once
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Pool:
    """A work pool that runs shards. Its workers need this version installed and the same DUBWRIGHT_ settings."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name, self.settings = name, settings
        self.runs: list[UUID] = []
        self._deployment: Any = None

    def connect(self) -> None:
        """Register the deployment, once. Raises SetupError when server or pool is not there."""
        self._deployment = self._register(self.kind())

    def kind(self) -> str:
        """The pool's type: process, kubernetes, ... Raises SetupError when server or pool is not there."""
        import os

        from prefect.client.orchestration import get_client
        from prefect.exceptions import ObjectNotFound

        if not os.environ.get("PREFECT_API_URL"):
            raise SetupError("work pools need a Prefect server", code="setup.prefect", next_step="Start one (`prefect server start`) and set PREFECT_API_URL.")
        try:
            with get_client(sync_client=True) as client:
                return str(client.read_work_pool(self.name).type)
        except ObjectNotFound as error:
            step = f"`dubwright deploy` makes the pools cpu and gpu (any other: prefect work-pool create {self.name} --type process); then dubwright worker --pool {self.name}"
            raise SetupError(f"there is no work pool {self.name!r}", code="setup.pool", next_step=step) from error
        except Exception as error:  # httpx and prefect name an absent server in many ways
            raise SetupError(f"the Prefect server does not answer ({error})", code="setup.prefect", next_step="Check PREFECT_API_URL.") from error

    def _register(self, kind: str) -> Any:
        from prefect.deployments.runner import EntrypointType

        from flows.shard import shard
        from infra.version import ROOT

        here = {"env": {"DUBWRIGHT_HOME": str(self.settings.home.absolute())}, "working_dir": str(ROOT)}
        made = shard.to_deployment(
            name=self.name,
            work_pool_name=self.name,
            entrypoint_type=EntrypointType.MODULE_PATH,
            job_variables=here if kind == "process" else {},  # a container has places of its own
        )
        return made.apply()  # type: ignore[union-attr]

    def send(self, batch_id: int, jobs: list[int], first: str) -> None:
        """Ask the pool to run a shard."""
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            asked = {"batch_id": batch_id, "jobs": jobs, "first": first}
            run = client.create_flow_run_from_deployment(self._deployment, parameters=asked, tags=[f"batch-{batch_id}"])
        self.runs.append(run.id)

    def _states(self) -> dict[UUID, str]:
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            found = {run: client.read_flow_run(run).state for run in self.runs}
        return {run: state.type.value if state else "" for run, state in found.items()}

    def busy(self) -> bool:
        """Whether shards that were sent have not ended, as far as Prefect knows."""
        self.runs = [run for run, state in self._states().items() if state not in ENDED]
        return bool(self.runs)

    def queued(self) -> bool:
        """Whether shards still wait for a worker."""
        return any(state in WAITING for state in self._states().values())

    def forget(self) -> None:
        """Count on none of the shards sent so far."""
        self.runs = []

    def unended(self, batch_id: int) -> int:
        """How many shards of a batch, whoever sent them, have not ended as far as Prefect knows."""
        from prefect.client.orchestration import get_client
        from prefect.client.schemas import filters
        from prefect.client.schemas.objects import StateType

        alive = filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(not_any_=[StateType(name) for name in ENDED]))
        of_batch = filters.FlowRunFilter(tags=filters.FlowRunFilterTags(all_=[f"batch-{batch_id}"]), state=alive)
        with get_client(sync_client=True) as client:
            return len(client.read_flow_runs(flow_run_filter=of_batch))


def pooled() -> bool:
    """Whether this flow runs because a deployment was asked for it."""
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    return bool(context and context.flow_run and context.flow_run.deployment_id)


def slot() -> AbstractContextManager[None]:
    """One of the shards that may run at once, where a work pool runs this. It is leased: Prefect takes it back from a process that died.

    Going on without it when Prefect cannot be asked to renew it harms nothing: what guards a job is the ledger's lease.
    """
    from prefect.concurrency.sync import concurrency

    if not pooled():
        return nullcontext()
    return concurrency(SHARDS, strict=False, raise_on_lease_renewal_failure=False)
