"""What each process of torchrun runs: `torchrun --nproc-per-node=8 -m tasks.rank avct/paper/fomm --corpus CLIPS --out RUN`.

All train together; the first prepares clips, saves, measures, and writes a JSON object a line: steps with their losses, then
figures, or the error that it ended with. Several parts are trained one after another.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.errors import EngineError, classify
from models.training.ranks import Ranks, joined
from tasks.learn import PARTS, Order, prepare, train_as


def orders(arguments: list[str]) -> Iterator[Order]:
    """One order a part that is named. Raises EngineError for a part that does not exist."""
    reader = argparse.ArgumentParser(prog="tasks.rank", description=__doc__)
    reader.add_argument("parts", nargs="+", help=", ".join(PARTS))
    for name in ("corpus", "out", "perceptual", "start"):
        reader.add_argument(f"--{name}", type=Path, required=name in ("corpus", "out"))
    for name in ("steps", "batch", "frames", "seed"):
        reader.add_argument(f"--{name}", type=int, default=1 if name == "seed" else 0)
    reader.add_argument("--seconds", type=float, default=0.0)
    reader.add_argument("--schedule", default="")
    given = vars(reader.parse_args(arguments))
    for name in given.pop("parts"):
        if name not in PARTS:
            raise EngineError(f"nothing is trained under the name {name}", code="engine.unknown", next_step=f"Known are {', '.join(PARTS)}.")
        yield Order(name=name, **given)


def train_all(ranks: Ranks, arguments: list[str]) -> None:
    """Train every part that is named."""
    for order in orders(arguments):
        if ranks.first:
            prepare(order)
        ranks.agreed(0.0)  # the others wait for the clips
        figures = train_as(order, ranks, lambda row, name=order.name: _say({"part": name, **row}))  # type: ignore[misc]
        if ranks.first:
            _say({"part": order.name, "figures": figures})


def _say(row: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(row, default=str) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Exit code 1 where it failed; the first process's error is on standard output, every one's trace on standard error."""
    with joined() as ranks:
        try:
            train_all(ranks, sys.argv[1:])
        except Exception as error:
            if ranks.first:
                _say({"error": classify(error).to_dict()})
            raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
