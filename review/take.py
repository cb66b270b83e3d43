"""The page of a take: what it shows, why it was flagged, and the data that its player draws."""

import math
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from db import consents, desk, pending, shown, titles
from db.accounts import SignedIn
from db.reviews import REASONS
from infra.errors import ConsentError, DeskError
from infra.levels import in_confidence
from review import media, pages
from review.access import Refused, Viewer
from review.titles import lexicon_text

router = APIRouter()
LONGEST_SHOWN = 8000  # characters of a lexicon on the page; the download has all
MOMENTS, FAR = 4, 1  # pictures of the worst moments; frames of offset that nobody sees
ENGINES = {"portrait": ("avct", "lipmemory", "coherence"), "video": ("lipmemory", "coherence")}
PLAYS = (".mp4", ".m4v", ".mov", ".webm")  # containers that browsers play


@router.get("/takes/{take_id}")
def take_page(request: Request, session: Viewer, take_id: int) -> Response:
    """The page. Who may decide holds the job from here on, unless somebody else does."""
    site = request.app.state.site
    told = _told(site.database, take_id)
    mine = session.person.may("reviewer") and told["state"] == "flagged"
    holder = desk.claim(site.database, told["job"], session.person) if mine else desk.holder(site.database, told["job"], session.person)
    take = told["take"]
    kind = "video" if "video" in told["spec"].get("inputs", {}) else "portrait"
    curve = curve_of(take)
    words = titles.pronunciations(site.database, told["title"], told["locale"])
    lexicon = lexicon_text(site, told["title"], told["locale"])[:LONGEST_SHOWN] if words else ""
    return pages.page(
        request, "take.html", told=told, take=take, curve=curve, holder=holder, decided=pending.of_job(site.database, told["job"]), notes=desk.notes(site.database, told["job"]),
        moments=_moments(site, session, take, curve["worst"][:MOMENTS]), kinds=_kinds(site.database, told["job"]), reasons=REASONS,
        engines=ENGINES[kind], inputs=_inputs(session, told["spec"]), others=[row for row in told["takes"] if row["take"] != take_id], kind=kind,
        query=request.url.query, facts=_facts(take, pages.words_of(request)), rights=_rights(site.database, told), words=words, lexicon=lexicon, voices=voices_of(told),
    )  # fmt: skip


def _rights(database: Any, told: dict[str, Any]) -> list[str]:
    """The consent records that the job rests on now; none where a face or voice of it has none."""
    found = consents.resting_on(database, [consents.Use.of_job(told["title"], told["locale"], told["spec"])])[0]
    return [] if isinstance(found, ConsentError) else sorted(set(found.values()))


def _moments(site: Any, held: SignedIn, take: dict[str, Any], seconds: list[float]) -> list[tuple[float, str]]:
    """(second, link to its picture about the face) each."""
    roles = shown.made_from(site.database, take["video"])
    faces = roles.get("tracks") or roles.get("faces")
    return [(at, media.link(held, take["video"], "moment", at, site.derived.face_at(*faces, at) if faces else None)) for at in seconds]


def _told(database: Any, take_id: int) -> dict[str, Any]:
    told = shown.take(database, take_id)
    if told is None or "verdict" not in told["take"]:
        raise DeskError(f"there is no take {take_id}", code="desk.unknown", next_step="Open takes from the queue.")
    return told


def _kinds(database: Any, job_id: int) -> list[str]:
    from db import tables_desk as d

    with database.begin() as session:
        row = session.get(d.Waiting, job_id)
        return list(row.kinds) if row else []


def voices_of(told: dict[str, Any]) -> list[tuple[str, str]]:
    """The speakers of a take whom the manifest gives voices, by name, each with the voice that the take speaks with."""
    changed = (told["take"]["parameters"].get("cue_texts") or {}).get("voices") or {}
    return sorted({**(told["spec"].get("voices") or {}), **changed}.items())


def _facts(take: dict[str, Any], say: Any) -> list[tuple[str, str]]:
    told = take["parameters"]
    rung = told.get("rung") or {}
    rows = [(say("Engine"), f"{take['engine']} / {take['preset']}"), (say("Voice"), told.get("voice") or ""), (say("Seed"), str(told.get("seed", ""))),
            (say("Anchor or reference"), str(rung.get("start", ""))), (say("Emphasis"), f"{rung['emphasis']:g}" if "emphasis" in rung else ""), (say("Code"), take["code_version"]),
            (say("Machine"), str(take["machine"].get("host", "")))]  # fmt: skip
    return [row for row in rows if row[1]]


