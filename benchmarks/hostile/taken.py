"""What is taken in, in a process of its own that may die or hang of it: `python -m benchmarks.hostile.taken HOME` reads requests as lines of JSON.

A media file goes the way that a job's do: fetched and looked at as by the plan, the ingest stage with a real lease and ledger, then read to its end
as the stages that follow read it.
"""

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.hostile.voices import whole
from benchmarks.hostile.weights import try_weights
from db import ledger
from db.consents import unnumbered
from db.session import open_database
from infra.artifacts import open_artifacts
from infra.errors import DubwrightError, MediaError, classify
from infra.outbound import Allowed, post
from infra.settings import Settings
from tasks.ingest import bring, ingest
from tasks.look import LOOKS
from tasks.manifest import load_manifest
from tasks.scripts import Reading, open_cues
from tasks.speech.voices import CONFIG, VOICE
from tasks.stages import Work


class Taker:
    """A worker with a ledger, an artifact store and a leased job, whose inputs are what it is given."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.database, self.artifacts = settings, open_database(settings), open_artifacts(settings)
        key = f"hostile-{os.getpid()}"
        batch = ledger.submit(self.database, key, "hostile", "out", [ledger.JobSpec(key, "hostile", "en-US", "avct", "compact", {"inputs": {}})])
        lease = ledger.lease(self.database, batch.batch_id, "benchmark", 24 * 3600)
        assert lease is not None
        self.lease = lease

    def media(self, role: str, place: str, base: str) -> str:
        """A portrait, video, recording, or what else is an input of that role. Raises DubwrightError."""
        there = bring(place, base, self.settings)
        LOOKS[unnumbered(role)](there.path)
        kept = self.artifacts.put(there.path, there.suffix)
        spec = {"inputs": {role: {"sha256": kept.sha256, "size": kept.size, "suffix": there.suffix, "place": place}}}
        with tempfile.TemporaryDirectory(prefix="dubwright-") as folder:
            work = Work(self.database, self.artifacts, self.settings, replace(self.lease, spec=spec), Path(folder))
            ingest(work)
            self._read(role, work.inputs[role], Path(folder))
        return "accepted"

    def _read(self, role: str, path: Path, folder: Path) -> None:
        """As the stages read it."""
        from infra.loudness import RATE, Graph, measure
        from infra.media import read_audio
        from infra.packaging.tracks import encoded
        from infra.video import pictures
        from tasks.faces import read_picture

        if role == "video":
            for _ in pictures(path):
                pass
            try:
                read_audio(path)
            except MediaError as error:
                if error.code != "media.no_audio":
                    raise
        elif role == "audio":
            read_audio(path)
        elif role == "bed":
            measure(Graph((path,), "[0:a:0]anull", RATE))
        elif role == "audio2":
            encoded(path, folder / "sound.mp4")
        elif unnumbered(role) in (VOICE, CONFIG):
            self._say(role, path, folder)
        else:
            read_picture(path)  # its landmarks were found as the plan looked

    def _say(self, role: str, path: Path, folder: Path) -> None:
        """A voice of that network or description, the other of the two being a good one."""
        from tasks.speech.lexicon import Piece
        from tasks.speech.voices.piper import PiperVoice

        network, description = folder / "good.onnx", folder / "good.json"
        for there, data in zip((network, description), whole(), strict=True):
            there.write_bytes(data)
        PiperVoice(*((path, description) if unnumbered(role) == VOICE else (network, path)), {}).say((Piece("Hola a todos."),))

    def manifest(self, path: str) -> str:
        """A manifest. Raises DubwrightError."""
        load_manifest(path, settings=self.settings)
        return "accepted"

    def script(self, path: str) -> str:
        """A script. Raises DubwrightError."""
        open_cues(Path(path), Reading())
        return "accepted"

    def url(self, url: str, allowed: str = "") -> str:
        """An address that a webhook would call. Raises DubwrightError; a redirect that is not followed counts as refused."""
        status = post(url, b"{}", {}, Allowed.read(allowed), 3).status
        return "redirect.not_followed" if 300 <= status < 400 else "accepted"

    def weights(self, harm: str) -> str:
        """Weights that are not what their card says. Raises DubwrightError."""
        return try_weights(harm)

    def take(self, asked: dict[str, Any]) -> str:
        """How a request ended: `accepted`, a code, or `wrong` with a trace."""
        call: Callable[..., str] = getattr(self, asked["do"])
        try:
            return call(**asked["what"])
        except DubwrightError as error:
            return error.code if error.message and error.next_step else f"wrong: {error.code} without words"
        except Exception as error:
            told = classify(error)  # as run_job does with whatever a stage raises
            return told.code if told.code != "internal.error" else f"wrong: {traceback.format_exc(limit=-3)}"


def main() -> None:
    """Take requests until there are none."""
    from infra.settings import get_settings

    os.environ["DUBWRIGHT_HOME"] = sys.argv[1]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    taker = Taker(get_settings())
    answers.write("ready\n")
    for line in sys.stdin:
        answers.write(json.dumps(taker.take(json.loads(line))) + "\n")


if __name__ == "__main__":
    main()
