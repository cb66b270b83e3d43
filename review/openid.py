"""Signing in by OpenID Connect: the authorization code flow with PKCE, state and nonce, by authlib; keys and claims are checked by joserfc."""

import secrets
import time
from typing import Any

import httpx
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from fastapi import Request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from db import accounts
from db.accounts import Person
from infra.errors import AccountError
from infra.settings import Settings

SCOPE, LEEWAY, LONG = "openid profile email", 60, 10.0
ALGORITHMS = ["RS256", "ES256", "PS256"]  # none with a shared secret, and never "none"


def _described(settings: Settings) -> dict[str, Any]:
    """The provider's own description of itself. Raises AccountError, account.openid."""
    issuer = settings.oidc_issuer.rstrip("/")
    try:
        answer = httpx.get(f"{issuer}/.well-known/openid-configuration", timeout=LONG)
        answer.raise_for_status()
        told: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise _problem(f"the provider does not describe itself ({error})") from error
    if told.get("issuer", "").rstrip("/") != issuer:
        raise _problem(f"the provider calls itself {told.get('issuer')!r}")
    return told


def _back(request: Request, settings: Settings) -> str:
    here = settings.desk_url.rstrip("/") or f"{request.url.scheme}://{request.headers.get('host', '')}"
    return f"{here}/sign-in/openid/back"


def _client(request: Request, settings: Settings) -> OAuth2Client:
    secret = settings.oidc_client_secret.get_secret_value()
    return OAuth2Client(
        settings.oidc_client_id, secret or None, scope=SCOPE, redirect_uri=_back(request, settings), code_challenge_method="S256", timeout=LONG,
        token_endpoint_auth_method="client_secret_basic" if secret else "none",
    )  # fmt: skip


def begin(request: Request) -> tuple[str, str]:
    """Where the reader goes to sign in, and the state that they come back with. Raises AccountError, account.openid."""
    settings: Settings = request.app.state.settings
    state, nonce, verifier = secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48)
    with _client(request, settings) as client:
        url, _ = client.create_authorization_url(_described(settings)["authorization_endpoint"], state=state, nonce=nonce, code_verifier=verifier)
    accounts.begin_openid(request.app.state.database, state, nonce, verifier)
    return str(url), state


def end(request: Request, state: str, code: str) -> Person | None:
    """Who came back. Raises AccountError, account.openid, for an answer that does not hold; None for somebody who is not let in."""
    settings: Settings = request.app.state.settings
    begun = accounts.end_openid(request.app.state.database, state) if state else None
    if begun is None:
        raise _problem("no sign-in of this state was begun here")
    nonce, verifier = begun
    told = _described(settings)
    try:
        with _client(request, settings) as client:
            token = client.fetch_token(told["token_endpoint"], code=code, code_verifier=verifier)
            keys = httpx.get(told["jwks_uri"], timeout=LONG).raise_for_status().json()
        claims = jwt.decode(token["id_token"], KeySet.import_key_set(keys), algorithms=ALGORITHMS).claims
        _check(claims, told["issuer"], settings.oidc_client_id, nonce)
    except (httpx.HTTPError, OAuthError, JoseError, ValueError, KeyError) as error:
        raise _problem(f"{type(error).__name__}: {error}") from error
    email = str(claims.get("email") or "") if claims.get("email_verified") is True else ""
    name = "".join(c for c in str(claims.get("preferred_username") or email or claims["sub"]) if ord(c) > 32)[:70]
    return accounts.of_subject(request.app.state.database, settings.oidc_issuer.rstrip("/"), str(claims["sub"]), name, email, settings.oidc_role)


def _check(claims: dict[str, Any], issuer: str, client: str, nonce: str) -> None:
    registry = jwt.JWTClaimsRegistry(
        now=int(time.time()), leeway=LEEWAY, iss={"essential": True, "value": issuer}, aud={"essential": True, "value": client},
        nonce={"essential": True, "value": nonce}, exp={"essential": True}, sub={"essential": True},
    )  # fmt: skip
    registry.validate(claims)


def _problem(text: str) -> AccountError:
    return AccountError(text, code="account.openid", next_step="Check DUBWRIGHT_OIDC_ISSUER, its client and secret, and the provider's log.")


