"""The ladder: what to try next for a job whose takes fell short, or that it is spent. Pure; tasks/takes.py brings the facts.

The first rung is the first engine as it serves best. Then the other engines, likewise; then further anchors or references, seeds and
emphases of the engine whose take stands best. Nothing here draws by chance, so a job that is resumed climbs the same ladder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Kind = Literal["portrait", "video"]
VERDICTS = ("unscorable", "fail", "flag", "pass")  # from worst to best
PRIOR, FIRST, STEP = 20.0, 0.6, 0.1  # how many takes an engine's prior pass rate weighs; that of the first in the default order; less for each after it
UNSCORABLE = 2  # takes in a row that could not be scored: a third would not be either
DEFAULT_ORDER: dict[Kind, tuple[str, ...]] = {"portrait": ("avct", "lipmemory", "coherence"), "video": ("lipmemory", "coherence")}
STRONGER: dict[tuple[Kind, str], tuple[tuple[int, float], ...]] = {  # (anchor or reference, emphasis) of an engine's rungs after its first
    ("portrait", "avct"): ((1, 1.35), (2, 1.0), (3, 1.8)),
    **{("portrait", name): ((0, 1.4), (1, 1.9), (2, 1.0)) for name in ("lipmemory", "coherence")},
    **{  # no two emphases alike: a face that is seen shortly has one reference, and nothing else is drawn by chance
        ("video", name): ((1, 1.3), (2, 1.7), (0, 2.0), (1, 1.5), (2, 1.15), (0, 1.85), (1, 2.2), (2, 1.4), (0, 1.6), (1, 1.2), (2, 1.9))
        for name in ("lipmemory", "coherence")
    },
}  # fmt: skip
FRESH: dict[tuple[Kind, str], float] = dict.fromkeys((("portrait", "lipmemory"), ("portrait", "coherence")), 1.4)  # emphasis of an engine's first rung where engines compete; else as it is
PLAIN = ((1, 1.0), (2, 1.0))  # of an engine that knows no emphasis
REFERENCES = 3  # of a video's track that are looked for


@dataclass(frozen=True)
class Rung:
    """What a take is rendered with.

    start: which anchor of a portrait's motion, or reference of a video's track; 0 is the engine's own choice. draw: which seed, 0 is the
    job's own. emphasis: how much stronger than usual lips move.
    """

    engine: str
    start: int = 0
    draw: int = 0
    emphasis: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """As a take's parameters hold it."""
        return asdict(self)


@dataclass(frozen=True)
class Tried:
    """A take that was made: its rung, what the gate said, its scores, and the seconds that it alone took."""

    number: int
    rung: Rung
    verdict: str
    offset: int | None = None
    prominence: float | None = None
    confidence: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Limits:
    """How far a job may climb: takes in all, and seconds of work for takes after its first, of the job and of its batch. 0: no such limit."""

    takes: int
    job_seconds: float = 0.0
    batch_seconds: float = 0.0


@dataclass(frozen=True)
class Next:
    """The next rung and why it is tried; or, without a rung, why the ladder is spent."""

    rung: Rung | None
    why: str


Standing = tuple[int, bool, float, float, int]


def standing(verdict: str, offset: int | None, prominence: float | None, confidence: float | None, number: int) -> Standing:
    """How well a take stands: larger is better. Verdict, then offset within one frame, then prominence, then confidence, then the earlier."""
    near = offset is not None and abs(offset) <= 1
    return VERDICTS.index(verdict) if verdict in VERDICTS else -1, near, prominence or 0.0, confidence or 0.0, -number


def of_tried(take: Tried) -> Standing:
    """A take's standing."""
    return standing(take.verdict, take.offset, take.prominence, take.confidence, take.number)


def of_row(row: Mapping[str, Any]) -> Standing:
    """The standing of a take as db/queries.py shows it."""
    extra = (row.get("curve") or {}).get("extra") or {}
    return standing(row.get("verdict", ""), row.get("offset"), extra.get("prominence"), row.get("confidence"), row["number"])


def ordered(kind: Kind, usable: Sequence[str], record: Mapping[str, Mapping[str, tuple[int, int]]]) -> tuple[str, ...]:
    """The engines that can be used, best first by what they won before; without a record the default order.

    record: by engine, (takes, passes) of jobs of this kind and preset: `all`, and `locale` of the job's own. The rate of all is drawn by a
    prior of PRIOR takes to what is thought of engines that nothing is known of, a little less of each further one in the default order, so
    that a few takes change nothing; the locale's is drawn to the rate of all by as much.
    """
    known = [name for name in DEFAULT_ORDER[kind] if name in usable] + [name for name in usable if name not in DEFAULT_ORDER[kind]]
    rates = {name: rate(record.get(name, {}), FIRST - STEP * place) for place, name in enumerate(known)}
    return tuple(sorted(known, key=lambda name: -rates[name]))


