"""The API under uvicorn on a real Postgres: who may do what, one batch from eight clients, one shape of errors, nothing of the server's own."""

import json
import random
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from jsonschema import Draft202012Validator
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.routing import Mount

from api.access import PUBLIC, ScopedRoute, needs, scope_of
from api.app import create_api
from api.problems import Problem
from api_cases import ALL, client, serving
from db import ledger, operations, queries, tokens
from db.session import Database, open_database
from flow_cases import HOPPER, ROOT, allow, new_home
from infra.settings import Settings
from ledger_cases import give, row, take, verdict
from openapi_cases import Asking

SHA = "0" * 64


@pytest.fixture(name="home", scope="module")
def home_fixture() -> Iterator[Path]:
    with new_home() as folder:
        yield folder


@pytest.fixture(name="known", scope="module")
def known_fixture(home: Path) -> Settings:
    place = home / "media"
    place.mkdir()
    (place / "face.jpg").write_bytes(HOPPER.read_bytes())
    (home / "prices.yaml").write_text("currency: EUR\ndefault: {cpu_hour: 3600}\n")
    return Settings(home=home, api_places=str(place), api_rate=100_000, webhook_allow="127.0.0.0/8", prices=home / "prices.yaml")  # type: ignore[call-arg]


@pytest.fixture(name="database", scope="module")
def database_fixture(known: Settings) -> Iterator[Database]:
    made = open_database(known)
    yield made
    made.close()


@pytest.fixture(name="address", scope="module")
def address_fixture(database: Database, known: Settings) -> Iterator[str]:
    allow(known, HOPPER)
    with serving(database, known) as place:
        yield place


@pytest.fixture(name="ana", scope="module")
def ana_fixture(address: str, database: Database) -> Iterator[httpx.Client]:
    with client(address, database) as made:
        yield made


def manifest(name: str, *texts: str, **rest: Any) -> dict[str, Any]:
    jobs = [{"title": f"t{number}", "text": words} for number, words in enumerate(texts, 1)]
    return {"batch": name, "output": "out", "defaults": {"portrait": "face.jpg", "locale": "en-US"}, "jobs": jobs, **rest}


