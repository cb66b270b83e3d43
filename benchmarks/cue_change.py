"""One cue of a script changed: how many windows are rendered again, and whether all other pictures are, before the encode, bit for bit as they were.

    python -m benchmarks.cue_change --cues 40 [--kind portrait|film] [--window 2]

Three runs of the whole pipeline: the script; the same title with one cue in other words, on the same ledger; and that second script again with
nothing done before it. What is written is hashed picture by picture, as it goes to the encoder. The cue's windows are those that its slot
touches, with half a second about it: lips move before a voice and after it, and the motion of a portrait looks a fifth of a second ahead.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.video import FilmWriter, Picture

ROOT = Path(__file__).resolve().parent.parent
SLOT, ABOUT = 1.5, 0.5  # seconds that a cue has; about a cue that lips move
SAID = ("Good morning.", "How are you?", "The train is late.", "We wait here.", "It rains again.", "Come inside.", "Sit down.", "Tell me more.")
OTHER = "Nobody knows."


def script(cues: int, changed: int | None = None) -> str:
    """A WebVTT script of cues that leave some silence between them; `changed` says something else."""
    rows = (f"{_stamp(at * SLOT + 0.3)} --> {_stamp((at + 1) * SLOT - 0.1)}\n{OTHER if at == changed else SAID[at % len(SAID)]}\n" for at in range(cues))
    return "WEBVTT\n\n" + "\n".join(rows)


def _stamp(seconds: float) -> str:
    return f"{int(seconds) // 3600:02d}:{int(seconds) // 60 % 60:02d}:{seconds % 60:06.3f}"


def windows_of(changed: int, window: int, total: int) -> set[int]:
    """The windows, `window` seconds long, that a cue touches."""
    first, last = changed * SLOT + 0.3 - ABOUT, (changed + 1) * SLOT - 0.1 + ABOUT
    return {number for number in range(total) if first < (number + 1) * window and last > number * window}


@contextmanager
def hashed() -> Iterator[dict[int, str]]:
    """Hashes of the pictures that are encoded while the block runs, by their number."""
    found: dict[int, str] = {}
    plain = FilmWriter.write

    def write(self: FilmWriter, /, picture: Picture) -> None:
        made = hashlib.sha256()
        for plane in (picture.y, picture.u, picture.v):
            made.update(plane.tobytes())
        found[self.frames] = made.hexdigest()
        plain(self, picture)

    FilmWriter.write = write  # type: ignore[method-assign, assignment]
    try:
        yield found
    finally:
        FilmWriter.write = plain  # type: ignore[method-assign]


def made(folder: Path, job: dict[str, Any], words: str, settings: Any) -> tuple[dict[int, str], dict[str, Any]]:
    """A job's take of a script, rendered in this process: hashes of the pictures that were encoded, and the take's row."""
    from benchmarks.allowed import allow
    from flows.run import run_manifest
    from tasks.manifest import load_manifest

    (folder / "script.vtt").write_text(words)
    tree = {"batch": "change", "output": str(folder / "out"), "ladder": {"takes": 1}, "jobs": [{"title": "changed", "locale": "en-US", "script": str(folder / "script.vtt"), **job}]}
    path = folder / "manifest.json"
    path.write_text(json.dumps(tree))
    allow(settings, path)
    with hashed() as found:
        done = run_manifest(load_manifest(path), settings, _Quiet())
    return found, done.rows["jobs"][0]["takes"][-1]


class _Quiet:
    """A watcher that says nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def compare(first: dict[int, str], again: dict[int, str], whole: dict[int, str], size: int) -> dict[str, Any]:
    """What the runs rendered. first, again, whole: hashes of pictures of the script, of the changed one, and of that with nothing done before."""
    rendered = sorted({number // size for number in again})
    kept = [number for number in whole if number // size not in rendered]
    return {
        "windows": -(-len(whole) // size), "rendered again": rendered, "pictures elsewhere": len(kept),
        "of them as they were": sum(first.get(number) == whole[number] for number in kept),
        "pictures rendered again": len(again), "of them as a whole render's": sum(whole.get(number) == sha for number, sha in again.items()),
    }  # fmt: skip


def inputs(folder: Path, kind: str, seconds: float, size: int = 256) -> dict[str, Any]:
    """A job's picture: a small portrait, or a film of its person."""
    import cv2

    sys.path.insert(0, str(ROOT / "tests"))
    import redub_cases  # type: ignore[import-not-found]  # of tests/, put on the path above

    if kind == "film":
        redub_cases.COUNT = round(seconds * 25)
        return {"video": str(redub_cases.scene(folder / "film.mp4")), "engine": "lipmemory"}
    picture = cv2.imread(str(ROOT / "demo" / "portraits" / "grace_hopper.jpg"))
    assert picture is not None
    cv2.imwrite(str(folder / "portrait.png"), cv2.resize(picture, (size, size * 300 // 256), interpolation=cv2.INTER_AREA))
    return {"portrait": str(folder / "portrait.png"), "engine": kind if kind in ("avct", "lipmemory") else "avct"}


@contextmanager
def home(folder: Path, window: int) -> Iterator[Any]:
    """Settings with a ledger of their own."""
    from flows.conductor import configure
    from infra.postgres import stop_embedded
    from infra.settings import get_settings

    before = dict(os.environ)
    os.environ |= {"DUBWRIGHT_HOME": str(folder), "DUBWRIGHT_WINDOW_SECONDS": str(window), "DUBWRIGHT_VIDEO_PRESET": "ultrafast"}
    get_settings.cache_clear()
    configure(get_settings())
    try:
        yield get_settings()
    finally:
        stop_embedded()
        os.environ.clear()
        os.environ |= before
        get_settings.cache_clear()


def measure(kind: str, cues: int, changed: int, window: int) -> dict[str, Any]:
    """One kind of job, three runs."""
    with tempfile.TemporaryDirectory(prefix="dubwright-cue-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        job = inputs(folder, kind, cues * SLOT)
        with home(folder / "one", window) as settings:
            first, _ = made(folder, job, script(cues), settings)
            again, take = made(folder, job, script(cues, changed), settings)
        with home(folder / "two", window) as settings:
            whole, other = made(folder, job, script(cues, changed), settings)
    told = compare(first, again, whole, window * 25)
    own = sorted(windows_of(changed, window, told["windows"]))
    return {"kind": kind, "cues": cues, "windows of the cue": own, **told, "same file as a whole render's": take["video"] == other["video"]}


def main() -> None:
    """Print what each kind of job does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cues", type=int, default=40)
    parser.add_argument("--changed", type=int, default=20)
    parser.add_argument("--window", type=int, default=2)
    parser.add_argument("--kind", choices=("portrait", "lipmemory", "film"), action="append")
    known = parser.parse_args()
    for kind in known.kind or ("portrait", "film"):
        sys.stdout.write(json.dumps(measure(kind, known.cues, known.changed, known.window), indent=1) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
