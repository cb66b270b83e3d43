"""The way into the database: one engine a process, migrated when it is opened, errors in the project's own tree."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from psycopg.errors import InsufficientPrivilege, LockNotAvailable
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session, sessionmaker

from db.versions import MIGRATIONS, Standing, standing
from infra.errors import DatabaseUnavailable, LedgerError
from infra.postgres import embedded_url
from infra.settings import Settings, get_settings

# A network that is cut ends a connection on both sides within a minute: a worker learns of it, and the server lets go of rows that a worker
# who is cut off in a transaction has locked, so that its job can go to another.
CONNECTION = {"connect_timeout": 10, "keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
SERVER = {"idle_in_transaction_session_timeout": "60s", "tcp_keepalives_idle": "20", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3", "tcp_user_timeout": "60s"}
MIGRATION_LOCK = 7_215_133_007  # any number, the same for every process
LOCK_SECONDS, LOCK_TRIES = 5.0, 24  # that a migration waits for a table: while it waits, everybody who wants the table waits behind it
RIGHTS = "Run `dubwright doctor --fix` as the schema's owner, then infra/deploy/database/roles.sql, then this again."
log = logging.getLogger(__name__)


def alembic_config(connection: Connection, place: Path = MIGRATIONS) -> Config:
    """Alembic's configuration on a connection."""
    config = Config()
    config.set_main_option("script_location", str(place))
    config.attributes["connection"] = connection
    return config


def _agree(connection: Any, record: Any) -> None:
    """Tell the server how long it may wait for this worker."""
    connection.autocommit = True
    for name, value in SERVER.items():
        connection.execute(f"SET {name} = '{value}'")
    connection.autocommit = False


class Database:
    """A migrated database and its sessions."""

    def __init__(self, url: str, options: str = "") -> None:
        """options: settings of its connections, as `-c statement_timeout=2000`."""
        given = CONNECTION | ({"options": options} if options else {})
        self.engine = create_engine(url, pool_pre_ping=True, pool_size=4, connect_args=given)
        event.listen(self.engine, "connect", _agree)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A session in a transaction: committed at the end, rolled back on an error. Raises DatabaseUnavailable."""
        try:
            with self._sessions.begin() as session:
                yield session
        except (OperationalError, InterfaceError) as error:
            raise DatabaseUnavailable(f"the database does not answer ({str(error.orig).splitlines()[0]})") from error

    def migrate(self, revision: str = "head", place: Path = MIGRATIONS) -> None:
        """Bring the schema to a revision; one process at a time, between the transactions of those who work on. Raises DatabaseUnavailable."""
        for tries in range(1, LOCK_TRIES + 1):
            try:
                self._migrate(revision, place)
                return
            except OperationalError as error:
                if not isinstance(error.orig, LockNotAvailable) or tries == LOCK_TRIES:
                    raise DatabaseUnavailable(f"the database does not answer ({str(error.orig).splitlines()[0]})") from error
                log.info("a table is in use: the migration is tried again (%d)", tries)
                time.sleep(LOCK_SECONDS / 5)  # others have their turn
            except InterfaceError as error:
                raise DatabaseUnavailable(f"the database does not answer ({str(error.orig).splitlines()[0]})") from error
            except ProgrammingError as error:
                if isinstance(error.orig, InsufficientPrivilege):
                    raise LedgerError("this database user may not migrate the ledger's schema, which is behind", code="ledger.rights", next_step=RIGHTS) from error
                raise

    def _migrate(self, revision: str, place: Path) -> None:
        with self.engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS:.3f}s'"))
            config = alembic_config(connection, place)
            if revision in ("head",) or revision.startswith("+"):
                command.upgrade(config, revision)
            else:
                command.downgrade(config, revision)

    def standing(self) -> Standing:
        """How its schema stands beside this code. Raises DatabaseUnavailable."""
        with self.begin() as session:
            return standing(session.connection())

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()


def open_database(settings: Settings | None = None) -> Database:
    """The database that the settings name, or the embedded one.

    An older schema is brought up to date. A newer one is worked on as it is, since newer code only added to it; where it took something away that
    this code needs, LedgerError (`ledger.newer`). Raises DatabaseUnavailable.
    """
    settings = settings or get_settings()
    database = Database(settings.database_url.get_secret_value() or embedded_url(settings.home))
    found = database.standing()
    if found.refuses:
        step = "Install that version here too, and start this process again (docs/upgrading.md)."
        raise LedgerError(f"the ledger's schema is {found.found}, made by a newer version; this one knows {found.known[-1]}, and {found.oldest} is the least that works on it", code="ledger.newer", next_step=step)
    if found.ahead:
        log.info("the ledger's schema is %s, newer than this version's %s: it is used as it is", found.found, found.known[-1])
    elif not found.newest:
        database.migrate()
    return database
