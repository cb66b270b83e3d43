"""How long the review desk's server takes for its pages with 100,000 takes in the ledger: quantiles over many requests, cold ones among them.

`python -m benchmarks.desk` fills an embedded Postgres by SQL: 50,000 flagged jobs with two takes each, in 50 batches, 12 locales, 40 pictures.
A request is counted from the app's door to its last byte, in this process: routing, session, database, template; no network. Counted is the
processor time of the desk and of its Postgres backends, which is what a request takes where nobody else wants the processor, and the time by
the clock.
"""

import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import text

from benchmarks import rows
from db import accounts
from db.session import Database, open_database
from infra.artifacts import open_artifacts
from infra.settings import Settings

JOBS, TAKES = 50_000, 2
REQUESTS = 120  # of each kind
LOCALES = ("es-ES", "fr-FR", "de-DE", "it-IT", "pt-BR", "nl-NL", "pl-PL", "sv-SE", "hi-IN", "ja-JP", "ko-KR", "tr-TR")
FILL = """
INSERT INTO batches (key, name, output) SELECT 'b' || n, 'night ' || n, 's3://out/' FROM generate_series(1, 50) n;
INSERT INTO artifacts (sha256, kind, size, key) SELECT md5(n::text) || md5('v' || n), 'render.mp4', 1000000, 'k' || n FROM generate_series(1, {takes}) n;
INSERT INTO calibrations (scorer, thresholds) VALUES ('s', '{{"stretch": 1.0, "levels": [{{"seconds": 1, "passes": 7, "fails": 3}}, {{"seconds": 3, "passes": 5, "fails": 2.5}}]}}');
INSERT INTO jobs (batch_id, position, key, title, locale, engine, preset, spec, state, updated_at)
    SELECT 1 + n % 50, n, 'j' || n, 'title ' || n, ('{{{locales}}}'::text[])[1 + n % 12], 'auto', 'compact',
           jsonb_build_object('inputs', jsonb_build_object('portrait', jsonb_build_object('place', 's3://in/face' || n % 40 || '.png', 'sha256', 'x', 'suffix', '.png', 'size', 1))), 'flagged',
           now() - n * interval '3 minutes'
    FROM generate_series(1, {jobs}) n;
INSERT INTO takes (job_id, number, engine, preset, parameters, code_version, machine, seconds, video)
    SELECT 1 + (n - 1) / {each}, 1 + (n - 1) % {each}, (ARRAY['avct', 'lipmemory', 'coherence'])[1 + n % 3], 'compact', '{{"seed": 1, "frames": 300, "fps": 25}}', 'c', '{{}}', '{{"render": 2}}',
           md5(n::text) || md5('v' || n) FROM generate_series(1, {takes}) n;
INSERT INTO verdicts (take_id, calibration_id, verdict, reasons, offset_frames, distance, confidence, curve)
    SELECT n, 1, (ARRAY['flag', 'flag', 'flag', 'fail', 'unscorable'])[1 + n % 5],
           (ARRAY['["in sync within 1 frame, but x, under the 5.0 that passes"]', '["the mouth is blurred beside the rest of the face: x"]', '["the lower face flickers: x"]']::jsonb[])[1 + n % 3],
           n % 3, 1.0, 0.3, jsonb_build_object('extra', jsonb_build_object('prominence', (n % 500) / 100.0, 'seconds', 12), 'seconds',
           (SELECT jsonb_agg(jsonb_build_array(s % 4, 0.1 * (s % 5))) FROM generate_series(1, 12) s), 'distances', (SELECT jsonb_agg(s * 0.01) FROM generate_series(1, 31) s))
    FROM generate_series(1, {takes}) n;
SELECT queue_put(id) FROM jobs;
INSERT INTO events (batch_id, job_id, kind, detail) SELECT 1 + n % 50, n, 'flagged', '{{}}' FROM generate_series(1, {jobs}) n;
"""


