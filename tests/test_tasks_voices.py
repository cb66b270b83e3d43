"""Voices: Piper's networks by ONNX Runtime, a service that speaks OpenAI's protocol, what they say kept by content, their names."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flow_cases import run
from infra.errors import DubwrightError, EngineError, InputError, SetupError, VoiceUnavailable
from infra.settings import Settings
from infra.store import sha256_of
from models.types import Cue
from tasks.rows import voices_from
from tasks.speech import espeak, synthesise
from tasks.speech.lexicon import Entry, Lexicon, Piece
from tasks.speech.voices import Room, endpoint, inputs_of, named, open_voice, placed
from tasks.speech.voices.piper import PiperVoice
from voice_cases import IDS, service, wav, write_voice

TEXT = "Hola, amigo. Buenos días."
KEY = "sk-secret-1234"


@pytest.fixture(scope="module")
def spoken() -> espeak.Spoken:
    """The text by another voice of espeak-ng, at another pace, as a network or a service might say it."""
    return espeak.speak(TEXT, "es+f3", 140)


@pytest.fixture(scope="module")
def voice(spoken: espeak.Spoken, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voice(tmp_path_factory.mktemp("piper") / "es.onnx", spoken.sound, spoken.rate, speakers=2)


def room_of(path: Path, settings: Settings | None = None) -> Room:
    return Room({path.name: path, f"{path.name}.json": Path(f"{path}.json")}, settings)


def test_piper_is_given_the_phonemes_scales_and_speaker_that_it_was_made_for(voice: Path) -> None:
    made = PiperVoice(voice, Path(f"{voice}.json"), {"speaker": "ben", "pace": "1.25", "rhythm": "0.3"})
    assert made.phonemes([Piece("Hola, amigo. Di "), Piece("x", "ˈθa"), Piece("!")]) == ["ˈola, amˈiɣo.", "dˈi ˈθa!"]
    (first, second), missing = made.ids([Piece("Hola. Ǣ"), Piece("y", "ʘa")])
    assert first == [1, 0, *(number for c in "ˈola." for number in (*IDS[c], 0)), 2] and second[:2] == [1, 0] and "ʘ" in missing
    (ids,), _ = made.ids([Piece("Hola.")])
    said = made.say([Piece("Hola.")]).sound
    tail = said[-len(ids) - 5 :]
    scale = len(ids) / 1000 / tail[-1]
    assert np.round(tail[: len(ids)] * scale * 1000).astype(int).tolist() == ids
    assert np.allclose(tail[len(ids) : -1] * scale, [0.05, 0.1, 0.03, 0.01], atol=1e-4)  # noise, length by pace, rhythm, ben


def test_piper_sounds_the_same_twice_and_its_phones_lie_where_they_are_heard(voice: Path, spoken: espeak.Spoken) -> None:
    once, again = (open_voice("piper:es.onnx", "es-ES", room_of(voice)).say([Piece(TEXT.replace(". ", ", "))]) for _ in range(2))
    assert np.array_equal(once.sound, again.sound) and once.phones == again.phones
    assert not np.array_equal(once.sound[: len(spoken.sound)], spoken.sound / np.abs(spoken.sound).max())  # the noise is in it
    assert [p.symbol for p in once.phones] == [p.symbol for p in spoken.phones]
    errors = [abs(a.start - b.start) for a, b in zip(once.phones, spoken.phones, strict=True)]
    assert np.median(errors) < 0.04 and np.percentile(errors, 90) < 0.12


def test_voices_of_several_rates_share_one_track(voice: Path, tmp_path: Path, spoken: espeak.Spoken) -> None:
    slow = write_voice(tmp_path / "low.onnx", spoken.sound[::2], spoken.rate // 2, sample_rate=1)
    cues = (Cue(0.0, 3.0, "Hola.", "ANA"), Cue(4.0, 7.0, "Hola.", "BEN"))
    room = Room({**room_of(slow).files, **room_of(voice).files})
    track = synthesise(cues, "es-ES", voices={"Ana": "piper:low.onnx", "Ben": "espeak:es"}, room=room)
    assert track.rate == 22_050 and [cue.start for cue in track.speech.cues] == [0.0, 4.0]
    heard = np.asarray(track.sound)[: len(spoken.sound)].astype(float)
    assert np.corrcoef(heard, spoken.sound[: len(heard)])[0, 1] > 0.9  # at its own speed and pitch


@pytest.mark.parametrize(
    ("change", "options", "code"),
    [
        ({"audio": {}}, {}, "voice.config"), ({"phoneme_id_map": {"a": [1]}}, {}, "voice.config"), ({"phoneme_type": "pinyin"}, {}, "voice.config"), ({"espeak": {"voice": "klingon"}}, {}, "input.locale"),
        ({}, {"speaker": "7"}, "voice.speaker"), ({}, {"pace": "nan"}, "voice.name"), ({}, {"sha256": "0" * 64}, "voice.changed"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_voice_of_piper_is_told(tmp_path: Path, change: dict[str, Any], options: dict[str, str], code: str) -> None:
    path = write_voice(tmp_path / "v.onnx", np.zeros(8, np.float32), 16_000, speakers=2)
    config = Path(f"{path}.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(InputError) as told:
        PiperVoice(path, config, options)
    assert told.value.code == code and told.value.next_step


def test_a_network_that_is_none_ends_as_an_error(tmp_path: Path) -> None:
    path = write_voice(tmp_path / "v.onnx", np.zeros(8, np.float32), 16_000)
    for data in (path.read_bytes()[:-40], b"", b"\x80\x02pickle", path.read_bytes().replace(b"input_lengths", b"input_something"[:13])):
        path.write_bytes(data)
        with pytest.raises(EngineError) as told:
            PiperVoice(path, Path(f"{path}.json"), {}).say([Piece("Hola")])
        assert told.value.code == "voice.broken"


def test_names_of_voices() -> None:
    assert (named("piper:a/b.onnx?speaker=2").plain, named("es+f3").name, named("").backend) == ("piper:a/b.onnx", "es+f3", "espeak")
    assert inputs_of(["", "piper:v.onnx?speaker=1", "piper:v.onnx?speaker=2", "openai:tts-1/nova"]) == {
        "voice.1": "v.onnx", "voice_config.1": "v.onnx.json", "voice.2": "openai:tts-1/nova",
    }  # fmt: skip
    assert placed("piper:v.onnx?speaker=1", "s3://b/in") == "piper:s3://b/in/v.onnx?speaker=1" and placed("espeak:es", "/x") == "espeak:es"
    assert voices_from("ANNA = piper:v.onnx?speaker=2&pace=1.1; B=C=es+f3") == {"ANNA": "piper:v.onnx?speaker=2&pace=1.1", "B=C": "es+f3"}
    for bad in ("piper:", "piper:v.onnx?spaeker=1", "openai:x/y?model=2", "espeak:es?pace=2"):
        with pytest.raises(InputError) as told:
            named(bad)
        assert told.value.code == "voice.name"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without their pauses."""
    monkeypatch.setattr(endpoint.EndpointVoice.__init__, "__kwdefaults__", {"tries": 3, "pause": 0.01})


