"""What a manifest can say under `deliver`."""

import json
import re
import unicodedata
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

ORIGINAL = "original"
FURTHER = "audio{}"  # the role of a further recording among a job's inputs, from 2 on


class TrackRow(BaseModel):
    """A further sound track: the video's own first sound (`original`), or a recording that is as long as the picture."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    audio: str = Field(min_length=1, description="`original`, or a recording: `s3://...` or a path relative to the manifest.")
    locale: str = Field("", description="Its language, as `en-US`.")
    name: str = Field("", max_length=80, description="What players call it; by default its language's own name.")
    kind: Literal["original", "dub", "description", "commentary", "alternate"] = Field("alternate", description="What it is: `dub`, `description`, `commentary`, `original` or `alternate`.")

    @field_validator("audio")
    @classmethod
    def _audio(cls, value: str) -> str:
        from tasks.rows import place

        return place(value)

    @field_validator("locale")
    @classmethod
    def _locale(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", value):
            raise PydanticCustomError("locale", "{name} is not a locale|write language and region, as en-US", {"name": repr(value[:40])})
        return value

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in value):
            raise PydanticCustomError("name", "the name holds invisible characters|write it anew")
        return value

    @model_validator(mode="after")
    def _spoken(self) -> "TrackRow":
        if self.audio != ORIGINAL and not self.locale:
            raise PydanticCustomError("track", "a track has no language|give its locale, as fr-FR")
        return self


class QcRow(BaseModel):
    """What a QC report holds files to; what is left out is measured and not judged, or judged as docs/deliverables.md says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    loudness: float | None = Field(None, ge=-50, le=-5, description="Integrated loudness that is wanted, in LUFS.")
    tolerance: float = Field(0.5, gt=0, le=5, description="How far it may be off, in LU.")
    true_peak: float = Field(-1.0, ge=-20, le=0, description="Highest true peak, in dBTP.")
    loudness_range: float | None = Field(None, gt=0, le=40, description="Largest loudness range, in LU.")
    frozen: float = Field(1.5, ge=1.2, le=60, description="Seconds that a picture may stand still while somebody speaks.")
    black: float = Field(0.2, ge=0, le=60, description="Seconds that a picture may be black where the source's is not.")
    silence: float = Field(1.0, gt=0, le=60, description="Seconds that nothing may be heard while a caption is shown.")
    required: bool = Field(False, description="Whether a job whose report fails is not delivered.")


class Deliver(BaseModel):
    """What a job delivers beside its MP4, captions, poster and sidecar."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    formats: tuple[Literal["mov", "hls"], ...] = Field((), description="`mov`: the same in QuickTime's container. `hls`: a ladder of renditions.")
    heights: tuple[int, ...] = Field((), max_length=8, description="Heights of HLS renditions; none is above the picture's own, which is always among them.")
    segment: int = Field(6, ge=1, le=10, description="Seconds of an HLS segment.")
    tracks: tuple[TrackRow, ...] = Field((), max_length=16, description="Further sound tracks after the dub: `[original]`, or `[{audio: s3://..., locale: fr-FR}]`.")
    stems: Literal["", "wav", "flac"] = Field("", description="Dialogue, bed and original as sound files of this kind.")
    qc: QcRow | None = Field(None, description="A QC report: `true`, or its limits.")

    @field_validator("formats", mode="before")
    @classmethod
    def _formats(cls, value: object) -> object:
        return [part for part in re.split(r"[\s,;]+", value) if part] if isinstance(value, str) else value

    @field_validator("heights")
    @classmethod
    def _heights(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(one % 2 or not 96 <= one <= 4320 for one in value):
            raise PydanticCustomError("heights", "a height is odd, or beyond 96 to 4320|write even heights, as [1080, 720, 360]")
        return tuple(sorted(set(value), reverse=True))

    @field_validator("tracks", mode="before")
    @classmethod
    def _tracks(cls, value: object) -> object:
        if isinstance(value, str):
            value = [value]
        return [{"audio": one, "kind": "original"} if one == ORIGINAL else one for one in value] if isinstance(value, list | tuple) else value

    @field_validator("qc", mode="before")
    @classmethod
    def _qc(cls, value: object) -> object:
        return {} if value is True else None if value is False else value

    @model_validator(mode="after")
    def _together(self) -> "Deliver":
        if [track.audio for track in self.tracks].count(ORIGINAL) > 1:
            raise PydanticCustomError("tracks", "the original sound is named twice|keep one of them")
        if self.heights and "hls" not in self.formats:
            raise PydanticCustomError("heights", "heights are given without HLS|add formats: [hls]")
        return self


def deliver_from(value: object) -> object:
    """In a table it is written as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else None
    except ValueError as error:
        raise PydanticCustomError("deliver", "it is not JSON|write {example}", {"example": '{"formats": ["hls"], "qc": true}'}) from error


def recordings_of(asked: Deliver | None) -> dict[str, str]:
    """The places of further recordings by their role among a job's inputs."""
    places = [track.audio for track in asked.tracks if track.audio != ORIGINAL] if asked else []
    return {FURTHER.format(number): place for number, place in enumerate(places, 2)}


def spec_of(asked: Deliver | None) -> dict[str, object]:
    """What the ledger keeps: recordings by their role, which the job's inputs have by hash."""
    if asked is None:
        return {}
    kept = asked.model_dump(mode="json", exclude_defaults=True)
    roles = iter(recordings_of(asked))
    for track in kept.get("tracks", ()):
        track["audio"] = ORIGINAL if track["audio"] == ORIGINAL else next(roles)
    return kept | ({"qc": asked.qc.model_dump(mode="json", exclude_defaults=True)} if asked.qc else {})
