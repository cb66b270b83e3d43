"""`dubwright deploy`: work pools, limits, deployments, who is told, and what is watched, on a Prefect server. Safe to repeat."""

import json
import os
import subprocess
import sys
from typing import Any
from uuid import UUID

import yaml

from flows.pool import SHARDS, Pool
from infra.errors import SetupError
from infra.settings import Settings
from infra.version import ROOT

POOLS = ("cpu", "gpu")
TEMPLATES = {"process": dict.fromkeys(POOLS, "process.json"), "kubernetes": {pool: f"kubernetes-{pool}.json" for pool in POOLS}}
BLOCK = "dubwright-notify"
Row = dict[str, str]


def template(kind: str, pool: str, settings: Settings) -> dict[str, Any]:
    """A pool's base job template, with this installation's defaults. kind: `process` or `kubernetes`."""
    tree: dict[str, Any] = json.loads((ROOT / "infra" / "deploy" / "pools" / TEMPLATES[kind][pool]).read_text())
    known = tree["variables"]["properties"]
    if kind == "process":
        known["working_dir"]["default"] = str(ROOT)
    else:
        known["image"]["default"] = settings.image + ("-gpu" if pool == "gpu" else "")
    return tree


def deploy(settings: Settings, kind: str = "process") -> list[Row]:
    """Register everything; a row (what, name, done) for each thing. Raises SetupError where the server is missing or refuses."""
    if kind not in TEMPLATES:
        raise SetupError(f"there is no kind of work pool {kind!r}", code="setup.pool", next_step=f"Known are {' and '.join(TEMPLATES)}.")
    if not os.environ.get("PREFECT_API_URL"):
        raise SetupError("deploy needs a Prefect server", code="setup.prefect", next_step="Start one (`prefect server start`) and set PREFECT_API_URL.")
    targets = _targets(settings)
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            rows = [_pool(client, pool, template(kind, pool, settings), kind) for pool in POOLS]
            rows.append(_limit(client, settings))
            before = _deployments(client)
            for pool in POOLS:
                Pool(pool, settings).connect()
            _prefect_yaml(settings)
            rows += [{"what": "deployment", "name": name, "done": "renewed" if name in before else "made"} for name in sorted(_deployments(client))]
            rows += _automations(client, settings, _blocks(client, targets))
    except SetupError:
        raise
    except Exception as error:  # httpx and prefect name an absent server in many ways
        raise SetupError(f"the Prefect server does not answer, or refuses ({type(error).__name__}: {error})", code="setup.prefect", next_step="Check PREFECT_API_URL and that server and this installation have the same version of Prefect.") from error
    return rows


def outdated(settings: Settings) -> list[str]:
    """What `deploy` would make or renew on the Prefect server: what is missing, and pools, limits and schedules that are not as they should be.

    Raises SetupError where the server does not answer.
    """
    from prefect.client.orchestration import get_client

    from flows.watches import watches

    try:
        with get_client(sync_client=True) as client:
            pools = {pool.name: pool for pool in client.read_work_pools() if pool.name in POOLS}
            wrong = [f"work pool {name}" for name in POOLS if name not in pools]
            wrong += [f"base job template of {name}" for name, pool in pools.items() if pool.type in TEMPLATES and pool.base_job_template != template(pool.type, name, settings)]
            wrong += [f"deployment {name}" for name in sorted(_wanted() - _deployments(client))]
            limits = {limit.name: limit.limit for limit in client.read_global_concurrency_limits(limit=200)}
            wrong += [f"limit {SHARDS}"] if limits.get(SHARDS) != settings.pool_shards else []
            there = {one.name for one in client.read_automations(limit=200)}
            blocks = [UUID(int=0)] if settings.notify.get_secret_value().strip() else []
            return wrong + [f"automation {one.name!r}" for one in watches(blocks, settings.batch_hours) if one.name not in there]
    except Exception as error:  # httpx and prefect name an absent server in many ways
        raise SetupError(f"the Prefect server does not answer ({type(error).__name__})", code="setup.prefect", next_step="Check PREFECT_API_URL, or start the server.") from error


def kind_of(settings: Settings) -> str:
    """The type of the work pools that are there; `process` where there are none."""
    try:
        return Pool(POOLS[0], settings).kind()
    except SetupError:
        return "process"


def _wanted() -> set[str]:
    """The deployments that there should be, as flow/name."""
    named = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    ours = {f"dubwright-{row['entrypoint'].rpartition('.')[2].replace('_', '-')}/{row['name']}" for row in named}  # flows are called as their functions
    return ours | {f"dubwright-shard/{pool}" for pool in POOLS}


