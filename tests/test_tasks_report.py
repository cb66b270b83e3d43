"""The report: one file that asks nothing of the network, opened in a real browser where there is one."""

import re
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from browser_cases import browser_fixture  # noqa: F401 (a fixture)
from infra import charts
from infra.artifacts import Artifacts
from infra.media import VideoWriter, write_wav
from infra.store import FolderStore
from tasks import report
from tasks.report import write_report

PORTRAITS = Path(__file__).resolve().parent.parent / "demo" / "portraits"
LEVELS = {
    "scorer": "ab" * 32,
    "levels": [{"seconds": 1.0, "passes": 2.7, "fails": 0.2}, {"seconds": 3.0, "passes": 2.0, "fails": 1.5}],
    "stretch": 1.5,
    "false_pass_rate": 0.05,
}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \" ' \u202egnp"


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    folder = tmp_path_factory.mktemp("artifacts")
    return Artifacts(FolderStore(folder / "store"), folder / "cache")


@pytest.fixture(scope="module")
def video(artifacts: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A real portrait as a real MP4 of three seconds with sound; its hash."""
    folder = tmp_path_factory.mktemp("video")
    picture = cv2.imread(str(PORTRAITS / "grace_hopper.jpg"))[..., ::-1]
    write_wav(folder / "tone.wav", 0.2 * np.sin(np.arange(48_000) * 0.15).astype(np.float32), 16_000)
    with VideoWriter(folder / "take.mp4", 512, 600, Fraction(25), folder / "tone.wav") as out:
        for number in range(75):
            out.write(np.roll(picture, round(6 * np.sin(number / 5)), axis=1))
    return artifacts.put(folder / "take.mp4", "render.mp4").sha256


def take(video: str, number: int = 1, **changes: Any) -> dict[str, Any]:
    curve = {
        "seconds": [[0, 0.31], [1, 0.12], [0, None]],
        "distances": [1.0 - 0.6 * np.exp(-((o / 2.0) ** 2)) for o in range(-15, 16)],
        "extra": {"seconds": 3.0, "prominence": 3.0},
    }
    row = {
        "take": 100 + number, "number": number, "parameters": {"seed": 3, "anchor": 4, "frames": 75, "fps": 25, "text": "Hello.", "notes": []},
        "seconds": {"render": 2.5, "speech": 0.4, "score": 0.6, "motion": 0.1}, "video": video, "code_version": "0.1.0+abc", "machine": {"cores": 2},
        "verdict": "pass", "reasons": ["in sync within 1 frame, confidence 0.30"], "offset": 0, "distance": 0.4, "confidence": 0.3, "curve": curve,
        "scorer": "ab" * 32, "thresholds": LEVELS,
    }  # fmt: skip
    return row | changes


def job(number: int, state: str, takes: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    row = {
        "job": number, "title": f"title{number}", "locale": "es-ES", "engine": "avct", "preset": "compact", "state": state, "attempts": 1, "error": None,
        "spec": {"inputs": {"portrait": {"sha256": "cd" * 32, "size": 9, "suffix": ".jpg", "place": "portraits/a.jpg"}}}, "takes": takes, "delivery": None,
    }  # fmt: skip
    return row | changes


@pytest.fixture(scope="module")
def batch(artifacts: Artifacts, video: str) -> dict[str, Any]:
    seen = artifacts.put(cv2.imencode(".png", np.full((60, 40, 3), 90, np.uint8))[1].tobytes(), "seen.png").sha256
    where = {"url": "/out/title1.es-ES.mp4", "sha256": video, "files": {"video": "/out/title1.es-ES.mp4"}, "take": 101}
    fell = {
        "code": "gate.flag",
        "message": "2 take(s) fell short",
        "job": "title2/es-ES",
        "next_step": "Change the seed and run again.",
    }
    covered = {
        "code": "input.occluded",
        "message": "a.jpg: the mouth seems covered",
        "job": "x",
        "next_step": "Give another picture.",
        "picture": seen,
    }
    jobs = [
        job(1, "delivered", [take(video)], delivery=where),
        job(
            2,
            "flagged",
            [take(video, 1, verdict="fail", confidence=0.05, offset=4), take(video, 2, verdict="flag", confidence=0.18)],
            error=fell,
        ),
        job(3, "failed", [], error=covered),
        job(
            4,
            "failed",
            [],
            title=HOSTILE,
            error={"code": "media.no_audio", "message": HOSTILE, "job": None, "next_step": HOSTILE},
        ),
        job(5, "queued", []),
        job(
            6,
            "delivered",
            [take("ee" * 32, verdict="unscorable", confidence=None, distance=None, offset=None, curve={}, thresholds={})],
        ),
    ]
    return {
        "batch": 7,
        "name": f"spring {HOSTILE}",
        "output": "s3://deliveries/spring/",
        "created_at": "2026-11-23T20:11:00+00:00",
        "jobs": jobs,
    }


@pytest.fixture(scope="module")
def lineages(video: str) -> dict[str, dict[str, Any]]:
    speech = {
        "role": "speech",
        "sha256": "34" * 32,
        "kind": "speech.npz",
        "size": 4000,
        "stages": [{"stage": "speech", "key": "k", "seconds": 0.4}],
        "made_from": [],
    }
    motion = {"role": "motion", "sha256": "12" * 32, "kind": "motion.npz", "size": 3000, "stages": [], "made_from": [speech]}
    weights = [{"engine": "avct", "name": "compact-renderer", "sha256": "56" * 32, "licence": "Apache-2.0"}]
    return {
        video: {
            "sha256": video,
            "kind": "render.mp4",
            "size": 1,
            "takes": [{"weights": weights}],
            "stages": [],
            "made_from": [motion],
        }
    }


@pytest.fixture(scope="module")
def written(
    batch: dict[str, Any], artifacts: Artifacts, lineages: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return write_report(batch, artifacts, tmp_path_factory.mktemp("page") / "deep" / "report.html", lineages)


class Page(HTMLParser):
    """Tags, ids and what each loads or links to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("src", "poster", "data", "srcset") or (tag == "link" and name == "href"):
                self.loads.append(value or "")
            elif name == "href":
                self.links.append(value or "")
            elif name.startswith("on"):
                self.handlers.append(name)


def test_the_page_loads_nothing_from_anywhere(written: Path) -> None:
    page = Page(written.read_text())
    assert page.loads and all(place.startswith("data:") for place in page.loads)
    assert page.tags.count("script") == 1 and page.handlers == []
    assert "url(" not in written.read_text() and "@import" not in written.read_text()
    assert "default-src 'none'" in written.read_text()
    assert [p.name for p in written.parent.iterdir()] == ["report.html"], "nothing half-written is left"


def test_every_link_in_the_page_leads_somewhere(written: Path) -> None:
    page = Page(written.read_text())
    assert len(page.ids) == len(set(page.ids))
    inner = [link[1:] for link in page.links if link.startswith("#")]
    assert inner and set(inner) <= set(page.ids)


def test_the_page_says_what_a_reader_needs(written: Path, video: str) -> None:
    text = re.sub(r"data:[a-z/0-9;,]+[A-Za-z0-9+/=]+", "", written.read_text())
    for wanted in (
        f"dubwright lineage {video}", "In sync", "Needs review", "the mouth seems covered", "Give another picture.", "Change the seed and run again.",
        "sound 4 frames (160 ms) before the lips", "avct/compact-renderer", "AI-generated", "GRID audiovisual sentence corpus", "10.5281/zenodo.3625687",
        "0.20 or more passes", "flagged below 0.15", "The video is not in this page", "No take yet", "23 November 2026", "speech.npz",
    ):  # fmt: skip
        assert wanted in text, wanted


def test_the_delivered_take_is_the_one_shown_and_others_are_listed(batch: dict[str, Any], artifacts: Artifacts) -> None:
    views = [report.job_view(row, {}, report.Media(artifacts)) for row in batch["jobs"]]
    assert views[0]["best"]["take"] == 101
    assert views[1]["best"]["number"] == 2 and [other["number"] for other in views[1]["others"]] == [1]
    counted = report.totals(views)
    assert counted["states"] == {"delivered": 2, "flagged": 1, "failed": 2, "queued": 1}
    assert (counted["takes"], counted["passed"], counted["scored"]) == (4, 1, 3)
    assert counted["video"] == pytest.approx(9.0) and counted["spent"] == pytest.approx(4 * 3.6)


def test_reviews_rungs_and_agreement_are_shown_the_best_take_first(artifacts: Artifacts, video: str, tmp_path: Path) -> None:
    why = "another engine, lipmemory; take 1 is the best so far (fail)"
    said = {"actor": "ana", "decision": "reject", "reason": "sync", "note": HOSTILE}
    takes = [
        take(video, 1, verdict="fail", confidence=0.9, engine="avct", reviews=[said]),
        take(video, 2, verdict="flag", confidence=0.1, engine="lipmemory", parameters={"frames": 75, "fps": 25, "why": why, "rung": {"engine": "lipmemory"}}),
        take(video, 3, verdict="flag", confidence=0.2, offset=5, engine="avct"),
    ]
    row = job(1, "rejected", takes, error={"code": "review.rejected", "message": "ana rejected take 1", "next_step": "", "job": "x"})
    view = report.job_view(row, {}, report.Media(artifacts))
    assert [view["best"]["number"], *(other["number"] for other in view["others"])] == [2, 3, 1]
    told = {"reviews": 7, "share": 0.5, "kappa": 0.25, "counts": {}, "by": []}
    batch = {"batch": 1, "name": "b", "output": "", "created_at": None, "jobs": [row], "agreement": told}
    text = write_report(batch, artifacts, tmp_path / "reviews.html").read_text()
    for wanted in ("Rejected", why, "ana: reject", "7 reviewed, gate and reviewers agree on 50%, Cohen&#39;s kappa 0.25", "lipmemory compact"):
        assert wanted in text, wanted
    assert "alert(1)</script>" not in text


def test_large_videos_stay_out_of_the_page(
    batch: dict[str, Any], artifacts: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "LARGEST_VIDEO", 1000)
    text = write_report(batch, artifacts, tmp_path / "small.html").read_text()
    assert "data:video" not in text and "/out/title1.es-ES.mp4" in text and "data:image/jpeg" in text


def test_an_empty_batch_has_a_page(artifacts: Artifacts, tmp_path: Path) -> None:
    text = write_report(
        {"batch": 1, "name": "none", "output": "", "created_at": None, "jobs": []}, artifacts, tmp_path / "none.html"
    ).read_text()
    assert "This batch has no jobs." in text


def test_drawings_hold_what_was_measured() -> None:
    level = {"seconds": 3.0, "passes": 0.2, "fails": 0.15}
    drawn = str(charts.curve_of([[0, 0.31], [2, 0.12], [0, None], [0, 0.4]], level))
    assert (
        drawn.count("<circle") == 3
        and drawn.count('class="dot low"') == 1
        and drawn.count('class="cell off"') == 1
        and drawn.count('class="cell none"') == 1
    )
    assert drawn.count("<polyline") == 1, "a pause breaks the line"
    assert "nan" not in drawn.lower()
    assert charts.curve_of([[0, None]], level) == "" == charts.gauge(None, level) == charts.gauge(0.3, None) == charts.sweep([])
    assert "at +3 frames" in charts.sweep([abs(o - 3) for o in range(-15, 16)])
    heights = [float(y) for y in re.findall(r'class="dot[^"]*" cx="[\d.]+" cy="([\d.]+)"', drawn)]
    assert heights[2] < heights[0] < heights[1], "higher confidence is drawn higher"
    bar = charts.stage_bar({"render": 3.0, "speech": 1.0, "other": float("nan")})
    assert [row["name"] for row in bar] == ["speech", "render"] and [row["share"] for row in bar] == [25.0, 75.0]


@pytest.mark.parametrize("count", [1, 2, 59, 600])
def test_curves_of_any_length_fit_their_frame(count: int) -> None:
    drawn = str(charts.curve_of([[0, 0.2]] * count, None))
    places = [float(x) for x in re.findall(r' c?x="(-?[\d.]+)"', drawn)]
    assert min(places) >= 0 and max(places) <= charts.WIDE
    assert len(re.findall(r'text-anchor="middle">\d', drawn)) <= 13


def test_words_for_times_sizes_and_offsets() -> None:
    assert [report.clock(s) for s in (None, 0.04, 9.96, 65.2, 7380)] == ["–", "0.0 s", "10 s", "1 min 05 s", "2 h 03 min"]
    assert report.offset_words(-1) == "lips 1 frame (40 ms) before the sound" and report.offset_words(None) == "not measured"
    assert report.size(3 * 2**20) == "3.0 MB" and report.size(10) == "1 KB"


def until(page: Any, condition: str) -> None:
    """Wait for a condition inside the page, whose content policy keeps playwright's own waiting out."""
    waiting = f"new Promise((go, stop) => {{ const look = () => ({condition}) ? go() : setTimeout(look, 50); setTimeout(stop, 15000); look(); }})"
    page.evaluate(waiting)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_browser_shows_it_and_plays_it(browser: Any, written: Path, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url[:80]))
    page.goto(written.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the window"
    player = page.locator("video").first
    player.evaluate("v => { v.muted = true; return v.play(); }")
    until(page, "document.querySelector('video').currentTime > 0.4")
    assert player.evaluate("v => [v.videoWidth, v.videoHeight, v.error === null, Math.round(v.duration)]") == [512, 600, True, 3]
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    page.close()


def test_every_stage_has_a_colour() -> None:
    style = (report.TEMPLATES / "report.css").read_text()
    assert [name for name in (*charts.STAGE_ORDER, "other") if not re.search(rf"\.k-{name}\b[^{{}}]*{{ background: \S", style)] == []


def test_filters_and_copying_work_from_the_keyboard(browser: Any, written: Path) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(written.as_uri())
    page.locator("[data-filter=flagged]").focus()
    page.keyboard.press("Enter")
    assert page.locator("article:visible").count() == 1 and "title2" in page.locator("article:visible").inner_text()
    assert page.locator("#shown").inner_text() == "1 shown"
    page.locator("[data-filter=all]").press("Space")
    assert page.locator("article:visible").count() == 6
    page.locator("summary").first.press("Enter")
    button = page.locator("details [data-copy]").first
    button.press("Enter")
    until(page, "[...document.querySelectorAll('[data-copy]')].some(b => b.textContent === 'Copied')")
    context.close()