def problem_of(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """An answer's problem document, which has the one shape."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    Problem(**told)
    assert told["code"] == code and told["status"] == status and told["next_step"] and told["type"] == f"urn:dubwright:error:{code}"
    assert told["instance"] == f"urn:uuid:{answer.headers['x-request-id']}" and "Traceback" not in answer.text
    return told  # type: ignore[no-any-return]


def test_eight_clients_submit_one_manifest_as_one_batch(address: str, database: Database) -> None:
    together = threading.Barrier(8, timeout=60)
    secrets = [tokens.create(database, "test", "ana", ["submit"])[0] for _ in range(8)]

    def submit(secret: str, name: str, key: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {secret}"} | ({"Idempotency-Key": key} if key else {})
        with httpx.Client(base_url=address, headers=headers, timeout=120, verify=False) as mine:
            together.wait()
            while (answer := mine.post("/v1/batches", json=manifest(name, "Hello."))).status_code == 409:
                assert answer.headers["retry-after"] == "1" and answer.json()["code"] == "idempotency.busy"
                time.sleep(0.2)
            return answer

    with ThreadPoolExecutor(8) as pool:
        plain = list(pool.map(lambda secret: submit(secret, "eight", ""), secrets))
        keyed = list(pool.map(lambda _: submit(secrets[0], "keyed", '"8e03978e-40d5-43dd-bc93-6894a57f9324"'), range(8)))
    assert sorted(answer.status_code for answer in plain) == [200] * 7 + [201] and {answer.status_code for answer in keyed} == {201}
    assert len({answer.json()["batch"] for answer in plain}) == 1 and sum(answer.json()["created"] for answer in plain) == 1
    assert len({answer.content for answer in keyed}) == 1
    with database.begin() as session:
        names = session.execute(text("SELECT name, count(*) FROM batches WHERE name IN ('eight', 'keyed') GROUP BY name")).all()
        jobs = session.execute(text("SELECT count(*) FROM jobs WHERE batch_id = :b"), {"b": plain[0].json()["batch"]}).scalar_one()
    assert sorted(map(tuple, names)) == [("eight", 1), ("keyed", 1)] and jobs == 1


def test_a_key_means_one_request_for_a_day(ana: httpx.Client, database: Database) -> None:
    key = {"Idempotency-Key": "once-1"}
    first = ana.post("/v1/batches", json=manifest("once", "Hi."), headers=key)
    again = ana.post("/v1/batches", json=manifest("once", "Hi."), headers=key)
    assert first.status_code == again.status_code == 201 and first.content == again.content
    assert again.headers["idempotency-replayed"] == "true" and again.headers["location"] == first.headers["location"] == f"/v1/batches/{first.json()['batch']}"
    problem_of(ana.post("/v1/batches", json=manifest("other", "Hi."), headers=key), 422, "idempotency.other")
    problem_of(ana.post("/v1/batches", json=manifest("once", "Hi."), headers={"Idempotency-Key": "x" * 256}), 422, "idempotency.key")
    wrong = {"Idempotency-Key": "mended"}
    problem_of(ana.post("/v1/batches", json={"batch": "mended"}, headers=wrong), 422, "manifest.invalid")
    assert ana.post("/v1/batches", json=manifest("mended", "Hi."), headers=wrong).status_code == 201
    with database.begin() as session:
        session.execute(text("UPDATE kept_answers SET began_at = now() - interval '25 hours' WHERE key = 'once-1'"))
    assert ana.post("/v1/batches", json=manifest("once", "Hi."), headers=key).status_code == 200  # a new request, the same batch
    with database.begin() as session:  # a process that died while it answered
        session.execute(text("UPDATE kept_answers SET status = NULL, answer = NULL WHERE key = 'once-1'"))
    problem_of(ana.post("/v1/batches", json=manifest("once", "Hi."), headers=key), 409, "idempotency.busy")
    with database.begin() as session:
        session.execute(text("UPDATE kept_answers SET held_until = now() WHERE key = 'once-1'"))
    assert ana.post("/v1/batches", json=manifest("once", "Hi."), headers=key).status_code == 200


def test_a_plan_enters_nothing_and_a_submission_says_what_is_next(ana: httpx.Client, database: Database, home: Path) -> None:
    asked = manifest("planned", "Hello to you.", "x")
    asked["jobs"][1]["portrait"] = "gone.jpg"
    told = ana.post("/v1/plans", json=asked).json()
    assert told["counts"] == {"made": 1, "exists": 0, "invalid": 1} and told["work_seconds"] > 0
    assert told["cost"]["currency"] == "EUR" and told["cost"]["amount"] == pytest.approx(told["work_seconds"], abs=0.1)  # a unit for a second
    assert told["jobs"][1]["error"]["code"] == "store.missing" and ana.get("/v1/batches", params={"name": "planned"}).json() == {"items": [], "next": None}
    import yaml

    made = ana.post("/v1/batches", content=yaml.safe_dump(asked), headers={"Content-Type": "application/yaml"}).json()
    assert made["created"] and not made["started"] and made["not_made"][0]["title"] == "t2"
    kept = re.search(r"dubwright run (\S+manifests/\w+\.json)", made["next_step"])
    assert kept, made["next_step"]
    from tasks.manifest import load_manifest
    from tasks.plan import plan

    same = plan(load_manifest(kept[1]), database, Settings(home=home))  # type: ignore[call-arg]
    with database.begin() as session:
        assert session.execute(text("SELECT id FROM batches WHERE key = :key"), {"key": same.key}).scalar_one() == made["batch"]


REFUSED_PLACES = (
    ("portrait", "/etc/passwd"), ("portrait", "../../../etc/passwd"), ("portrait", "~/x.png"), ("portrait", "link.jpg"), ("portrait", "file:///etc/passwd"),
    ("portrait", "http://169.254.169.254/latest"), ("portrait", "s3://169.254.169.254/latest"), ("portrait", "s3://../x"), ("portrait", "s3://b/../../x.png"),
    ("portrait", "s3://user@host:80/x.png"), ("portrait", "s3:///x"), ("portrait", "s3://bucket"), ("portrait", "s3://bucket/"), ("script", "/proc/self/environ"), ("audio", "s3://b?x=/y.wav"), ("output", "/tmp"), ("output", "s3://"),
    ("output", "http://169.254.169.254/"), ("portrait", "S3://b/x"), ("transcript", "/etc/hosts.txt"),
)  # fmt: skip


@pytest.mark.parametrize(("field", "place"), REFUSED_PLACES, ids=lambda value: str(value))
def test_places_of_the_server_and_of_its_network_are_refused(ana: httpx.Client, known: Settings, field: str, place: str) -> None:
    link = Path(known.api_places) / "link.jpg"
    if not link.is_symlink():
        link.symlink_to("/etc/passwd")
    asked = manifest("places", "Hello.")
    if field == "output":
        asked["output"] = place
    elif field == "portrait":
        asked["defaults"]["portrait"] = place
    else:
        asked["jobs"] = [{"title": "t", field: place, **({"audio": "a.wav"} if field == "transcript" else {})}]
    for route in ("/v1/plans", "/v1/batches"):
        answer = ana.post(route, json=asked)
        told = problem_of(answer, 422, answer.json()["code"])
        assert told["code"] in ("manifest.place", "manifest.invalid") and told["faults"]
        assert {fault["field"] for fault in told["faults"]} == {field} and "root:" not in answer.text


def test_without_listed_folders_no_folder_is_reached(database: Database, home: Path) -> None:
    with serving(database, Settings(home=home, api_places="s3://spring/in", api_body_mib=1, api_rate=10_000)) as place, client(place, database) as ana:  # type: ignore[call-arg]
        for portrait in ("face.jpg", str(home / "media" / "face.jpg"), "s3://spring/inner.png", "s3://autumn/in/a.png"):
            asked = manifest("none", "Hi.", output="s3://spring/in/out")
            asked["defaults"]["portrait"] = portrait
            problem_of(ana.post("/v1/plans", json=asked), 422, "manifest.place")
        large = b'{"batch": "' + b"x" * (1 << 20) + b'"}'
        problem_of(ana.post("/v1/plans", content=large, headers={"Content-Type": "application/json"}), 413, "request.too_large")
        pieces = (large[at : at + 65536] for at in range(0, len(large), 65536))
        problem_of(ana.post("/v1/plans", content=pieces, headers={"Content-Type": "application/json"}), 413, "request.too_large")


def routes(app: FastAPI) -> list[APIRoute]:
    found: list[Any] = []
    waiting: list[Any] = list(app.routes)
    while waiting:
        one = waiting.pop()
        if isinstance(one, APIRoute):
            found.append(one)
        else:
            waiting += getattr(one, "original_router", one).routes if hasattr(one, "original_router") or hasattr(one, "routes") else []
    return found


def filled(path: str) -> str:
    return re.sub(r"\{\w+\}", "1", path.replace("{sha256}", SHA))


def test_no_route_lets_anybody_in_who_does_not_belong(address: str, database: Database, known: Settings) -> None:
    app = create_api(database, known)
    every = routes(app)
    assert {method.lower() + " " + path for path, ways in app.openapi()["paths"].items() for method in ways} <= {f"{min(one.methods).lower()} {one.path}" for one in every}
    assert len(every) >= 32 and all(isinstance(one, ScopedRoute) for one in every) and {one.path for one in every if scope_of(one) == PUBLIC} == {"/healthz", "/readyz"}
    made = {scope: tokens.create(database, scope, "eve", [scope])[0] for scope in ("read", "submit", "operate", "review")}
    expired, row = tokens.create(database, "old", "eve", ALL, days=1)
    revoked, gone = tokens.create(database, "gone", "eve", ALL)
    tokens.revoke(database, gone["token"])
    with database.begin() as session:
        session.execute(text("UPDATE api_tokens SET expires_at = now() - interval '1 second' WHERE prefix = :p"), {"p": row["token"]})
    bad = ("", f"Bearer {expired}", f"Bearer {revoked}", f"Bearer {made['read'][:-1]}", f"Basic {made['read']}")
    for number, one in enumerate(one for one in every if scope_of(one) != PUBLIC):
        method, path, scope = min(one.methods), filled(one.path), scope_of(one)
        with httpx.Client(base_url=address, transport=httpx.HTTPTransport(local_address=f"127.0.1.{number + 1}", verify=False), timeout=30) as stranger:  # refusals are counted by address
            for header in bad:
                answer = stranger.request(method, path, headers={"Authorization": header} if header else {}, content=b"{" if method != "GET" else None)
                problem_of(answer, 401, "access.token")
                assert answer.headers["www-authenticate"].startswith('Bearer realm="dubwright"') and ("invalid_token" in answer.headers["www-authenticate"]) == (header in bad[1:4])
            for name, secret in made.items():
                answer = stranger.request(method, path, headers={"Authorization": f"Bearer {secret}"}, content=b"{" if method != "GET" else None)
                if name == scope:
                    assert answer.status_code not in (401, 403), (path, answer.text)
                else:
                    problem_of(answer, 403, "access.scope")
                    assert f'error="insufficient_scope", scope="{scope}"' in answer.headers["www-authenticate"]
    operations.steer(database, "open", "ana")  # some of these calls were served
    with pytest.raises(AssertionError, match="names no scope"):
        ScopedRoute("/open", lambda: None)
    with pytest.raises(AssertionError):
        needs("everything")
    with database.begin() as session:
        stored = session.execute(text("SELECT string_agg(t::text, ' ') FROM api_tokens t")).scalar_one()
    assert not any(secret.rpartition("_")[2] in stored for secret in (*made.values(), expired, revoked))


def test_who_calls_too_often_is_told_when_to_come_back(database: Database, home: Path) -> None:
    with serving(database, Settings(home=home, api_rate=3)) as place, client(place, database) as ana, httpx.Client(base_url=place) as stranger:  # type: ignore[call-arg]
        assert [ana.get("/v1/service").status_code for _ in range(3)] == [200] * 3
        answer = ana.get("/v1/service")
        problem_of(answer, 429, "access.busy")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert [stranger.get("/v1/service").status_code for _ in range(61)] == [401] * 60 + [429]
        assert stranger.get("/healthz").status_code == 200


def test_every_error_has_one_shape_and_every_answer_its_headers(ana: httpx.Client, database: Database, home: Path) -> None:
    answers = (
        (ana.get("/v1/nothing"), 404, "request.not_found"), (ana.get("/v1/batches/999999"), 404, "batch.missing"), (ana.get("/v1/jobs/999999"), 404, "job.unknown"),
        (ana.get(f"/v1/lineage/{SHA}"), 404, "lineage.unknown"), (ana.delete("/v1/batches"), 405, "request.method"), (ana.get("/v1/batches/0"), 422, "request.invalid"),
        (ana.get("/v1/batches", params={"cursor": "!"}), 422, "request.cursor"), (ana.get("/v1/jobs", params={"state": "odd"}), 422, "request.invalid"),
        (ana.put("/v1/batches/1/priority", content=b"{", headers={"Content-Type": "application/json"}), 422, "request.invalid"),
        (ana.post("/v1/takes/999999/review", json={"decision": "approve"}), 404, "review.unknown"), (ana.post("/v1/webhooks", json={"url": "https://10.0.0.1/"}), 422, "outbound.refused"),
        (ana.post("/v1/batches", content=b"a: [", headers={"Content-Type": "application/yaml"}), 422, "manifest.invalid"), (ana.post("/v1/batches", content=b"a"), 422, "manifest.type"),
        (ana.post("/v1/batches", content=b'{"batch": "\\u0000"}', headers={"Content-Type": "application/json"}), 422, "manifest.invalid"),
        (ana.post("/v1/batches", content=b"[" * 100_000, headers={"Content-Type": "application/json"}), 422, "manifest.invalid"),
        (ana.post("/v1/batches", content=b"\xff\xfe", headers={"Content-Type": "application/json"}), 422, "manifest.not_text"),
    )  # fmt: skip
    for answer, status, code in answers:
        problem_of(answer, status, code)
    assert answers[4][0].headers["allow"]
    for answer in (ana.get("/healthz"), answers[0][0]):
        assert answer.headers["x-content-type-options"] == "nosniff" and "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store" and answer.headers["x-request-id"]
    app = create_api(database, Settings(home=home))  # type: ignore[call-arg]

    def break_down() -> None:
        raise RuntimeError("secret-word in /srv/inner.py")

    app.router.add_api_route("/broken", break_down, route_class_override=ScopedRoute, **needs(PUBLIC))
    with serving(database, Settings(home=home), app) as place:  # type: ignore[call-arg]
        answer = httpx.get(f"{place}/broken")
        problem_of(answer, 500, "internal.error")
        assert "secret-word" not in answer.text and answer.headers["x-content-type-options"] == "nosniff"
    away = Database("postgresql+psycopg://u:secret-word@127.0.0.1:9/db")
    with serving(away, Settings(home=home)) as place:  # type: ignore[call-arg]
        answer = httpx.get(f"{place}/v1/batches", headers={"Authorization": "Bearer dw_a_b"})
        problem_of(answer, 503, "ledger.unavailable")
        assert "secret-word" not in answer.text and answer.headers["retry-after"]
        assert (httpx.get(f"{place}/healthz").status_code, httpx.get(f"{place}/readyz").status_code) == (200, 503)


def test_it_can_be_mounted_as_the_review_desk_does(database: Database, known: Settings) -> None:
    desk = Starlette(routes=[Mount("/api", app=create_api(database, known))])
    with serving(database, known, desk) as place, client(place, database) as ana:
        assert ana.get("/api/healthz").json()["status"] == "ok" and ana.get("/api/openapi.json").json()["servers"] == [{"url": "/api"}]
        problem_of(ana.get("/api/v1/nothing"), 404, "request.not_found")
        problem_of(ana.get("/api/v1/service", headers={"Authorization": ""}), 401, "access.token")
        made = ana.post("/api/v1/batches", json=manifest("mounted", "Hi."))
        assert ana.get(made.headers["location"]).json()["name"] == "mounted"


@pytest.fixture(name="flagged", scope="module")
def flagged_fixture(database: Database) -> dict[str, int]:
    """A batch of five jobs of which one is delivered, one flagged, one failed; as a worker would have left it."""
    jobs = [ledger.JobSpec(f"k{n}", f"title-{n}", "es-ES", "avct", "compact", {"inputs": {"portrait": {"sha256": "a" * 64, "size": 1}}}) for n in range(5)]
    batch = ledger.submit(database, "worked", "worked", "s3://deliveries/spring", jobs).batch_id
    takes = []
    for number in range(3):
        held = ledger.lease(database, batch, "w", 600)
        assert held
        if number == 2:
            ledger.finish(database, held, "failed", {"code": "input.no_face", "message": "no face", "next_step": "another picture"})
            continue
        ledger.record_artifacts(database, held, [row("a"), row("b")])
        takes.append(ledger.record_take(database, held, take(), verdict("pass" if number == 0 else "flag")))
        if number == 0:
            give(database, held, takes[0], "s3://deliveries/spring/title-0.es-ES.mp4", {"captions": "s3://deliveries/spring/title-0.es-ES.vtt"})
        else:
            ledger.finish(database, held, "flagged", {"code": "gate.flag", "message": "fell short"})
    return {"batch": batch, "take": takes[1]}


def test_batches_jobs_and_results_are_listed_in_pages(ana: httpx.Client, flagged: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    batch = flagged["batch"]
    told = ana.get(f"/v1/batches/{batch}").json()
    assert told["jobs"] == {"delivered": 1, "flagged": 1, "failed": 1, "queued": 2} and not told["ended"] and told["live"]["control"] == "open"
    seen, cursor = [], ""
    while True:
        page = ana.get("/v1/jobs", params={"batch": batch, "limit": 2, "cursor": cursor}).json()
        seen += [job["title"] for job in page["items"]]
        if not (cursor := page["next"] or ""):
            break
    assert seen == [f"title-{n}" for n in range(5)]
    numbers = [row["batch"] for row in ana.get("/v1/batches", params={"limit": 200}).json()["items"]]
    first = ana.get("/v1/batches", params={"limit": 1}).json()
    assert numbers == sorted(numbers, reverse=True) and ana.get("/v1/batches", params={"limit": 1, "cursor": first["next"]}).json()["items"][0]["batch"] == numbers[1]
    failed = ana.get("/v1/jobs", params={"batch": batch, "state": "failed", "locale": "es-ES", "engine": "avct"}).json()["items"]
    assert [job["error"]["code"] for job in failed] == ["input.no_face"]
    result = ana.get(f"/v1/batches/{batch}/deliveries").json()["items"][0]
    assert result["sha256"] == "1" * 64 and result["size"] == 1 and result["url"].endswith(".mp4") and set(result["links"]) == {"video", "captions"}
    assert "Signature=" in result["links"]["video"] and result["links_until"]
    job = ana.get(f"/v1/jobs/{result['job']}").json()
    assert job["takes"][0]["verdict"] == "pass" and job["takes"][0]["weights"][0]["name"] == "compact-renderer" and job["delivery"]["take"] == job["takes"][0]["take"]
    tree = ana.get(f"/v1/lineage/{'a' * 64}").json()
    assert tree["made_from"] == [] and {row["sha256"] for row in tree["made_into"]} == {"c" * 64, "1" * 64}  # the take, and it signed


def test_operators_and_reviewers_act_in_the_name_of_their_token(address: str, database: Database, flagged: dict[str, int]) -> None:
    batch = flagged["batch"]
    with client(address, database, "operate", "read", owner="olga") as olga, client(address, database, "review", owner="rene") as rene, client(address, database, "submit") as sub:
        assert olga.put(f"/v1/batches/{batch}/priority", json={"priority": 5}).json() == {"batch": batch, "priority": 5, "was": 0}
        assert [olga.post(f"/v1/batches/{batch}/{word}").json()["control"] for word in ("pause", "drain", "resume")] == ["paused", "draining", "open"]
        assert olga.post("/v1/service/pause").json()["control"] == "paused"
        held = sub.post(f"/v1/batches/{batch}/retry", json={"states": ["cancelled"]}).json()
        assert (held["queued_again"], held["started"]) == (0, False) and "It is paused" in held["next_step"]
        assert olga.post("/v1/service/resume").json()["control"] == "open"
        queued = olga.get("/v1/jobs", params={"batch": batch, "state": "queued"}).json()["items"]
        assert olga.post(f"/v1/jobs/{queued[0]['job']}/cancel").json()["cancelled"] == ["title-3/es-ES"]
        problem_of(olga.post(f"/v1/jobs/{queued[0]['job']}/cancel"), 409, "job.ended")
        waiting = rene.get("/v1/reviews", params={"batch": batch}).json()["items"]
        assert [job["takes"][0]["take"] for job in waiting] == [flagged["take"]]
        problem_of(rene.post(f"/v1/takes/{flagged['take']}/review", json={"decision": "reject"}), 422, "review.reason")
        told = rene.post(f"/v1/takes/{flagged['take']}/review", json={"decision": "reject", "reason": "sync", "note": "no"}).json()
        assert (told["state"], told["started"]) == ("rejected", False)
        assert rene.post(f"/v1/takes/{flagged['take']}/review", json={"decision": "again"}).json()["state"] == "queued"
        problem_of(rene.post(f"/v1/takes/{flagged['take']}/review", json={"decision": "approve"}), 409, "review.closed")
        assert sub.post(f"/v1/batches/{batch}/retry", json={"states": ["failed", "cancelled"]}).json()["queued_again"] == 2
        assert len(olga.post(f"/v1/batches/{batch}/cancel").json()["cancelled"]) == 4 and olga.get(f"/v1/batches/{batch}").json()["ended"]
    with database.begin() as session:
        asked = text("SELECT kind, detail->>'actor' FROM events WHERE batch_id = :b AND kind IN ('priority', 'paused', 'review', 'cancelled')")
        assert {tuple(found) for found in session.execute(asked, {"b": batch})} == {("priority", "olga"), ("paused", "olga"), ("review", "rene"), ("cancelled", "olga")}


def test_webhooks_are_kept_over_http(ana: httpx.Client) -> None:
    made = ana.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/x", "kinds": ["job.failed"]})
    assert made.status_code == 201 and made.json()["secret"].startswith("whsec_")
    number = made.json()["webhook"]
    listed = next(row for row in ana.get("/v1/webhooks").json() if row["webhook"] == number)
    assert "secret" not in listed and listed["kinds"] == ["job.failed"]
    assert ana.post(f"/v1/webhooks/{number}/rotate").json()["secret"] != made.json()["secret"]
    message = ana.post(f"/v1/webhooks/{number}/test").json()["message"]
    assert ana.get("/v1/webhook-deliveries", params={"webhook": number}).json()["items"][0]["message"] == message
    assert ana.post(f"/v1/webhooks/{number}/replay", json={"message": message}).json()["messages"] == 1
    problem_of(ana.post(f"/v1/webhooks/{number}/replay", json={}), 422, "webhook.asked")
    assert ana.post(f"/v1/webhooks/{number}/activate").json()["active"] and ana.delete(f"/v1/webhooks/{number}").status_code == 204
    problem_of(ana.delete(f"/v1/webhooks/{number}"), 404, "webhook.unknown")


def test_the_description_is_current_and_valid(ana: httpx.Client, database: Database, known: Settings) -> None:
    from openapi_spec_validator import validate

    tree = create_api(database, known).openapi()
    validate(tree)
    assert tree["openapi"].startswith("3.1") and json.loads((ROOT / "docs" / "openapi.json").read_text()) == json.loads(json.dumps(tree)), "python -m api.describe > docs/openapi.json"
    assert ana.get("/openapi.json").json()["paths"].keys() == tree["paths"].keys()


def test_no_request_that_the_description_allows_or_forbids_breaks_the_server(ana: httpx.Client, database: Database, known: Settings, flagged: dict[str, int]) -> None:
    """A seeded sample; every answer is one that the description names, and fits it."""
    tree = create_api(database, known).openapi()
    asking = Asking(tree, random.Random(7), numbers=[1, flagged["batch"], 2**63 - 2, 10**30, 0, -1])
    count: dict[int, int] = {}
    for operation, request in asking.requests(8):
        answer = ana.request(**request)
        count[answer.status_code] = count.get(answer.status_code, 0) + 1
        assert answer.status_code < 500, (request, answer.text)
        named = operation["responses"].get(str(answer.status_code))
        assert named or answer.status_code in (404, 405), (request, answer.status_code, answer.text)  # names with a slash are other paths
        schema = ((named or {}).get("content", {}).get(answer.headers.get("content-type", ""), {})).get("schema")
        if schema and answer.content:
            Draft202012Validator({**schema, "components": tree["components"]}).validate(answer.json())
    assert count[200] > 30 and count[422] > 30, count
    assert set(queries.job_states(database, flagged["batch"]).values())  # the ledger still answers
