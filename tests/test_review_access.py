"""P19: the review desk lets nobody in who does not belong. Every route of its route table without a login, with the wrong role, from another site."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from db import accounts
from db.desk_tables import ROLES
from db.session import Database
from infra.artifacts import open_artifacts
from infra.errors import AccountError
from infra.postgres import embedded_url
from infra.settings import Settings
from review import access, media, signing
from review.access import Refused, flat
from review.app import create_desk

PUBLIC = {("GET", "/sign-in"), ("POST", "/sign-in"), ("GET", "/sign-in/openid"), ("GET", "/sign-in/openid/back"), ("GET", "/health")}
HERE, PASSWORD = "http://desk.test", "correct horse battery"
PAGE = {"accept": "text/html"}


@pytest.fixture(scope="module", name="app")
def app_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    home = tmp_path_factory.mktemp("home")
    settings = Settings(home=home)
    database = Database(embedded_url(home))
    database.migrate()
    for role in ROLES:
        accounts.add(database, role, role, PASSWORD)
    yield create_desk(database, open_artifacts(settings), settings)
    database.close()


def client(app: Any, role: str = "", base: str = HERE) -> TestClient:
    made = TestClient(app, base_url=base, follow_redirects=False, raise_server_exceptions=False)
    if role:
        token, session = accounts.sign_in(app.state.database, accounts.check(app.state.database, role, PASSWORD), "test")  # type: ignore[arg-type]
        made.cookies.set("__Host-desk" if base.startswith("https") else "desk", token)
        made.headers["x-csrf"] = access.form_token(session)
        made.held = session  # type: ignore[attr-defined]
    return made


def table(app: Any) -> list[tuple[str, str, str]]:
    """(method, path with something in its places, role that it declares) of every route."""
    rows = []
    for route in flat(app.routes):
        if isinstance(route, APIRoute):
            path = re.sub(r"\{[^}]*_id\}", "1", re.sub(r"\{(token|bundle|name)\}", "x", route.path))
            rows += [(method, path, access.roles_of(route)[0]) for method in route.methods]
        else:
            assert route.path == "/static"
    return rows


def test_every_route_without_a_login_with_a_lower_role_and_from_another_site(app: Any) -> None:
    rows = table(app)
    assert len(rows) > 25 and {(method, path) for method, path, role in rows if not role} == PUBLIC
    nobody, people = client(app), {role: client(app, role) for role in ROLES}
    for method, path, role in rows:
        if role:
            bare = nobody.request(method, path, headers={"accept": "application/json"})
            assert bare.status_code == 401, (method, path)
            page = nobody.request(method, path, headers=PAGE)
            assert (page.status_code, page.headers["location"].split("?")[0], page.text) == (303, "/sign-in", "") if method == "GET" else page.status_code == 401, (method, path)
            assert nobody.request(method, path, headers={"cookie": "desk=forged"}).status_code == 401
            for lower in ROLES[: ROLES.index(role)]:
                assert people[lower].request(method, path).status_code == 403, (method, path, lower)
            assert people[role].get(path, headers=PAGE).status_code not in (401, 403) or method != "GET" or path.startswith("/media"), path
        if method == "POST":
            for hostile in ({"origin": "https://evil.test"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}):
                assert people["admin"].request(method, path, headers=hostile).status_code == 403, (path, hostile)
            if role:  # a form of ours that carries another session's token, or none
                for sent in ("", access.form_token(people["viewer"].held)):  # type: ignore[attr-defined]
                    assert people["admin"].request(method, path, headers={"x-csrf": sent}, data={"csrf": sent}).status_code == 403, path


def test_an_app_with_a_route_that_declares_nothing_is_not_made(app: Any) -> None:
    from fastapi import FastAPI

    made = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    made.get("/open")(lambda: {})
    with pytest.raises(ValueError, match="/open"):
        access.all_guarded(made, ())
    with pytest.raises(ValueError, match="openapi"):
        access.all_guarded(FastAPI(), ())


def test_answers_carry_their_security_headers(app: Any) -> None:
    for path in ("/sign-in", "/health", "/static/desk.css", "/nowhere"):
        headers = client(app).get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "same-origin")
        assert "strict-transport-security" not in headers
    assert "strict-transport-security" in client(app, base="https://desk.test").get("/sign-in").headers
    for path in (Path(signing.__file__).parent / "templates").glob("*.html"):  # what such a policy would not let run
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|javascript:", path.read_text()), path.name


def test_signing_in_sets_a_cookie_that_scripts_and_other_sites_do_not_get(app: Any) -> None:
    for base, name, more in ((HERE, "desk", ""), ("https://desk.test", "__Host-desk", "; secure")):
        done = client(app, base=base).post("/sign-in", data={"name": "Viewer", "password": PASSWORD, "next": "/batches"})
        cookie = done.headers["set-cookie"].lower()
        assert (done.status_code, done.headers["location"]) == (303, "/batches")
        assert cookie.startswith(f"{name.lower()}=") and "httponly" in cookie and "samesite=lax" in cookie and "path=/" in cookie and cookie.endswith(more)
    for place in ("//evil.test", "https://evil.test/", "/\\evil.test", "javascript:x", "/\t/evil.test", ""):
        assert signing.inside(place) == "/"
    out = client(app, "viewer")
    assert out.get("/batches", headers=PAGE).status_code == 200
    cookie = out.cookies["desk"]
    assert out.post("/sign-out").status_code == 303
    assert client(app).get("/batches", headers={"cookie": f"desk={cookie}"}).status_code == 401  # gone at the server, not only here


def test_links_sign_in_once_and_wrong_passwords_come_to_an_end(app: Any) -> None:
    token = accounts.link(app.state.database, "reviewer")
    assert "/sign-in" in client(app).get(f"/sign-in?t={token}", headers=PAGE).text  # looking uses nothing up
    assert client(app).post("/sign-in", data={"link": token}).status_code == 303
    assert client(app).post("/sign-in", data={"link": token}).status_code == 401
    told = [client(app).post("/sign-in", data={"name": "operator", "password": f"guess {n}"}).status_code for n in range(12)]
    assert told == [401] * 10 + [429] * 2
    assert client(app).post("/sign-in", data={"name": "OPERATOR", "password": PASSWORD}).status_code == 429
    log = [(r["actor"], r["action"]) for r in accounts.logged(app.state.database)]
    assert log.count(("operator", "sign-in refused")) == 13
    del app.state.limiter


def test_media_links_are_one_session_s_and_stream_ranges(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(256)) * 12_000  # 3 MB: three pieces
    site = app.state.site
    sha = site.artifacts.put(data, "render.mp4").sha256
    one, two = client(app, "viewer"), client(app, "admin")
    link = media.link(one.held, sha, ".mp4")  # type: ignore[attr-defined]
    whole = one.get(link)
    assert (whole.status_code, whole.content == data, whole.headers["content-type"], whole.headers["accept-ranges"]) == (200, True, "video/mp4", "bytes")
    asked: list[int] = []
    read = site.artifacts.store.read
    monkeypatch.setattr(site.artifacts.store, "read", lambda key, start, length: asked.append(length) or read(key, start, length))
    for header, first, last in (("bytes=100-199", 100, 199), ("bytes=-10", len(data) - 10, len(data) - 1), ("bytes=5-", 5, len(data) - 1), ("bytes=0-99999999", 0, len(data) - 1)):
        part = one.get(link, headers={"range": header})
        assert (part.status_code, part.headers["content-range"]) == (206, f"bytes {first}-{last}/{len(data)}") and part.content == data[first : last + 1]
    assert max(asked) <= media.PIECE  # never the whole
    assert one.get(link, headers={"range": "bytes=99999999-"}).status_code == 416
    assert two.get(link).status_code == 403 and one.get(link[:-3] + "abc").status_code == 403 and client(app).get(link).status_code == 401
    monkeypatch.setattr(media, "SECONDS", -1)
    assert one.get(link).status_code == 403
    with pytest.raises(Refused, match="ended"):
        media.linked(one.held, link.rpartition("/")[2])  # type: ignore[attr-defined]


def test_the_last_admin_stays_and_what_admins_do_is_logged(app: Any) -> None:
    admin = client(app, "admin")
    made = admin.post("/accounts", data={"what": "add", "name": "Cleo", "role": "viewer"})
    assert made.status_code == 200 and "/sign-in?t=" in made.text
    assert admin.post("/accounts", data={"what": "role", "name": "cleo", "role": "reviewer"}).status_code == 303
    assert admin.post("/accounts", data={"what": "disable", "name": "admin"}, headers=PAGE).status_code == 409
    with pytest.raises(AccountError):
        accounts.change(app.state.database, "admin", "x", role="viewer")
    assert ("admin", "account changed") in [(r["actor"], r["action"]) for r in accounts.logged(app.state.database)]
    assert "account changed" in admin.get("/log", headers=PAGE).text
