"""Which schema a ledger has, which one this code knows, and whether the two can work together (docs/upgrading.md).

Migrations expand: what they add, older code does not see and need not fill. One that contracts says by `contract` which revision is the oldest
whose code still works; it says so in the database, since that code cannot know it.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

MIGRATIONS = Path(__file__).parent / "migrations"
OLDEST = "oldest "  # how the comment on alembic_version begins


@dataclass(frozen=True)
class Standing:
    """A ledger's schema beside this code's: the revision it has (empty: none yet), the oldest that it still lets work, and all that are known, the newest last."""

    found: str
    oldest: str
    known: tuple[str, ...]

    @property
    def newest(self) -> bool:
        """It has this code's newest revision."""
        return self.found == self.known[-1]

    @property
    def behind(self) -> int:
        """How many migrations it lacks; 0 where it is newer than the code."""
        return len(self.known) if not self.found else len(self.known) - 1 - self.known.index(self.found) if self.found in self.known else 0

    @property
    def ahead(self) -> bool:
        """It was migrated by newer code."""
        return bool(self.found) and self.found not in self.known

    @property
    def refuses(self) -> bool:
        """It is ahead, and newer code said that this code can no longer work on it."""
        return self.ahead and bool(self.oldest) and self.oldest not in self.known


@functools.cache
def known(place: Path = MIGRATIONS) -> tuple[str, ...]:
    """The revisions of this code, oldest first."""
    config = Config()
    config.set_main_option("script_location", str(place))
    return tuple(script.revision for script in reversed(list(ScriptDirectory.from_config(config).walk_revisions())))


def standing(connection: Connection) -> Standing:
    """How a ledger stands. Changes nothing, locks nothing."""
    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar_one() is None:
        return Standing("", "", known())
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or ""
    said = connection.execute(text("SELECT obj_description('alembic_version'::regclass)")).scalar() or ""
    return Standing(found, said.removeprefix(OLDEST) if said.startswith(OLDEST) else "", known())


def contract(oldest: str) -> str:
    """A statement for a migration that takes away what code of revisions before `oldest` needs."""
    if not oldest.isalnum():
        raise ValueError(f"{oldest!r} is no revision")
    return f"COMMENT ON TABLE alembic_version IS '{OLDEST}{oldest}'"
