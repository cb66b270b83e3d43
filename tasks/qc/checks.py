"""What was measured, held to limits: a row for each check, which passes, fails, or is told without being judged. Pure."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, Literal

from models.types import Cue
from tasks.deliverables.asked import QcRow
from tasks.qc.container import PROFILES, Container, faults_of
from tasks.qc.picture import Pictures, Spans, beyond, merged, overlap
from tasks.qc.sound import SILENT, Sound

State = Literal["pass", "fail", "told"]
FRAME_MS = 40  # of the scorer, which counts in frames at 25 a second
LARGEST_OFFSET = 1
SLACK = 0.15  # seconds that sound and picture may end apart
MOST_PLACES = 50


@dataclass(frozen=True)
class Check:
    """One row. value and limit: in words; number: the value, where it is one; places: (from, to) in seconds."""

    group: str
    name: str
    state: State
    value: str
    limit: str = ""
    number: float | None = None
    unit: str = ""
    places: tuple[tuple[float, float], ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Known:
    """What is known of a file beside itself; what is None is not.

    frames, fps, seconds: that it must have. held: from when on the last picture is held, as was asked for. cues: as delivered, wanted: how many the
    script has. black, still: of the source. score: as tasks/values.py writes it, with `verdict`, `reasons` and `stretch`. marks: faults of its marks, and words.
    """

    frames: int | None = None
    fps: float | None = None
    seconds: float | None = None
    held: float | None = None
    cues: tuple[Cue, ...] | None = None
    wanted: int | None = None
    lost: tuple[str, ...] = ()
    black: Spans = field(default_factory=list)
    still: Spans = field(default_factory=list)
    score: dict[str, Any] | None = None
    marks: dict[str, Any] | None = None
    hls: list[str] | None = None


def judged(outside: Container, pictures: Pictures, sounds: Sequence[Sound], known: Known, limits: QcRow) -> list[Check]:
    """Every check, in the order of the report."""
    return [
        *_sync(known), *_marks(known), *_pictures(pictures, sounds, known, limits), *_times(outside, pictures, sounds, known), *(row for sound in sounds for row in _sound(sound, limits)),
        *_cues(sounds, known, limits), *_container(outside, known),
    ]  # fmt: skip


def passed(checks: Sequence[Check]) -> bool:
    """Whether nothing failed."""
    return not any(check.state == "fail" for check in checks)


def tree_of(check: Check) -> dict[str, Any]:
    """A check as JSON holds it."""
    return asdict(check) | {"places": [[round(begin, 3), round(end, 3)] for begin, end in check.places[:MOST_PLACES]], "number": check.number if check.number is None or math.isfinite(check.number) else None}


def _state(good: bool) -> State:
    return "pass" if good else "fail"


def _sync(known: Known) -> list[Check]:
    score = known.score
    if score is None:
        return [Check("Sync", "Lips and speech", "told", "not scored", note="score it: dubwright qc without --no-sync")]
    if not score.get("scorable", True):
        return [Check("Sync", "Lips and speech", "fail", "could not be scored", "scorable", note=str(score.get("reason", "")))]
    offset = int(score["offset"])
    who = "together" if not offset else f"sound {abs(offset) * FRAME_MS} ms {'early' if offset > 0 else 'late'}"
    rows = [
        Check("Sync", "A/V offset", _state(abs(offset) <= LARGEST_OFFSET), who, f"at most {LARGEST_OFFSET * FRAME_MS} ms", offset * FRAME_MS, "ms"),
        Check(
            "Sync", "Sync score, as the gate judges it", _state(score.get("verdict") == "pass" or bool(score.get("approved"))), f"{score.get('verdict')}, confidence {score['confidence']:.3f}",
            "pass" if not score.get("approved") else "pass, or approved by a reviewer", score["confidence"], "", note="; ".join(score.get("reasons", ())),
        ),
    ]  # fmt: skip
    seconds = [(second, float(row[1])) for second, row in enumerate(score.get("seconds") or []) if row and row[1] is not None and math.isfinite(float(row[1]))]
    if seconds:
        at, lowest = min(seconds, key=lambda row: row[1])
        rows.append(Check("Sync", "Lowest second", "told", f"confidence {lowest:.3f} at {at} s", "", lowest, "", ((float(at), at + 1.0),)))
    return rows


def _marks(known: Known) -> list[Check]:
    told = known.marks
    if told is None:
        return [Check("Marks", "C2PA manifest and watermark", "told", "not read")]
    return [
        Check("Marks", "C2PA manifest", _state(not told["manifest_fault"]), told["manifest"], "valid", note=told["manifest_fault"]),
        Check("Marks", "Watermark", _state(not told["watermark_fault"]), told["watermark"], "readable, as the manifest names it", note=told["watermark_fault"]),
    ]


def _pictures(found: Pictures, sounds: Sequence[Sound], known: Known, limits: QcRow) -> list[Check]:
    black = [span for span in beyond(found.black, widened(known.black, 2 * found.step)) if span[1] - span[0] >= limits.black - 1e-6]
    still, held = _frozen(found, sounds, known, limits)
    total = sum(end - begin for begin, end in still)
    kept = sum(end - begin for begin, end in merged(found.black)) - sum(end - begin for begin, end in black)
    return [
        Check(
            "Picture", "Black frames", _state(not black), _spans(black), f"none of {limits.black:g} s and more" + (" that the source has not" if known.black else ""),
            sum(end - begin for begin, end in black), "s", tuple(black), f"{kept:.2f} s are the source's own, or shorter" if kept > 0.005 else "",
        ),
        Check(
            "Picture", "Frozen frames", _state(not still), _spans(still), f"none of {limits.frozen:g} s and more while somebody speaks", total, "s", tuple(still),
            f"{held:.2f} s stand still while nobody speaks, or as the source does, or are held as was asked for" if held > 0.005 else "",
        ),
    ]  # fmt: skip


def _frozen(found: Pictures, sounds: Sequence[Sound], known: Known, limits: QcRow) -> tuple[Spans, float]:
    """Spans in which nothing moves though somebody speaks, and seconds in which nothing moves and may."""
    spoken = [(cue.start, cue.end) for cue in known.cues] if known.cues else beyond([(found.first, found.last)], sounds[0].silences(0.3) if sounds else [])
    if sounds:  # a caption may be shown longer than it is said
        spoken = beyond(spoken, sounds[0].silences(0.3))
    excused = widened(known.still, 0.5) + ([(known.held - 2 * found.step, found.last + 1)] if known.held is not None else [])
    wrong = [span for span in overlap(beyond(found.still, excused), _joined(spoken, 0.5)) if span[1] - span[0] >= limits.frozen - 1e-6]
    whole = sum(end - begin for begin, end in found.still)
    return wrong, whole - sum(end - begin for begin, end in wrong)


def widened(spans: Spans, seconds: float) -> Spans:
    """Spans that begin earlier and end later."""
    return merged([(begin - seconds, end + seconds) for begin, end in spans])


def _joined(spans: Spans, gap: float) -> Spans:
    """Spans with the gaps between them that are shorter than that."""
    joined: Spans = []
    for begin, end in merged(spans):
        if joined and begin - joined[-1][1] < gap:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


def _times(outside: Container, found: Pictures, sounds: Sequence[Sound], known: Known) -> list[Check]:
    fps, seconds = 1 / found.step, found.last + found.step - found.first
    rows = [
        Check("Times", "Number of pictures", "told" if known.frames is None else _state(found.count == known.frames), str(found.count), "" if known.frames is None else str(known.frames), found.count),
        Check(
            "Times", "Pictures a second", "told" if known.fps is None else _state(abs(fps - known.fps) < 0.01 * known.fps), f"{fps:.3f}", "" if known.fps is None else f"{known.fps:.3f}", fps,
            note="" if found.count < 3 or found.steps[1] - found.steps[0] < 0.002 else f"variable: a picture lasts {found.steps[0] * 1000:.1f} to {found.steps[1] * 1000:.1f} ms",
        ),
        Check(
            "Times", "Length of the picture", "told" if known.seconds is None else _state(abs(seconds - known.seconds) <= max(found.step, 0.05) + 1e-3), f"{seconds:.3f} s",
            "" if known.seconds is None else f"{known.seconds:.3f} s, within a picture", seconds, "s",
        ),
        Check("Times", "Pictures in order", _state(found.count < 2 or found.steps[0] > 0), "each later than the one before" if found.count < 2 or found.steps[0] > 0 else "a time is repeated or runs back", "each later than the one before"),
    ]  # fmt: skip
    end = found.last + found.step
    for sound in sounds[1:]:
        apart = sound.start + sound.seconds - end
        rows.append(Check("Times", f"Sound {sound.index + 1} ends with the picture", _state(apart <= 1), f"{apart * 1000:+.0f} ms", "at most 1000 ms after it", apart * 1000, "ms"))
    for sound in sounds[:1]:
        early, apart = sound.start - found.first, sound.start + sound.seconds - end
        rows.append(Check("Times", "Sound begins with the picture", _state(abs(early) <= 0.03), f"{early * 1000:+.0f} ms", "within 30 ms", early * 1000, "ms"))
        rows.append(Check("Times", "Sound ends with the picture", _state(-SLACK - 1 <= apart <= SLACK), f"{apart * 1000:+.0f} ms", f"at most {SLACK * 1000:.0f} ms after it, 1150 ms before it", apart * 1000, "ms"))
    return rows


def _sound(sound: Sound, limits: QcRow) -> list[Check]:
    group = f"Sound {sound.index + 1}" + (f", {sound.language}" if sound.language not in ("", "und") else "")
    if sound.integrated is None:
        return [Check(group, "Loudness", "fail", "silent throughout", "heard")]
    wanted = limits.loudness
    near = wanted is None or abs(sound.integrated - wanted) <= limits.tolerance + 0.005
    most, peak = limits.loudness_range, -120.0 if sound.peak is None else sound.peak
    if sound.index:  # they come from elsewhere, and are delivered as they are
        wanted, most = None, None
    rows = [
        Check(group, "Integrated loudness", "told" if wanted is None else _state(near), f"{sound.integrated:.1f} LUFS", "" if wanted is None else f"{wanted:g} LUFS, within {limits.tolerance:g} LU", sound.integrated, "LUFS"),
        Check(group, "Loudness range", "told" if most is None else _state((sound.range or 0) <= most), f"{sound.range or 0:.1f} LU", "" if most is None else f"at most {most:g} LU", sound.range, "LU"),
        Check(group, "True peak", _state(peak <= limits.true_peak + 0.05), f"{peak:.1f} dBTP", f"at most {limits.true_peak:g} dBTP", peak, "dBTP"),
        Check(group, "Clipping", _state(not sound.clipped), f"{sound.clipped} run(s)" if sound.clipped else "none", "no four samples in a row at full scale", sound.clipped, "", tuple((at, at) for at in sound.clipped_at)),
    ]  # fmt: skip
    quiet = max(sound.silences(), key=lambda span: span[1] - span[0], default=(0.0, 0.0))
    rows.append(Check(group, "Longest silence", "told", f"{quiet[1] - quiet[0]:.1f} s", "", quiet[1] - quiet[0], "s", (quiet,) if quiet[1] > quiet[0] else ()))
    return rows


def _cues(sounds: Sequence[Sound], known: Known, limits: QcRow) -> list[Check]:
    cues = known.cues
    if cues is None:
        return [Check("Captions", "Cues", "told", "no captions were given")]
    ordered = sorted(cues, key=lambda cue: (cue.start, cue.end))
    empty = [cue for cue in ordered if not cue.text.strip()]
    over = tuple((second.start, first.end) for first, second in pairwise(ordered) if second.start < first.end - 0.001)
    missing = max(0, known.wanted - len(cues) + len(empty)) if known.wanted is not None else len(empty)
    rows = [
        Check("Captions", "Cues", _state(not missing and not known.lost), f"{len(cues) - len(empty)}", "" if known.wanted is None else f"{known.wanted}, none missing or cut off", len(cues) - len(empty), note="; ".join(known.lost[:10])),
        Check("Captions", "Overlapping cues", _state(not over), f"{len(over)}" if over else "none", "none", len(over), "", over),
    ]  # fmt: skip
    if sounds:
        end = sounds[0].start + sounds[0].seconds
        late = tuple((cue.start, cue.end) for cue in ordered if cue.end > end + 0.1)
        mute = tuple((cue.start, cue.end) for cue in ordered if sounds[0].loudest(cue.start, cue.end) < SILENT or _gap(cue, sounds[0]) >= limits.silence)
        rows.append(Check("Captions", "Cues past the end", _state(not late), f"{len(late)}" if late else "none", "none", len(late), "", late))
        rows.append(Check("Captions", "Cues in which nothing is heard", _state(not mute), f"{len(mute)}" if mute else "none", f"none, nor silence of {limits.silence:g} s in one", len(mute), "", mute))
    return rows


def _gap(cue: Cue, sound: Sound) -> float:
    return max((end - begin for begin, end in overlap([(cue.start, cue.end)], sound.silences(0.2))), default=0.0)


def _container(outside: Container, known: Known) -> list[Check]:
    faults = faults_of(outside)
    sounds = ", ".join(outside.sounds) or "no sound"
    told = f"{outside.video} {PROFILES.get(outside.profile, outside.profile)}@{outside.level / 10:.1f} {outside.width}x{outside.height}, {sounds}"
    rows = [Check("Format", "Container and codecs", _state(not faults), told, "H.264 to High@5.2, 4:2:0, AAC or AC-3; MP4 or MOV, index first", note="; ".join(faults))]
    if known.hls is not None:
        rows.append(Check("Format", "HLS package", _state(not known.hls), f"{len(known.hls)} fault(s)" if known.hls else "keeps the rules", "RFC 8216", len(known.hls), note="; ".join(known.hls[:10])))
    return rows


def _spans(spans: Spans) -> str:
    return f"{len(spans)}, {sum(end - begin for begin, end in spans):.2f} s" if spans else "none"
