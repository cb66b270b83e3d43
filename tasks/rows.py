"""What a manifest can say, field by field; tasks/manifest.py reads manifests and tells every fault."""

import json
import re
import unicodedata
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from infra.errors import InputError
from tasks.deliverables.asked import Deliver, deliver_from

Share = Annotated[float, Field(ge=0, le=1)]


def place(value: str) -> str:
    """A place that can be read: `s3://bucket/key` or a path."""
    scheme = re.match(r"([a-z][a-z0-9+.-]*)://", value, re.IGNORECASE)
    if scheme and scheme[1] != "s3":
        raise PydanticCustomError("place", "{name}:// cannot be read|use s3://bucket/key or a path", {"name": scheme[1]})
    if any(unicodedata.category(c) in ("Cc", "Cf") for c in value):
        raise PydanticCustomError("place", "the path holds invisible characters|write it anew")
    return value


def from_json(field: str, value: object, example: str) -> object:
    """A value as a table has it, as JSON; others as they are."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise PydanticCustomError(field, "it is not JSON|write {example}", {"example": example}) from error  # type: ignore[arg-type]


class Box(BaseModel):
    """A face's box at a time: left, top, right, bottom as shares of the picture's width and height."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: float = Field(0.0, ge=0)
    box: tuple[Share, Share, Share, Share]

    @model_validator(mode="after")
    def _spans(self) -> "Box":
        left, top, right, bottom = self.box
        if left >= right or top >= bottom:
            raise PydanticCustomError("box", "a box is empty|write left, top, right, bottom as shares of the picture")
        return self


class Face(BaseModel):
    """Which face speaks: a point that lies in it at a time, boxes around it at times, tracks by their numbers, or a picture of the person."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    point: tuple[Share, Share] | None = None
    at: float = Field(0.0, ge=0)
    boxes: tuple[Box, ...] = ()
    tracks: tuple[Annotated[int, Field(ge=0)], ...] = ()
    picture: Annotated[str, BeforeValidator(lambda value: place(value) if isinstance(value, str) else value)] = ""

    @model_validator(mode="after")
    def _one(self) -> "Face":
        if (self.point is not None) + bool(self.boxes) + bool(self.tracks) + bool(self.picture) != 1:
            raise PydanticCustomError("face", "a face is told in one way|give one of point, boxes, tracks and picture")
        return self


class LadderRow(BaseModel):
    """How far jobs of a batch whose takes fall short may climb; what it leaves out is as the settings say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    takes: int | None = Field(default=None, ge=1, le=12, description="Takes of a job in all, 1 to 12.")
    job_seconds: float | None = Field(default=None, ge=0, description="Seconds of work that a job's takes after its first may take; 0 is no such limit.")
    batch_seconds: float | None = Field(default=None, ge=0, description="The same of all jobs together.")


class Timecode(BaseModel):
    """What a script's timecodes count: frames a second, and the timecode at which the programme starts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate: str = ""
    start: str = ""

    @field_validator("rate", mode="before")
    @classmethod
    def _rate(cls, value: object) -> object:
        from tasks.scripts.times import BadTime, rate_of

        text = f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else value
        try:
            return text if not isinstance(text, str) or not text else rate_of(text) and text.strip().lower()
        except BadTime as error:
            raise PydanticCustomError("timecode", "{problem}|{fix}", {"problem": error.problem, "fix": error.fix}) from error

    @field_validator("start", mode="before")
    @classmethod
    def _start(cls, value: object) -> object:
        if not isinstance(value, str):
            raise PydanticCustomError("timecode", "the start is read as a number|put it in quotes, as \"10:00:00:00\"", {})
        return value.strip()

    @model_validator(mode="after")
    def _together(self) -> "Timecode":
        from tasks.scripts.times import BadTime, Clock, Rate

        try:
            clock = Clock(self.rate, self.start)
            clock.origin(clock.rate or Rate(Fraction(1000)), code=clock.rate is not None)
        except BadTime as error:
            raise PydanticCustomError("timecode", "{problem}|{fix}", {"problem": error.problem, "fix": error.fix}) from error
        return self


def faces_from(value: object) -> object:
    """Faces by speaker; in a table as JSON. `off` alone is no word to YAML, but a no."""
    value = from_json("faces", value, '{"ANNA": {"point": [0.3, 0.4], "at": 12.5}, "BEN": "off"}')
    return {str(name): "off" if face is False else face for name, face in value.items()} if isinstance(value, dict) else value


class Loudness(BaseModel):
    """How loud a delivery is: integrated loudness in LUFS (None: as it comes), and the true peak in dBTP that nothing may pass."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: float | None = Field(-23.0, ge=-40, le=-9)
    peak: float = Field(-1.0, ge=-6, le=0)


