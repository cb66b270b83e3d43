"""Shards on a Prefect work pool: one deployment of the shard flow a pool, a flow run of it for each shard."""

from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any
from uuid import UUID

from flows.conductor import away
from infra.errors import SetupError
from infra.settings import Settings

WAITING = ("SCHEDULED", "PENDING")
SHARDS = "dubwright-shards"  # the global limit of shards that run at once
PAGE = 200  # runs that the API lists at once
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Pool:
    """A work pool that runs shards. Its workers need this version installed and the same DUBWRIGHT_ settings."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name, self.settings = name, settings
        self.runs: dict[UUID, list[int]] = {}  # shards that were sent, with their jobs
        self._deployment: Any = None
        self._kind, self._numbered = "", 0
        self._open = ExitStack()
        self._api: Any = None

    def connect(self) -> None:
        """Register the deployment, once. Raises SetupError when server or pool is not there."""
        self._kind = self.kind()
        self._deployment = self._register(self._kind)

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

    def __enter__(self) -> "Pool":
        """One connection for all calls of the block."""
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def _client(self) -> Any:
        """The API's client, opened by the first call."""
        if self._api is None:
            from prefect.client.orchestration import get_client

            self._api = self._open.enter_context(get_client(sync_client=True))
        return self._api

    def lanes(self) -> int:
        """How many shards the pool works on at once: its workers that are up, for other pools than of processes what the limit allows."""
        if self._kind != "process":
            return self.settings.pool_shards
        up = [worker for worker in self._client().read_workers_for_work_pool(self.name) if worker.status.value == "ONLINE" and "-conduct" not in worker.name]
        return min(max(1, len(up)), self.settings.pool_shards)

    def room(self) -> int:
        """How many shards more it should be given beside those that `sent` knows: twice as many as run at once, so that none waits for the sender."""
        return 2 * self.settings.pool_shards - len(self.runs)

    def sent(self) -> list[list[int]]:
        """Jobs of each shard that was sent and has not ended, as far as Prefect knows."""
        return list(self._alive().values())

    def send(self, batch_id: int, groups: list[list[int]]) -> None:
        """Ask the pool to run shards. Where Prefect does not answer after some of them, the others are left for the next look."""
        for number, group in enumerate(groups):
            self._numbered += 1
            asked = {"batch_id": batch_id, "jobs": group, "first": f"shard {self._numbered}"}
            try:
                run = self._client().create_flow_run_from_deployment(self._deployment, parameters=asked, tags=[f"batch-{batch_id}"])
            except Exception as error:
                if not number or away(error) is None:
                    raise
                return
            self.runs[run.id] = group

    def _count(self, states: tuple[str, ...], *, but: bool) -> int:
        """How many of the shards that were sent are in one of the states, or in none of them."""
        return int(self._client().count_flow_runs(flow_run_filter=self._of(states, but=but))) if self.runs else 0

    def _of(self, states: tuple[str, ...], *, but: bool) -> Any:
        from prefect.client.schemas import filters
        from prefect.client.schemas.objects import StateType

        named = {"not_any_" if but else "any_": [StateType(name) for name in states]}
        return filters.FlowRunFilter(
            id=filters.FlowRunFilterId(any_=list(self.runs)), state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(**named))
        )

    def _alive(self) -> dict[UUID, list[int]]:
        """The shards that were sent and have not ended. One call that counts, and one that lists them where the count is another than before."""
        if self._count(ENDED, but=True) != len(self.runs):
            found: set[UUID] = set()
            while rows := self._client().read_flow_runs(flow_run_filter=self._of(ENDED, but=True), limit=PAGE, offset=len(found)):
                found |= {run.id for run in rows}
                if len(rows) < PAGE:
                    break
            self.runs = {run: jobs for run, jobs in self.runs.items() if run in found}
        return self.runs

    def queued(self) -> bool:
        """Whether shards still wait for a worker."""
        return self._count(WAITING, but=False) > 0

    def forget(self) -> None:
        """Count on none of the shards sent so far."""
        self.runs = {}

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
