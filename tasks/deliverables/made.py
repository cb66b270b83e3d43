"""The files that a job delivers besides, made from its take, signed, checked, and kept under their stages' keys: a delivery that is resumed puts the same bytes.

Whatever shows or says something carries a C2PA manifest; pictures of every rendition carry the take's watermark, which is read back here.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from infra.errors import MarkingError, MediaError
from infra.marking.signer import open_signer
from infra.packaging import Ladder, Track, as_mov, encoded, heights_of, muxed, spec, stems
from infra.packaging import playlist as pages
from infra.version import source_hash
from infra.video import inspect
from tasks import marking
from tasks.deliver import Extra
from tasks.deliverables.asked import ORIGINAL, Deliver, TrackRow
from tasks.scripts.captions import webvtt
from tasks.stages import Made, Take, Work, keep

CODE = "infra/packaging"
M3U8 = "application/vnd.apple.mpegurl"
STEM_ROLES = {"dialogue": "speech", "original": "video"}  # in lineage


def asked_of(work: Work) -> Deliver:
    """What the job's manifest says under `deliver`."""
    return Deliver.model_validate(work.spec.get("deliver") or {})


def film_of(work: Work, take: Take) -> tuple[Made, marking.Sources]:
    """The film that is signed and delivered: the take's video, with the further sound tracks that were asked for; and the sounds that came to it. Raises MediaError."""
    render, rows = take.made["render"], asked_of(work).tracks
    if not rows:
        return render, ()
    sounds = {row.audio: _recording(work, row.audio) for row in rows if row.audio != ORIGINAL}
    asks = {
        "code": source_hash(CODE), "video": render.sha256, "tracks": [row.model_dump(mode="json") | {"sha256": _hash_of(work, row, sounds)} for row in rows],
    }  # fmt: skip
    voices = tuple((made.sha256, "speech") for made in sounds.values())
    source = work.sources("video") if any(row.audio == ORIGINAL for row in rows) else ()

    def write(path: Path) -> None:
        muxed(render.path, [_track(work, row, sounds) for row in rows], path)

    return keep(work, "film", "film.mp4", asks, ((render.sha256, "render"), *source, *voices), write), voices


def _recording(work: Work, role: str) -> Made:
    """A further recording as it is muxed; lineage leads through it to whose voice it is."""
    asks = {"code": source_hash(CODE), "recording": work.spec["inputs"][role]["sha256"]}
    return keep(work, "track", "track.m4a", asks, ((work.spec["inputs"][role]["sha256"], "audio"),), lambda path: encoded(work.inputs[role], path))


def _hash_of(work: Work, row: TrackRow, sounds: dict[str, Made]) -> str:
    return str(work.spec["inputs"]["video"]["sha256"]) if row.audio == ORIGINAL else sounds[row.audio].sha256


def _track(work: Work, row: TrackRow, sounds: dict[str, Made]) -> Track:
    if row.audio != ORIGINAL:
        return Track(sounds[row.audio].path, row.locale, row.name or name_of(row.locale), row.kind)
    said = row.locale or next((sound.language for sound in inspect(work.inputs["video"]).audio), "")
    return Track(work.inputs["video"], said or "und", row.name or (name_of(said) if said else "Original"), row.kind)


def name_of(locale: str) -> str:
    """A language in its own words, as players list it; the tag where none are known."""
    from babel import Locale, UnknownLocaleError

    try:
        told = Locale.parse(locale, sep="-").get_display_name()
    except (ValueError, UnknownLocaleError):
        return locale
    return told[:1].upper() + told[1:] if told else locale


def extras(work: Work, take: Take, film: Made, delivered: Made) -> list[Extra]:
    """All files besides, in the order in which they are put. delivered: the signed film. Raises MediaError, MarkingError, and what keeping raises."""
    asked, made, faults = asked_of(work), list[Extra](), list[str]()
    if "mov" in asked.formats:
        asks = {"code": source_hash(CODE), "film": film.sha256}
        plain = keep(work, "mov", "film.mov", asks, ((film.sha256, "render"),), lambda path: as_mov(film.path, path))
        made.append(Extra("mov", ".mov", "video/quicktime", _signed(work, take, plain, "delivered.mov", "video/quicktime").path))
    if asked.stems:
        made += _stems(work, take, asked.stems)
    if "hls" in asked.formats:
        package, faults = _hls(work, take, film, asked)
        made += package
    if asked.qc is not None:
        from tasks.qc.taken import report_of

        made += report_of(work, take, delivered, asked.qc, faults if "hls" in asked.formats else None)
    return made


def _signed(work: Work, take: Take, plain: Made, kind: str, media: str) -> Made:
    """A file with its manifest, its marks found to hold. Raises MarkingError."""
    made = marking.signed(work, take, plain, kind, media)
    payload = marking.watermark_of(work, take) if media.startswith("video/") else None
    marking.checked(made.path, payload=payload, artifact=take.made["render"].sha256, signer=open_signer(work.settings), job=work.name)
    return made


def _stems(work: Work, take: Take, kind: str) -> Iterator[Extra]:
    assert work.speech is not None
    begin = begins_at(work.spec.get("timecode"))
    for name, source, digest, bits in sounds_of(work):
        asks = {"code": source_hash(CODE), "source": digest, "kind": kind, "begin": str(begin), "name": name, "bits": bits}
        plain = keep(
            work, "stem", f"stem-{name}.{kind}", asks, ((digest, STEM_ROLES.get(name, name)),),
            lambda path, source=source, name=name, bits=bits: stems.stem(source, kind, path, description=f"{work.name} {name}", begin=begin, bits=bits),  # type: ignore[misc]
        )  # fmt: skip
        media = stems.TYPES[kind]
        yield Extra(f"stem_{name}", f".{name}{stems.SUFFIXES[kind]}", media, _signed(work, take, plain, f"stem-{name}.{kind}", media).path)


