"""A second reader of C2PA manifests in MP4, for nothing but checks: it shares no code with the library that signs.

Written from the specification (C2PA 2.2; ISO 19566-5 JUMBF; RFC 8949 CBOR; RFC 9052 COSE; ISO 14496-12). It tells whether a file is as it was
signed and by whose authority; of what a manifest means it knows nothing. `python -m benchmarks.c2pa_reader FILE... --anchor FILE.pem`.
"""

import argparse
import hashlib
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
MANIFEST = (b"c2ma", b"c2um")  # first letters of a manifest's type, of either kind
ES256, X5CHAIN = -7, 33
MAY_CHANGE = {"/uuid", "/ftyp", "/mfra", "/free", "/skip"}  # boxes that a hard binding may leave out: of `uuid` the manifest store alone
SIZES = {24: 1, 25: 2, 26: 4, 27: 8}  # of an argument, by CBOR's additional information


class Refused(Exception):
    """The file does not hold what its manifest says; why, in a few words."""


@dataclass(frozen=True)
class Box:
    """A JUMBF box: its label and type, its content (what its hash is over), and the boxes in it."""

    label: str
    kind: bytes
    content: bytes
    inner: dict[str, "Box"] = field(default_factory=dict)
    data: bytes = b""  # of its first content box


def read(path: Path, anchor: str) -> str:
    """The common name of who signed a file that is as it was signed, under an authority (PEM). Raises Refused."""
    data = path.read_bytes()
    try:
        return _read(data, x509.load_pem_x509_certificate(anchor.encode()))
    except (ValueError, KeyError, IndexError, TypeError, struct.error, UnicodeDecodeError, StopIteration) as error:
        raise Refused(f"malformed: {type(error).__name__} {error}") from error


def _read(data: bytes, authority: x509.Certificate) -> str:
    store = _store(data)
    manifests = list(store.inner.values())
    names = [_checked(manifest, store, authority, mine=manifest is manifests[-1]) for manifest in manifests]
    _bound(manifests[-1], data)
    return names[-1]


def _store(data: bytes) -> Box:
    found = [data[begin + 8 : end] for kind, begin, end in boxes(data) if kind == b"uuid" and data[begin + 8 : begin + 24] == C2PA_BOX]
    if len(found) != 1:
        raise Refused(f"{len(found)} manifest stores")
    purpose, _, rest = found[0][20:].partition(b"\0")  # after the type and a full box's version and flags
    if purpose != b"manifest":
        raise Refused(f"a store for {purpose[:20]!r}")
    return _jumbf(rest[8:])  # after the place of a first auxiliary box


def boxes(data: bytes, begin: int = 0, end: int = -1) -> Iterator[tuple[bytes, int, int]]:
    """(kind, begin, end) of the boxes of ISO base media, without those in them. Raises ValueError where their sizes do not fit."""
    end = len(data) if end < 0 else end
    while begin < end:
        size, kind = struct.unpack_from(">I4s", data, begin)
        if size == 1:
            size = struct.unpack_from(">Q", data, begin + 8)[0]
        size = end - begin if size == 0 else size
        if size < 8 or begin + size > end:
            raise ValueError(f"box {kind!r} at {begin} is {size} bytes long")
        yield kind, begin, begin + size
        begin += size


def _jumbf(data: bytes) -> Box:
    """The first superbox of some bytes."""
    kind, begin, end = next(boxes(data))
    parts = list(boxes(data, begin + 8, end))
    if kind != b"jumb" or not parts or parts[0][0] != b"jumd":
        raise ValueError(f"{kind!r} is no JUMBF box")
    told = data[parts[0][1] + 8 : parts[0][2]]
    label = told[17:].partition(b"\0")[0].decode() if told[16] & 2 else ""
    inner, first = {}, b""
    for number, (name, start, stop) in enumerate(parts[1:]):
        if name == b"jumb":
            child = _jumbf(data[start:stop])
            if child.label in inner:
                raise ValueError(f"two boxes {child.label}")
            inner[child.label] = child
        elif number == 0:
            first = data[start + 8 : stop]
    return Box(label, told[:4], data[begin + 8 : end], inner, first)


def _checked(manifest: Box, store: Box, authority: x509.Certificate, *, mine: bool) -> str:
    """Who signed a manifest whose claim, assertions and signature belong together. Raises Refused."""
    if manifest.kind not in MANIFEST:
        raise Refused(f"{manifest.label} is no manifest")
    claim_box = next(box for label, box in manifest.inner.items() if label.startswith("c2pa.claim"))
    claim = cbor(claim_box.data)
    named = [*claim.get("created_assertions", ()), *claim.get("gathered_assertions", ()), *claim.get("assertions", ())]
    there = manifest.inner["c2pa.assertions"].inner
    if {row["url"].rpartition("/")[2] for row in named} != set(there) or len(named) != len(there):
        raise Refused("assertions are not those of the claim")
    for row in named:
        _hashed(row, _at(row["url"], manifest, store), claim.get("alg", "sha256"))
    for label, box in there.items():
        if label.startswith("c2pa.ingredient"):
            told = cbor(box.data)
            for name in ("activeManifest", "claimSignature", "c2pa_manifest"):
                if name in told:
                    _hashed(told[name], _at(told[name]["url"], manifest, store), claim.get("alg", "sha256"))
    return _signed(_at(claim["signature"], manifest, store).data, claim_box.data, authority, mine=mine)


def _at(url: str, manifest: Box, store: Box) -> Box:
    """The box that a JUMBF URI names, from the store or from its own manifest."""
    path = url.partition("self#jumbf=")[2]
    found = store if path.startswith("/") else manifest
    for name in [name for name in path.split("/") if name and name != store.label]:
        found = found.inner[name]
    return found


