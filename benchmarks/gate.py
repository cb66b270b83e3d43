"""How far the gate can be trusted: a made-up mix of good takes and spoilt ones, judged by the thresholds in use. `dubwright evaluate gate`.

Takes are held-out real clips that set no limit (tasks/gating/clips.py), alone and two and four of one speaker joined, as delivered, each
compared with its source; spoilt ones are made of the same clips. What engines render of some of them is reported beside. Rates count
every clip once and every kind of fault alike; intervals are Clopper and Pearson's, 95 %.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import InputError
from models.types import SyncScore
from tasks.gate import Thresholds, decide, load_thresholds
from tasks.gating.clips import FAULTS, Clip, halves, looked_at
from tasks.gating.good import ENGINES, pairs_of
from tasks.gating.rates import rate_of
from tasks.gating.rendered import rendered
from tasks.gating.source import Source
from tasks.gating.spoilt import SHIFTS, shifted

JOINED = (1, 2, 4)  # clips of a take: three, six and twelve seconds
OTHERS = 4  # other clips that lend a take their sound
RENDERED = 4  # clips that each engine renders, with those of speakers that nobody trained on
CHATTER = "chattering in silence"  # where there is a silence of half a second away from speech
Scored = Iterator[SyncScore]
Outcomes = dict[str, list[list[float]]]  # by kind, per clip, whether each of its takes passed
Take = tuple[Clip, tuple[int, ...]]  # with the numbers of the clips that it is made of


def run(grid: Path, *, clips: int = 0, engines: Sequence[str] = ENGINES, thresholds: Thresholds | None = None) -> dict[str, Any]:
    """What `dubwright evaluate gate` prints. clips: so many of the clips, evenly; 0 is all. Raises InputError without clips of that half."""
    paths = halves(grid)["measure"]
    paths = paths[:: max(1, len(paths) // clips)] if clips else paths
    if not paths:
        raise InputError("there are no clips to measure the gate with", code="input.no_corpus", next_step="Give --grid FOLDER with at least 20 clips.")
    some = [path for path in [*spread(paths, RENDERED), *(path for path in paths if path.parent.name != paths[0].parent.name)] if path.with_suffix(".align").is_file()]
    made = {name: [rendered(path, name) for path in dict.fromkeys(some)] for name in engines}
    return measure(list(looked_at(paths)), made, thresholds or load_thresholds())


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """So many of the paths, evenly."""
    return list(paths[:: max(1, len(paths) // count)][:count])


def measure(clips: Sequence[Clip], made: Mapping[str, Sequence[Clip]], thresholds: Thresholds) -> dict[str, Any]:
    """Figures, rates by kind, by length and by engine, and what the reasons were, of clips that were looked at."""
    takes = takes_of(clips)
    passed, reasons = judged(takes, clips, thresholds, alone=False)
    without, _ = judged(takes, clips, thresholds, alone=True)
    kinds = {kind: rate_of([float(np.mean(parts)) for parts in rows if parts]) for kind, rows in passed.items()}
    kinds_alone = {kind: rate_of([float(np.mean(parts)) for parts in rows if parts]) for kind, rows in without.items()}
    by_length = {
        f"{3 * count:d}s": {kind: _rate(rows) for kind, rows in judged([take for take in takes if len(take[1]) == count], clips, thresholds, alone=False)[0].items()}
        for count in JOINED
    }
    engines = {name: _of_engine(several, thresholds) for name, several in made.items()}
    figures = {
        "false_pass": _mean_of(kinds), "false_pass_high": _pooled(passed)["high"], "good_flagged": 1 - kinds["good"]["rate"],
        "good_flagged_high": 1 - kinds["good"]["low"], "false_pass_alone": _mean_of(kinds_alone), "good_flagged_alone": 1 - kinds_alone["good"]["rate"],
        **{f"passed_{kind.replace(' ', '_')}": rate["rate"] for kind, rate in kinds.items()},
        **{f"good_flagged_{name}": 1 - told["passed"]["rate"] for name, told in engines.items()},
    }  # fmt: skip
    return {
        "figures": {name: round(value, 4) for name, value in figures.items()}, "kinds": kinds, "alone": kinds_alone, "lengths": by_length,
        "engines": engines, "reasons": reasons, "takes": len(takes), "clips": len(clips), "scorer": thresholds.scorer,
    }  # fmt: skip


def takes_of(clips: Sequence[Clip]) -> list[Take]:
    """Takes of one, two and four clips, each with the numbers of its clips."""
    number = {(clip.speaker, clip.name): at for at, clip in enumerate(clips)}
    found: list[Take] = [(clip, (at,)) for at, clip in enumerate(clips)]
    for count in JOINED[1:]:
        found += [(take, tuple(number[take.speaker, name] for name in take.name.split(" "))) for take in pairs_of(clips, count)]
    return found


def judged(takes: Sequence[Take], clips: Sequence[Clip], thresholds: Thresholds, *, alone: bool) -> tuple[Outcomes, dict[str, dict[str, int]]]:
    """Whether takes of each kind pass, by clip, and how often which reason was given. alone: without their sources."""
    found: Outcomes = {}
    reasons: dict[str, Counter[str]] = {}
    for take, members in takes:
        for kind, scores in kinds_of(take, members, clips, None if alone else take.source).items():
            verdicts = [decide(score, thresholds) for score in scores]
            rows = found.setdefault(kind, [[] for _ in clips])
            for member in members:
                rows[member].append(float(np.mean([verdict.passed for verdict in verdicts])))
            for verdict in verdicts:
                told = [reason.partition(":")[0] for reason in verdict.reasons[1:]] or ([] if verdict.passed else ["lips and sound"])
                reasons.setdefault(kind, Counter()).update(told)
    return found, {kind: dict(counted.most_common()) for kind, counted in reasons.items()}


def kinds_of(take: Clip, members: Sequence[int], clips: Sequence[Clip], source: Source | None) -> dict[str, Scored]:
    """The scores of a take as it is, and of it with each fault."""
    wave = take.wave
    made: dict[str, Callable[[], Scored]] = {
        "good": lambda: iter([take.seen.score(wave, source)]),
        "shifted": lambda: (take.seen.score(shifted(wave, by), source) for by in SHIFTS),
        "other speech": lambda: (take.seen.score(other, source) for other in others(clips, members, len(wave))),
    }
    scores = {kind: make() for kind, make in made.items()}
    spoilt = {fault: take.spoilt[fault].score(wave, source) for fault in FAULTS if fault in take.spoilt}
    return scores | {fault: iter([score]) for fault, score in spoilt.items() if fault != CHATTER or "silent_motion" in score.features}


def others(clips: Sequence[Clip], members: Sequence[int], samples: int) -> Iterator[np.ndarray]:
    """Sounds of other clips, as many joined as are long enough, the same ones every time."""
    order = [at for at in np.random.default_rng(members[0]).permutation(len(clips)) if at not in members]
    for first in range(OTHERS):
        chosen = np.roll(order, -first * len(members))[: len(members)]
        yield np.resize(np.concatenate([clips[at].wave for at in chosen]), samples)


def _of_engine(takes: Sequence[Clip], thresholds: Thresholds) -> dict[str, Any]:
    """How many takes that an engine rendered pass, and why the others do not."""
    verdicts = [decide(take.seen.score(take.wave, take.source), thresholds) for take in takes]
    told: Counter[str] = Counter(reason.partition(":")[0] for verdict in verdicts if not verdict.passed for reason in verdict.reasons)
    return {"passed": rate_of([float(verdict.passed) for verdict in verdicts]), "verdicts": dict(Counter(v.verdict for v in verdicts)), "reasons": dict(told.most_common())}


def _rate(rows: list[list[float]]) -> dict[str, float] | None:
    parts = [float(np.mean(row)) for row in rows if row]
    return rate_of(parts) if parts else None


def _mean_of(kinds: Mapping[str, Mapping[str, float]]) -> float:
    return float(np.mean([rate["rate"] for kind, rate in kinds.items() if kind != "good"]))


def _pooled(passed: Outcomes) -> dict[str, float]:
    """The rate of all faults alike, a clip counted once."""
    spoilt = [rows for kind, rows in passed.items() if kind != "good"]
    return rate_of([float(np.mean([np.mean(rows[at]) for rows in spoilt if rows[at]])) for at in range(len(spoilt[0])) if spoilt[0][at]])