def known(home: Path, address: str, **more: Any) -> Settings:
    return Settings(home=home, speech_url=address, speech_key=KEY, **more)


@pytest.fixture(scope="module")
def answer(spoken: espeak.Spoken) -> Iterator[bytes]:
    yield wav((spoken.sound * 32767).astype(np.int16), spoken.rate)


@pytest.mark.usefixtures("quick")
def test_a_service_is_asked_until_it_speaks_and_never_twice_for_the_same(answer: bytes, spoken: espeak.Spoken, tmp_path: Path) -> None:
    busy = [(429, "application/json", b"{}", {"Retry-After": "0"}), (500, "text/plain", b"oops", {})]
    with service(answer, *busy) as server:
        settings = known(tmp_path, server.address)
        card = tmp_path / "card.json"
        card.write_bytes(endpoint.card_of(named("openai:tts-1/nova"), settings).data())
        room = Room({"openai:tts-1/nova": card}, settings)
        said = open_voice("openai:tts-1/nova?speed=1.1", "es-ES", room).say([Piece(TEXT)])
        assert [ask["path"] for ask in server.asked] == ["/v1/audio/speech"] * 3 and server.asked[0]["key"] == f"Bearer {KEY}"
        assert server.asked[2] | {"key": ""} == {"path": "/v1/audio/speech", "key": "", "model": "tts-1", "voice": "nova", "input": TEXT, "response_format": "wav", "speed": 1.1}
        errors = [abs(a.start - b.start) for a, b in zip(said.phones, spoken.phones, strict=True)]
        assert said.rate == endpoint.RATE and np.median(errors) < 0.04
        again = open_voice("openai:tts-1/nova?speed=1.1", "es-ES", room).say([Piece(TEXT)])
        assert len(server.asked) == 3 and again.phones == said.phones and np.array_equal(again.sound, said.sound)
        (kept,) = (tmp_path / "cache" / "speech" / sha256_of(card)).glob("*.npz")
        kept.write_bytes(kept.read_bytes()[:99])  # cut off: it is asked for anew
        open_voice("openai:tts-1/nova?speed=1.1", "es-ES", room).say([Piece(TEXT)])
        track = synthesise((Cue(0, 0, "El 3 cuesta 5 € en X."),), "es-ES", "openai:tts-1/nova", lexicon=Lexicon((Entry("X", ipa="ˈeks"),)), room=room)
        assert server.asked[-1]["input"] == "El tres cuesta cinco euros en X." and any("takes no IPA: X" in note for note in track.speech.notes)
        assert "read: 5 € as 'cinco euros'; 3 as 'tres'" in track.speech.notes
    assert KEY not in card.read_text() + repr(named("openai:tts-1/nova")) + repr(settings)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("answers", "kind", "code", "calls"),
    [
        ([(429, "application/json", b'{"error": {"message": "slow down"}}', {})] * 3, VoiceUnavailable, "voice.unavailable", 3),
        ([2.0] * 3, VoiceUnavailable, "voice.unavailable", 3),
        ([(200, "audio/wav", b"RIFF1234", {"Content-Length": "99"})] * 3, VoiceUnavailable, "voice.unavailable", 3),
        ([(401, "application/json", f'{{"error": {{"message": "bad key {KEY}"}}}}'.encode(), {})], SetupError, "voice.denied", 1),
        ([(400, "application/json", b'{"error": "no such voice"}', {})], EngineError, "voice.refused", 1),
        ([(302, "text/html", b"", {"Location": "http://169.254.169.254/"})], EngineError, "voice.refused", 1),
        ([(200, "application/json", b'{"audio": 1}', {})], EngineError, "voice.answer", 1),
        ([(200, "audio/wav", b"\x00" * 4000, {})], EngineError, "voice.answer", 1),
        ([(200, "audio/mpeg", wav(np.zeros(9000, np.int16), 24_000), {})], EngineError, "voice.answer", 1),
    ],
)  # fmt: skip
def test_a_service_that_fails_is_told_by_its_kind(answers: list[Any], kind: type[DubwrightError], code: str, calls: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), service(b"", *answers) as server:
        settings = known(tmp_path, server.address, speech_seconds=0.3)
        with pytest.raises(kind) as told:
            open_voice("openai:tts-1/nova", "es-ES", Room(settings=settings)).say([Piece("Hola")])
        assert (told.value.code, len(server.asked)) == (code, calls) and told.value.next_step
    assert KEY not in caplog.text + str(told.value.to_dict())


