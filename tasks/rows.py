"""What a manifest can say, field by field; tasks/manifest.py reads manifests and tells every fault."""

import json
import re
import unicodedata
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from infra.errors import InputError

Share = Annotated[float, Field(ge=0, le=1)]


def place(value: str) -> str:
    """A place that can be read: `s3://bucket/key` or a path."""
    scheme = re.match(r"([a-z][a-z0-9+.-]*)://", value, re.IGNORECASE)
    if scheme and scheme[1] != "s3":
        raise PydanticCustomError("place", "{name}:// cannot be read|use s3://bucket/key or a path", {"name": scheme[1]})
    if any(unicodedata.category(c) in ("Cc", "Cf") for c in value):
        raise PydanticCustomError("place", "the path holds invisible characters|write it anew")
    return value


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
    """Which face speaks: a point that lies in it at a time, boxes around it at times, or a picture of the person."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    point: tuple[Share, Share] | None = None
    at: float = Field(0.0, ge=0)
    boxes: tuple[Box, ...] = ()
    picture: Annotated[str, BeforeValidator(lambda value: place(value) if isinstance(value, str) else value)] = ""

    @model_validator(mode="after")
    def _one(self) -> "Face":
        if (self.point is not None) + bool(self.boxes) + bool(self.picture) != 1:
            raise PydanticCustomError("face", "a face is told in one way|give one of point, boxes and picture")
        return self


class LadderRow(BaseModel):
    """How far jobs of a batch whose takes fall short may climb; what it leaves out is as the settings say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    takes: int | None = Field(default=None, ge=1, le=12, description="Takes of a job in all, 1 to 12.")
    job_seconds: float | None = Field(default=None, ge=0, description="Seconds of work that a job's takes after its first may take; 0 is no such limit.")
    batch_seconds: float | None = Field(default=None, ge=0, description="The same of all jobs together.")


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
    quiet_shots: Literal["redraw", "copy"] = Field("redraw", description="`copy`: shots in which nothing is said stay as they are, unencoded where that can be.")
    voice: str = Field("", description="A voice of espeak-ng, as `espeak:es` or `espeak:es+f3`; by default the locale's.")
    label: str = Field("", description="Words shown in the picture's corner; `true` for `AI-generated`.")
    consent: str = Field("", description="The consent record that the job rests on; found by the inputs' hashes when left out.")
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

    @field_validator("portrait", "video", "script", "audio", "transcript", "picture", check_fields=False)
    @classmethod
    def _place(cls, value: str) -> str:
        return place(value)


class JobRow(Defaults):
    """One job: a title in a locale, from a portrait or a video and exactly one of `text`, `script` and `audio`."""

    title: str = Field(max_length=200, description="Name of the output; with the locale it is unique in a batch and names the files.")
    text: str = Field("", max_length=100_000, description="What is said, as plain text.")
    script: str = Field("", description="A WebVTT or plain-text file with what is said; WebVTT cues start at their times.")
    audio: str = Field("", description="A recording that is lip-synced as it is.")
    transcript: str = Field("", description="What the recording says: the words, or a file that ends in .txt or .vtt.")
    face: Face | None = Field(None, description="Which face of a video speaks, where the sound does not tell: a point, boxes or a picture.")

    @field_validator("face", mode="before")
    @classmethod
    def _face(cls, value: object) -> object:
        """In a table a face is written as JSON."""
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError as error:
            raise PydanticCustomError("face", "it is not JSON|write {example}", {"example": '{"point": [0.3, 0.4], "at": 12.5}'}) from error

    @field_validator("title")
    @classmethod
    def _title(cls, value: str) -> str:
        if not value:
            raise PydanticCustomError("title", "the title is empty|give the output a name")
        plain = all(unicodedata.category(c)[0] in "LMN" or c in " _-.,()+" for c in value)
        if not plain or ".." in value or value[0] in ".-" or value[-1] == "." or len(value.encode()) > 180:
            raise PydanticCustomError("title", "{name} cannot name a file|use letters, digits, spaces and - _ . , ( ) +, 180 bytes at most", {"name": ascii(value[:60])})
        return value