class Ducking(BaseModel):
    """How a bed gives way to speech: by so many dB, within so many milliseconds, and back; level: dB that it is raised by at all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    depth: float = Field(9.0, ge=0, le=18)
    attack: float = Field(20.0, ge=1, le=2000)
    release: float = Field(400.0, ge=1, le=9000)
    level: float = Field(0.0, ge=-40, le=12)


PRESETS: dict[str, dict[str, float | None]] = {
    "ebu": {"target": -23.0, "peak": -1.0}, "atsc": {"target": -24.0, "peak": -2.0}, "web": {"target": -16.0, "peak": -1.0}, "loud": {"target": -14.0, "peak": -1.0}, "off": {"target": None},
}  # fmt: skip


def loudness_from(value: object) -> object:
    """A loudness as a preset's name, as LUFS, or as target and peak; in a table the last as JSON. YAML reads `off` as no."""
    if value is False or value is None:
        return PRESETS["off"]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"target": value}
    if not isinstance(value, str):
        return value
    word = value.strip()
    if word.lower() in PRESETS:
        return PRESETS[word.lower()]
    try:
        return json.loads(word) if word.startswith("{") else {"target": float(word)}
    except ValueError as error:
        raise PydanticCustomError("loudness", "{name} is no loudness|use {known}, or LUFS as -23", {"name": repr(word[:20]), "known": ", ".join(PRESETS)}) from error


def _known(voice: str) -> str:
    """A voice whose name can be read; whether it is there is asked later."""
    from tasks.speech.voices import inputs_of

    try:
        for role, where in inputs_of([voice]).items():
            if role.startswith("voice.") and not voice.startswith("openai:"):
                place(where)
    except InputError as error:
        raise PydanticCustomError("voice", "{problem}|{fix}", {"problem": error.message, "fix": error.next_step}) from error
    return voice