def sounds_of(work: Work) -> Iterator[tuple[str, Path, str, int]]:
    """(name, file, hash, bits a sample) of each stem there is: the dub's speech before it was encoded, the bed, the original's first sound."""
    assert work.speech is not None
    place = work.folder / "dialogue.wav"
    work.speech.write(place)
    yield "dialogue", place, work.made["speech"].sha256, 16
    if "bed" in work.inputs:
        yield "bed", work.inputs["bed"], work.spec["inputs"]["bed"]["sha256"], 24
    if "video" in work.inputs and inspect(work.inputs["video"]).audio:
        yield "original", work.inputs["video"], work.spec["inputs"]["video"]["sha256"], 24


def begins_at(timecode: dict[str, str] | None) -> float:
    """Seconds since midnight at which the manifest says that the programme starts."""
    from tasks.scripts.times import Clock, Rate

    if not timecode or not timecode.get("start"):
        return 0.0
    clock = Clock(timecode.get("rate", ""), timecode["start"])
    return float(clock.origin(clock.rate or Rate(Fraction(1000)), code=clock.rate is not None))


def _hls(work: Work, take: Take, film: Made, asked: Deliver) -> tuple[list[Extra], list[str]]:
    """The package's files, its master playlist last, and what is wrong with it by its rules."""
    assert work.speech is not None
    facts = inspect(film.path)
    ladder = Ladder(asked.segment, crf=work.settings.video_crf + 2, preset=work.settings.video_preset)
    files: dict[str, Path] = {}
    pictures = []
    for height in heights_of(asked.heights, facts.height):
        name = f"v{height}.mp4"
        if (path := _pictures(work, take, film, ladder, height, facts.fps, own=height >= facts.height - 1)) is not None:
            files[name] = path
            pictures.append(pages.rendition(path, name, fps=facts.fps))
    sounds = []
    for number, (language, label) in enumerate(_labels(work, film)):
        name = f"a{number + 1}.mp4"
        files[name] = _sound(work, take, film, ladder, number)
        sounds.append(pages.rendition(files[name], name, language=language, label=label))
    target = pages.target_of([*pictures, *sounds])
    texts = {one.playlist: pages.media_playlist(one, target) for one in (*pictures, *sounds)}
    if cues := work.speech.speech.cues:
        texts |= {"s1.vtt": webvtt(cues), "s1.m3u8": pages.words_playlist("s1.vtt", float(pictures[0].index.seconds))}
    texts["master.m3u8"] = pages.master(pictures, sounds, "s1.m3u8" if cues else "", work.lease.locale, name_of(work.lease.locale), target)
    return _package(work, files, texts)


def _package(work: Work, files: dict[str, Path], texts: dict[str, str]) -> tuple[list[Extra], list[str]]:
    folder = work.folder / "hls"
    folder.mkdir(exist_ok=True)
    for name, path in files.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(path.absolute())
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    made = [Extra(f"hls/{name}", f".hls/{name}", "video/mp4" if name.startswith("v") else "audio/mp4", path) for name, path in files.items()]
    made += [Extra("hls" if name == "master.m3u8" else f"hls/{name}", f".hls/{name}", "text/vtt" if name.endswith(".vtt") else M3U8, text.encode()) for name, text in texts.items()]
    return made, spec.faults_of(folder / "master.m3u8")


def _pictures(work: Work, take: Take, film: Made, ladder: Ladder, height: int, fps: Fraction, *, own: bool) -> Path | None:
    """A signed rendition; None where its watermark did not survive, which at the film's own height is an error."""
    asks = {"code": source_hash(CODE), "film": film.sha256, "height": height, "ladder": vars(ladder)}
    plain = keep(work, "hls", f"hls-{height}.mp4", asks, ((film.sha256, "render"),), lambda path: ladder.pictures(film.path, height, fps, path))
    try:
        return _signed(work, take, plain, f"delivered-{height}.mp4", "video/mp4").path
    except MarkingError as error:
        if own or error.code != "marking.no_watermark":
            raise
        note = f"the rendition of {height} lines is left out: its watermark cannot be read"
        take.notes = tuple(dict.fromkeys((*take.notes, note)))
        return None


def _sound(work: Work, take: Take, film: Made, ladder: Ladder, number: int) -> Path:
    asks = {"code": source_hash(CODE), "film": film.sha256, "sound": number, "segment": ladder.segment}
    plain = keep(work, "hls", f"hls-a{number + 1}.mp4", asks, ((film.sha256, "render"),), lambda path: ladder.sound(film.path, number, path))
    return _signed(work, take, plain, f"delivered-a{number + 1}.mp4", "audio/mp4").path


def _labels(work: Work, film: Made) -> list[tuple[str, str]]:
    """(BCP 47 tag, name) of each sound of a film, the dub first; names are told apart."""
    rows = asked_of(work).tracks
    sounds = inspect(film.path).audio
    if not sounds:
        raise MediaError(f"{work.name} has no sound", code="media.no_audio", job=work.name)
    named = [(work.lease.locale, name_of(work.lease.locale))]
    named += [(row.locale, row.name or (name_of(row.locale) if row.locale else "Original")) for row in rows]
    named += [(sound.language if sound.language != "und" else "", sound.title or sound.language or "Other") for sound in sounds[len(named) :]]
    told: list[tuple[str, str]] = []
    for tag, label in named[: len(sounds)]:
        alike = sum(other.partition(" (")[0] == label for _, other in told)
        told.append((tag, f"{label} ({alike + 1})" if alike else label))
    return told
