"""Voices in Piper's format that somebody made to do harm: networks (ONNX) and what describes them (JSON).

An ONNX file is written as protocol-buffer bytes by hand (onnx.proto3 of ONNX 1.x), since nothing else here needs the package.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

FLOAT, INT64 = 1, 7
IDS = {"_": [0], "^": [1], "$": [2], " ": [3], ".": [4], ",": [5], "!": [6], "?": [7], "ˈ": [8], "ˌ": [9]} | {c: [10 + n] for n, c in enumerate("abdefghijklmnopstuwxβɣðŋɡɲɾθ")}


def _key(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _varint(value: int) -> bytes:
    made = b""
    while True:
        value, low = value >> 7, value & 127
        made += bytes([low | (128 if value else 0)])
        if not value:
            return made


def _whole(number: int, value: int) -> bytes:
    return _key(number, 0) + _varint(value)


def _bytes(number: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _key(number, 2) + _varint(len(data)) + data


def _tensor(name: str, array: np.ndarray) -> bytes:
    kind = FLOAT if array.dtype == np.float32 else INT64
    return b"".join(_whole(1, size) for size in array.shape) + _whole(2, kind) + _bytes(8, name) + _bytes(9, array.tobytes())


def _node(kind: str, inputs: str, output: str, **attributes: int) -> bytes:
    told = b"".join(_bytes(1, name) for name in inputs.split()) + _bytes(2, output) + _bytes(4, kind)
    return told + b"".join(_bytes(5, _bytes(1, name) + _whole(3, value) + _whole(20, 2)) for name, value in attributes.items())


def _value(name: str, kind: int, *shape: int | str) -> bytes:
    dims = b"".join(_bytes(1, _bytes(2, size) if isinstance(size, str) else _whole(1, size)) for size in shape)
    return _bytes(1, name) + _bytes(2, _bytes(1, _whole(1, kind) + _bytes(2, dims)))


def network(sound: np.ndarray, *, speakers: int = 1) -> bytes:
    """A voice that says `sound` float32 [samples], some noise by the first scale, and then, quietly, all that it was given: ids / 1000, scales / 10, speaker / 100, ids' count / 1000."""
    constants: dict[str, np.ndarray] = {
        "sound": sound.astype(np.float32), "thousandth": np.array([0.001], np.float32), "tenth": np.array([0.1], np.float32), "hundredth": np.array([0.01], np.float32),
        "flat": np.array([-1], np.int64), "outer": np.array([1, 1, -1], np.int64), "first": np.array(0, np.int64),
    }  # fmt: skip
    nodes = [
        _node("RandomNormalLike", "sound", "chance"), _node("Gather", "scales first", "noise_scale"), _node("Mul", "chance noise_scale", "noise"), _node("Mul", "noise hundredth", "soft"),
        _node("Add", "sound soft", "said"), _node("Cast", "input", "ids", to=FLOAT), _node("Reshape", "ids flat", "row"), _node("Mul", "row thousandth", "told_ids"), _node("Mul", "scales tenth", "told_scales"),
        _node("Cast", "input_lengths", "count", to=FLOAT), _node("Mul", "count thousandth", "told_count"),
    ]  # fmt: skip
    parts = "said told_ids told_scales"
    if speakers > 1:
        nodes += [_node("Cast", "sid", "who", to=FLOAT), _node("Mul", "who hundredth", "told_who")]
        parts += " told_who"
    nodes += [_node("Concat", f"{parts} told_count", "line", axis=0), _node("Reshape", "line outer", "output")]
    inputs = [_value("input", INT64, 1, "phonemes"), _value("input_lengths", INT64, 1), _value("scales", FLOAT, 3), *([_value("sid", INT64, 1)] if speakers > 1 else [])]
    graph = b"".join(_bytes(1, node) for node in nodes) + _bytes(2, "voice") + b"".join(_bytes(5, _tensor(name, value)) for name, value in constants.items())
    graph += b"".join(_bytes(11, one) for one in inputs) + _bytes(12, _value("output", FLOAT, 1, 1, "samples"))
    return _whole(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, "") + _whole(2, 13))


def description(**more: Any) -> dict[str, Any]:
    """What describes a voice of that kind."""
    return {
        "audio": {"sample_rate": 16_000}, "espeak": {"voice": "es"}, "phoneme_type": "espeak", "num_speakers": 1, "speaker_id_map": {},
        "inference": {"noise_scale": 0.5, "length_scale": 1.0, "noise_w": 0.8}, "phoneme_id_map": IDS, "phoneme_map": {}, **more,
    }  # fmt: skip


