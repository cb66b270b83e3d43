"""What the tests of the ledger share: a real Postgres, a fresh database for each test, and small rows."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from db import consents, ledger
from db.ledger import ArtifactRow, JobSpec, Lease, TakeRecord, VerdictRecord
from db.session import Database
from infra.postgres import embedded_url


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> str:
    return embedded_url(tmp_path_factory.mktemp("home"))


@pytest.fixture
def url(server: str, request: pytest.FixtureRequest) -> str:
    """A fresh database of the server for one test."""
    name = f"t{abs(hash(request.node.name)) % 10**10}"
    admin = Database(server)
    with admin.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.close()
    return make_url(server).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    made = Database(url)
    made.migrate()
    yield made
    made.close()


def specs(count: int = 3) -> list[JobSpec]:
    return [JobSpec(f"key-{i}", f"title-{i}", "es-ES", "avct", "compact", {"n": i}) for i in range(count)]


def row(letter: str, *sources: tuple[str, str]) -> ArtifactRow:
    return ArtifactRow(letter * 64, "x.bin", 1, f"sha256/{letter}", tuple((s * 64, role) for s, role in sources))


def take(number: int = 1, *, sources: tuple[tuple[str, str], ...] = (("a", "portrait"), ("b", "speech")), weights: bool = True) -> TakeRecord:
    used = ({"sha256": "e" * 64, "engine": "avct", "name": "compact-renderer", "licence": "Apache-2.0", "licence_class": "open"},) if weights else ()
    return TakeRecord(number, "avct", "compact", {"seed": 1}, "0.1.0+x", {"host": "h"}, {"render": 2.0}, row("c", *sources), used, ((0, 25, 1.0),))


def verdict(kind: str = "pass") -> VerdictRecord:
    return VerdictRecord(kind, (), "f" * 64, {"passes": 0.1}, 0, 1.0, 0.2)


def leased(database: Database, seconds: int = 60) -> Lease:
    batch = ledger.submit(database, "batch", "b", "out", specs(1)).batch_id
    found = ledger.lease(database, batch, "w", seconds)
    assert found is not None
    ledger.record_artifacts(database, found, [row("a"), row("b")])
    return found


def allow(database: Database) -> str:
    """A consent record of the portrait a."""
    return consents.add(database, consents.Record("Ann", "public-domain", id="c-test", subjects=(("portrait", "a" * 64, "a.png"),)), "tests")


def give(database: Database, held: Lease, number: int, url: str = "s3://out/a.mp4", files: dict[str, str] | None = None) -> None:
    """Deliver a take as it is delivered: as a signed file, 1, made from its video, c, with a consent record."""
    allow(database)
    ledger.record_artifacts(database, held, [row("1", ("c", "render"))])
    ledger.deliver(database, held, number, "1" * 64, url, files or {})
