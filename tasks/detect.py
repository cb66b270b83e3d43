"""Whether a file is ours, and what of its marks survived: manifest, watermark, and what the ledger knows of either."""

from pathlib import Path
from typing import Any

from db import queries
from db.session import Database
from infra.errors import ObjectMissing
from infra.marking import detect as watermark
from infra.marking import manifest
from infra.marking.signer import open_signer
from infra.settings import Settings
from infra.store import sha256_of

WORDS = {
    "trusted": "C2PA manifest holds, signed by this installation",
    "valid": "C2PA manifest holds, signed by somebody else",
    "invalid": "C2PA manifest does not hold: the file was changed, or its signature is damaged",
    "absent": "no C2PA manifest",
}


def detect(video: Path, database: Database, settings: Settings) -> dict[str, Any]:
    """What a video's marks say, and the deliveries that they lead to. Raises ObjectMissing, MediaError.

    `ours`: `yes` where the manifest holds and is ours or the ledger knows the watermark or the bytes; `elsewhere` where another
    installation of Dubwright made it, as far as marks tell; `no` where no mark of ours was found, which does not prove that it is not.
    """
    if not video.is_file():
        raise ObjectMissing(f"there is no file {video}", next_step="Give the path of a video.")
    digest = sha256_of(video)
    said, seen = manifest.read(video, open_signer(settings).anchor), watermark.read(video)
    payload = None if seen.payload is None else f"{seen.payload:016x}"
    named = said.payload if said.state in ("trusted", "valid") else ""
    known = queries.deliveries_of(database, digest, [mark for mark in (payload, named) if mark])
    ours = "yes" if said.state == "trusted" or known else "elsewhere" if payload or (said.state == "valid" and said.lineage) else "no"
    return {
        "file": str(video), "sha256": digest, "ours": ours, "as_delivered": any(row["sha256"] == digest for row in known),
        "manifest": {
            "state": said.state, "words": WORDS[said.state], "signer": said.signer, "time": said.time, "digital_source_type": said.source_type,
            "lineage": said.lineage, "ingredients": list(said.ingredients), "faults": list(said.faults),
        },
        "watermark": {"payload": payload, "strength": seen.strength, "pictures": seen.pictures, "agrees": None if not (payload and named) else payload == named},
        "deliveries": known,
    }  # fmt: skip


def lines_of(told: dict[str, Any]) -> list[str]:
    """The same for people."""
    mark = told["watermark"]
    lines = [
        {"yes": "ours", "elsewhere": "made by Dubwright, but not known here", "no": "no mark of ours was found"}[told["ours"]]
        + (", as it was delivered, bit for bit" if told["as_delivered"] else ""),
        told["manifest"]["words"] + (f" ({told['manifest']['signer']})" if told["manifest"]["signer"] else ""),
        f"watermark {mark['payload']}, strength {mark['strength']:.2f}" if mark["payload"] else "no watermark can be read",
    ]
    lines += [f"{row['job']}, batch {row['batch']}, take {row['take']} ({row['state']}): {row['url'] or 'not delivered'}; next: dubwright lineage {row['video']}" for row in told["deliveries"]]
    return lines
