"""What this installation is made of, as CycloneDX JSON: its packages and its weights, with licences and hashes."""

import importlib.metadata
from pathlib import Path
from typing import Any

from infra import licences
from infra.version import VERSION
from models import checkpoints

HASHES = {"sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}


def sbom(pinned: Path | None = None) -> str:
    """A bill of materials in CycloneDX 1.6. pinned: a lock file (pins with hashes), which tells the files of each package that may be installed."""
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.contact import OrganizationalEntity
    from cyclonedx.output.json import JsonV1Dot6

    bom, known = Bom(), hashes_of(pinned) if pinned else {}
    root = Component(name=licences.PROJECT, version=VERSION, type=ComponentType.APPLICATION, bom_ref=licences.PROJECT, licenses=[_licence("Apache-2.0")], supplier=OrganizationalEntity(name="Dubwright"))
    bom.metadata.component = root
    parts = [*(_of_package(one, known) for one in licences.packages()), *(_of_weights(card) for card in checkpoints.cards())]
    for part in parts:
        bom.components.add(part)
    bom.register_dependency(root, parts)
    return JsonV1Dot6(bom).output_as_string(indent=1)


def hashes_of(lock: Path) -> dict[str, list[str]]:
    """The hashes of each pinned package (`name==version --hash=sha256:...`), by name."""
    found: dict[str, list[str]] = {}
    for line in lock.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        name, _, rest = line.partition("==")
        if rest and not line.startswith("#"):
            found[licences.plain(name.strip())] = [word.removeprefix("--hash=") for word in rest.split() if word.startswith("--hash=")]
    return found


def _of_package(one: licences.Package, known: dict[str, list[str]]) -> Any:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, Property, XsUri
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    name = licences.plain(one.name)
    place = PackageURL("pypi", name=name, version=one.version)
    told = [ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(str(place)), hashes=[_hash(each) for each in known[name]])] if known.get(name) else []
    return Component(
        name=name, version=one.version, type=ComponentType.LIBRARY, bom_ref=f"pkg:{name}", purl=place,
        licenses=[_licence(one.licence)], external_references=told, properties=[Property(name="dubwright:licence-class", value=one.licence_class)],
        description=importlib.metadata.metadata(one.name).get("Summary"),  # type: ignore[attr-defined]
    )  # fmt: skip


def _of_weights(card: checkpoints.Card) -> Any:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    told = {"licence-class": card.licence_class, "trained-on": card.data, "attribution": card.attribution, "command": card.command}
    return Component(
        name=f"{card.engine}/{card.name}", version=card.sha256[:16], type=ComponentType.MACHINE_LEARNING_MODEL, bom_ref=f"weights:{card.sha256}", licenses=[_licence(card.licence)],
        hashes=[_hash(f"sha256:{card.sha256}")], properties=[Property(name=f"dubwright:{name}", value=value) for name, value in told.items()],
    )  # fmt: skip


def _licence(words: str) -> Any:
    """A licence as CycloneDX has it: by its SPDX id, as an SPDX expression, or in words."""
    from cyclonedx.factory.license import LicenseFactory

    return LicenseFactory().make_from_string(words or "NOASSERTION")


def _hash(told: str) -> Any:
    from cyclonedx.model import HashAlgorithm, HashType

    kind, _, value = told.partition(":")
    return HashType(alg=HashAlgorithm(HASHES[kind]), content=value)