def _hashed(row: dict[str, Any], box: Box, usual: str) -> None:
    if hashlib.new(row.get("alg", usual), box.content).digest() != row["hash"]:
        raise Refused(f"{box.label} was changed")


def _signed(cose: bytes, claim: bytes, authority: x509.Certificate, *, mine: bool) -> str:
    """Who signed a claim: COSE_Sign1 with a detached payload, ES256, chain to the authority where the manifest is the file's own."""
    protected, loose, payload, signature = cbor(cose)
    told = cbor(protected)
    if told.get(1) != ES256 or payload is not None or len(signature) != 64:
        raise Refused("signed in a way that this reader does not know")
    chain = told.get(X5CHAIN) or loose.get("x5chain")
    certificates = [x509.load_der_x509_certificate(one) for one in ([chain] if isinstance(chain, bytes) else chain)]
    key = certificates[0].public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise Refused("signed by a key of another kind")
    spoken = _packed(4, 4) + _text("Signature1") + _bytes(protected) + _bytes(b"") + _bytes(claim)
    try:
        key.verify(encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")), spoken, ec.ECDSA(hashes.SHA256()))
        for one, above in zip(certificates, [*certificates[1:], authority], strict=True):
            if one != authority and mine:
                one.verify_directly_issued_by(above)
    except InvalidSignature as error:
        raise Refused("the signature is not by this key, or its certificate not by this authority") from error
    except ValueError as error:
        raise Refused(f"its certificate is not by this authority ({error})") from error
    if not certificates[0].extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature:
        raise Refused("its certificate is not for signing")
    return str(certificates[0].subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


def _bound(manifest: Box, data: bytes) -> None:
    """The hard binding: the hash of the file without the boxes that its assertion leaves out, each with its place before it."""
    label, box = next((label, box) for label, box in manifest.inner["c2pa.assertions"].inner.items() if label.startswith("c2pa.hash."))
    told = cbor(box.data)
    if label not in ("c2pa.hash.bmff.v2", "c2pa.hash.bmff.v3") or "merkle" in told:
        raise Refused(f"bound by {label}, which this reader does not know")
    if {rule["xpath"] for rule in told["exclusions"]} - MAY_CHANGE or not all(rule.get("data") for rule in told["exclusions"] if rule["xpath"] == "/uuid"):
        raise Refused("boxes are left out of its hash that should not be")
    digest = hashlib.new(told.get("alg", "sha256"))
    for kind, begin, end in boxes(data):
        if not any(_left_out(rule, kind, data[begin:end]) for rule in told["exclusions"]):
            digest.update(struct.pack(">Q", begin))
            digest.update(data[begin:end])
    if digest.digest() != told["hash"]:
        raise Refused("the file was changed after it was signed")


def _left_out(rule: dict[str, Any], kind: bytes, box: bytes) -> bool:
    wanted = rule.get("data") or []
    return rule["xpath"] == f"/{kind.decode('latin-1')}" and all(box[one["offset"] :].startswith(one["value"]) for one in wanted)


def cbor(data: bytes) -> Any:
    """The value of CBOR bytes: definite lengths alone, as C2PA writes them; a tag's value stands for it. Raises ValueError for what is left over."""
    value, end = _value(data, 0)
    if end != len(data):
        raise ValueError("more than one value")
    return value


def _value(data: bytes, at: int) -> tuple[Any, int]:
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    argument = info
    if info in SIZES:
        argument, at = int.from_bytes(data[at : at + SIZES[info]], "big"), at + SIZES[info]
    elif info > 27:
        raise ValueError("a length that is not definite")
    if major in (0, 1):
        return (argument if major == 0 else -1 - argument), at
    if major in (2, 3):
        part = data[at : at + argument]
        if len(part) != argument:
            raise ValueError("cut short")
        return (part if major == 2 else part.decode()), at + argument
    if major == 4:
        return _several(data, at, argument)
    if major == 5:
        flat, at = _several(data, at, 2 * argument)
        return dict(zip(flat[::2], flat[1::2], strict=True)), at
    if major == 6:
        return _value(data, at)
    if info == 27:
        return struct.unpack(">d", data[at - 8 : at])[0], at
    return {20: False, 21: True, 22: None, 23: None}[info], at


def _several(data: bytes, at: int, count: int) -> tuple[list[Any], int]:
    found = []
    for _ in range(count):
        value, at = _value(data, at)
        found.append(value)
    return found, at


def _packed(major: int, length: int) -> bytes:
    if length < 24:
        return bytes([major << 5 | length])
    size = next(size for size in (1, 2, 4, 8) if length < 256**size)
    return bytes([major << 5 | {1: 24, 2: 25, 4: 26, 8: 27}[size]]) + length.to_bytes(size, "big")


def _text(text: str) -> bytes:
    return _packed(3, len(text.encode())) + text.encode()


def _bytes(data: bytes) -> bytes:
    return _packed(2, len(data)) + data


def last_of(chain: str) -> str:
    """The last certificate of a chain in PEM: its authority."""
    return "-----BEGIN" + chain.rstrip().rsplit("-----BEGIN", 1)[1] + "\n"


def main() -> None:
    """The command: a line a file; ends with 1 where one is refused."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("files", type=Path, nargs="+")
    options.add_argument("--anchor", type=Path, required=True, help="PEM of the authority: signing/local/chain.pem of the home folder ends with it")
    given = options.parse_args()
    anchor = last_of(given.anchor.read_text())
    refused = 0
    for path in given.files:
        try:
            line = f"{path}: as it was signed by {read(path, anchor)}"
        except Refused as why:
            refused, line = refused + 1, f"{path}: refused, {why}"
        sys.stdout.write(line + "\n")
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
