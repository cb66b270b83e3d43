"""What reviewers do with a take: hold it, decide, take it back for ten seconds, leave a note."""

import unicodedata
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from db import desk, pending, shown
from db.pending import Wanted
from infra.errors import DeskError
from review import pages
from review.access import Reviewer
from review.take import ENGINES, voices_of

router = APIRouter()
MOST_STARTS = {"portrait": 20, "video": 2}  # a video has three references at most
LONGEST_WORD, LONGEST_VOICE, LATEST = 200, 60, 86_400.0  # characters of a word and of its sounds, of a voice; seconds
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

    fields = {key: str(value).strip()[:2000] for key, value in (await request.form()).items()}

    def done() -> None:
        database = request.app.state.database
        wished: dict[str, Any] = {}
        if decision == "again":
            told = shown.take(database, take_id)
            if told is None:
                raise DeskError(f"there is no take {take_id}", code="desk.unknown", next_step="Open takes from the queue.")
            wished = changes_of(told, engine, start, emphasis, voice, text, _said(request, told, fields))
        took = seconds if seconds is not None and 0 < seconds <= LONGEST else None
        pending.decide(database, [take_id], Wanted(decision, reason, note.strip(), wished, took), session.person)

    await run_in_threadpool(done)
    return RedirectResponse(f"/queue/next?{query}", 303)


def _said(request: Request, told: dict[str, Any], fields: dict[str, str]) -> dict[str, Any]:
    """What of single cues is other than the take says it: texts, times, how a word is said, speakers' voices (db/reviews.py, SAID). Raises DeskError, desk.changes."""
    speech = told["take"].get("speech")
    texts: dict[str, str] = {}
    times: dict[str, list[float]] = {}
    for cue in request.app.state.site.derived.cues(speech) if speech else []:
        place, slot = str(cue["place"]), cue.get("slot")
        if (words := fields.get(f"cue-{place}", "")) and words != cue["text"]:
            texts[place] = words
        if slot and (wanted := _slot(fields.get(f"from-{place}", ""), fields.get(f"to-{place}", ""))) and any(abs(a - b) > 0.005 for a, b in zip(wanted, slot, strict=True)):
            times[place] = wanted
    word, ipa = (unicodedata.normalize("NFC", fields.get(name, "")) for name in ("word", "ipa"))
    if bool(word) != bool(ipa) or max(len(word), len(ipa)) > LONGEST_WORD or (word and not any(c.isalnum() for c in word)):
        raise _bad("a pronunciation is a word and its sounds in IPA")
    voices: dict[str, str] = {}
    for number, (speaker, voice) in enumerate(voices_of(told)):
        if (wish := fields.get(f"voice-{number}", "")) and wish != voice:
            voices[speaker] = wish
    if any(len(voice) > LONGEST_VOICE for voice in voices.values()):
        raise _bad(f"a voice's name has {LONGEST_VOICE} characters at most")
    found = {"cues": texts, "times": times, "lexicon": {word: ipa} if word else {}, "voices": voices}
    return {name: value for name, value in found.items() if value}


def _slot(start: str, end: str) -> list[float] | None:
    """A cue's times as a form has them, in seconds; None where it has none."""
    if not start or not end:
        return None
    try:
        found = [float(start), float(end)]
    except ValueError:
        found = [0.0, 0.0]
    if not 0 <= found[0] < found[1] <= LATEST:
        raise _bad("a cue begins before it ends, in seconds")
    return found


def changes_of(told: dict[str, Any], engine: str, start: str, emphasis: str, voice: str, text: str | None, said: dict[str, Any]) -> dict[str, Any]:
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
    if "audio" in inputs and (found.get("voice") or text or said):
        raise _bad("this job speaks with a recording: its voice and words are what was recorded")
    if text is not None and spec.get("text") and text.strip() and text.strip() != spec["text"].strip():
        found["text"] = text.strip()
    if "script" not in inputs:
        said = {name: value for name, value in said.items() if name == "lexicon"}
    rung = told["take"]["parameters"].get("rung")
    if said and rung and not found:  # all else as it was: only what these cues touch is rendered
        found["rung"] = rung
    return found | said


def _bad(message: str) -> DeskError:
    return DeskError(message, code="desk.changes", next_step="Correct the field and send it again.")


@router.post("/undo/{bundle}")
def undo(request: Request, session: Reviewer, bundle: str) -> Response:
    """Take back decisions that are not final yet."""
    found = pending.undo(request.app.state.database, bundle, session.person)
    if not found:
        raise DeskError("it is too late: this decision stands", code="desk.late", next_step="A further review of the take can follow it.")
    return RedirectResponse(f"/takes/{found[0]}" if len(found) == 1 else "/", 303)