def whole() -> tuple[bytes, bytes]:
    """A small voice that works: its network and its description."""
    return network(0.3 * np.sin(np.arange(8000, dtype=np.float32) / 9)), json.dumps(description()).encode()


def outside(location: str) -> bytes:
    """A network whose weights are said to lie in another file (onnx.proto3, TensorProto.data_location)."""
    told = b"".join(_bytes(13, _bytes(1, name) + _bytes(2, value)) for name, value in (("location", location), ("offset", "0"), ("length", "64")))
    weights = _whole(1, 16) + _whole(2, FLOAT) + _bytes(8, "secret") + told + _whole(14, 1)
    graph = _bytes(1, _node("Identity", "secret", "output")) + _bytes(2, "voice") + _bytes(5, weights)
    graph += b"".join(_bytes(11, one) for one in (_value("input", INT64, 1, "phonemes"), _value("input_lengths", INT64, 1), _value("scales", FLOAT, 3))) + _bytes(12, _value("output", FLOAT, 16))
    return _whole(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, "") + _whole(2, 13))


def large(side: int) -> bytes:
    """A network that makes a matrix of that many rows and columns out of nothing, and multiplies it with itself for a while."""
    nodes = [_node("ConstantOfShape", "shape", "m0"), *(_node("MatMul", f"m{n} m{n}", f"m{n + 1}") for n in range(64)), _node("Identity", "m64", "output")]
    graph = b"".join(_bytes(1, node) for node in nodes) + _bytes(2, "voice") + _bytes(5, _tensor("shape", np.array([side, side], np.int64)))
    graph += b"".join(_bytes(11, one) for one in (_value("input", INT64, 1, "phonemes"), _value("input_lengths", INT64, 1), _value("scales", FLOAT, 3))) + _bytes(12, _value("output", FLOAT, "rows", "columns"))
    return _whole(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, "") + _whole(2, 13))


def networks(canary: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of networks that are none, lead elsewhere, or ask for much."""
    good, _ = whole()
    yield from {"zero bytes": b"", "text": b"no network at all " * 300, "zeros": bytes(5000), "cut": good[: len(good) // 2], "pickle": b"cos\nsystem\n(S'touch x'\ntR."}.items()
    for location in (f"{canary}/secret.wav", "../canary/secret.wav", "/dev/zero", "/proc/self/environ", f"file://{canary}/secret.wav"):
        yield f"weights at {location.replace(str(canary), '')}", outside(location)
    yield "400 GB", large(320_000)


def descriptions() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of descriptions that are none, or say what cannot be."""
    yield from {
        "deep": b"[" * 200_000, "large": b" " * (2**20 + 1), "list": b"[]", "digits": b'{"audio": {"sample_rate": ' + b"9" * 5000 + b"}}", "bytes": bytes(range(256)), "empty": b"",
    }.items()  # fmt: skip
    odd: dict[str, dict[str, Any]] = {
        "ids beyond int64": {"phoneme_id_map": IDS | {"a": [10**30]}}, "an id below zero": {"phoneme_id_map": IDS | {"_": [-(2**63)]}}, "ids in a list": {"phoneme_id_map": list(IDS)}, "no pads": {"phoneme_id_map": {"a": [1]}},
        "a million ids": {"phoneme_id_map": IDS | {"_": [1] * 100_000}}, "scales as words": {"inference": {"length_scale": "1"}}, "scales as lists": {"inference": {"noise_scale": [1]}}, "endless": {"inference": {"length_scale": 1e999}},
        "speakers as words": {"num_speakers": "many"}, "speakers in a list": {"num_speakers": 3, "speaker_id_map": ["a"]}, "phonemes in a list": {"phoneme_map": ["a"]}, "phonemes as numbers": {"phoneme_map": {"o": 5}},
        "long phonemes": {"phoneme_map": {"o": ["a" * 500_000]}}, "espeak-ng's file": {"espeak": {"voice": "../../../../etc/passwd"}}, "espeak-ng's option": {"espeak": {"voice": "-f/etc/passwd"}}, "a voice of nothing": {"espeak": {"voice": "a\0b"}},
        "a rate of nothing": {"audio": {"sample_rate": True}}, "no rate": {"audio": {"sample_rate": 0}}, "another alphabet": {"phoneme_type": "pinyin"},
    }  # fmt: skip
    yield from ((name, json.dumps(description(**more)).encode()) for name, more in odd.items())
