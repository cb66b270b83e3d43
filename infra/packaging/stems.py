"""Sound by itself, as WAV with a broadcast extension (EBU Tech 3285) or FLAC."""

from pathlib import Path

from infra.media import as_input, open_media
from infra.packaging.process import written

SUFFIXES = {"wav": ".wav", "flac": ".flac"}
TYPES = {"wav": "audio/wav", "flac": "audio/flac"}


def stem(source: Path, kind: str, path: Path, *, description: str, begin: float = 0.0, bits: int = 24) -> None:
    """The first sound of a file in its own layout. begin: seconds since midnight at which the programme starts, which WAV tells as its time reference.

    bits: 16 or 24 a sample. Raises MediaError, DiskFull.
    """
    with open_media(source) as media:
        rate = media.streams.audio[0].rate if media.streams.audio else 0
    common = [*as_input(source), "-map", "0:a:0", "-vn", "-map_metadata", "-1"]
    if kind == "flac":
        written(path, [*common, "-c:a", "flac", "-sample_fmt", "s16" if bits == 16 else "s32", "-metadata", f"title={description[:256]}"], ["-f", "flac"])
        return
    told = {"description": description[:256], "originator": "Dubwright", "time_reference": str(round(begin * rate))}
    metadata = [part for name, value in told.items() for part in ("-metadata", f"{name}={value}")]
    written(path, [*common, "-c:a", f"pcm_s{bits}le", *metadata], ["-fflags", "+bitexact", "-write_bext", "1", "-rf64", "auto", "-f", "wav"])
