"""P19: the review desk lets nobody in who does not belong. Every route of its route table without a login, with the wrong role, from another site."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlalchemy import text

from db import accounts
from db.session import Database
from db.tables_desk import ROLES
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
    kept = client(app).get("/static/desk.css?1", headers={"accept-encoding": "gzip"}).headers
    assert "immutable" in kept["cache-control"] and kept["content-encoding"] == "gzip" and int(kept["content-length"]) < 8000
    assert client(app).get("/static/desk.css").headers["cache-control"] == client(app, "viewer").get("/", headers=PAGE).headers["cache-control"] == "no-store"
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
    again = Database(app.state.database.engine.url.render_as_string(hide_password=False))
    other = create_desk(again, app.state.site.artifacts, app.state.settings)  # as another server process has it: only the database is the same
    assert client(other).post("/sign-in", data={"name": "operator", "password": PASSWORD}).status_code == 429
    again.close()
    log = [(r["actor"], r["action"]) for r in accounts.logged(app.state.database)]
    assert log.count(("operator", "sign-in refused")) == 14
    with app.state.database.begin() as session:
        session.execute(text("UPDATE sign_in_tries SET ends_at = now()"))  # five minutes later
    assert client(app).post("/sign-in", data={"name": "operator", "password": PASSWORD}).status_code == 303


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


class Provider:
    """A small OpenID Connect provider over real HTTP: it describes itself, asks nobody, checks client, code and PKCE, and signs what it says."""

    def __init__(self) -> None:
        from joserfc.jwk import RSAKey

        self.key = RSAKey.generate_key(2048, {"kid": "one"}, private=True)
        self.url, self.codes, self.says = "", {}, {"sub": "u-1", "preferred_username": "Dora", "email": "dora@example.com", "email_verified": True}  # type: ignore[var-annotated]
        self.signs, self.wrong_nonce = self.key, False

    def app(self) -> Any:
        import base64
        import hashlib
        import time

        from fastapi import FastAPI, Request
        from fastapi.responses import JSONResponse, RedirectResponse
        from joserfc import jwt

        made = FastAPI()

        @made.get("/.well-known/openid-configuration")
        def described() -> Any:
            return {"issuer": self.url, "authorization_endpoint": f"{self.url}/authorize", "token_endpoint": f"{self.url}/token", "jwks_uri": f"{self.url}/keys"}

        @made.get("/keys")
        def keys() -> Any:
            return {"keys": [self.key.as_dict(private=False)]}

        @made.get("/authorize")
        def authorize(request: Request) -> Any:
            asked = dict(request.query_params)
            assert asked["code_challenge_method"] == "S256" and asked["response_type"] == "code" and "openid" in asked["scope"].split()
            code = f"code{len(self.codes)}"
            self.codes[code] = asked
            return RedirectResponse(f"{asked['redirect_uri']}?code={code}&state={asked['state']}")

        @made.post("/token")
        async def token(request: Request) -> Any:
            form = await request.form()
            asked = self.codes.pop(str(form["code"]), None)
            digest = base64.urlsafe_b64encode(hashlib.sha256(str(form["code_verifier"]).encode()).digest()).rstrip(b"=").decode()
            client = base64.b64decode(request.headers["authorization"].split()[1]).decode()
            if asked is None or asked["code_challenge"] != digest or asked["redirect_uri"] != form["redirect_uri"] or client != "desk:hush":
                return JSONResponse({"error": "invalid_grant"}, 400)
            now = int(time.time())
            claims = {"iss": self.url, "aud": "desk", "iat": now, "exp": now + 60, "nonce": "other" if self.wrong_nonce else asked["nonce"], **self.says}
            return {"access_token": "x", "token_type": "Bearer", "id_token": jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.signs)}

        return made


@pytest.fixture(scope="module", name="provider")
def provider_fixture() -> Iterator[Provider]:
    import socket
    import threading

    import uvicorn

    made = Provider()
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    made.url = f"http://127.0.0.1:{held.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(made.app(), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [held]}, daemon=True)
    thread.start()
    yield made
    server.should_exit = True
    thread.join(timeout=10)


def test_openid_connect_signs_in_whom_the_provider_vouches_for_and_nobody_else(app: Any, provider: Provider) -> None:
    import httpx
    from joserfc.jwk import RSAKey

    known = {"oidc_issuer": provider.url, "oidc_client_id": "desk", "oidc_client_secret": "hush"}

    def desk(**more: str) -> Any:
        return create_desk(app.state.database, app.state.site.artifacts, Settings(home=app.state.settings.home, **known, **more))  # type: ignore[arg-type]

    def come(made: Any, there: str = "", browser: TestClient | None = None) -> Any:
        reader = browser or client(made)
        sent = reader.get("/sign-in/openid").headers["location"]
        back = httpx.get(sent, follow_redirects=False).headers["location"]
        return (client(made) if there == "another browser" else reader).get(back.removeprefix(HERE))

    closed, open_to_all = desk(), desk(oidc_role="viewer")
    assert come(closed).status_code == 401  # nobody let her in
    done = come(open_to_all)
    assert done.status_code == 303 and "desk=" in done.headers["set-cookie"]
    assert [row["role"] for row in accounts.listed(app.state.database) if row["name"] == "dora"] == ["viewer"]
    assert come(closed).status_code == 303  # she has an account now
    assert come(open_to_all, "another browser").status_code == 401  # a code that somebody else's browser began
    reader = client(open_to_all)
    assert reader.get("/sign-in/openid/back?state=x&code=y").status_code == 401
    provider.wrong_nonce = True
    assert come(open_to_all).status_code == 401
    provider.wrong_nonce, provider.signs = False, RSAKey.generate_key(2048, {"kid": "one"}, private=True)
    assert come(open_to_all).status_code == 401  # signed by another key
    provider.signs = provider.key
    for wrong in ({"aud": "other"}, {"iss": "https://evil.test"}, {"exp": 1}):
        provider.says |= wrong
        assert come(open_to_all).status_code == 401, wrong
        for name in wrong:
            del provider.says[name]
    accounts.change(app.state.database, "dora", "admin", disabled=True)
    assert come(open_to_all).status_code == 401
    accounts.add(app.state.database, "emil", "operator", subject=accounts.invited(provider.url, "Emil@example.com"))
    provider.says = {"sub": "u-2", "preferred_username": "emil", "email": "emil@example.com", "email_verified": False}
    assert come(closed).status_code == 401  # an address that nobody has verified proves nothing
    provider.says["email_verified"] = True
    assert come(closed).status_code == 303
    provider.says = {"sub": "u-3", "preferred_username": "admin", "email": "x@example.com", "email_verified": True}
    assert come(open_to_all).status_code == 303  # a name that is taken gets nobody into its account
    assert {row["role"] for row in accounts.listed(app.state.database) if row["name"].startswith("admin-")} == {"viewer"}


def test_pages_speak_the_reader_s_language(app: Any) -> None:
    page = client(app, "viewer").get("/", headers={**PAGE, "accept-language": "es-MX,en;q=0.4"}).text
    assert '<html lang="es">' in page and "Cola" in page
    viewer = client(app, "viewer")
    assert viewer.post("/me", data={"locale": "de"}).status_code == 303
    assert "Warteschlange" in viewer.get("/", headers={**PAGE, "accept-language": "es"}).text
    assert viewer.post("/me", data={"locale": "xx"}).status_code == 422


def test_operators_see_consent_records_and_revoke_them_with_a_reason(app: Any) -> None:
    from db import consents, erasure

    database = app.state.database
    subjects = (("portrait", "a" * 64, "portraits/<ann>.png"),)
    consents.add(database, consents.Record("Ann <b>", "licence", "c-ann", locales=("es",), evidence="e" * 64, subjects=subjects), "me")
    consents.add(database, consents.Record("Bo", "synthetic", "c-bo"), "me")
    desk = client(app, "operator")
    listed = desk.get("/consents", headers=PAGE).text
    assert "c-ann" in listed and "c-bo" in listed and "Ann &lt;b&gt;" in listed
    assert "c-bo" not in desk.get("/consents?person=Ann <b>", headers=PAGE).text
    shown = desk.get("/consents/c-ann", headers={**PAGE, "accept-language": "de"}).text
    assert "a" * 64 in shown and "e" * 64 in shown and "Widerrufen" in shown and "<ann>" not in shown
    for sent in ({}, {"why": "she asked"}, {"why": "she asked", "sure": "c-bo"}, {"why": " ", "sure": "c-ann"}):
        assert desk.post("/consents/c-ann/revoke", data=sent, headers=PAGE).status_code == 409
    assert erasure.records(database, consent_id="c-ann")[0]["state"] == "valid"
    for _ in range(2):  # a second time changes nothing
        assert desk.post("/consents/c-ann/revoke", data={"why": "she asked", "sure": "c-ann"}).headers["location"] == "/consents/c-ann"
    row = erasure.records(database, consent_id="c-ann")[0]
    assert (row["state"], row["revoked_by"], row["revoked_why"]) == ("revoked", "operator", "she asked")
    assert [r["action"] for r in accounts.logged(database)].count("consent revoked") == 1
    assert desk.get("/consents/c-none", headers=PAGE).status_code == 404
    assert client(app, "reviewer").get("/consents", headers=PAGE).status_code == 403
