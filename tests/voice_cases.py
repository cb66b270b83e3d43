"""What tests of voices share: a small network in Piper's format that says a given sound, and a service that speaks OpenAI's protocol.

The ONNX file is written as protocol-buffer bytes by hand (onnx.proto3 of ONNX 1.x), since nothing else here needs the package.
"""

import io
import json
import struct
import threading
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
    constants = {
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


def write_voice(path: Path, sound: np.ndarray, rate: int, *, espeak: str = "es", speakers: int = 1, **more: Any) -> Path:
    """A voice's two files."""
    path.write_bytes(network(sound, speakers=speakers))
    names = {"ana": 0, "ben": 1} if speakers > 1 else {}
    told = {
        "audio": {"sample_rate": rate}, "espeak": {"voice": espeak}, "phoneme_type": "espeak", "num_speakers": speakers, "speaker_id_map": names,
        "inference": {"noise_scale": 0.5, "length_scale": 1.25, "noise_w": 0.75}, "phoneme_id_map": IDS, "phoneme_map": {}, **more,
    }  # fmt: skip
    Path(f"{path}.json").write_text(json.dumps(told))
    return path


def wav(sound: np.ndarray, rate: int) -> bytes:
    """A sound int16 [samples] as a WAV whose length is not told, as services stream it."""
    held = io.BytesIO()
    with wave.open(held, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(sound.astype("<i2").tobytes())
    data = held.getvalue()
    return data[:4] + struct.pack("<I", 0xFFFFFFFF) + data[8:40] + struct.pack("<I", 0xFFFFFFFF) + data[44:]


@contextmanager
def service(sound: bytes, *answers: Any) -> Iterator[Any]:
    """A speech service at an address of this machine: its address, and what it was asked. answers: one for each call, then sound.

    An answer is (status, type, body, headers), or seconds to wait before nothing comes.
    """
    left, asked = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append({"path": self.path, "key": self.headers.get("Authorization"), **json.loads(body)})
            answer = left.pop(0) if left else (200, "audio/wav", sound, {})
            if isinstance(answer, float):
                time.sleep(answer)
                return
            status, kind, data, headers = answer
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.address, server.asked = f"http://127.0.0.1:{server.server_address[1]}/v1", asked  # type: ignore[attr-defined]
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