def _pool(client: Any, name: str, wanted: dict[str, Any], kind: str) -> Row:
    """Make a pool or renew its base job template. What else was set at it (paused, its limit) stays."""
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    row = {"what": f"{kind} work pool", "name": name}
    try:
        there = client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=wanted))
        return row | {"done": "made"}
    if there.type != kind:
        step = f"Deploy with --type {there.type}, or remove it first: prefect work-pool delete {name}."
        raise SetupError(f"the work pool {name} is of type {there.type}, which Prefect cannot change", code="setup.pool", next_step=step)
    if there.base_job_template == wanted:
        return row | {"done": "kept"}
    client.update_work_pool(name, WorkPoolUpdate(base_job_template=wanted))
    return row | {"done": "renewed"}


def _limit(client: Any, settings: Settings) -> Row:
    client.upsert_global_concurrency_limit_by_name(SHARDS, settings.pool_shards)
    return {"what": "limit", "name": SHARDS, "done": str(settings.pool_shards)}


def _deployments(client: Any) -> set[str]:
    flows = {flow.id: flow.name for flow in client.read_flows(limit=200) if flow.name.startswith("dubwright-")}
    return {f"{flows[one.flow_id]}/{one.name}" for one in client.read_deployments(limit=200) if one.flow_id in flows}


def _prefect_yaml(settings: Settings) -> None:
    """Have Prefect itself register what prefect.yaml says. Raises SetupError with Prefect's own words."""
    filled = {
        "DUBWRIGHT_POOL": settings.pool, "DUBWRIGHT_NIGHTLY_MANIFEST": settings.nightly_manifest, "DUBWRIGHT_NIGHTLY_CRON": settings.nightly_cron,
        "DUBWRIGHT_NIGHTLY_ZONE": settings.nightly_zone, "NIGHTLY_ACTIVE": str(bool(settings.nightly_manifest)).lower(),
    }  # fmt: skip
    words = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(ROOT / "prefect.yaml")]
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, **filled}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError(f"Prefect refuses prefect.yaml: {(done.stdout + done.stderr).strip()[-1500:]}", code="setup.deploy", next_step="Check DUBWRIGHT_NIGHTLY_CRON, DUBWRIGHT_NIGHTLY_ZONE and the file.")


def _targets(settings: Settings) -> list[str]:
    """The URLs of those who are told. Raises SetupError for one that Apprise does not know, without printing what may hold a password."""
    from apprise import Apprise

    found = settings.notify.get_secret_value().split()
    for number, url in enumerate(found, 1):
        if not Apprise().add(url):
            step = "Give URLs as docs/deploying.md shows them, separated by spaces: https://hooks.slack.com/services/..., mailtos://..., jsons://..."
            raise SetupError(f"DUBWRIGHT_NOTIFY: entry {number} is no URL that Apprise knows", code="settings.invalid", next_step=step)
    return found


def _blocks(client: Any, targets: list[str]) -> list[UUID]:
    """Keep the URLs as Prefect's notification blocks (encrypted there); blocks of URLs that are gone go.

    Prefect's class for Slack hands every URL to Apprise as it is, so it serves e-mail and webhooks too.
    """
    from prefect.blocks.notifications import SlackWebhook
    from prefect.exceptions import ObjectNotFound
    from pydantic import SecretStr

    kept: list[Any] = [SlackWebhook(url=SecretStr(url)).save(f"{BLOCK}-{number}", overwrite=True) for number, url in enumerate(targets, 1)]
    number = len(targets) + 1
    while True:
        try:
            old = client.read_block_document_by_name(f"{BLOCK}-{number}", SlackWebhook.get_block_type_slug())
        except ObjectNotFound:
            return kept
        client.delete_block_document(old.id)
        number += 1


def _automations(client: Any, settings: Settings, blocks: list[UUID]) -> list[Row]:
    """Make, renew or remove automations, so that each wanted one is there once. One that was switched off stays off."""
    from flows.watches import PREFIX, watches

    wanted = {one.name: one for one in watches(blocks, settings.batch_hours)}
    rows = []
    seen: set[str] = set()
    for old in client.read_automations(limit=200):
        if not old.name.startswith(PREFIX):
            continue
        if old.name in seen or old.name not in wanted:
            client.delete_automation(old.id)
            rows.append({"what": "automation", "name": old.name, "done": "removed"})
            continue
        seen.add(old.name)
        client.update_automation(old.id, wanted[old.name].model_copy(update={"enabled": old.enabled}))
        rows.append({"what": "automation", "name": old.name, "done": "renewed"})
    for name in wanted.keys() - seen:
        client.create_automation(wanted[name])
        rows.append({"what": "automation", "name": name, "done": "made"})
    return sorted(rows, key=lambda row: row["name"])


