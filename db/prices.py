"""What finished video costs: recorded seconds of work, by prices that an operator states. Without prices nothing is said of money."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from db import costs
from db.session import Database
from infra.errors import SetupError
from infra.settings import Settings

PARTS = ("batch", "language", "engine")


class Price(BaseModel):
    """What an hour of one worker costs: `gpu_hour` where its machine has a GPU, else `cpu_hour`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu_hour: float = Field(ge=0)
    gpu_hour: float | None = Field(default=None, ge=0)


class Kind(Price):
    """The price of machines of a kind: those whose host, processor or GPU holds `match`, whatever its case."""

    match: str = Field(min_length=1)


class Prices(BaseModel):
    """A price table. Of `machines` the first that matches holds, else `default`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: str = Field(min_length=1, max_length=8)
    default: Price
    machines: tuple[Kind, ...] = ()

    def hour(self, machine: dict[str, Any]) -> float:
        """What an hour of a worker on a machine costs."""
        facts = " ".join(str(machine.get(name) or "") for name in ("host", "processor", "gpu")).lower()
        price: Price = next((kind for kind in self.machines if kind.match.lower() in facts), self.default)
        return price.gpu_hour if machine.get("gpu") and price.gpu_hour is not None else price.cpu_hour


def load_prices(path: Path | None) -> Prices | None:
    """The price table of a YAML file; None where none is named. Raises SetupError for one that cannot be used."""
    if path is None:
        return None
    try:
        return Prices.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError, ValidationError) as error:
        step = "Mend the file that DUBWRIGHT_PRICES names; docs/operations.md shows one that works."
        raise SetupError(f"the price table {path} cannot be used: {' '.join(str(error).split())[:300]}", code="setup.prices", next_step=step) from error


def costs_of(database: Database, batch_ids: list[int], settings: Settings) -> dict[str, Any] | None:
    """`currency`, `total`, and by `batch`, `language` and `engine` rows of `spent`, `minutes` (delivered) and `per_minute`; None without prices."""
    prices = load_prices(settings.prices)
    if prices is None:
        return None
    return priced(costs.worked(database, batch_ids), costs.delivered(database, batch_ids), prices)


def priced(worked: list[dict[str, Any]], delivered: list[dict[str, Any]], prices: Prices) -> dict[str, Any]:
    """The costs of rows of db/costs.py. `per_minute` is money spent on all takes over delivered minutes; None where nothing was delivered."""
    spent = [{**row, "language": language(row["locale"]), "cost": row["seconds"] / 3600 * prices.hour(row["machine"])} for row in worked]
    made = [{**row, "language": language(row["locale"])} for row in delivered]
    total = _row(sum(row["cost"] for row in spent), sum(row["seconds"] for row in made))
    told: dict[str, Any] = {"currency": prices.currency, "total": total}
    for part in PARTS:
        names = sorted({row[part] for row in (*spent, *made)})
        told[part] = [
            {part: name} | _row(sum(row["cost"] for row in spent if row[part] == name), sum(row["seconds"] for row in made if row[part] == name)) for name in names
        ]
    return told


def language(locale: str) -> str:
    """The language of a locale: `es` of `es-ES`."""
    return locale.partition("-")[0].lower()


def _row(spent: float, seconds: float) -> dict[str, Any]:
    minutes = seconds / 60
    return {"spent": round(spent, 6), "minutes": round(minutes, 4), "per_minute": round(spent / minutes, 6) if minutes else None}


def costs_words(told: dict[str, Any] | None) -> str:
    """Costs in a line; nothing where there are none."""
    if not told:
        return ""
    total = told["total"]
    by = "; ".join(", ".join(f"{row[part]} {row['per_minute']:.4g}" for row in told[part] if row["per_minute"] is not None) for part in ("language", "engine"))
    if total["per_minute"] is None:
        return f"{total['spent']:.4g} {told['currency']} spent, nothing delivered"
    return f"{total['spent']:.4g} {told['currency']} spent, {total['per_minute']:.4g} for a finished minute ({by})"