def rate(record: Mapping[str, tuple[int, int]], prior: float) -> float:
    """An engine's expected pass rate, the mean of a beta distribution under the priors above."""
    takes, passes = record.get("all", (0, 0))
    whole = (passes + PRIOR * prior) / (takes + PRIOR)
    takes, passes = record.get("locale", (0, 0))
    return (passes + PRIOR * whole) / (takes + PRIOR)


def climb(
    kind: Kind, engines: Sequence[str], tried: Sequence[Tried], limits: Limits, *, spent: float = 0.0, granted: int = 0, fixed: str = ""
) -> Next:
    """The next rung for a job. The first is always allowed.

    tried: its takes in order, none of which passes. spent: seconds that the batch's jobs took for takes after their first. granted: a number
    of takes that a reviewer allows, whatever the limits. fixed: why no take of this job can pass, where that is so.
    """
    if not tried:
        return Next(Rung(engines[0], emphasis=FRESH.get((kind, engines[0]), 1.0) if len(engines) > 1 else 1.0), "the first engine")
    if len(tried) >= granted and (reason := _spent(tried, limits, spent, fixed)):
        return Next(None, reason)
    asked = "a reviewer asked for another take: " if len(tried) < granted else ""
    used = {take.rung.engine for take in tried}
    fresh = next((name for name in engines if name not in used), None)
    best, *_ = stood = sorted(tried, key=of_tried, reverse=True)
    names = [fresh] if fresh else dict.fromkeys([*(take.rung.engine for take in stood if take.rung.engine in engines), *engines])
    rung = next((found for name in names if (found := _rung(kind, name, tried))), None)
    if rung is None:
        return Next(None, "all that the engines can do otherwise was tried")
    what = f"another engine, {rung.engine}" if fresh else f"{rung.engine} stands best: {_told(kind, rung)}"
    return Next(rung, f"{asked}{what}; take {best.number} is the best so far ({best.verdict})")


def wished(kind: Kind, found: Next, wish: Mapping[str, Any], numbered: int) -> Next:
    """The next rung with what a reviewer wants of it: engine, start and emphasis; what they leave open is as the ladder would have it.

    Where they changed single cues alone, `rung` is that of the take that they saw: whatever the cues do not touch stays as it is.

    numbered: the highest number of a take so far; it draws another seed.
    """
    given = {name: wish[name] for name in ("engine", "start", "emphasis") if name in wish}
    engine = given.get("engine") or (found.rung.engine if found.rung else "")
    if not given and "rung" in wish:
        return Next(Rung(**wish["rung"]), "a reviewer asked for it in other words, all else as it was")
    if not given or not engine:
        return found
    same = found.rung is not None and found.rung.engine == engine
    base = found.rung if same and found.rung else Rung(engine, 0, numbered, FRESH.get((kind, engine), 1.0))
    rung = replace(base, start=given.get("start", base.start), emphasis=given.get("emphasis", base.emphasis))
    return Next(rung, "a reviewer asked for it with " + ", ".join(f"{name} {value}" for name, value in given.items()))


def _spent(tried: Sequence[Tried], limits: Limits, spent: float, fixed: str) -> str:
    """Why no further rung may be tried, or nothing. The next take is expected to take as long as the longest so far."""
    if fixed:
        return f"another take would not change it: {fixed}"
    if len(tried) >= limits.takes:
        return f"{len(tried)} take(s) were made, {limits.takes} are allowed"
    if len(tried) >= UNSCORABLE and all(take.verdict == "unscorable" for take in tried[-UNSCORABLE:]):
        return f"{UNSCORABLE} takes in a row could not be scored"
    more = max(take.seconds for take in tried)
    again = sum(take.seconds for take in tried[1:])
    if limits.job_seconds and again + more > limits.job_seconds:
        return f"another take of about {more:.0f} s would go past the job's {limits.job_seconds:g} s"
    if limits.batch_seconds and spent + more > limits.batch_seconds:
        return f"another take of about {more:.0f} s would go past the batch's {limits.batch_seconds:g} s"
    return ""


def _rung(kind: Kind, engine: str, tried: Sequence[Tried]) -> Rung | None:
    """An engine's next rung. When its list is through, a portrait begins anew with other seeds; a video has none left."""
    draw = max(take.number for take in tried)
    own = [take.rung for take in tried if take.rung.engine == engine]
    if not own:
        return Rung(engine, 0, draw, FRESH.get((kind, engine), 1.0))
    steps = STRONGER.get((kind, engine), PLAIN)
    before = sum((rung.start, rung.emphasis) != (0, 1.0) for rung in own)
    if kind == "video" and before >= len(steps):
        return None
    start, emphasis = steps[before % len(steps)]
    if start and before >= len(steps):
        start += len(steps) * (before // len(steps))  # yet another anchor
    return Rung(engine, start, draw, emphasis)


def _told(kind: Kind, rung: Rung) -> str:
    place = ("another anchor" if kind == "portrait" else f"reference {rung.start + 1}") if rung.start else ""
    parts = [place, "another seed", f"emphasis {rung.emphasis:g}" if rung.emphasis != 1 else ""]
    return ", ".join(part for part in parts if part)
