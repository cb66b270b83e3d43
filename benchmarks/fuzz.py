"""Coverage-guided fuzzing of what reads strangers' bytes: `python -m benchmarks.fuzz --target manifest|scripts|probe --seconds 60`.

Prints JSON: runs, how much of the code they reached (libFuzzer's counters), and every way in which a reader ended that is neither a result
nor a classified error, with the bytes. It needs atheris, of the extra `dev`. What is native (FFmpeg, Pillow's codecs) is run but not
measured: benchmarks.hostile is for that.
"""

import argparse
import base64
import io
import json
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from infra.errors import DubwrightError, SetupError

ROOT = Path(__file__).parent.parent
TARGETS = {
    "manifest": ("tasks.manifest", "tasks.rows", "yaml", "csv"), "scripts": ("tasks.scripts", "pysubs2", "ttconv", "openpyxl"), "probe": ("infra.guard", "PIL"),
}  # fmt: skip
SUFFIXES = (".vtt", ".srt", ".ttml", ".ass", ".csv", ".xlsx", ".txt", ".edl", "")
MEMORY_MIB, ONE_SECONDS, LONGEST_INPUT = 4096, 30, 1 << 16


def seeds(target: str, folder: Path) -> None:
    """Whole inputs to begin with, into a folder; scripts and manifests have a first byte that says which kind they are."""
    found: list[bytes] = []
    if target == "manifest":
        for number, suffix in enumerate((".yaml", ".json", ".csv")):
            found += [bytes([number]) + path.read_bytes() for path in (ROOT / "demo").glob(f"*{suffix}")]
        job = {"title": "a", "locale": "es-ES", "text": "Hola", "portrait": "a.png", "face": {"point": [0.5, 0.5]}, "timecode": "25@01:00:00:00", "captions": ["srt"], "voices": {"A": "espeak:es"}}
        found += [b"\1" + json.dumps({"batch": "b", "output": "o", "defaults": {}, "ladder": {"takes": 2}, "jobs": [job]}).encode(), b"\2title,locale,text,portrait\na,es-ES,Hola,a.png\n"]
    elif target == "scripts":
        from benchmarks.script_samples import samples

        found = [bytes([max(0, next((n for n, s in enumerate(SUFFIXES) if sample.name.endswith(s)), 0))]) + sample.data for sample in samples()]
    else:
        from benchmarks.hostile.samples import sounds, stills, videos

        with tempfile.TemporaryDirectory(prefix="dubwright-") as scratch:
            found = [*stills().values(), *videos(Path(scratch)).values(), *sounds(Path(scratch)).values()]
    for number, data in enumerate(found):
        (folder / f"seed-{number}").write_bytes(data[:LONGEST_INPUT])


def reader(target: str, scratch: Path) -> Callable[[bytes], None]:
    """What reads the bytes; it raises what it does not expect."""
    if target == "manifest":
        from tasks.manifest import check, parse

        def manifest(data: bytes) -> None:
            check(parse(data[1:].decode("utf-8", "replace"), (".yaml", ".json", ".csv")[data[0] % 3]), "/tmp")  # noqa: S108 (a name alone)

        return manifest
    if target == "scripts":
        from tasks.scripts import Reading, open_cues
        from tasks.scripts.captions import captions

        def script(data: bytes) -> None:
            path = scratch / f"script{SUFFIXES[data[0] % len(SUFFIXES)]}"
            path.write_bytes(data[1:])
            cues = open_cues(path, (Reading(), Reading("25", "10:00:00:00"))[data[0] >> 7]).cues
            for kind in ("vtt", "srt", "ttml"):
                captions(kind, cues, "es-ES").encode()

        return script
    from infra.guard import checks, stills

    limits = checks.Limits(hours=4, side=4096, pixels=4_000_000, streams=64, seconds=10**9, memory=MEMORY_MIB)
    checks.ready()
    stills.ready()

    def probe(data: bytes) -> None:
        try:
            checks.look(io.BytesIO(data), limits, False, lambda: None)
        except (checks.Refused, MemoryError):
            pass
        try:
            stills.plain(io.BytesIO(data), limits.pixels)
        except (stills.NoPicture, MemoryError):
            pass

    return probe


def fuzz(target: str, folder: Path, seconds: int) -> None:
    """The process that atheris has for itself: it reads, and writes what it did not expect as lines of JSON. Never returns."""
    import atheris

    with atheris.instrument_imports(include=list(TARGETS[target])):
        for name in TARGETS[target]:
            import_module(name)
        read = reader(target, folder)
    seen: set[str] = set()

    def once(data: bytes) -> None:
        if not data:
            return
        try:
            read(data)
        except DubwrightError:
            return
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            mark = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}"
            if mark not in seen:
                seen.add(mark)
                with (folder / "findings").open("a") as out:
                    out.write(json.dumps({"what": mark, "trace": traceback.format_exc(limit=-6), "bytes": base64.b64encode(data).decode()}) + "\n")

    limits = [f"-max_total_time={seconds}", f"-timeout={ONE_SECONDS}", f"-rss_limit_mb={MEMORY_MIB}", f"-max_len={LONGEST_INPUT}", f"-artifact_prefix={folder}/crash-"]
    atheris.Setup([sys.argv[0], *limits, str(folder / "corpus")], once)
    atheris.Fuzz()


def run(target: str, seconds: int) -> dict[str, Any]:
    """Fuzz one reader for so long; figures and findings. Raises SetupError without atheris."""
    try:
        import atheris  # noqa: F401 (asked for before a process is started)
    except ImportError as error:
        raise SetupError("atheris is not installed", code="setup.atheris", next_step="pip install -e '.[dev]'") from error
    with tempfile.TemporaryDirectory(prefix="dubwright-") as name:
        folder = Path(name)
        (folder / "corpus").mkdir()
        seeds(target, folder / "corpus")
        began = len(list((folder / "corpus").iterdir()))
        words = [sys.executable, "-m", "benchmarks.fuzz", "--target", target, "--seconds", str(seconds), "--inside", name]
        done = subprocess.run(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", timeout=seconds + 600, check=False)
        findings = [json.loads(line) for line in (folder / "findings").read_text().splitlines()] if (folder / "findings").exists() else []
        findings += [{"what": path.name, "bytes": base64.b64encode(path.read_bytes()).decode(), "trace": done.stderr[-3000:]} for path in folder.glob("crash-*")]
        last = re.findall(r"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+)", done.stderr) or [(0, 0, 0)]
        runs, reached, features = (int(value) for value in last[-1])
        if not runs:
            raise SetupError(f"the fuzzer did not run: {done.stderr[-500:]}", code="setup.atheris", next_step="Run it again; look at what it says.")
        figures = {"runs": runs, "reached": reached, "features": features, "inputs_kept": len(list((folder / "corpus").iterdir())) - began, "findings": len(findings)}
        return {"target": target, "seconds": seconds, "figures": figures, "findings": findings}


def main() -> None:
    """Run and print; end with 1 where something was found."""
    words = argparse.ArgumentParser(prog="benchmarks.fuzz")
    words.add_argument("--target", choices=TARGETS, required=True)
    words.add_argument("--seconds", type=int, default=60)
    words.add_argument("--inside", default="", help=argparse.SUPPRESS)
    asked = words.parse_args()
    if asked.inside:
        fuzz(asked.target, Path(asked.inside), asked.seconds)
    try:
        found = run(asked.target, asked.seconds)
    except SetupError as error:
        sys.exit(f"{error.message}\n{error.next_step}")
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    sys.exit(bool(found["findings"]))


if __name__ == "__main__":
    main()
