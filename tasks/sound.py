"""The sound that is delivered with a job's picture: its speech, over a bed of music and effects where the manifest gives one, at its loudness.

What is scored is the encoded file, so it is this sound. Where loudness is off and there is no bed, the speech is delivered as it was made.
"""

import math
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from infra.errors import InputError
from infra.loudness import RATE, Graph, Levelled, heard, level, write
from infra.media import open_media
from infra.version import source_hash
from infra.video.kept import LAYOUTS
from models.types import FRAME_RATE
from tasks.rows import Ducking, Loudness
from tasks.speech import SpeechTrack
from tasks.stages import Work, keep
from tasks.values import load_tree, save_tree

DEFAULT: dict[str, Any] = Loudness().model_dump()  # type: ignore[call-arg]
DUCKING: dict[str, float] = Ducking().model_dump()  # type: ignore[call-arg]
DIALOGUE = -23.0  # LUFS of speech that a bed is made for, and that ducking listens for
HEARS = 24.0  # dB under speech's level at which the bed begins to give way
SPEECH_OVER_LUFS = 3.0  # dB by which the level of words in speech lies over its loudness
FADE = 960  # samples at 48 kHz over which a bed that is longer than the picture ends
CODE = ("tasks/sound.py", "infra/loudness.py", "infra/video/film.py", "infra/video/kept.py")


