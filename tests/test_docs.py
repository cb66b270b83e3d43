"""What the documents list is what there is."""

import re
from pathlib import Path

from db.tables import Base
from infra.settings import Settings

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


def test_links_between_documents_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
