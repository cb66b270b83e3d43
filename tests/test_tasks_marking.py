"""Marks: a watermark that is not seen and stays, manifests that independent readers accept, tampered files refused (P21), one signing."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import pytest

from benchmarks import c2pa_reader
from benchmarks.tampering import again, ways
from db import ledger
from db.ledger import JobSpec
from db.session import Database
from flow_cases import HOPPER
from infra.artifacts import Artifacts
from infra.errors import InputError, MarkingError, SetupError
from infra.marking import Watermark, code, detect, manifest
from infra.marking.label import Label, label_text
from infra.marking.signer import Signer, from_command, local_signer, open_signer
from infra.settings import Settings
from infra.store import FolderStore
from ledger_cases import database, row, server, url  # noqa: F401 (fixtures)
from marking_cases import ARTIFACT, HEIGHT, PAYLOAD, WIDTH, film, frames, signed
from tasks import marking
from tasks.ladder import Rung
from tasks.stages import Made, Take, Work


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module")
def marked(place: Path) -> Path:
    return film(place / "marked.mp4")


@pytest.fixture(scope="module")
def signer(place: Path) -> Signer:
    return local_signer(place / "keys")


@pytest.fixture(scope="module")
def good(place: Path, marked: Path, signer: Signer) -> Path:
    return signed(marked, place / "good.mp4", signer)


# the watermark


def test_the_code_bears_noise_and_random_bits_are_no_payload() -> None:
    draw = np.random.default_rng(20261126)
    read = [code.decode(code.encode(payload) + draw.normal(0, 1.2, code.CODED)) == payload for payload in (0, 1, 2**64 - 1, PAYLOAD)]
    assert all(read)
    assert not any(code.decode(draw.normal(0, 1, code.CODED)) is not None for _ in range(60))
    assert code.decode(np.zeros(code.CODED)) is None  # what a black film reads as


def test_marking_is_the_same_each_time_small_and_in_luma_alone() -> None:
    mark, worst = Watermark(PAYLOAD, HEIGHT, WIDTH), 99.0
    noise = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)  # as busy as a picture can be
    for number, frame in enumerate([*frames(12), noise]):
        made = mark.on_rgb(frame, number / 25)
        assert np.array_equal(made, Watermark(PAYLOAD, HEIGHT, WIDTH).on_rgb(frame, number / 25))
        change = made.astype(int) - frame
        inside = (frame > 3) & (frame < 252)
        assert np.abs(change).max() <= 3 and (np.ptp(change, axis=2) <= 0)[inside.all(2)].all()
        worst = min(worst, 10 * np.log10(255**2 / max(1e-9, float((change**2).mean()))))
        assert np.abs(mark.on_luma(frame[..., 1], number / 25).astype(int) - frame[..., 1]).max() <= 3
    assert worst >= 42


@pytest.mark.parametrize(
    "options",
    [(), ("-crf", "28"), ("-vf", "scale=iw/2:ih/2"), ("-vf", "crop=trunc(iw*0.45)*2:trunc(ih*0.45)*2"), ("-vf", "crop=trunc(iw*0.45)*2:trunc(ih*0.45)*2:0:0", "-r", "30"), ("-ss", "0.6")],
    ids=["as it is", "crf 28", "half size", "crop 10 %", "crop of a corner at 30 fps", "cut at 0.6 s"],
)
def test_the_watermark_is_read_after(place: Path, marked: Path, options: tuple[str, ...]) -> None:
    found = detect.read(again(marked, place / "attacked.mp4", *options) if options else marked)
    assert found.payload == PAYLOAD and found.strength > 0.3


def test_no_watermark_is_read_where_none_is(place: Path) -> None:
    assert detect.read(film(place / "plain.mp4", None)).payload is None


def test_labels_are_drawn_and_odd_ones_refused() -> None:
    frame = next(frames(1))
    made = Label(label_text(True), HEIGHT, WIDTH).on_rgb(frame)
    rows, columns = np.nonzero((made != frame).any(2))
    assert rows.max() < HEIGHT / 8 and columns.max() < WIDTH / 2 and made[rows, columns].max() > 200
    assert label_text("") == label_text(False) == "" and label_text("yes") == label_text(True)
    for odd in ("こんにちは", "x" * 61, "a\nb"):
        with pytest.raises(InputError) as told:
            label_text(odd)
        assert told.value.code == "marking.label" and told.value.next_step


# the manifest


def independent(video: Path, anchor: str) -> str:
    """What the C2PA library by itself says of a file, told to trust an authority."""
    settings = c2pa.Settings.from_dict({"verify": {"verify_trust": True}, "trust": {"user_anchors": anchor}})
    try:
        with video.open("rb") as file, c2pa.Reader("video/mp4", file, context=c2pa.Context(settings)) as reader:
            return str(reader.get_validation_state())
    except c2pa.C2paError as error:
        return f"refused: {error}"


def test_a_signed_file_is_accepted_and_says_what_it_is(good: Path, signer: Signer) -> None:
    assert independent(good, signer.anchor) == "Trusted" and c2pa_reader.read(good, signer.anchor) == signer.name
    found = manifest.read(good, signer.anchor)
    assert (found.state, found.payload, found.lineage["artifact"], found.ingredients) == ("trusted", f"{PAYLOAD:016x}", ARTIFACT, ("portrait",))
    assert found.source_type.endswith("/trainedAlgorithmicMedia") and "vouched for by nobody" in found.signer
    made = marking.checked(good, payload=PAYLOAD, artifact=ARTIFACT, signer=signer)
    assert made.payload == f"{PAYLOAD:016x}" and made.told()["watermark_algorithm"] == manifest.WATERMARK
    assert b"grace" not in good.read_bytes().lower()  # inputs are named by their roles


def test_each_tampered_file_is_refused(place: Path, good: Path, signer: Signer) -> None:
    """P21, by the library, by a reader that shares no code with it, and by what stands before a delivery."""
    changed = ways(place, good, local_signer(place / "a stranger's"))
    assert len(changed) >= 10
    for way, make in changed.items():
        path = place / "tampered.mp4"
        path.write_bytes(make())
        assert independent(path, signer.anchor) != "Trusted", way
        with pytest.raises(c2pa_reader.Refused):
            c2pa_reader.read(path, signer.anchor)
        with pytest.raises(MarkingError) as told:
            marking.checked(path, payload=PAYLOAD, artifact=ARTIFACT, signer=signer)
        assert told.value.code in ("marking.no_manifest", "marking.invalid", "marking.foreign") and told.value.next_step, way


def test_a_known_watermark_is_found_where_it_cannot_be_read(place: Path) -> None:
    """Two seconds of 256 x 240 in which nothing keeps still."""
    from fractions import Fraction

    from infra.media import VideoWriter
    from redub_cases import HEIGHT as LOW
    from redub_cases import WIDTH as NARROW
    from redub_cases import face, swayed

    picture, mark = face(HOPPER, LOW, NARROW), Watermark(PAYLOAD, LOW, NARROW)
    for name, marks in (("small.mp4", True), ("small-bare.mp4", False)):
        with VideoWriter(place / name, NARROW, LOW, Fraction(25), None, threads=1) as out:
            for number in range(50):
                frame = swayed(picture, number, 5.0)
                out.write(mark.on_rgb(frame, number / 25) if marks else frame)
    assert detect.carries(place / "small.mp4", PAYLOAD).payload == PAYLOAD
    assert detect.carries(place / "small.mp4", PAYLOAD ^ 0xFFFF0000FF).payload is None
    assert detect.carries(place / "small-bare.mp4", PAYLOAD).payload is None


def test_a_file_without_its_watermark_or_of_another_take_is_refused(place: Path, signer: Signer, good: Path) -> None:
    bare = signed(film(place / "bare.mp4", None, 50), place / "bare-signed.mp4", signer)
    other = signed(film(place / "wrong.mp4", PAYLOAD ^ 5, 50), place / "wrong-signed.mp4", signer)
    for path in (bare, other):
        with pytest.raises(MarkingError, match="watermark") as told:
            marking.checked(path, payload=PAYLOAD, artifact=ARTIFACT, signer=signer)
        assert told.value.code == "marking.no_watermark"
    with pytest.raises(MarkingError):
        marking.checked(good, payload=PAYLOAD, artifact="d" * 64, signer=signer)


def test_a_dub_keeps_its_sources_manifest(place: Path, good: Path, marked: Path, signer: Signer) -> None:
    dub = signed(marked, place / "dub.mp4", signer, {"video": good})
    found = manifest.read(dub, signer.anchor)
    assert found.state == "trusted" and found.source_type.endswith("/compositeWithTrainedAlgorithmicMedia")
    assert c2pa_reader.read(dub, signer.anchor) == signer.name  # the source's manifest in it holds, too
    with dub.open("rb") as file, c2pa.Reader("video/mp4", file) as reader:
        told: dict[str, Any] = json.loads(reader.json())
    (source,) = told["manifests"][told["active_manifest"]]["ingredients"]
    assert source["relationship"] == "parentOf" and source["active_manifest"] in told["manifests"] and len(told["manifests"]) == 2
    actions = next(part["data"]["actions"] for part in told["manifests"][told["active_manifest"]]["assertions"] if part["label"].startswith("c2pa.actions"))
    assert {action["action"] for action in actions} >= {"c2pa.opened", "c2pa.edited", "c2pa.dubbed"}


def test_the_local_key_is_its_owners_and_a_command_may_sign_instead(place: Path, marked: Path, signer: Signer) -> None:
    key, chain = place / "keys" / "local" / "key.pem", place / "keys" / "local" / "chain.pem"
    assert key.stat().st_mode & 0o777 == 0o600 and (place / "keys").stat().st_mode & 0o777 == 0o700
    assert local_signer(place / "keys").certificates == signer.certificates
    program = (
        "import sys; from cryptography.hazmat.primitives import hashes, serialization; from cryptography.hazmat.primitives.asymmetric import ec\n"
        f"key = serialization.load_pem_private_key(open({str(key)!r}, 'rb').read(), None)\n"
        "sys.stdout.buffer.write(key.sign(sys.stdin.buffer.read(), ec.ECDSA(hashes.SHA256())))"
    )
    service = Signer(chain.read_text(), from_command([sys.executable, "-c", program]))
    assert manifest.read(signed(marked, place / "service.mp4", service), service.anchor).state == "trusted"
    with pytest.raises(MarkingError) as told:
        signed(marked, place / "refused.mp4", Signer(chain.read_text(), from_command(["false"])))
    assert told.value.code == "marking.unsigned" and not (place / "refused.mp4").exists()
    with pytest.raises(SetupError):
        open_signer(Settings(home=place, sign_key=key))  # without certificates


# one signing


@pytest.fixture
def work(database: Database, place: Path, tmp_path: Path) -> Iterator[Work]:  # noqa: F811
    from infra.store import sha256_of

    inputs = {"portrait": {"sha256": sha256_of(HOPPER), "size": 1, "suffix": ".jpg", "place": str(HOPPER)}}
    batch = ledger.submit(database, "batch", "b", "out", [JobSpec("key", "welcome", "en-US", "avct", "compact", {"inputs": inputs})]).batch_id
    held = ledger.lease(database, batch, "w", 60)
    assert held is not None
    ledger.record_artifacts(database, held, [row("c")])
    made = Work(database, Artifacts(FolderStore(place / "store"), tmp_path / "cache"), Settings(home=place), held, tmp_path)
    made.inputs["portrait"] = HOPPER
    yield made


def test_a_take_is_signed_once_whoever_delivers_it(work: Work, marked: Path, tmp_path: Path) -> None:
    take = Take(1, Rung("avct"), 1, parameters={"watermark": f"{PAYLOAD:016x}"}, made={"render": Made("c" * 64, marked, 1.0, True)})
    first = marking.signed(work, take)
    heir = Work(work.database, Artifacts(work.artifacts.store, tmp_path / "elsewhere"), work.settings, work.lease, tmp_path)
    heir.inputs = work.inputs
    second = marking.signed(heir, take)
    assert first.fresh and not second.fresh and second.sha256 == first.sha256 and second.path.read_bytes() == first.path.read_bytes()
    again = tmp_path / "again.mp4"
    manifest.sign(marked, manifest.Origin("x", {"portrait": HOPPER}, PAYLOAD, {}), open_signer(work.settings), again)
    assert again.read_bytes() != first.path.read_bytes()
    with pytest.raises(MarkingError) as told:
        marking.signed(work, Take(2, Rung("avct"), 1, made={"render": Made("c" * 64, marked, 1.0, True)}))
    assert told.value.code == "marking.no_watermark"


def test_marks_need_no_torch() -> None:
    assert subprocess.run([sys.executable, "-c", "import infra.marking, sys; sys.exit('torch' in sys.modules)"], check=False, cwd=Path(__file__).parent.parent).returncode == 0


# time stamps

AUTHORITY = "[req]\ndistinguished_name=dn\nprompt=no\nx509_extensions=ext\n[dn]\nCN=Stamps\nO=Tests\n[ext]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n"
STAMPS = "basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
ANSWERS = "[one]\nserial=serial\ncrypto_device=builtin\nsigner_cert=stamp.pem\ncerts=ca.pem\nsigner_key=stamp.key\nsigner_digest=sha256\ndefault_policy=1.2.3.4.1\ndigests=sha256,sha384,sha512\ness_cert_id_alg=sha256\n"


@contextmanager
def stamping(folder: Path) -> Iterator[str]:
    """The address of an RFC 3161 server: OpenSSL's, under an authority of its own."""
    for name, text in (("ca.cnf", AUTHORITY), ("stamp.ext", STAMPS), ("ts.cnf", ANSWERS), ("serial", "01\n")):
        (folder / name).write_text(text)

    def openssl(*words: str) -> bytes:
        return subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True).stdout

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-config", "ca.cnf")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "stamp.key", "-out", "stamp.csr", "-subj", "/CN=Stamp/O=Tests")
    openssl("x509", "-req", "-in", "stamp.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "20", "-extfile", "stamp.ext", "-out", "stamp.pem")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            (folder / "query").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            answer = openssl("ts", "-reply", "-queryfile", "query", "-config", "ts.cnf", "-section", "one")
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as stamps:
        threading.Thread(target=stamps.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{stamps.server_address[1]}/"
        stamps.shutdown()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="OpenSSL's command stamps")
def test_a_signature_is_stamped_where_a_server_is_set_and_not_made_without_it(marked: Path, signer: Signer, tmp_path: Path) -> None:
    origin = manifest.Origin("welcome.en-US.mp4", {"portrait": HOPPER}, PAYLOAD, {"artifact": ARTIFACT})
    with stamping(tmp_path) as address:
        manifest.sign(marked, origin, signer, tmp_path / "stamped.mp4", address)
    told = manifest.read(tmp_path / "stamped.mp4", signer.anchor)
    assert told.state == "trusted" and abs((datetime.now(UTC) - datetime.fromisoformat(told.time)).total_seconds()) < 600
    assert c2pa_reader.read(tmp_path / "stamped.mp4", signer.anchor) == signer.name
    with pytest.raises(MarkingError) as refused:  # the server is away
        manifest.sign(marked, origin, signer, tmp_path / "bare.mp4", address)
    assert refused.value.code == "marking.unsigned" and "time stamp server" in refused.value.next_step and not (tmp_path / "bare.mp4").exists()
