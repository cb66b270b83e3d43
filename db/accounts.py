"""Who may use the desk: accounts with roles, sessions of theirs, links that sign in once, and the log of what they did.

What a cookie or a link holds is never stored, only its SHA-256. Passwords are hashed by argon2id.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db import tables_desk as d
from db.session import Database
from infra.errors import AccountError

SHORTEST = 12  # characters of a password
IDLE, LONGEST = timedelta(hours=12), timedelta(days=7)  # a session ends after so long without a request, and in any case
TRIES_A_NAME, TRIES_AN_ADDRESS, TRIES_WITHIN = 10, 60, timedelta(minutes=5)
LINK, STATE = timedelta(minutes=30), timedelta(minutes=10)
_HASHER = PasswordHasher()
_NOBODY = _HASHER.hash(secrets.token_hex(16))  # what the password of an unknown name is compared with, so that both take as long


@dataclass(frozen=True)
class Person:
    """An account that may sign in."""

    id: int
    name: str
    role: str
    locale: str = ""

    def may(self, role: str) -> bool:
        """Whether the account's role reaches another."""
        return d.ROLES.index(self.role) >= d.ROLES.index(role)


@dataclass(frozen=True)
class SignedIn:
    """A session that holds: its id, whose it is, and the secret that signs its forms and links."""

    id: str
    person: Person
    secret: str


