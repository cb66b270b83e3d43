"""How far the gate can be trusted: a made-up mix of good takes and spoilt ones, judged by the thresholds in use. `dubwright evaluate gate`.

Takes are held-out real clips that set no limit (tasks/gating/clips.py), alone and two and four of one speaker joined, as delivered, each
compared with its source; spoilt ones are made of the same clips. What engines render of some of them is reported beside. Rates count
every clip once and every kind of fault alike; intervals are Clopper and Pearson's, 95 %.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import InputError
from models.quality.catalogue import FEATURES
from models.types import SyncScore
from tasks.gate import Thresholds, decide, load_thresholds
from tasks.gating.clips import FAULTS, Clip, halves, looked_at
from tasks.gating.good import ENGINES, pairs_of
from tasks.gating.rates import rate_of
from tasks.gating.rendered import rendered
from tasks.gating.seen import Heard, join_heard
from tasks.gating.spoilt import SHIFTS

JOINED = (1, 2, 4)  # clips of a take: three, six and twelve seconds
OTHERS = 4  # other clips that lend a take their sound
RENDERED = 4  # clips that each engine renders, with those of speakers that nobody trained on
CHATTER = "chattering in silence"  # where there is a silence of half a second away from speech
Scores = dict[str, list[SyncScore]]  # of a take, by kind
Outcomes = dict[str, list[list[float]]]  # by kind, per clip, whether each of its takes passed
Take = tuple[Clip, tuple[int, ...]]  # with the numbers of the clips that it is made of


def run(grid: Path, *, clips: int = 0, engines: Sequence[str] = ENGINES, thresholds: Thresholds | None = None, climb: bool = False) -> dict[str, Any]:
    """What `dubwright evaluate gate` prints. clips: so many of the clips, evenly; 0 is all. climb: and what the ladder is worth
    (benchmarks/ladder.py), on jobs that are really run. Raises InputError without clips of that half.
    """
    paths = halves(grid)["measure"]
    paths = paths[:: max(1, len(paths) // clips)] if clips else paths
    if not paths:
        raise InputError("there are no clips to measure the gate with", code="input.no_corpus", next_step="Give --grid FOLDER with at least 20 clips.")
    some = [path for path in [*spread(paths, RENDERED), *(path for path in paths if path.parent.name != paths[0].parent.name)] if path.with_suffix(".align").is_file()]
    made = {name: [rendered(path, name) for path in dict.fromkeys(some)] for name in engines}
    found = measure(list(looked_at(paths)), made, thresholds or load_thresholds())
    if climb:
        from benchmarks.ladder import ladder

        climbed = ladder(grid)
        found["figures"] |= climbed.pop("figures")
        found["ladder"] = climbed
    return found


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """So many of the paths, evenly."""
    return list(paths[:: max(1, len(paths) // count)][:count])


def measure(clips: Sequence[Clip], made: Mapping[str, Sequence[Clip]], thresholds: Thresholds) -> dict[str, Any]:
    """Figures, rates by kind, by length and by engine, and what the reasons were, of clips that were looked at."""
    takes = takes_of(clips)
    scores = [kinds_of(take, members, clips) for take, members in takes]
    passed, reasons = judged(takes, scores, len(clips), thresholds)
    without, _ = judged(takes, [{kind: [_alone(score) for score in row] for kind, row in kinds.items()} for kinds in scores], len(clips), thresholds)
    kinds, kinds_alone = ({kind: _rate(rows) for kind, rows in several.items()} for several in (passed, without))
    by_length = {}
    for count in JOINED:
        some = [at for at, (_, members) in enumerate(takes) if len(members) == count]
        rows, _ = judged([takes[at] for at in some], [scores[at] for at in some], len(clips), thresholds)
        by_length[f"{3 * count:d}s"] = {kind: _rate(several) for kind, several in rows.items()}
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


def judged(takes: Sequence[Take], scores: Sequence[Scores], count: int, thresholds: Thresholds) -> tuple[Outcomes, dict[str, dict[str, int]]]:
    """Whether takes of each kind pass, by clip of `count`, and how often which reason was given."""
    found: Outcomes = {}
    reasons: dict[str, Counter[str]] = {}
    for (_, members), kinds in zip(takes, scores, strict=True):
        for kind, row in kinds.items():
            verdicts = [decide(score, thresholds) for score in row]
            clips = found.setdefault(kind, [[] for _ in range(count)])
            for member in members:
                clips[member].append(float(np.mean([verdict.passed for verdict in verdicts])))
            for verdict in verdicts:
                told = [reason.partition(":")[0] for reason in verdict.reasons[1:]] or ([] if verdict.passed else ["lips and sound"])
                reasons.setdefault(kind, Counter()).update(told)
    return found, {kind: dict(counted.most_common()) for kind, counted in reasons.items()}


def kinds_of(take: Clip, members: Sequence[int], clips: Sequence[Clip]) -> Scores:
    """The scores of a take against its source as it is, and of it with each fault."""
    seen, source = take.seen, take.source
    spoilt = {fault: take.spoilt[fault].score(take.heard, source) for fault in FAULTS if fault in take.spoilt}
    return {
        "good": [seen.score(take.heard, source)],
        "shifted": [seen.score(take.heard.later(by), source) for by in SHIFTS],
        "other speech": [seen.score(other, source) for other in others(clips, members, seen.frames)],
        **{fault: [score] for fault, score in spoilt.items() if fault != CHATTER or "silent_motion" in score.features},
    }


def _alone(score: SyncScore) -> SyncScore:
    """A score as it is without a source."""
    return replace(score, features={name: value for name, value in score.features.items() if not FEATURES[name].against})


def others(clips: Sequence[Clip], members: Sequence[int], frames: int) -> Iterator[Heard]:
    """Sounds of other clips, as many joined as are long enough, the same ones every time."""
    order = [int(at) for at in np.random.default_rng(members[0]).permutation(len(clips)) if at not in members]
    for first in range(min(OTHERS, len(order))):
        chosen = np.roll(order, -first * len(members))[: len(members)]
        yield join_heard([clips[at].heard for at in chosen], frames)


def _of_engine(takes: Sequence[Clip], thresholds: Thresholds) -> dict[str, Any]:
    """How many takes that an engine rendered pass, and why the others do not."""
    verdicts = [decide(take.seen.score(take.heard, take.source), thresholds) for take in takes]
    told: Counter[str] = Counter(reason.partition(":")[0] for verdict in verdicts if not verdict.passed for reason in verdict.reasons)
    return {"passed": rate_of([float(verdict.passed) for verdict in verdicts]), "verdicts": dict(Counter(v.verdict for v in verdicts)), "reasons": dict(told.most_common())}


def _rate(rows: list[list[float]]) -> dict[str, float]:
    return rate_of([float(np.mean(row)) for row in rows if row])


def _mean_of(kinds: Mapping[str, Mapping[str, float]]) -> float:
    return float(np.mean([rate["rate"] for kind, rate in kinds.items() if kind != "good"]))


def _pooled(passed: Outcomes) -> dict[str, float]:
    """The rate of all faults alike, a clip counted once."""
    spoilt = [rows for kind, rows in passed.items() if kind != "good"]
    return rate_of([float(np.mean([np.mean(rows[at]) for rows in spoilt if rows[at]])) for at in range(len(spoilt[0])) if spoilt[0][at]])
