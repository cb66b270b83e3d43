"""The verbs about what this is made of and what may be done with it: models list and licence, sbom. cli.py adds them to the command."""

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from cli_common import Json, known_database, known_settings
from console import Voice


def list_models(packages: Annotated[bool, typer.Option("--packages", help="Show the installed packages, too.")] = False, as_json: Json = False) -> None:
    """List the weights that are installed, with licences and hashes; --packages: all software, too."""
    from dataclasses import asdict

    from infra import licences
    from models import checkpoints

    voice, cards = Voice(as_json), checkpoints.cards()
    found = licences.packages()
    open_words = {"open": "yes", "research": "no"}
    voice.result({"weights": [asdict(card) for card in cards], "packages": [asdict(one) for one in found]})
    rows = [[f"{c.engine}/{c.name}", f"{c.parameters:,}", c.licence, open_words[c.licence_class], c.sha256[:16], c.data] for c in cards]
    voice.table("", ["weights", "parameters", "licence", "commercial use", "sha256", "trained on"], rows)
    if packages:
        voice.table("", ["package", "version", "licence", "class"], [[one.name, one.version, one.licence, one.licence_class] for one in found])
    counts = {kind: sum(one.licence_class == kind for one in found) for kind in licences.CLASSES}
    voice.plain(f"{len(found)} packages: " + ", ".join(f"{count} {kind}" for kind, count in counts.items() if count))
    for one in licences.hindering(known_settings().licences_accepted.split()):
        voice.plain(f"keeps commercial deliveries back: {one.name}, {one.licence or 'no licence told'} ({one.licence_class})")


def relicense(
    name: Annotated[str, typer.Argument(help="Weights, as avct/paper-generator.", show_default=False)],
    licence: Annotated[str, typer.Argument(help="What allows you to use them; kept on their card.", show_default=False)],
    commercial: Annotated[bool, typer.Option("--commercial", help="It allows commercial use.")] = False,
    as_json: Json = False,
) -> None:
    """Say under which licence weights are that you trained or imported; the card and the ledger keep it."""
    from dataclasses import asdict

    from db import weights
    from models import checkpoints

    voice = Voice(as_json)
    engine, _, part = name.partition("/")
    kind = "open" if commercial else "research"
    made = checkpoints.relicense(engine, part, licence, kind)
    known = weights.relicense(known_database(), made.sha256, licence, kind)
    voice.result(asdict(made) | {"takes": known, "by": getpass.getuser()})
    voice.plain(f"{name}: {licence}; commercial use: {'yes' if commercial else 'no'}; {known} take(s) were made by it")


def sbom(
    file: Annotated[Path | None, typer.Argument(help="Where to write it; standard output when left out.")] = None,
    lock: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A file of pins with hashes (--hash=sha256:...), from which packages get theirs.")] = None,
    as_json: Json = False,
) -> None:
    """Write what this installation is made of, packages and weights, as CycloneDX JSON."""
    import json

    from tasks.sbom import sbom as bill

    voice, text = Voice(as_json), bill(lock)
    parts = json.loads(text)["components"]
    if file is None:
        typer.echo(json.dumps(json.loads(text)) if as_json else text)
        return
    file.write_text(text + "\n", encoding="utf-8")
    voice.result({"file": str(file), "components": len(parts)})
    voice.plain(f"{len(parts)} components: {file}")


def add(app: typer.Typer, models_app: typer.Typer, verb: Callable[[Callable[..., Any]], Callable[..., None]]) -> None:
    """Add the verbs to a command and to its group of weights; `verb` tells their errors."""
    models_app.command("list")(verb(list_models))
    models_app.command("licence")(verb(relicense))
    app.command()(verb(sbom))
