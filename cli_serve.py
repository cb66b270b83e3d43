"""The verbs of the review desk: `serve` runs it, `accounts` says who may use it. cli.py adds them to the command."""

import getpass
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli_common import Json, known_database, known_settings
from console import Voice

if TYPE_CHECKING:
    from db.session import Database
    from infra.settings import Settings

Name = Annotated[str, typer.Argument(help="Name of the account.", show_default=False)]
Role = Annotated[str, typer.Option(help="viewer looks; reviewer decides, too; operator steers batches, too; admin makes accounts, too.")]


def serve(
    host: Annotated[str, typer.Option(help="Address to listen at, instead of DUBWRIGHT_DESK_HOST.")] = "",
    port: Annotated[int, typer.Option(min=-1, max=65535, help="Port, instead of DUBWRIGHT_DESK_PORT; 0 is any free one.")] = -1,
    work: Annotated[bool | None, typer.Option("--work/--no-work", help="Deliver and render here what decisions ask for; otherwise workers of a pool do. By default where no Prefect server is set.")] = None,
) -> None:
    """Serve the review desk until stopped. On its first start it prints a link that signs an admin in once."""
    import uvicorn

    from infra.errors import SetupError

    voice, known = Voice(False), known_settings()
    address, number = host or known.desk_host, known.desk_port if port < 0 else port
    try:
        held = _listen(address, number)
    except OSError as error:
        raise SetupError(f"the desk cannot listen at {address}:{number} ({error.strerror})", code="setup.port", next_step="Give another --port, or stop what listens there.") from error
    worker = Worker(known) if (work if work is not None else not os.environ.get("PREFECT_API_URL")) else None
    site = make_site(known, worker)
    listening = uvicorn.Config(site, log_level="warning", access_log=False, proxy_headers=bool(known.desk_url), forwarded_allow_ips="127.0.0.1", server_header=False)
    here = known.desk_url.rstrip("/") or f"http://{address}:{held.getsockname()[1]}"
    voice.plain(f"review desk: {here}")
    from db import accounts, reviews

    if worker and reviews.queued(site.state.database):
        worker.wake()  # what was decided before the last stop
    token = accounts.first_admin(site.state.database, getpass.getuser().lower() or "admin")
    if token:
        voice.plain(f"nobody has an account yet; this link signs an admin in once, within half an hour:\n  {here}/sign-in?t={token}")
    voice.plain("stop with Ctrl-C; decisions that are waiting to be final are kept")
    uvicorn.Server(listening).run(sockets=[held])


def _listen(host: str, port: int) -> Any:
    import socket

    family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    held = socket.socket(family, kind, number)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(address)
    return held


def make_site(known: "Settings", worker: "Worker | None" = None) -> Any:
    """All that is served at one address: the desk at /, the HTTP API at /api, and beside them the sender of webhooks."""
    from contextlib import asynccontextmanager

    from starlette.applications import Starlette
    from starlette.routing import Mount

    from api.app import create_api
    from api.sender import Sender
    from db.session import open_database
    from infra.artifacts import open_artifacts
    from review.app import create_desk

    database = open_database(known)
    desk = create_desk(database, open_artifacts(known), known, worker.wake if worker else None)
    routes = [Mount("/api", create_api(database, known)), Mount("/", desk)]  # the API has tokens of its own

    @asynccontextmanager
    async def lifespan(_: Any) -> Any:
        with Sender(database, known):
            async with desk.router.lifespan_context(desk):
                yield

    site = Starlette(routes=routes, lifespan=lifespan)
    site.state.database, site.state.desk = database, desk
    return site


class Worker:
    """Does what decisions ask for in a process of its own, one at a time, so that the desk stays light: `dubwright review --go-on`."""

    def __init__(self, known: "Settings") -> None:
        self.log, self.lock, self.again, self.busy = known.home / "logs" / "desk-work.log", threading.Lock(), False, False

    def wake(self) -> None:
        """Something was queued."""
        with self.lock:
            if self.busy:
                self.again = True
                return
            self.busy = True
        threading.Thread(target=self._run, name="desk work", daemon=True).start()

    def _run(self) -> None:
        while True:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as out:
                subprocess.run([sys.executable, str(Path(__file__).with_name("cli.py")), "review", "--go-on"], stdout=out, stderr=out, stdin=subprocess.DEVNULL, check=False)
            with self.lock:
                if not self.again:
                    self.busy = False
                    return
                self.again = False


