"""What `dubwright score` tells of a video: each face track with its score, its verdict and what passes through; and the curves of all."""

import tempfile
from html import escape
from pathlib import Path
from typing import Any

from infra.charts import HIGH, WIDE, curve_of, reliability
from infra.video import pictures
from models.syncnet.published.scorer import installed
from tasks.dubbing.tracks import TrackFile, follow
from tasks.gate import Thresholds, decide, load_thresholds
from tasks.report import TEMPLATES, levels_of
from tasks.score import score_tracks
from tasks.score_published import row_of, score_frames_published, score_tracks_published, tree_of
from tasks.values import score_tree

HEADING, EDGE = 26, 16  # pixels above each curve, and about all
ROOM = 356, 352  # pixels of the reliability plot


def scored_tracks(video: Path, *, published: bool = True) -> list[dict[str, Any]]:
    """Every face track of a video as plain values for JSON, in the order in which they begin.

    Each: number, identity (a person, as far as can be told), shot, start and end in seconds, faces and usable (pictures), `passing`
    (pictures by why they pass through), the score's own entries, verdict and reasons; `published`, the published scorer's where it is
    asked for and its weights were imported, otherwise None. Raises MediaError.
    """
    thresholds = load_thresholds()
    with tempfile.TemporaryDirectory(prefix="dubwright-") as folder:
        follow(pictures(video), Path(folder) / "faces.tracks")
        with TrackFile(Path(folder) / "faces.tracks") as tracks:
            scores, runs, times = score_tracks(video, tracks), tracks.passing(), tracks.times
            others = score_tracks_published(video, tracks) if published and installed() else {}
            told = []
            for track in tracks.tracks:
                verdict = decide(scores[track.number], thresholds)
                told.append({
                    "number": track.number, "identity": track.identity, "shot": track.shot,
                    "start": round(float(times[track.first] - times[0]), 3), "end": round(float(times[track.last - 1] - times[0]), 3),
                    "faces": track.faces, "usable": track.usable, "side": track.side, "yaw": track.yaw,
                    "passing": {why: sum(last - first for first, last in spans) for why, spans in runs[track.number].items()},
                    **score_tree(scores[track.number]), "verdict": verdict.verdict, "reasons": list(verdict.reasons),
                    "published": row_of(others[track.number]) if others else None,
                })  # fmt: skip
    return told


def lse_of(video: Path, tracks: list[dict[str, Any]], cropped: bool) -> dict[str, Any] | None:
    """LSE-D and LSE-C of a video as plain values, None without the published weights: of its tracks (of `scored_tracks`), or of its
    whole pictures where they are a face's crop. Raises MediaError.
    """
    if not installed():
        return None
    rows = [row_of(score_frames_published(video))] if cropped else [track["published"] for track in tracks]
    return {"mode": "dataset" if cropped else "real video", **tree_of(rows)}


def seconds_of(track: dict[str, Any]) -> list[list[Any]]:
    """A track's seconds on the video's clock: [second, offset, confidence or None] each."""
    first = track["extra"].get("start", track["start"])
    return [[round(first + i, 2), offset, value] for i, (offset, value) in enumerate(track["seconds"])]


def draw(name: str, rows: list[dict[str, Any]], thresholds: Thresholds) -> str:
    """The curves of tracks (of `scored_tracks`) one under another, as an SVG file's text that needs nothing else."""
    parts, y = [], EDGE
    for row in rows:
        _, stretch = levels_of(thresholds.to_dict(), row["confidence"], row["extra"])
        curve = str(curve_of(row["seconds"], stretch))
        words = f"track {row['number']}, person {row['identity']}, {row['start']:.1f} to {row['end']:.1f} s: {row['verdict']}"
        words += "" if curve else f" ({row['reason'] or 'no second could be scored'})"
        parts.append(f'<text class="head" x="{EDGE}" y="{y + 16}">{escape(words)}</text>')
        y += HEADING
        if curve:
            parts.append(curve.replace("<svg ", f'<svg x="{EDGE}" y="{y}" width="{WIDE}" height="{HIGH}" ', 1))
            y += HIGH + EDGE
    return alone(name, WIDE + 2 * EDGE, y + EDGE, parts)


def alone(title: str, wide: int, high: int, parts: list[str]) -> str:
    """Parts of a drawing as an SVG file's text that needs nothing else."""
    size = f'width="{wide}" height="{high}"'
    style = f"<style>{_style()} svg .head {{ font-size: 13px; font-weight: 650; fill: var(--ink); }}</style>"
    ground = f'<rect {size} style="fill: var(--card)"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><title>{escape(title)}</title>{style}{ground}{"".join(parts)}</svg>\n'


def draw_reliability(thresholds: Thresholds) -> str:
    """The reliability of thresholds as an SVG file's text, "" where they hold none."""
    drawn = str(reliability(thresholds.reliability.get("bins", [])))
    if not drawn:
        return ""
    head = f'<text class="head" x="{EDGE}" y="{EDGE + 10}">Lips and sound in sync: predicted and seen, scorer {thresholds.scorer[:12]}</text>'
    body = drawn.replace("<svg ", f'<svg x="{EDGE}" y="{EDGE + HEADING}" width="{ROOM[0]}" height="{ROOM[1]}" ', 1)
    return alone("Reliability of the gate", ROOM[0] + 2 * EDGE + 120, ROOM[1] + HEADING + 2 * EDGE, [head, body])


def _style() -> str:
    """The report's colours and the rules for what is drawn."""
    text = (TEMPLATES / "report.css").read_text()
    return text[: text.index("* {")] + " ".join(line for line in text.splitlines() if line.startswith("svg "))