def test_a_service_is_the_operators_to_choose(tmp_path: Path) -> None:
    for address, code in (("", "voice.endpoint"), ("ftp://x/v1", "voice.endpoint"), ("https://user:pass@x/v1", "voice.endpoint"), ("https://x/v1?a=b", "voice.endpoint")):
        with pytest.raises(SetupError) as told:
            open_voice("openai:tts-1/nova", "es-ES", Room(settings=known(tmp_path, address)))
        assert told.value.code == code
    card = tmp_path / "card.json"
    card.write_bytes(endpoint.Card("https://elsewhere.example/v1", "tts-1", "nova").data())
    for voice in ("openai:tts-1/other", "piper:other.onnx"):  # a reviewer may wish for one that no consent was asked for
        with pytest.raises(InputError) as refused:
            open_voice(voice, "es-ES", Room({"openai:tts-1/nova": card}, known(tmp_path, "https://here.example/v1"), job=True))
        assert refused.value.code == "voice.missing"
    with pytest.raises(SetupError, match="another"):
        open_voice("openai:tts-1/nova", "es-ES", Room({"openai:tts-1/nova": card}, known(tmp_path, "https://here.example/v1")))


def test_the_command_lists_voices_with_their_licence_and_tries_one(voice: Path, tmp_path: Path) -> None:
    voice.with_name("MODEL_CARD").write_text("# Model card\n* License: CC0 1.0\n")
    told = json.loads(run("voices", "list", str(voice.parent), "--json", home=tmp_path).stdout)["voices"]
    assert [row["back_end"] for row in told] == ["espeak", "openai", "piper", "piper"] and (told[-1]["licence"], told[-1]["sha256"]) == ("CC0 1.0", sha256_of(voice))
    done = run("voices", "test", f"piper:{voice}?speaker=ben", "--locale", "es-ES", "--say", "Son 5 €.", "--out", str(tmp_path / "v.wav"), "--json", home=tmp_path)
    made = json.loads(done.stdout)
    assert made["consent_subject"] == sha256_of(voice) and made["phones"][:3] == ["S", "OW", "N"] and "read: 5 € as 'cinco euros'" in made["notes"]
    assert (tmp_path / "v.wav").stat().st_size > 20_000 and not (tmp_path / "postgres").exists()
