"""What reviewers do with a take: hold it, decide, take it back for ten seconds, leave a note."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from db import desk, pending, shown
from db.pending import Wanted
from infra.errors import DeskError
from review import pages
from review.access import Reviewer
from review.take import ENGINES

router = APIRouter()
MOST_STARTS = {"portrait": 20, "video": 2}  # a video has three references at most
LONGEST = 3600.0  # seconds; whoever took longer was somewhere else
Words = Annotated[str, Form(max_length=2000)]


@router.post("/jobs/{job_id}/claim")
def claim(request: Request, session: Reviewer, job_id: int) -> Response:
    """Hold a job, or hold on to it: the page asks for this every minute."""
    found = desk.claim(request.app.state.database, job_id, session.person)
    return pages.part(request, "claim.html", holder=found, job=job_id, gone=found is None)


@router.post("/jobs/{job_id}/release")
def release(request: Request, session: Reviewer, job_id: int) -> Response:
    """Give a job back undecided."""
    desk.let_go(request.app.state.database, job_id, session.person)
    return RedirectResponse("/", 303)


@router.post("/jobs/{job_id}/notes")
def note(request: Request, session: Reviewer, job_id: int, text: Words = "", back: Annotated[str, Form()] = "") -> Response:
    """Leave words for the next person."""
    desk.leave_note(request.app.state.database, job_id, session.person, text)
    return RedirectResponse(f"/takes/{int(back)}" if back.isdigit() else "/", 303)


@router.post("/takes/{take_id}/decide")
async def decide(
    request: Request, session: Reviewer, take_id: int, decision: Annotated[str, Form()] = "", reason: Annotated[str, Form()] = "", note: Words = "", engine: Annotated[str, Form()] = "",
    start: Annotated[str, Form()] = "", emphasis: Annotated[str, Form()] = "", voice: Annotated[str, Form(max_length=60)] = "",
    text: Annotated[str | None, Form(max_length=20_000)] = None, seconds: Annotated[float | None, Form()] = None, query: Annotated[str, Form(max_length=1000)] = "",
) -> Response:  # fmt: skip
    """Decide on a take; it becomes final ten seconds later. Leads to the next take that waits."""
    from starlette.concurrency import run_in_threadpool

    form = await request.form()
    cues = {key.removeprefix("cue-"): str(value).strip()[:2000] for key, value in form.items() if key.startswith("cue-") and key.removeprefix("cue-").isdigit()}

    def done() -> None:
        database = request.app.state.database
        wished: dict[str, Any] = {}
        if decision == "again":
            told = shown.take(database, take_id)
            if told is None:
                raise DeskError(f"there is no take {take_id}", code="desk.unknown", next_step="Open takes from the queue.")
            wished = changes_of(told, engine, start, emphasis, voice, text, _changed(request, told, cues))
        took = seconds if seconds is not None and 0 < seconds <= LONGEST else None
        pending.decide(database, [take_id], Wanted(decision, reason, note.strip(), wished, took), session.person)

    await run_in_threadpool(done)
    return RedirectResponse(f"/queue/next?{query}", 303)


def _changed(request: Request, told: dict[str, Any], cues: dict[str, str]) -> dict[str, str]:
    """Cues whose text is another than what the take says."""
    if not cues:
        return {}
    speech = told["take"].get("speech")
    now = request.app.state.site.derived.cues(speech) if speech else []
    return {place: words for place, words in cues.items() if int(place) < len(now) and words and words != now[int(place)]["text"]}


def changes_of(told: dict[str, Any], engine: str, start: str, emphasis: str, voice: str, text: str | None, cues: dict[str, str]) -> dict[str, Any]:
    """What another take is to be rendered with, of a form's fields; those that ask for nothing new are left out. Raises DeskError, desk.changes."""
    spec = told["spec"]
    inputs = spec.get("inputs") or {}
    found: dict[str, Any] = {}
    if engine:
        if engine not in ENGINES["video" if "video" in inputs else "portrait"]:
            raise _bad(f"no engine {engine[:20]!r} renders this job")
        found["engine"] = engine
    if start:
        if not start.isdigit() or int(start) > MOST_STARTS["video" if "video" in inputs else "portrait"]:
            raise _bad("an anchor is a number from 0 to 20, a reference one from 0 to 2")
        found["start"] = int(start)
    if emphasis:
        try:
            value = float(emphasis)
        except ValueError:
            value = 0.0
        if not 0.3 <= value <= 3:
            raise _bad("emphasis is a number from 0.3 to 3")
        found["emphasis"] = value
    if voice and voice != spec.get("voice"):
        found["voice"] = voice
    if "audio" in inputs and (found.get("voice") or text or cues):
        raise _bad("this job speaks with a recording: its voice and words are what was recorded")
    if text is not None and spec.get("text") and text.strip() and text.strip() != spec["text"].strip():
        found["text"] = text.strip()
    if cues and "script" in inputs:
        found["cues"] = cues
    return found


def _bad(message: str) -> DeskError:
    return DeskError(message, code="desk.changes", next_step="Correct the field and send it again.")


@router.post("/undo/{bundle}")
def undo(request: Request, session: Reviewer, bundle: str) -> Response:
    """Take back decisions that are not final yet."""
    found = pending.undo(request.app.state.database, bundle, session.person)
    if not found:
        raise DeskError("it is too late: this decision stands", code="desk.late", next_step="A further review of the take can follow it.")
    return RedirectResponse(f"/takes/{found[0]}" if len(found) == 1 else "/", 303)