def fill(database: Database, jobs: int = JOBS) -> None:
    """A ledger with so many flagged jobs of two takes each."""
    with database.begin() as session:
        for statement in FILL.format(jobs=jobs, takes=jobs * TAKES, each=TAKES, locales=",".join(LOCALES)).split(";\n"):
            if statement.strip():
                session.execute(text(statement))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def pages(jobs: int, chance: random.Random) -> dict[str, Callable[[], str]]:
    """What is asked for, by kind."""
    def filters() -> str:
        some = {"locale": chance.choice(LOCALES), "engine": chance.choice(("avct", "lipmemory")), "kind": chance.choice(("sync", "mouth", "unscorable")), "batch": str(chance.randint(1, 50)), "speaker": f"face{chance.randint(0, 39)}", "hours": "24", "held": "free"}  # fmt: skip
        return "&".join(f"{name}={some[name]}" for name in chance.sample(sorted(some), chance.randint(1, 3)))

    return {
        "list": lambda: "/",
        "list_filtered": lambda: f"/?{filters()}",
        "list_further": lambda: f"/queue/rows?after={-chance.uniform(480_000, 500_000)},{chance.randint(1, jobs)}",
        "live_changed": lambda: f"/queue/live?stamp=old&{filters()}",
        "next": lambda: f"/queue/next?{filters()}",
        "take": lambda: f"/takes/{chance.randint(1, jobs * TAKES)}",
        "title": lambda: f"/titles/title {chance.randint(1, jobs)}",
    }


def used(database: Database) -> float:
    """Milliseconds of processor time that this process and its Postgres backends have used so far."""
    with database.engine.connect() as connection:
        pids = list(connection.execute(text("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'")).scalars())
    spent = time.process_time() * 1000
    for pid in pids:
        try:
            spent += int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6
        except OSError:
            continue  # it has ended
    return spent


def run(jobs: int = JOBS, requests: int = REQUESTS) -> dict[str, Any]:
    """Fill, ask, and tell quantiles in milliseconds by kind of page."""
    from fastapi.testclient import TestClient

    from review.app import create_desk

    chance = random.Random(7)
    with tempfile.TemporaryDirectory(prefix="dubwright-") as folder:
        settings = Settings(home=Path(folder))  # type: ignore[call-arg]  # every field has a default
        database = open_database(settings)
        fill(database, jobs)
        person = accounts.add(database, "ana", "reviewer")
        token, _ = accounts.sign_in(database, person, "benchmark")
        app = create_desk(database, open_artifacts(settings), settings)
        took: dict[str, list[float]] = {}
        clock: dict[str, list[float]] = {}
        with TestClient(app, base_url="http://desk.test", follow_redirects=False) as client:
            client.cookies.set("desk", token)
            asked = pages(jobs, chance)
            for _ in range(requests):
                for kind, place in asked.items():
                    where = place()
                    before, started = used(database), time.perf_counter()
                    answer = client.get(where, headers={"accept": "text/html"})
                    clock.setdefault(kind, []).append((time.perf_counter() - started) * 1000)
                    took.setdefault(kind, []).append(used(database) - before)
                    if answer.status_code not in (200, 303):
                        raise RuntimeError(f"{where}: {answer.status_code}")
        database.close()
    rows.add({f"desk_{kind}": ("ms", values) for kind, values in took.items()})
    rows.add({f"desk_{kind}_clock": ("ms", values) for kind, values in clock.items()})
    quantiles = {kind: np.percentile(values, (20, 50, 80, 95, 100)) for kind, values in took.items()}
    cells = [[kind, *(f"{value:.1f}" for value in found), *(f"{value:.1f}" for value in np.percentile(clock[kind], (50, 95)))] for kind, found in quantiles.items()]
    figures = {f"desk_{kind}_p95_ms": round(float(found[3]), 1) for kind, found in quantiles.items()}
    figures |= {f"desk_{kind}_clock_p95_ms": round(float(np.percentile(values, 95)), 1) for kind, values in clock.items()}
    return {"figures": figures, "tables": [{"title": f"milliseconds at {jobs * TAKES:,} takes", "columns": ["page", "p20", "p50", "p80", "p95", "max", "clock p50", "clock p95"], "rows": cells}]}


if __name__ == "__main__":
    for line in run(int(sys.argv[1]) if len(sys.argv) > 1 else JOBS)["tables"][0]["rows"]:
        sys.stdout.write("  ".join(f"{cell:>14}" for cell in line) + "\n")
