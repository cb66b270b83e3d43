"""What tests of voices share: a small network in Piper's format that says a given sound, and a service that speaks OpenAI's protocol."""

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

from benchmarks.hostile.voices import IDS, network


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