def _inputs(held: SignedIn, spec: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for role, facts in sorted((spec.get("inputs") or {}).items()):
        suffix = str(facts.get("suffix", "")).lower()
        seen = media.TYPES.get(suffix, "")
        place = str(facts.get("place", ""))
        rows.append({"role": role, "place": place, "name": place.rsplit("/", 1)[-1], "sha256": facts.get("sha256", ""), "type": seen, "link": media.link(held, facts["sha256"], suffix) if seen else ""})
    return rows


def curve_of(take: dict[str, Any]) -> dict[str, Any]:
    """A take's seconds as they are drawn: (offset, confidence), lines, those that fail, and moments from the worst on.

    A second fails whose offset is more than FAR or whose confidence is under what the whole is asked for. Where none does, the lowest counts.
    """
    told = take.get("curve") or {}
    seconds = [[offset, value] for offset, value in told.get("seconds") or []]
    levels = in_confidence(take.get("thresholds") or {}, take.get("confidence"), told.get("extra") or {})
    line = levels["passes"] if levels else None
    known = [(value, at) for at, (_, value) in enumerate(seconds) if value is not None]
    failing = [at for at, (offset, value) in enumerate(seconds) if value is not None and (abs(offset or 0) > FAR or (line is not None and value < line))]
    ranked = [at for _, at in sorted(known, key=lambda row: (row[1] in failing, -row[0]), reverse=True)]
    return {
        "seconds": seconds, "levels": levels, "failing": failing or ranked[:1], "truly": bool(failing),
        "worst": [at + 0.5 for at in (ranked or [0])[:12]], "stretches": _joined(failing or ranked[:1]),
    }  # fmt: skip


def _joined(seconds: list[int]) -> list[tuple[int, int]]:
    """Runs (first, last + 1) of seconds in a row."""
    runs: list[tuple[int, int]] = []
    for at in seconds:
        if runs and runs[-1][1] == at:
            runs[-1] = (runs[-1][0], at + 1)
        else:
            runs.append((at, at + 1))
    return runs


@router.get("/takes/{take_id}/data")
def data(request: Request, session: Viewer, take_id: int) -> Response:
    """What the player draws: links, seconds, lines, the sound's shape, cues, boxes about faces."""
    site = request.app.state.site
    told = _told(site.database, take_id)
    take = told["take"]
    roles = shown.made_from(site.database, take["video"])
    speech = roles.get("speech")
    faces = roles.get("tracks") or roles.get("faces")
    curve = curve_of(take)
    fps = float(take["parameters"].get("fps") or 25)
    tracks: list[list[float]] = site.derived.boxes(*faces) if faces else []
    return JSONResponse({
        "take": take_id, "video": media.link(session, take["video"], ".mp4"), "fps": fps if math.isfinite(fps) and fps > 0 else 25.0, "seconds": curve["seconds"],
        "levels": curve["levels"], "failing": curve["failing"], "peaks": site.derived.sound(take["video"]), "cues": site.derived.cues(speech[0]) if speech else [],
        "windows": [[first / fps, last / fps] for first, last in shown.windows(site.database, take_id)] if fps > 0 else [],
        "boxes": tracks, "sources": _sources(session, told, pages.words_of(request)),
    })  # fmt: skip


def _sources(held: SignedIn, told: dict[str, Any], say: Any) -> list[dict[str, Any]]:
    """What a take can be compared with: the job's other takes, and its video or portrait."""
    rows = [{"name": f"{row['number']} · {row['engine']}", "link": media.link(held, row["video"], ".mp4"), "kind": "video", "take": row["number"]} for row in told["takes"] if row["take"] != told["take"]["take"]]
    for role in ("video", "portrait"):
        facts = (told["spec"].get("inputs") or {}).get(role)
        suffix = str((facts or {}).get("suffix", "")).lower()
        if facts and suffix in media.TYPES and (role == "portrait" or suffix in PLAYS):
            rows.append({"name": say("source"), "link": media.link(held, facts["sha256"], suffix), "kind": "video" if role == "video" else "picture", "take": 0})
    return rows


@router.get("/media/{token}")
def media_file(request: Request, session: Viewer, token: str) -> Response:
    """A video or picture by a link of this session."""
    site = request.app.state.site
    sha256, kind, at, about = media.linked(session, token)
    if kind == "moment":
        made = site.derived.moment(sha256, at or 0.0, about)
        if made is None:
            raise Refused(404, "There is no picture of this moment.")
        return Response(made, media_type="image/jpeg", headers={"cache-control": f"private, max-age={media.SECONDS}"})
    return media.stream(site.artifacts, sha256, kind, request)