def accounts_list(as_json: Json = False) -> None:
    """List accounts with their roles."""
    from db import accounts

    voice, rows = Voice(as_json), accounts.listed(known_database())
    voice.result({"accounts": rows})
    voice.table("", ["account", "role", "signs in by", "since", ""], [[r["name"], r["role"], ", ".join(r["signs_in_by"]) or "link", r["created_at"][:10], "disabled" if r["disabled"] else ""] for r in rows])
    if not rows:
        voice.plain("no account yet; next: dubwright serve")


def accounts_add(
    name: Name, role: Role = "reviewer", openid: Annotated[str, typer.Option(help="Verified e-mail address that the identity provider knows them by.")] = "",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Add an account, and print a link that signs it in once."""
    from db import accounts

    voice, database, known = Voice(as_json), known_database(), known_settings()
    made = accounts.add(database, name, role, by=getpass.getuser(), subject=accounts.invited(known.oidc_issuer.rstrip("/"), openid) if openid else None)
    _tell_link(voice, database, known, made.name, {"account": made.name, "role": made.role})


def accounts_link(name: Name, as_json: Json = False) -> None:
    """Print a link that signs an account in once, within half an hour."""
    _tell_link(Voice(as_json), known_database(), known_settings(), name, {"account": name.lower()})


def _tell_link(voice: Voice, database: "Database", known: "Settings", name: str, told: dict[str, Any]) -> None:
    from db import accounts

    link = f"{known.desk_url.rstrip('/') or f'http://{known.desk_host}:{known.desk_port}'}/sign-in?t={accounts.link(database, name)}"
    voice.result(told | {"link": link})
    voice.plain(f"{name} signs in once, within half an hour, by\n  {link}")


def accounts_password(name: Name, as_json: Json = False) -> None:
    """Set an account's password, asked for or read from standard input; it is signed out everywhere."""
    from db import accounts

    voice = Voice(as_json)
    password = getpass.getpass("password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    made = accounts.change(known_database(), name, getpass.getuser(), password=password)
    voice.result({"account": made.name})
    voice.plain(f"{made.name} has a new password")


def accounts_role(name: Name, role: Annotated[str, typer.Argument(help="viewer, reviewer, operator or admin.", show_default=False)], as_json: Json = False) -> None:
    """Give an account another role; it is signed out everywhere."""
    from db import accounts

    voice, made = Voice(as_json), accounts.change(known_database(), name, getpass.getuser(), role=role)
    voice.result({"account": made.name, "role": made.role})
    voice.plain(f"{made.name} is {made.role}")


def accounts_disable(name: Name, undo: Annotated[bool, typer.Option("--undo", help="Let it in again.")] = False, as_json: Json = False) -> None:
    """Let an account in no more; what it decided stays."""
    from db import accounts

    voice, made = Voice(as_json), accounts.change(known_database(), name, getpass.getuser(), disabled=not undo)
    voice.result({"account": made.name, "disabled": not undo})
    voice.plain(f"{made.name} is {'let in again' if undo else 'disabled'}")


def add(app: typer.Typer, verb: Callable[[Callable[..., Any]], Callable[..., None]]) -> None:
    """Add the verbs to a command; `verb` tells their errors."""
    app.command()(verb(serve))
    people = typer.Typer(help="Who may use the review desk.", no_args_is_help=True, rich_markup_mode=None)
    for name, call in (("list", accounts_list), ("add", accounts_add), ("link", accounts_link), ("password", accounts_password), ("role", accounts_role), ("disable", accounts_disable)):
        people.command(name)(verb(call))
    app.add_typer(people, name="accounts")
