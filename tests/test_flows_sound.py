"""Voices and sound from manifest to delivery: a voice needs its consent, stands in lineage, and what is delivered is as loud as it says."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from benchmarks.allowed import allow
from db import consents
from db.lineage import lineage
from db.session import open_database
from flow_cases import HOPPER, Watched, run_manifest, settings, write_manifest  # noqa: F401 (settings is a fixture)
from infra.media import ffmpeg
from infra.settings import Settings, get_settings
from infra.store import sha256_of
from tasks.consent import digest
from tasks.manifest import load_manifest
from tasks.plan import plan
from tasks.speech import espeak
from test_infra_loudness import metered
from voice_cases import service, wav, write_voice

TEXT = "Son 5 € hoy, amigos."


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> dict[str, Any]:  # noqa: F811
    """A batch of two jobs: Piper's voice over a 5.1 bed, and a service's voice with loudness off."""
    folder = tmp_path_factory.mktemp("sound")
    spoken = espeak.speak(TEXT, "es+f3", 140)
    voice = write_voice(folder / "es.onnx", spoken.sound, spoken.rate)
    bed = ";".join(f"sine=frequency={200 + 70 * n}:sample_rate=48000:duration=1[s{n}]" for n in range(6)) + ";[s0][s1][s2][s3][s4][s5]amerge=inputs=6,volume=0.1[o]"
    subprocess.run([ffmpeg(), "-v", "error", "-filter_complex", bed, "-map", "[o]", str(folder / "bed.wav")], check=True)
    jobs = [
        {"title": "bed", "text": TEXT, "voice": "piper:es.onnx", "bed": "bed.wav", "ducking": {"depth": 6}, "loudness": "web"},
        {"title": "served", "text": TEXT, "voice": "openai:tts-1/nova", "loudness": False},
    ]
    path = write_manifest(folder, jobs, batch="sound", defaults={"portrait": str(HOPPER), "locale": "es-ES"}, ladder={"takes": 1})
    with service(wav((spoken.sound * 32767).astype(np.int16), spoken.rate)) as server:
        os.environ["DUBWRIGHT_SPEECH_URL"] = server.address  # for the work, which reads its own settings
        get_settings.cache_clear()
        known = get_settings()
        manifest, database = load_manifest(path), open_database(known)
        allow(known, HOPPER)
        before = [job.error.to_dict() if job.error else {} for job in plan(manifest, database, known).jobs]
        subjects = tuple(("voice", digest(place, known, str(folder)), place) for place in ("piper:es.onnx", "openai:tts-1/nova"))
        consents.add(database, consents.Record("Nobody", "synthetic", "c-2026-voices", subjects=subjects), "tests")
        done = run_manifest(manifest, known, Watched())
    return {"rows": {row["title"]: row for row in done.rows["jobs"]}, "folder": folder, "before": before, "settings": known, "voice": voice, "subjects": subjects, "asked": server.asked}


def test_a_voice_needs_a_record_and_says_how_to_enter_it(made: dict[str, Any]) -> None:
    for told, place in zip(made["before"], ("es.onnx", "openai:tts-1/nova"), strict=True):
        assert told["code"] == "consent.missing" and f"--voice {place}" in told["next_step"]


def video_of(made: dict[str, Any], title: str) -> Path:
    """The take's file as it was scored, whatever the gate said of it."""
    from infra.artifacts import open_artifacts

    return open_artifacts(made["settings"]).path(made["rows"][title]["takes"][0]["video"])


def test_the_sound_is_as_loud_as_told_in_the_beds_channels_and_as_long_as_the_picture(made: dict[str, Any]) -> None:
    row = made["rows"]["bed"]
    told = row["takes"][0]["parameters"]["loudness"]
    integrated, peak = metered(video_of(made, "bed"))
    assert abs(integrated + 16) <= 0.5 and peak <= -1
    assert (told["target"], told["ducking"]["depth"]) == (-16.0, 6.0) and abs(told["integrated"] - integrated) < 0.15
    with av.open(str(video_of(made, "bed"))) as media:
        sound, picture = media.streams.audio[0], media.streams.video[0]
        assert sound.layout.name == "5.1" and abs(sum(f.samples for f in media.decode(sound)) / 48_000 - float(picture.duration * picture.time_base)) < 0.06
    assert row["state"] in ("delivered", "flagged")
    if row["state"] == "delivered":
        assert json.loads((made["folder"] / "out" / "bed.es-ES.json").read_text())["parameters"]["loudness"] == told
    assert any("read: 5 € as 'cinco euros'" in note for note in row["takes"][0]["parameters"]["notes"])


def test_loudness_off_delivers_the_speech_as_it_was_made(made: dict[str, Any]) -> None:
    assert made["rows"]["served"]["takes"], made["rows"]["served"]["error"]
    take = made["rows"]["served"]["takes"][0]
    assert "loudness" not in take["parameters"] and set(take["seconds"]) & {"sound", "loudness"} == set()
    assert [ask["input"] for ask in made["asked"]] == ["Son cinco euros hoy, amigos."]


def test_the_voice_is_in_lineage_and_a_delivery_rests_on_its_record(made: dict[str, Any]) -> None:
    database = open_database(made["settings"])
    for title, (_, sha256, _) in zip(("bed", "served"), made["subjects"], strict=True):
        tree = lineage(database, made["rows"][title]["takes"][0]["video"])
        assert f'"{sha256}"' in json.dumps(tree)
        with database.begin() as session:
            assert sha256 in consents.roots(session, {"video": made["rows"][title]["takes"][0]["video"]})
    assert made["subjects"][0][1] == sha256_of(made["voice"])