@dataclass(frozen=True)
class Wanted:
    """What a sound is made of: speech, a bed if any, how many seconds of picture there are; a folder for files that come and go."""

    speech: SpeechTrack
    folder: Path
    loudness: dict[str, Any]
    bed: Path | None = None
    seconds: float = 0.0
    ducking: dict[str, float] = field(default_factory=lambda: dict(DUCKING))

    def alone(self) -> Graph:
        """The speech."""
        path = self.folder / "speech.wav"
        if not path.exists():
            self.speech.write(path)
        return Graph((path,), f"[0:a]aresample={RATE}", -(-len(self.speech.sound) * RATE // self.speech.rate))

    def whole(self, gain: float, key: float) -> Graph:
        """The sound before its loudness, the speech raised by a gain in dB, and heard by the ducking raised by `key`."""
        return mixed(self.alone(), self.bed, round(self.seconds * RATE), gain, key, self.ducking) if self.bed else self.alone()


def make(work: Work) -> None:
    """Fill the job's sound and how it was made, where it is another than its speech. Raises MediaError, InputError."""
    assert work.speech is not None
    bed, loudness = work.inputs.get("bed"), {**DEFAULT, **work.spec.get("loudness", {})}
    if loudness["target"] is None and bed is None:
        return
    wanted = Wanted(work.speech, work.folder, loudness, bed, picture_seconds(work) if bed else 0.0, {**DUCKING, **work.spec.get("ducking", {})})
    asks = {
        "code": source_hash(*CODE), "speech": work.made["speech"].sha256, "loudness": loudness,
        "bed": [work.spec["inputs"]["bed"]["sha256"], wanted.ducking, wanted.seconds] if bed else None,
    }  # fmt: skip
    work.made["loudness"] = keep(work, "loudness", "loudness.json", asks, work.sources("speech", "bed"), lambda path: save_tree(path, found(wanted)))
    work.sound = how = load_tree(work.made["loudness"].path)
    work.made["sound"] = keep(work, "sound", "sound.flac", asks, work.sources("speech", "bed", "loudness"), lambda path: put(wanted, how, path))
    (work.folder / "speech.wav").unlink(missing_ok=True)


def found(wanted: Wanted) -> dict[str, Any]:
    """How a sound is made, and what it then measures. Raises MediaError, InputError, DiskFull."""
    target = wanted.loudness["target"]
    gain, key = _balance(wanted.alone(), target) if wanted.bed else (0.0, 0.0)
    made = level(wanted.whole(gain, key), target, wanted.loudness["peak"], wanted.folder)
    return told(made) | {"filters": made.filters, "speech_gain": gain, "speech_key": key, **({"ducking": wanted.ducking} if wanted.bed else {})}


def put(wanted: Wanted, how: dict[str, Any], path: Path) -> None:
    """Write the sound as it was found (FLAC). Raises MediaError, DiskFull."""
    write(wanted.whole(how["speech_gain"], how["speech_key"]).then(how["filters"]), path)


def _balance(speech: Graph, target: float | None) -> tuple[float, float]:
    """Gain in dB that brings speech to a bed's dialogue level (none where loudness is off), and the one that the ducking then hears it with."""
    loud = heard(speech).integrated
    if loud is None:
        return 0.0, 0.0
    gain = DIALOGUE - loud if target is not None else 0.0
    return round(gain, 2), round(DIALOGUE - loud - gain, 2)


def picture_seconds(work: Work) -> float:
    """How long the job's picture lasts: a portrait's as its speech in whole frames, a video's own, or longer where its last picture is held."""
    assert work.speech is not None
    if "video" not in work.inputs:
        return work.speech.speech.frames / FRAME_RATE
    from infra.video import inspect

    facts = inspect(work.inputs["video"])
    own, frame = facts.seconds, 1 / (facts.fps or Fraction(FRAME_RATE))
    held = work.speech.speech.seconds if work.spec["dubbing"]["length"] == "hold" else 0.0
    return max(own, float(math.ceil(held / frame) * frame)) if held > own else own


def layout_of(path: Path) -> str:
    """The channel layout that a bed is mixed and delivered in: its own. Raises MediaError, InputError."""
    with open_media(path) as media:
        if not media.streams.audio:
            raise InputError(f"{path.name} holds no sound", code="media.no_audio", next_step="Give a file with a sound stream.")
        context = media.streams.audio[0].codec_context
        count = context.channels if context else 0
    if count not in LAYOUTS:
        raise InputError(f"{path.name} has {count} channels; a bed has 1 to 6 or 8", code="input.channels", next_step="Export it in mono, stereo, 5.1 or 7.1.")
    return LAYOUTS[count]


def mixed(speech: Graph, bed: Path, samples: int, gain: float, key: float, ducking: dict[str, float]) -> Graph:
    """Speech over a bed that gives way to it, in the bed's layout and so many samples long; speech comes from the centre.

    The bed goes down by about `depth` dB while speech at DIALOGUE is heard: a compressor that listens to it (sidechaincompress).
    """
    layout, last = layout_of(bed), f"apad,atrim=end_sample={samples}"
    ratio = 1 / (1 - ducking["depth"] / HEARS)
    threshold = 10 ** ((DIALOGUE + SPEECH_OVER_LUFS - HEARS) / 20)
    fade = f"afade=t=out:start_sample={max(0, samples - FADE)}:nb_samples={FADE}"
    places = {"mono": "mono|c0=c0", "stereo": "stereo|FL=0.707107*c0|FR=0.707107*c0"}
    squeeze = f"sidechaincompress=threshold={threshold:.6f}:ratio={ratio:.4f}:attack={ducking['attack']:g}:release={ducking['release']:g}:link=maximum:detection=rms"
    text = (
        f"{speech.filters},aformat=sample_fmts=fltp:channel_layouts=mono,volume={gain:.2f}dB,{last},asplit=2[said][heard];"
        f"[heard]volume={key:.2f}dB[key];"
        f"[1:a:0]aresample={RATE}:first_pts=0,aformat=sample_fmts=fltp:channel_layouts={layout},volume={ducking['level']:.2f}dB,{last},{fade}[bed];"
        f"[bed][key]{squeeze}[under];"
        f"[said]pan={places.get(layout, f'{layout}|FC=c0')}[over];"
        f"[under][over]amix=inputs=2:normalize=0:duration=first"
    )
    return Graph((*speech.files, bed), text, samples)


def told(made: Levelled) -> dict[str, Any]:
    """How a sound was levelled as plain values, to the hundredth."""
    rows = {name: {part: None if value is None else round(value, 2) for part, value in asdict(getattr(made, name)).items() if part != "threshold"} for name in ("before", "after")}
    return {
        "target": made.target, "peak_limit": made.limit, "integrated": rows["after"]["integrated"], "true_peak": rows["after"]["peak"], "range": rows["after"]["range"],
        "how": made.how, "gain": round(made.gain, 2), "limited": round(made.limited, 2), "before": rows["before"], "notes": list(made.notes),
    }  # fmt: skip


def shown(work: Work) -> dict[str, Any]:
    """What a take's parameters and its sidecar say of the sound; nothing where it is the speech as it was made."""
    if work.sound is None:
        return {}
    return {"loudness": {name: value for name, value in work.sound.items() if name not in ("filters", "notes", "speech_gain", "speech_key")}}


def notes(work: Work) -> tuple[str, ...]:
    """What is to be told of the sound."""
    return tuple(work.sound["notes"]) if work.sound else ()


def file_of(work: Work, path: Path) -> Path:
    """The sound that is delivered: the one that was made, or the speech, written to `path`."""
    assert work.speech is not None
    if "sound" in work.made:
        return work.made["sound"].path
    work.speech.write(path)
    return path