def voices_from(value: object) -> object:
    """Voices by speaker; in a table as JSON, or as `ANNA=espeak:es+f3; BEN=espeak:es`."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except ValueError as error:
            raise PydanticCustomError("voices", "it is not JSON|write ANNA=espeak:es+f3; BEN=espeak:es", {}) from error
    pairs = [re.fullmatch(r"(.*?)=\s*((?:espeak|piper|openai):.*|[^=]*)", part.strip()) for part in value.split(";") if part.strip()]
    if not all(pairs):
        raise PydanticCustomError("voices", "a speaker has no voice|write ANNA=espeak:es+f3; BEN=espeak:es", {})
    return {pair[1].strip(): pair[2].strip() for pair in pairs if pair}


class Defaults(BaseModel):
    """What a job takes where it says nothing itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    engine: Literal["auto", "avct", "lipmemory", "coherence"] = Field(
        "auto", description="What renders. `auto` tries the engines in the order of what they won before."
    )
    preset: Literal["compact", "paper"] = Field("compact", description="Size of the engine. `compact` ships with its weights; `paper` needs imported ones.")
    gate: Literal["standard", "strict"] = Field("standard", description="How well lips and speech must agree to be delivered.")
    locale: str = Field("", description="Language and region of the speech, as `es-ES`.")
    portrait: str = Field("", description="Picture of one face: `s3://...` or a path relative to the manifest.")
    video: str = Field("", description="Video that is dubbed: the speaker gets new lips, everything else stays.")
    length: Literal["fit", "hold", "cut"] = Field("fit", description="What gives way where speech and video are not equally long.")
    original_sound: Literal["replace", "keep"] = Field("replace", description="`keep`: the video's own first sound track stays, as the last one.")
    listeners: Literal["source", "still"] = Field("source", description="Lips of the script's speakers while others speak: as in the video, or `still`, redrawn closed.")
    quiet_shots: Literal["redraw", "copy"] = Field("redraw", description="`copy`: shots in which nothing is said stay as they are, unencoded where that can be.")
    voice: str = Field("", description="A voice, as `espeak:es+f3`, `piper:voices/es.onnx` or `openai:tts-1/nova`, for every speaker without one of their own; by default the locale's.")
    voices: dict[str, str] = Field(default_factory=dict, description="Voices by the script's speakers, as `{ANNA: espeak:es+f3, BEN: piper:voices/ben.onnx}`.")
    lexicon: str = Field("", description="A CSV file of words and how they are said.")
    loudness: Loudness = Field(Loudness(), description="How loud the delivery is: `ebu` (-23 LUFS), `atsc`, `web` (-16), `loud` (-14), `off`, LUFS, or `{target: -23, peak: -1}`.")  # type: ignore[call-arg]
    bed: str = Field("", description="A sound file of music and effects that lies under the speech; its channels are kept.")
    ducking: Ducking = Field(Ducking(), description="How the bed gives way to speech: `{depth: 9, attack: 20, release: 400, level: 0}`, in dB and milliseconds.")  # type: ignore[call-arg]
    timecode: Timecode | None = Field(None, description="What timecodes of the script count: `{rate: 29.97df, start: \"01:00:00:00\"}`.")
    encoding: str = Field("", max_length=40, description="Encoding of a script that is not Unicode, as `cp1252`.")
    captions: tuple[Literal["vtt", "srt", "ttml"], ...] = Field(("vtt",), description="Captions that are delivered: `[vtt, srt, ttml]`; WebVTT always is.")
    deliver: Deliver | None = Field(None, description="What is delivered beside the MP4: `{formats: [mov, hls], tracks: [original], stems: wav, qc: true}`.")
    label: str = Field("", description="Words shown in the picture's corner; `true` for `AI-generated`.")
    consent: str = Field("", description="The consent record that the job rests on; found by the inputs' hashes when left out.")
    commercial: bool = Field(True, description="Whether the delivery is for commercial use. `false` lets weights render whose licence forbids that.")
    use: str = Field("", description="What the video is for, as a consent record may ask: words separated by commas.")
    territory: str = Field("", description="Where it will be shown, as a consent record may ask: country codes separated by commas.")
    priority: int = Field(0, ge=-1000, le=1000, description="A job of more is worked on first; from -1000 to 1000.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of head motion and blinks.")

    @field_validator("label", mode="before")
    @classmethod
    def _label(cls, value: object) -> str:
        if not value:
            return ""
        from infra.marking.label import label_text

        try:
            return label_text(value)
        except InputError as error:
            raise PydanticCustomError("label", "{problem}|{fix}", {"problem": error.message, "fix": error.next_step}) from error

    @field_validator("use", "territory")
    @classmethod
    def _words(cls, value: str) -> str:
        return ",".join(word for part in value.split(",") if (word := part.strip()))

    @field_validator("locale")
    @classmethod
    def _locale(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", value):
            raise PydanticCustomError("locale", "{name} is not a locale|write language and region, as es-ES", {"name": repr(value[:40])})
        return value

    @field_validator("voices", mode="before")
    @classmethod
    def _voices(cls, value: object) -> object:
        return voices_from(value)

    @field_validator("voices")
    @classmethod
    def _speakers(cls, value: dict[str, str]) -> dict[str, str]:
        from tasks.scripts.lines import name_key

        keys = [name_key(name) for name in value]
        if "" in keys or not all(voice.strip() for voice in value.values()):
            raise PydanticCustomError("voices", "a speaker or a voice is empty|write {ex}", {"ex": "{ANNA: espeak:es+f3}"})
        if len(set(keys)) < len(keys) or len(keys) > 1000:
            raise PydanticCustomError("voices", "a speaker is named twice|names are one whatever their capitals; keep one of them", {})
        return {" ".join(name.split()): _known(voice.strip()) for name, voice in value.items()}

    @field_validator("voice")
    @classmethod
    def _voice(cls, value: str) -> str:
        return _known(value)

    @field_validator("loudness", mode="before")
    @classmethod
    def _loudness(cls, value: object) -> object:
        return loudness_from(value)

    @field_validator("ducking", mode="before")
    @classmethod
    def _ducking(cls, value: object) -> object:
        """In a table as JSON."""
        return from_json("ducking", value, '{"depth": 9}')

    @field_validator("timecode", mode="before")
    @classmethod
    def _timecode(cls, value: object) -> object:
        """In a table `29.97df` or `25 @ 10:00:00:00`."""
        if isinstance(value, str):
            rate, _, start = value.partition("@")
            return {"rate": rate.strip(), "start": start.strip()} if value.strip() else None
        return {"rate": value} if isinstance(value, int | float) else value

    @field_validator("encoding")
    @classmethod
    def _encoding(cls, value: str) -> str:
        try:
            "a".encode(value or "utf-8")
        except (LookupError, ValueError) as error:
            raise PydanticCustomError("encoding", "{name} is not an encoding|write one, as cp1252 or utf-16", {"name": repr(value[:20])}) from error
        return value

    @field_validator("deliver", mode="before")
    @classmethod
    def _deliver(cls, value: object) -> object:
        return deliver_from(value)

    @field_validator("captions", mode="before")
    @classmethod
    def _captions(cls, value: object) -> object:
        """In a table `vtt, srt`."""
        return [part for part in re.split(r"[\s,;]+", value) if part] if isinstance(value, str) else value

    @field_validator("portrait", "video", "script", "audio", "transcript", "picture", "lexicon", "bed", check_fields=False)
    @classmethod
    def _place(cls, value: str) -> str:
        return place(value)


class JobRow(Defaults):
    """One job: a title in a locale, from a portrait or a video and exactly one of `text`, `script` and `audio`."""

    title: str = Field(max_length=200, description="Name of the output; with the locale it is unique in a batch and names the files.")
    text: str = Field("", max_length=100_000, description="What is said, as plain text.")
    script: str = Field("", description="A file with what is said: WebVTT, SRT, TTML, ASS, a dubbing sheet, an edit list or plain text; timed cues start at their times.")
    audio: str = Field("", description="A recording that is lip-synced as it is.")
    transcript: str = Field("", description="What the recording says: the words, or a file that ends as scripts do, as .txt or .vtt.")
    face: Face | None = Field(None, description="Which face of a video speaks, where the sound does not tell: a point, boxes or a picture.")

    faces: dict[str, Face | Literal["off", "sound"]] = Field(
        default_factory=dict, description="Which face of a video each speaker of the script is: as `face`, `off` for who is never seen, `sound` to find them by the original's sound."
    )

    @field_validator("faces", mode="before")
    @classmethod
    def _faces(cls, value: object) -> object:
        return faces_from(value)

    @field_validator("faces")
    @classmethod
    def _named_once(cls, value: dict[str, Any]) -> dict[str, Any]:
        from tasks.scripts.lines import name_key

        if len({name_key(name) for name in value}) < len(value):
            raise PydanticCustomError("faces", "a speaker is named twice|names are one whatever their capitals; keep one of them", {})
        return value

    @field_validator("face", mode="before")
    @classmethod
    def _face(cls, value: object) -> object:
        """In a table a face is written as JSON."""
        return from_json("face", value, '{"point": [0.3, 0.4], "at": 12.5}')

    @field_validator("title")
    @classmethod
    def _title(cls, value: str) -> str:
        if not value:
            raise PydanticCustomError("title", "the title is empty|give the output a name")
        plain = all(unicodedata.category(c)[0] in "LMN" or c in " _-.,()+" for c in value)
        if not plain or ".." in value or value[0] in ".-" or value[-1] == "." or len(value.encode()) > 180:
            raise PydanticCustomError("title", "{name} cannot name a file|use letters, digits, spaces and - _ . , ( ) +, 180 bytes at most", {"name": ascii(value[:60])})
        return value
