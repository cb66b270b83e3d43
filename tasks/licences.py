"""Whether what renders a job may be used commercially: asked at the plan, before a job's first stage, and before its delivery.

A delivery counts as commercial unless the manifest says `commercial: false`; the database refuses one by weights whose licence forbids that (migration 0009).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from infra import licences
from infra.errors import LicenceError
from infra.settings import Settings, get_settings
from tasks import engines
from tasks.stages import Take, Work

PRIVATE = "If what is made will not be used commercially, say `commercial: false` in the manifest"


def fault(engine: str, preset: str, *, video: bool, commercial: bool, settings: Settings, job: str = "", packages: bool = True) -> LicenceError | None:
    """Why a job of an engine (or `auto`) may not be made for commercial use; None where it may, or asks for no such use. packages: look at these, too."""
    if not commercial:
        return None
    found = [] if engine == "auto" and engines.usable(preset, video=video) else engines.unlicensed(engine, preset, video=video)
    return _of_weights([vars(card) for card in found], job) if found else _of_packages(settings, job) if packages else None


def check(work: Work) -> None:
    """Raises LicenceError where a leased job would be made by weights that may not be used so. Packages take half a second to look at: the delivery does."""
    found = fault(
        work.lease.engine, work.lease.preset, video=work.kind == "video", commercial=sold(work.spec), settings=work.settings, job=work.name, packages=False
    )
    if found is not None:
        raise found


def check_take(work: Work, take: Take, weights: Iterable[Mapping[str, Any]]) -> None:
    """Raises LicenceError where a take was made by what may not be used commercially, and its job is for that."""
    if not sold(work.spec):
        return
    closed = [dict(row) for row in weights if row["licence_class"] != "open"]
    found = _of_weights(closed, work.name) if closed else _of_packages(work.settings, work.name)
    if found is not None:
        raise found


def sold(spec: Mapping[str, Any]) -> bool:
    """Whether a job's delivery counts as commercial: unless it says otherwise."""
    return bool(spec.get("commercial", True))


def _of_weights(rows: list[dict[str, Any]], job: str) -> LicenceError:
    names = ", ".join(f"{row['engine']}/{row['name']} ({row['licence']})" for row in rows)
    step = f"Use the preset compact. {PRIVATE}. Where their licence does allow it: `dubwright models licence {rows[0]['engine']}/{rows[0]['name']} TEXT --commercial`."
    return LicenceError(f"weights that may not be used commercially: {names}", code="licence.weights", job=job, next_step=step)


def _of_packages(settings: Settings | None, job: str) -> LicenceError | None:
    found = licences.hindering((settings or get_settings()).licences_accepted.split())
    if not found:
        return None
    names = ", ".join(f"{one.name} ({one.licence or 'no licence told'}: {one.licence_class})" for one in found)
    step = f"{PRIVATE}. Where you have read a package's licence and it allows it, add its name to DUBWRIGHT_LICENCES_ACCEPTED; `dubwright models list` shows all."
    return LicenceError(f"installed packages that may not be used commercially, or of which that is not known: {names}", code="licence.package", job=job, next_step=step)
