"""What Prefect watches for this project: runs without a heartbeat, and failed, crashed, late and overdue batches, of which somebody is told."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

PREFIX = "dubwright: "  # of every automation's name; who is called so and is not wanted is removed
SILENT = timedelta(seconds=120)  # four heartbeats of 30 s (flows/conductor.py)
LATE = timedelta(minutes=15)  # a batch's run that no worker took up
Labels = dict[str, str | list[str]]
OURS: Labels = {"prefect.resource.role": "flow", "prefect.resource.name": "dubwright-*"}
BATCHES: Labels = {"prefect.resource.role": "flow", "prefect.resource.name": "dubwright-batch"}
RUN = "prefect.flow-run."
OVER = {RUN + state for state in ("Completed", "Flagged", "Failed", "Crashed", "Cancelled", "TimedOut")}

BODY = """{{ flow.name }}, run {{ flow_run.name }}: {{ flow_run.state.name }}
{{ flow_run.state.message }}
{{ flow_run|ui_url }}
next: dubwright status, then dubwright report; to try failed jobs again: prefect deployment run dubwright-batch/on-demand --param manifest=..."""


def watches(blocks: list[UUID], hours: float) -> list[AutomationCore]:
    """The automations. blocks: who is told, as Prefect's notification blocks; with none, only silent runs are seen to. hours: a batch may take."""
    found = [_silent()]
    if not blocks:
        return found
    failed = EventTrigger(expect={RUN + "Failed", RUN + "Crashed", RUN + "TimedOut"}, for_each={"prefect.resource.id"}, match=_runs(), match_related=[OURS])
    late = _absent(RUN + "Late", {RUN + "Running", *OVER}, LATE, BATCHES)
    overdue = _absent(RUN + "Running", OVER, timedelta(hours=hours), BATCHES)
    told = {
        "failed or crashed": ("a run failed or crashed", failed),
        "late": (f"no worker has taken up a batch for {LATE.seconds // 60} minutes", late),
        "overdue": (f"a batch has not ended within {hours:g} hours", overdue),
    }
    return found + [_automation(name, text, trigger, [SendNotification(block_document_id=block, subject=f"Dubwright: {text}", body=BODY) for block in blocks]) for name, (text, trigger) in told.items()]


def _silent() -> AutomationCore:
    beats = _absent(RUN + "heartbeat", {RUN + "heartbeat", *OVER}, SILENT, OURS)
    crash = ChangeFlowRunState(name="Crashed", state=StateType.CRASHED, force=False, message=f"no heartbeat for {SILENT.seconds} s: its process or its machine is gone")
    return _automation("no heartbeat", "ends runs whose process died; the sweep sends their jobs again", beats, [crash])


def _absent(after: str, expect: set[str], within: timedelta, flows: Labels) -> EventTrigger:
    return EventTrigger(after={after}, expect=expect, within=within, posture=Posture.Proactive, for_each={"prefect.resource.id"}, match=_runs(), match_related=[flows])


def _runs() -> Labels:
    return {"prefect.resource.id": RUN + "*"}


def _automation(name: str, text: str, trigger: EventTrigger, actions: list[Any]) -> AutomationCore:
    return AutomationCore(name=PREFIX + name, description=text, trigger=trigger, actions=actions)
