"""The way into the database: one engine a process, migrated when it is opened, errors in the project's own tree."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from infra.errors import DatabaseUnavailable
from infra.postgres import embedded_url
from infra.settings import Settings, get_settings

MIGRATIONS = Path(__file__).parent / "migrations"
# A network that is cut ends a connection on both sides within a minute: a worker learns of it, and the server lets go of rows that a worker
# who is cut off in a transaction has locked, so that its job can go to another.
CONNECTION = {"connect_timeout": 10, "keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
SERVER = {"idle_in_transaction_session_timeout": "60s", "tcp_keepalives_idle": "20", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3", "tcp_user_timeout": "60s"}
MIGRATION_LOCK = 7_215_133_007  # any number, the same for every process


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration on a connection."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
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

    def __init__(self, url: str) -> None:
        self.engine = create_engine(url, pool_pre_ping=True, pool_size=4, connect_args=CONNECTION)
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

    def migrate(self, revision: str = "head") -> None:
        """Bring the schema to a revision; one process at a time."""
        try:
            with self.engine.begin() as connection:
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
                config = alembic_config(connection)
                if revision in ("head",) or revision.startswith("+"):
                    command.upgrade(config, revision)
                else:
                    command.downgrade(config, revision)
        except (OperationalError, InterfaceError) as error:
            raise DatabaseUnavailable(f"the database does not answer ({str(error.orig).splitlines()[0]})") from error

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()


def open_database(settings: Settings | None = None) -> Database:
    """The database that the settings name, or the embedded one; its schema is brought up to date."""
    settings = settings or get_settings()
    database = Database(settings.database_url.get_secret_value() or embedded_url(settings.home))
    database.migrate()
    return database
