"""What the documents list is what there is."""

import json
import re
from pathlib import Path

from typer.main import get_command

from cli import app
from db.tables import Base
from infra.settings import Settings
from tasks.learn import PARTS

ROOT = Path(__file__).parent.parent


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    listed = set(re.findall(r"^\| `DUBWRIGHT_(\w+)`", text, re.MULTILINE))
    assert listed == {name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        line = next(row for row in text.splitlines() if row.startswith(f"| `DUBWRIGHT_{name.upper()}`"))
        if isinstance(field.default, int | float | str) and field.default:
            assert re.search(rf"\| `?{re.escape(f'{field.default:g}' if isinstance(field.default, float) else str(field.default))}`? \|", line), line


def test_every_table_is_documented() -> None:
    text = (ROOT / "docs" / "ledger.md").read_text()
    assert {name for name in Base.metadata.tables if f"`{name}`" not in text} == set()


def test_training_is_documented_as_it_is() -> None:
    text = (ROOT / "docs" / "training.md").read_text()
    for name in PARTS:
        engine, preset, part = name.split("/")
        assert re.search(rf"^\| `{engine}`" if engine == "syncnet" else rf"^\| `{engine} {preset}` \| `{part}`", text, re.MULTILINE), name
    options = {word for option in get_command(app).commands["train"].params for word in option.opts if word.startswith("--")}  # type: ignore[attr-defined]
    assert {word for word in options - {"--json", "--seed", "--grid"} if f"`{word}" not in text and f" {word} " not in text} == set()


def test_cards_name_commands_that_exist() -> None:
    for card in ROOT.glob("models/*/weights/*.json"):
        told = json.loads(card.read_text())["command"]
        parts = {name.split("/")[2] for name in PARTS if name.startswith(f"{card.parent.parent.name}/compact/")}
        assert told.startswith("dubwright train ") and set(re.findall(r"--part (\w+)", told)) <= parts, card.name


def test_links_between_documents_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