def hashed(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def add(database: Database, name: str, role: str, password: str = "", by: str = "", subject: str | None = None) -> Person:
    """A new account. Raises AccountError: account.name, account.role, account.password, account.exists."""
    wanted = name.strip().lower()
    if not wanted or len(wanted) > 80 or any(ord(c) < 33 for c in wanted):
        raise AccountError(f"{name[:40]!r} is no name of an account", code="account.name", next_step="Use 1 to 80 characters without spaces.")
    _known_role(role)
    stored = _password(password) if password else None
    with database.begin() as session:
        if session.execute(select(d.Account.id).where(d.Account.name == wanted)).first():
            raise AccountError(f"there is an account {wanted} already", code="account.exists", next_step="Choose another name, or change its role.")
        row = d.Account(name=wanted, role=role, password=stored, subject=subject)
        session.add(row)
        session.flush()
        log(session, by or wanted, "account added", {"account": wanted, "role": role})
        return Person(row.id, wanted, role)


def _known_role(role: str) -> None:
    if role not in d.ROLES:
        raise AccountError(f"there is no role {role[:40]!r}", code="account.role", next_step=f"Roles are {', '.join(d.ROLES)}.")


def _password(password: str) -> str:
    if len(password) < SHORTEST:
        raise AccountError(f"the password has {len(password)} characters", code="account.password", next_step=f"Use {SHORTEST} and more.")
    return _HASHER.hash(password)


def change(database: Database, name: str, by: str, *, role: str = "", password: str = "", locale: str | None = None, disabled: bool | None = None) -> Person:
    """Change an account. Who is disabled or gets another password or role is signed out everywhere. Raises AccountError."""
    if role:
        _known_role(role)
    stored = _password(password) if password else None
    with database.begin() as session:
        row = session.execute(select(d.Account).where(d.Account.name == name.strip().lower()).with_for_update()).scalar_one_or_none()
        if row is None:
            raise AccountError(f"there is no account {name[:40]!r}", code="account.unknown", next_step="`dubwright accounts list` lists them.")
        if (disabled or (role and role != "admin")) and row.role == "admin" and not _others(session, row.id):
            raise AccountError(f"{row.name} is the only admin", code="account.last", next_step="Make somebody else admin first.")
        row.role, row.password = role or row.role, stored or row.password
        row.locale = row.locale if locale is None else locale
        if disabled is not None:
            row.disabled_at = session.execute(select(func.now())).scalar_one() if disabled else None
        if role or stored or disabled:
            session.execute(delete(d.SignedIn).where(d.SignedIn.account_id == row.id))
            told = {"role": role, "password": "changed" if stored else "", "disabled": disabled}
            log(session, by, "account changed", {"account": row.name, **{key: value for key, value in told.items() if value}})
        return Person(row.id, row.name, row.role, row.locale)


def _others(session: Session, account_id: int) -> int:
    query = select(func.count()).select_from(d.Account).where(d.Account.role == "admin", d.Account.disabled_at.is_(None), d.Account.id != account_id)
    return session.execute(query).scalar_one()


def listed(database: Database) -> list[dict[str, Any]]:
    """All accounts, by name."""
    with database.begin() as session:
        rows = session.execute(select(d.Account).order_by(d.Account.name)).scalars()
        return [
            {
                "name": row.name, "role": row.role, "signs_in_by": [*(["password"] if row.password else []), *(["OpenID Connect"] if row.subject else [])],
                "created_at": row.created_at.isoformat(), "disabled": row.disabled_at is not None,
            }
            for row in rows
        ]  # fmt: skip


def check(database: Database, name: str, password: str) -> Person | None:
    """The account of a name and a password, or None; as slow for a name that is not there."""
    with database.begin() as session:
        row = session.execute(select(d.Account).where(d.Account.name == name.strip().lower(), d.Account.disabled_at.is_(None))).scalar_one_or_none()
        stored = row.password if row is not None and row.password else _NOBODY
        try:
            _HASHER.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return None
        if row is None or not row.password:
            return None
        if _HASHER.check_needs_rehash(stored):
            row.password = _HASHER.hash(password)
        return _person(row)


def of_subject(database: Database, issuer: str, subject: str, name: str, email: str, role: str) -> Person | None:
    """The account of somebody whom an identity provider vouches for; None for a disabled one and where nobody let them in.

    email: one that the provider has verified, else empty: an admin may have added an account for it (`invited`). role: of an account that is
    made on the first visit; empty makes none.
    """
    with database.begin() as session:
        known = select(d.Account).where(d.Account.subject.in_([f"{issuer}|{subject}", *([invited(issuer, email)] if email else [])]))
        row = session.execute(known.order_by(d.Account.id).with_for_update()).scalars().first()
        if row is not None:
            row.subject = f"{issuer}|{subject}"
            return None if row.disabled_at else _person(row)
        taken = session.execute(select(d.Account.id).where(d.Account.name == name.lower())).first()
    if not role:
        return None
    return add(database, f"{name}-{hashed(subject)[:6]}" if taken else name, role, by="OpenID Connect", subject=f"{issuer}|{subject}")


def invited(issuer: str, email: str) -> str:
    """The subject of an account that waits for whoever an issuer knows by an address."""
    return f"{issuer}|email:{email.strip().lower()}"


def _person(row: d.Account) -> Person:
    return Person(row.id, row.name, row.role, row.locale)


def sign_in(database: Database, person: Person, how: str) -> tuple[str, SignedIn]:
    """A new session: what its cookie holds, and the session."""
    token = secrets.token_urlsafe(32)
    held = SignedIn(hashed(token), person, secrets.token_urlsafe(32))
    with database.begin() as session:
        session.execute(delete(d.SignedIn).where(d.SignedIn.expires_at <= func.now()))
        session.add(d.SignedIn(id=held.id, account_id=person.id, secret=held.secret, expires_at=_later(session, LONGEST)))
        log(session, person.name, "signed in", {"by": how})
    return token, held


def signed_in(database: Database, token: str) -> SignedIn | None:
    """The session of a cookie, which goes on for as long as it is used; None where it has ended or its account is disabled."""
    with database.begin() as session:
        query = select(d.SignedIn, d.Account).join(d.Account, d.Account.id == d.SignedIn.account_id)
        live = (d.SignedIn.expires_at > func.now(), d.SignedIn.seen_at > func.now() - IDLE, d.Account.disabled_at.is_(None))
        found = session.execute(query.where(d.SignedIn.id == hashed(token), *live)).one_or_none()
        if found is None:
            return None
        held, account = found
        session.execute(  # once a minute is enough
            update(d.SignedIn).where(d.SignedIn.id == held.id, d.SignedIn.seen_at < func.now() - timedelta(minutes=1)).values(seen_at=func.now())
        )
        return SignedIn(held.id, _person(account), held.secret)


def sign_out(database: Database, held: SignedIn) -> None:
    """End a session."""
    with database.begin() as session:
        session.execute(delete(d.SignedIn).where(d.SignedIn.id == held.id))
        log(session, held.person.name, "signed out", {})


def link(database: Database, name: str) -> str:
    """What a link that signs an account in holds; it works once, for half an hour. Raises AccountError, account.unknown."""
    token = secrets.token_urlsafe(32)
    with database.begin() as session:
        row = session.execute(select(d.Account).where(d.Account.name == name.strip().lower(), d.Account.disabled_at.is_(None))).scalar_one_or_none()
        if row is None:
            raise AccountError(f"there is no account {name[:40]!r}", code="account.unknown", next_step="`dubwright accounts list` lists them.")
        session.add(d.SignInLink(id=hashed(token), account_id=row.id, expires_at=_later(session, LINK)))
        log(session, row.name, "sign-in link made", {})
    return token


def use_link(database: Database, token: str) -> Person | None:
    """Whose link it is, once; None where it was used, ran out or never was."""
    with database.begin() as session:
        used = delete(d.SignInLink).where(d.SignInLink.id == hashed(token)).returning(d.SignInLink.account_id, d.SignInLink.expires_at > func.now())
        found = session.execute(used).one_or_none()
        if found is None or not found[1]:
            return None
        row = session.execute(select(d.Account).where(d.Account.id == found[0], d.Account.disabled_at.is_(None))).scalar_one_or_none()
        return None if row is None else _person(row)


def first_admin(database: Database, name: str) -> str | None:
    """Where there is no account at all: an admin of this name, and what a link that signs them in holds."""
    with database.begin() as session:
        if session.execute(select(d.Account.id).limit(1)).first():
            return None
    person = add(database, name, "admin", by="first start")
    return link(database, person.name)


def tried(database: Database, key: str, most: int, within: timedelta) -> bool:
    """Count a try, and say whether it is one of the first `most` within a time that begins with the first of them; all server processes count as one."""
    row = insert(d.SignInTries).values(key=hashed(key), count=1, ends_at=func.now() + within)
    over = d.SignInTries.ends_at <= func.now()
    again = {"count": case((over, 1), else_=d.SignInTries.count + 1), "ends_at": case((over, row.excluded.ends_at), else_=d.SignInTries.ends_at)}
    done = select(d.SignInTries.key).where(over).with_for_update(skip_locked=True)
    with database.begin() as session:
        session.execute(delete(d.SignInTries).where(d.SignInTries.key.in_(done)))
    with database.begin() as session:  # one row at a time: no two tries wait for each other
        count = session.execute(row.on_conflict_do_update(index_elements=["key"], set_=again).returning(d.SignInTries.count)).scalar_one()
    return count <= most


def begin_openid(database: Database, state: str, nonce: str, verifier: str) -> None:
    """Remember a sign-in by OpenID Connect that was begun."""
    with database.begin() as session:
        session.execute(delete(d.SignInState).where(d.SignInState.expires_at <= func.now()))
        session.add(d.SignInState(id=hashed(state), nonce=nonce, verifier=verifier, expires_at=_later(session, STATE)))


def end_openid(database: Database, state: str) -> tuple[str, str] | None:
    """(nonce, verifier) of a sign-in that was begun, once."""
    with database.begin() as session:
        used = delete(d.SignInState).where(d.SignInState.id == hashed(state), d.SignInState.expires_at > func.now())
        found = session.execute(used.returning(d.SignInState.nonce, d.SignInState.verifier)).one_or_none()
        return None if found is None else (found[0], found[1])


def log(session: Session, actor: str, action: str, detail: dict[str, Any]) -> None:
    """Add to the log, in a transaction."""
    session.add(d.Audit(actor=actor, action=action, detail=detail))


def logged(database: Database, before: int = 0, limit: int = 100) -> list[dict[str, Any]]:
    """The newest rows of the log, or those before one."""
    query = select(d.Audit).order_by(d.Audit.id.desc()).limit(limit)
    with database.begin() as session:
        rows = session.execute(query.where(d.Audit.id < before) if before else query).scalars()
        return [{"id": row.id, "at": row.at, "actor": row.actor, "action": row.action, "detail": row.detail} for row in rows]


def refused(database: Database, name: str, how: str) -> None:
    """Log a sign-in that was refused."""
    with database.begin() as session:
        log(session, name.strip().lower()[:80] or "?", "sign-in refused", {"by": how})


def _later(session: Session, wait: timedelta) -> Any:
    return session.execute(select(func.now() + wait)).scalar_one()
