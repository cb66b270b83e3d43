"""Titles: what each was made from, its locales and versions in time as a graph and a list, what differs between two versions, how its words are said."""

import csv
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from db import titles
from db.accounts import SignedIn
from infra.differences import changes, words
from infra.errors import DeskError, DubwrightError
from infra.lexicons import beside
from review import graph, media, pages
from review.access import Viewer

router = APIRouter()
SHOWN, LISTED = 24, 200  # versions on a page of all locales; cues that differ
LARGEST = 4 * 2**20  # bytes of a lexicon
Given = Annotated[str, Query(max_length=200)]


@router.get("/titles/{name}")
def title(request: Request, session: Viewer, name: str, locale: Given = "", before: int = 0, after: int = 0) -> Response:
    """The page: of all locales, or of one; with what differs between two versions, where their jobs are named."""
    site = request.app.state.site
    counts = titles.locales(site.database, name)
    if not counts or (locale and locale not in counts):
        raise DeskError(f"there is no title {name[:60]!r}" + (f" in {locale[:20]}" if counts else ""), code="desk.unknown", next_step="Open it from a take or a batch.")
    rows = titles.versions(site.database, name, locale, titles.MOST if locale else max(1, SHOWN // len(counts)))
    say = pages.words_of(request)
    for row in rows:
        row["master"] = _master(session, row["spec"])
    drawn = graph.versions(rows, say("what it was made from, and its versions in time, locale by locale"), pages.states_of(say))
    by = {one: [row for row in rows if row["locale"] == one] for one in counts if not locale or one == locale}
    masters = {row["master"]["sha256"]: row["master"] for row in rows if row["master"]}
    compared = _compared(site, rows, before, after, say) if before and after else None
    return pages.page(request, "title.html", called=name, counts=counts, chosen=locale, by=by, masters=list(masters.values()), drawn=drawn, compared=compared)


def _master(held: SignedIn, spec: dict[str, Any]) -> dict[str, Any] | None:
    """The video or picture that a version was made from."""
    inputs = spec.get("inputs") or {}
    role = next((role for role in ("video", "portrait") if role in inputs), "")
    if not role:
        return None
    facts = inputs[role]
    suffix = str(facts.get("suffix", "")).lower()
    seen = media.TYPES.get(suffix, "") if role == "portrait" else ""
    return {"role": role, "name": str(facts.get("place", "")).rsplit("/", 1)[-1], "sha256": facts["sha256"], "link": media.link(held, facts["sha256"], suffix) if seen else ""}


def _compared(site: Any, rows: list[dict[str, Any]], before: int, after: int, say: Any) -> dict[str, Any]:
    """Two versions side by side: facts that differ, and cues with the words that do. Raises DeskError for a job that is none of them."""
    by = {row["job"]: row for row in rows}
    for job in (before, after):
        if job not in by or by[job]["take"] is None:
            raise DeskError(f"job {job} is no version of this title that has a take", code="versions.unknown", next_step="Choose two versions of one locale from its list.")
    one, other = by[before], by[after]
    scripts = [site.derived.script(row["take"]["speech"]) if row["take"]["speech"] else [] for row in (one, other)]
    cues = changes(*scripts)
    for cue in cues[:LISTED]:
        cue["words"] = words(cue.get("before", {}).get("text", ""), cue.get("after", {}).get("text", ""))
    names = (say("Made from"), say("Engine"), say("Voice"), say("Code"))
    facts = [(fact, *cells) for fact, *cells in zip(names, _facts(one), _facts(other), strict=True) if cells[0] != cells[1]]
    return {"one": one, "other": other, "cues": cues[:LISTED], "differ": len(cues), "facts": facts, "known": all(scripts)}


def _facts(row: dict[str, Any]) -> list[str]:
    take, master = row["take"], row["master"] or {"name": "", "sha256": ""}
    return [f"{master['name']} {master['sha256'][:12]}", f"{take['engine']} / {take['preset']}", take["voice"] or row["spec"].get("voice") or "", take["code"]]


@router.get("/titles/{name}/lexicon.csv")
def lexicon(request: Request, session: Viewer, name: str, locale: Given = "") -> Response:
    """How a title's words are said in a locale, as the manifest's `lexicon` takes it."""
    site = request.app.state.site
    if locale not in titles.locales(site.database, name):
        raise DeskError(f"there is no title {name[:60]!r} in {locale[:20]!r}", code="desk.unknown", next_step="Open it from a take, and name a locale of it.")
    text = lexicon_text(site, name, locale)
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in f"{name}.{locale}")
    return Response(text.encode("utf-8-sig"), media_type="text/csv; charset=utf-8", headers={"content-disposition": f'attachment; filename="lexicon-{plain}.csv"'})


def lexicon_text(site: Any, name: str, locale: str) -> str:
    """What reviewers entered of a title's words, and what the lexicon of its newest job says of others."""
    sounds = {word: told["ipa"] for word, told in titles.pronunciations(site.database, name, locale).items()}
    given = titles.lexicon_of(site.database, name, locale)
    try:
        text = site.artifacts.path(given).read_bytes()[:LARGEST].decode("utf-8-sig") if given else ""
        return beside(sounds, text, locale)
    except (DubwrightError, OSError, UnicodeDecodeError, csv.Error):  # it was cleaned up, or is not UTF-8: what people entered is still there
        return beside(sounds, "", locale)
