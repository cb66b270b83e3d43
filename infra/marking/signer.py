"""Who signs: a key that workers of a larger installation never see, or a local one that says of itself that nobody vouches for it.

`Signer` is what a key service needs: certificates, an algorithm, and a call that signs bytes.
"""

import datetime
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.errors import SetupError
from infra.settings import Settings

LOCAL = "Dubwright local signer, vouched for by nobody"
ISSUER = "Dubwright local authority, vouched for by nobody"
DAYS = 3650
PATIENCE = 60  # seconds that a signing command may take
STEP = "docs/marking.md tells what a signer needs."


@dataclass(frozen=True)
class Signer:
    """What signs manifests. sign: from bytes to a signature as COSE has it (ES256: r and s, 64 bytes).

    certificates: PEM, the signer's first and its issuers after it. trusted: whether a name list beyond this machine may vouch for it.
    """

    certificates: str
    sign: Callable[[bytes], bytes]
    algorithm: str = "ES256"
    trusted: bool = True

    @property
    def name(self) -> str:
        """The signer's common name, as a reader shows it."""
        return _name(x509.load_pem_x509_certificate(self.certificates.encode()))

    @property
    def anchor(self) -> str:
        """PEM of the last certificate of the chain: what a reader must trust in order to trust this signer."""
        return "-----BEGIN" + self.certificates.rstrip().rsplit("-----BEGIN", 1)[1] + "\n"


def open_signer(settings: Settings) -> Signer:
    """The signer that the settings name, else the local one, made at its first use. Raises SetupError."""
    chain, key, command = settings.sign_certificates, settings.sign_key, settings.sign_command
    if not chain and not key and not command:
        return local_signer(settings.home / "signing")
    if chain is None or bool(key) == bool(command):
        raise SetupError("signing needs certificates and either a key or a command", code="marking.signer", next_step=f"Set DUBWRIGHT_SIGN_CERTIFICATES, and DUBWRIGHT_SIGN_KEY or DUBWRIGHT_SIGN_COMMAND. {STEP}")
    try:
        certificates = chain.read_text()
        x509.load_pem_x509_certificate(certificates.encode())
        return Signer(certificates, from_command(command.split()) if command else from_key(Path(str(key)).read_bytes()))
    except (OSError, ValueError) as error:
        raise SetupError(f"the signer cannot be used ({error})", code="marking.signer", next_step=STEP) from error


def from_key(pem: bytes) -> Callable[[bytes], bytes]:
    """Signs by a P-256 key in PEM. Raises ValueError for another kind."""
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise ValueError("the key is not of the curve P-256")

    def sign(data: bytes) -> bytes:
        return _raw(key.sign(data, ec.ECDSA(hashes.SHA256())))

    return sign


def from_command(command: list[str]) -> Callable[[bytes], bytes]:
    """Signs by a program, as a key service's client: what is to be signed on its standard input, the signature on its output.

    ECDSA over SHA-256 on P-256, as DER (what key services give) or as 64 bytes.
    """

    def sign(data: bytes) -> bytes:
        done = subprocess.run(command, input=data, capture_output=True, timeout=PATIENCE, check=True)
        return done.stdout if len(done.stdout) == 64 else _raw(done.stdout)

    return sign


def _raw(signature: bytes) -> bytes:
    r, s = decode_dss_signature(signature)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def local_signer(folder: Path) -> Signer:
    """A key with a certificate by an authority of its own, in a folder that its owner alone can read; made where there is none."""
    place = folder / "local"
    if not place.exists():
        _make(folder, place)
    return Signer((place / "chain.pem").read_text(), from_key((place / "key.pem").read_bytes()), trusted=False)


def _make(folder: Path, place: Path) -> None:
    """Key and chain. Of two processes that come here at once the first one's pair stands: a folder that holds files is not replaced."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    authority, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issued, root = _certificate(LOCAL, leaf, ISSUER, authority, False), _certificate(ISSUER, authority, ISSUER, authority, True)
    pem = leaf.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    fresh = Path(tempfile.mkdtemp(prefix=".incoming-", dir=folder))
    (fresh / "key.pem").touch(0o600)
    (fresh / "key.pem").write_bytes(pem)
    (fresh / "chain.pem").write_bytes(b"".join(c.public_bytes(serialization.Encoding.PEM) for c in (issued, root)))
    try:
        fresh.rename(place)
    except OSError:
        shutil.rmtree(fresh)
        if not place.exists():
            raise


def _certificate(name: str, key: ec.EllipticCurvePrivateKey, by: str, signer: ec.EllipticCurvePrivateKey, authority: bool) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5)
    uses = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False)
    made = (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .issuer_name(_subject(by))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(authority, 0 if authority else None), True)
        .add_extension(x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **uses), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False)
    )
    if not authority:
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    return made.sign(signer, hashes.SHA256())


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Dubwright (local)"), x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _name(certificate: x509.Certificate) -> str:
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else certificate.subject.rfc4514_string()
