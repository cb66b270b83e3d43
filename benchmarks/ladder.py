"""What the ladder is worth: of takes that fall short at the first rung, the share that a later one brings to delivery.

Jobs that the command really runs, in a home folder of their own (no engine has won anything there yet): every portrait says every
sentence. Sentences are short, since those are what falls short: the less is said, the more is asked of how lips follow it.
`dubwright evaluate gate` and `python -m benchmarks.ladder`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.allowed import allow
from db import queries
from db.session import Database
from infra.errors import EngineError
from infra.postgres import embedded_url
from infra.settings import Settings
from tasks.ladder import of_row

ROOT = Path(__file__).resolve().parent.parent
PORTRAITS = ROOT / "demo" / "portraits"
SENTENCES = (("en-US", "Hello there."), ("fr-FR", "Bienvenue, mes amis."), ("en-GB", "Set white at zero now."))
TAKES = 4


def ladder(
    grid: Path, *, portraits: Iterable[Path] | None = None, sentences: Iterable[tuple[str, str]] = SENTENCES, takes: int = TAKES, home: Path | None = None
) -> dict[str, Any]:
    """The figures `ladder_...`, and a row for each job. Portraits are the demo's and those beside the corpus, where they are.

    home: a folder to work in; one that is kept lets a run that was cut off go on. Raises EngineError where the command fails.
    """
    chosen = sorted(portraits or found_beside(grid), key=lambda path: path.stem)
    lines = list(sentences)
    folder = Path(tempfile.mkdtemp(prefix="dubwright-ladder-")) if home is None else home
    try:
        return measured(jobs_of(chosen, lines, takes, folder))
    finally:
        if home is None:
            shutil.rmtree(folder, ignore_errors=True)


def found_beside(grid: Path) -> list[Path]:
    """Pictures of faces: the demo's, and those of a folder `portraits` beside the corpus, each name once."""
    folders = (PORTRAITS, grid.parent / "portraits")
    return list({path.stem: path for folder in folders for path in sorted(folder.glob("*")) if path.suffix in (".png", ".jpg")}.values())


def jobs_of(portraits: list[Path], sentences: list[tuple[str, str]], takes: int, home: Path) -> list[dict[str, Any]]:
    """Every job of a batch as a report shows it, after the command has run it in a home folder: each portrait says each (locale, text)."""
    from infra.postgres import stop_embedded

    jobs = [
        {"title": f"{path.stem} {number}", "locale": locale, "text": text, "portrait": str(path.absolute())}
        for path in portraits
        for number, (locale, text) in enumerate(sentences, 1)
    ]
    manifest = home / "ladder.json"
    home.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"batch": "ladder", "output": str(home / "out"), "ladder": {"takes": takes}, "jobs": jobs}))
    known = {name: value for name, value in os.environ.items() if not name.startswith(("DUBWRIGHT_", "PREFECT_"))}
    known |= {"DUBWRIGHT_HOME": str(home), "DUBWRIGHT_THREADS": os.environ.get("DUBWRIGHT_THREADS", "2")}
    allow(Settings(home=home), *portraits)  # type: ignore[call-arg]  # every field has a default
    try:
        done = subprocess.run([sys.executable, str(ROOT / "cli.py"), "run", str(manifest), "--json"], env=known, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 3):
            raise EngineError(f"the batch did not run: {(done.stdout or done.stderr)[-500:]}", code="engine.failed")
        database = Database(embedded_url(home))
        try:
            return list(queries.report(database, json.loads(done.stdout)["batch"])["jobs"])
        finally:
            database.close()
    finally:
        stop_embedded()


def measured(jobs: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of finished jobs: `ladder_recovered` of those whose first take fell short, and how often what was delivered is worse than it.

    Worse is what stands lower (tasks/ladder.py), or stands out less although the first take was in sync within a frame, too.
    """
    rows = [_row(job) for job in jobs if job["takes"]]
    short = [row for row in rows if row["takes"][0]["verdict"] != "pass"]
    recovered = [row for row in short if row["state"] == "delivered"]
    figures = {
        "ladder_jobs": len(rows),
        "ladder_fell_short": len(short),
        "ladder_recovered": round(len(recovered) / len(short), 4) if short else 0.0,
        "ladder_worse": sum(row["worse"] for row in recovered),
        "ladder_takes": round(sum(len(row["takes"]) for row in short) / max(len(short), 1), 2),
    }
    return {"figures": figures, "ladder": rows}


def _row(job: dict[str, Any]) -> dict[str, Any]:
    takes = [
        {
            "engine": take["engine"], **take["parameters"]["rung"], "seed": take["parameters"]["seed"], "verdict": take["verdict"], "offset": take["offset"],
            "prominence": _clear(take), "confidence": take["confidence"],
        }
        for take in job["takes"]
    ]  # fmt: skip
    delivered = next((take for take in job["takes"] if job["delivery"] and take["take"] == job["delivery"]["take"]), None)
    first, worse = job["takes"][0], False
    if delivered is not None and delivered is not first:
        both = abs(first["offset"] if first["offset"] is not None else 99) <= 1
        worse = of_row(delivered) < of_row(first) or (both and _clear(delivered) < _clear(first))
    return {"title": job["title"], "locale": job["locale"], "state": job["state"], "delivered": delivered and delivered["number"], "worse": worse, "takes": takes}


def _clear(take: dict[str, Any]) -> float:
    return float(((take["curve"] or {}).get("extra") or {}).get("prominence") or 0.0)


if __name__ == "__main__":
    reader = argparse.ArgumentParser(prog="benchmarks.ladder", description=__doc__)
    reader.add_argument("--grid", type=Path, default=ROOT.parent / "shared" / "data" / "grid")
    reader.add_argument("--home", type=Path)
    reader.add_argument("--takes", type=int, default=TAKES)
    given = reader.parse_args()
    sys.stdout.write(json.dumps(ladder(given.grid, takes=given.takes, home=given.home), ensure_ascii=False, indent=1) + "\n")
