"""One self-contained HTML file per batch: videos, frames, sync curves, verdicts, costs, lineage, and what failed and why.

The page asks nothing of the network: pictures and videos are data: URIs, style and script are inline, and a content policy in its
head forbids the rest. It is written as it is made, one video in memory at a time.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from db.prices import costs_words
from db.reviews import agreed_words
from db.throughput import throughput_words
from infra.artifacts import Artifacts
from infra.charts import curve_of, gauge, stage_bar, sweep
from infra.errors import DubwrightError
from tasks import ladder
from tasks.pictures import contact_sheet, length, poster, stamp

TEMPLATES = Path(__file__).parent / "templates"
LARGEST_VIDEO, LARGEST_PAGE = (
    64 * 2**20,
    400 * 2**20,
)  # bytes of video in the page; what is beyond is linked where it was delivered
THUMB_SIDE, POSTER_SIDE = 96, 720
STATES = ("delivered", "flagged", "rejected", "failed", "cancelled", "invalid", "running", "queued")
STATE_WORDS = {
    "delivered": "Delivered",
    "flagged": "Needs review",
    "rejected": "Rejected",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "invalid": "Invalid",
    "running": "Running",
    "queued": "Waiting",
}
VERDICT_WORDS = {"pass": "In sync", "flag": "Look at it", "fail": "Out of sync", "unscorable": "Not scorable"}
GRID = (
    "Contains material from the GRID audiovisual sentence corpus: M. Cooke, J. Barker, S. Cunningham, X. Shao, “An audio-visual corpus "
    "for speech perception and automatic speech recognition”, JASA 120(5), 2006, 2421-2424; The Grid Audio-Visual Speech Corpus, Zenodo, "
    "doi:10.5281/zenodo.3625687, licensed CC BY 4.0. Changes: cropped, re-encoded, used to train the networks that made these videos."
)


def write_report(
    batch: dict[str, Any], artifacts: Artifacts, out_path: Path, lineages: Mapping[str, dict[str, Any]] | None = None
) -> Path:
    """Write the page of a batch and return its path; the file appears whole.

    batch: what db/queries.py `report` returns. artifacts: where takes' videos and pictures of refused portraits lie. lineages:
    trees of db/lineage.py by the hash of a video; a take without one shows what its row tells. Raises OSError.
    """
    out_path.parent.mkdir(parents=True, exist_ok=True)
    fresh = out_path.with_name(f".incoming-{out_path.name}")
    try:
        with fresh.open("w", encoding="utf-8") as out:
            for piece in page(batch, artifacts, lineages or {}):
                out.write(piece)
        fresh.replace(out_path)
    finally:
        fresh.unlink(missing_ok=True)
    return out_path


def page(batch: dict[str, Any], artifacts: Artifacts, lineages: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """The page piece by piece."""
    from jinja2 import Environment, FileSystemLoader

    pages = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    pages.filters |= {"clock": clock, "stamp": stamp, "size": size, "short": lambda text: str(text)[:12], "count": _count}
    script = (TEMPLATES / "report.js").read_text()
    media = Media(artifacts)
    jobs = [job_view(job, lineages, media) for job in batch["jobs"]]
    yield from pages.get_template("report.html.j2").generate(
        batch=batch,
        jobs=jobs,
        totals=totals(jobs),
        media=media,
        style=(TEMPLATES / "report.css").read_text(),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        made=_day(batch.get("created_at")),
        words=STATE_WORDS,
        verdict_words=VERDICT_WORDS,
        agreed=agreed_words(batch.get("agreement") or {}),
        costs=costs_words(batch.get("costs")),
        time=throughput_words(batch.get("throughput")),
        grid=GRID,
    )


class Media:
    """Videos and pictures as data: URIs, made as the page asks for them. What is missing or damaged is an empty string."""

    def __init__(self, artifacts: Artifacts) -> None:
        self.artifacts, self.embedded = artifacts, 0

    def path(self, digest: str | None) -> Path | None:
        """Local copy of an artifact, or None."""
        try:
            return self.artifacts.path(digest) if digest else None
        except (DubwrightError, OSError):
            return None

    def video(self, digest: str | None) -> str:
        """A video, or nothing where it is missing or would make the page too large."""
        path = self.path(digest)
        if path is None:
            return ""
        size = path.stat().st_size
        if size > LARGEST_VIDEO or self.embedded + size > LARGEST_PAGE:
            return ""
        self.embedded += size
        return uri(path.read_bytes(), "video/mp4")

    def poster(self, digest: str | None, side: int = POSTER_SIDE) -> str:
        """A video's poster."""
        return self._drawn(digest, lambda path: poster(path, side))

    def thumb(self, digest: str | None) -> str:
        """A video's poster, small."""
        return self.poster(digest, THUMB_SIDE)

    def sheet(self, digest: str | None) -> str:
        """A video's contact sheet."""
        return self._drawn(digest, contact_sheet)

    def picture(self, given: str | None) -> str:
        """A PNG by its hash."""
        path = self.path(given)
        return "" if path is None else uri(path.read_bytes(), "image/png")

    def _drawn(self, digest: str | None, draw: Any) -> str:
        path = self.path(digest)
        try:
            return "" if path is None else uri(draw(path), "image/jpeg")
        except DubwrightError:
            return ""


def uri(data: bytes, kind: str) -> str:
    """Bytes as a data: URI."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def job_view(job: dict[str, Any], lineages: Mapping[str, dict[str, Any]], media: Media) -> dict[str, Any]:
    """A job as the page shows it: the take that counts in full, the others in a line each, the best first, its lineage and its error."""
    takes = [take_view(take, media) for take in sorted(job["takes"], key=ladder.of_row, reverse=True)]
    delivered = (job.get("delivery") or {}).get("take")
    best = next((take for take in takes if take["take"] == delivered), None) or next(iter(takes), None)
    return {
        **job,
        "anchor": f"job-{job['job']}",
        "title": job["title"],
        "best": best,
        "others": [take for take in takes if take is not best],
        "tree": lineages.get(best["video"]) if best else None,
        "inputs": (job.get("spec") or {}).get("inputs") or {},
    }


def take_view(take: dict[str, Any], media: Media) -> dict[str, Any]:
    """A take with its drawings and plain figures."""
    curve = take.get("curve") or {}
    thresholds = take.get("thresholds") or {}
    seconds = take.get("seconds") or {}
    duration = _duration(take, media)
    spent = float(sum(seconds.values()))
    offset = take.get("offset")
    level, stretch = levels_of(thresholds, take.get("confidence"), curve.get("extra") or {})
    return {
        **take,
        "verdict": take.get("verdict", ""),
        "reasons": take.get("reasons") or [],
        "confidence": take.get("confidence"),
        "distance": take.get("distance"),
        "offset": offset,
        "offset_words": offset_words(offset),
        "closures": closures_words(curve),
        "duration": duration,
        "spent": spent,
        "rate": spent / duration if duration else None,
        "level": level,
        "gauge": gauge(take.get("confidence"), level),
        "chart": curve_of(curve.get("seconds") or [], stretch),
        "sweep": sweep(curve.get("distances") or []),
        "stages": stage_bar(seconds),
    }


def levels_of(thresholds: dict[str, Any], confidence: Any, extra: dict[str, Any]) -> tuple[dict[str, float] | None, dict[str, float] | None]:
    """What the gate asked of a video in its own confidence, as a whole and of a few seconds in a row; None where none is stored."""
    from tasks.gate import Thresholds

    try:
        level, least = Thresholds.from_dict(thresholds).in_confidence(float("nan") if confidence is None else confidence, extra)
    except DubwrightError:
        return None, None
    whole = {"seconds": level.seconds, "passes": level.passes, "fails": level.fails}
    return whole, {"seconds": 3.0, "passes": least, "fails": least}


def _duration(take: dict[str, Any], media: Media) -> float:
    frames, fps = take["parameters"].get("frames"), take["parameters"].get("fps", 25)
    if frames:
        return float(frames) / float(fps)
    path = media.path(take.get("video"))
    try:
        return length(path) if path else 0.0
    except DubwrightError:
        return 0.0


def offset_words(offset: int | None) -> str:
    """An offset in frames at 25 a second, in words."""
    if offset is None:
        return "not measured"
    if offset == 0:
        return "lips and sound together"
    first, second = ("sound", "lips") if offset > 0 else ("lips", "sound")
    return f"{first} {abs(offset)} frame{'s' if abs(offset) > 1 else ''} ({abs(offset) * 40} ms) before the {second}"


def closures_words(curve: dict[str, Any]) -> str:
    """How often the lips close for p, b and m, by a stored score, in words; "" where that is not known."""
    closed, seen, chance = (curve.get("extra") or {}).get("closed"), len(curve.get("closures") or []), (curve.get("extra") or {}).get("closed_elsewhere")
    if closed is None or not seen:
        return ""
    return f"{round(closed * seen)} of {seen}" + ("" if chance is None else f"; at other moments of the speech {chance:.0%}")


def totals(jobs: list[dict[str, Any]]) -> dict[str, Any]:
    """What the head of the page counts."""
    counts = {state: sum(job["state"] == state for job in jobs) for state in STATES}
    takes = [take for job in jobs for take in (job["best"], *job["others"]) if take]
    best = [job["best"] for job in jobs if job["best"]]
    video, spent = sum(take["duration"] for take in best), sum(take["spent"] for take in takes)
    sure = sorted(take["confidence"] for take in best if take["confidence"] is not None)
    return {
        "jobs": len(jobs),
        "states": {state: count for state, count in counts.items() if count},
        "locales": len({job["locale"] for job in jobs}),
        "takes": len(takes),
        "video": video,
        "spent": spent,
        "rate": spent / video if video else None,
        "confidence": sure[len(sure) // 2] if sure else None,
        "passed": sum(take["verdict"] == "pass" for take in best),
        "scored": sum(take["verdict"] != "" for take in best),
    }


def clock(seconds: float | None) -> str:
    """Seconds as people write them: 8.4 s, 1 min 05 s, 2 h 03 min."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: int | None) -> str:
    """Bytes as people write them."""
    if count is None:
        return ""
    return f"{count / 2**20:.1f} MB" if count >= 2**20 else f"{max(1, round(count / 1024))} KB"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _day(text: str | None) -> str:
    try:
        return datetime.fromisoformat(text or "").strftime("%-d %B %Y, %H:%M UTC")
    except ValueError:
        return text or ""
