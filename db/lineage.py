"""Lineage: from any artifact back to inputs, weights, code, parameters, machine and seconds; and forward to what was made of it."""

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from db import tables as t
from db.reviews import row_of
from db.session import Database

PRODUCER = "https://github.com/dubwright/dubwright"


def lineage(database: Database, sha256: str) -> dict[str, Any] | None:
    """The tree under an artifact, inputs as `made_from`; None for a hash that the ledger does not know."""
    with database.begin() as session:
        return _node(session, sha256, set())


def _node(session: Session, sha256: str, above: set[str]) -> dict[str, Any] | None:
    artifact = session.get(t.Artifact, sha256)
    if artifact is None:
        return None
    node: dict[str, Any] = {"sha256": sha256, "kind": artifact.kind, "size": artifact.size, "created_at": artifact.created_at.isoformat()}
    node["takes"] = [_take(session, take) for take in session.execute(_takes(sha256)).scalars()]
    node["stages"] = [
        {"stage": row.stage, "key": row.key, "seconds": row.seconds}
        for row in session.execute(select(t.StageResult).where(t.StageResult.sha256 == sha256)).scalars()
    ]
    edges = session.execute(select(t.Edge).where(t.Edge.sha256 == sha256).order_by(t.Edge.role)).scalars().all()
    node["made_from"] = [{"role": e.role, **(_node(session, e.source, above | {sha256}) or {})} for e in edges if e.source not in above]
    return node


def _takes(sha256: str) -> Select[tuple[t.Take]]:
    """The takes whose video this is, as it was rendered or as it was signed for delivery."""
    signed = select(t.Delivery.take_id).where(t.Delivery.sha256 == sha256)
    return select(t.Take).where((t.Take.video == sha256) | t.Take.id.in_(signed)).order_by(t.Take.id)


def _take(session: Session, take: t.Take) -> dict[str, Any]:
    job = session.get_one(t.Job, take.job_id)
    verdict = session.get(t.Verdict, take.id)
    delivery = session.get(t.Delivery, take.job_id)
    query = select(t.Weights).join(t.TakeWeights, t.TakeWeights.sha256 == t.Weights.sha256).where(t.TakeWeights.take_id == take.id)
    return {
        "job": f"{job.title}/{job.locale}",
        "title": job.title,
        "locale": job.locale,
        "batch": job.batch_id,
        "take": take.id,
        "number": take.number,
        "engine": f"{take.engine}/{take.preset}",
        "parameters": take.parameters,
        "code_version": take.code_version,
        "machine": take.machine,
        "seconds": take.seconds,
        "trace_id": session.execute(select(t.Event.detail["trace_id"].astext).where(t.Event.job_id == job.id, t.Event.kind == t.TRACED)).scalars().first() or "",
        "weights": [{"engine": w.engine, "name": w.name, "sha256": w.sha256, "licence": w.licence} for w in session.execute(query).scalars()],
        "verdict": None if verdict is None else {"verdict": verdict.verdict, "offset": verdict.offset_frames, "confidence": verdict.confidence, "reasons": verdict.reasons},
        "reviews": [row_of(row) for row in session.execute(select(t.Review).where(t.Review.take_id == take.id).order_by(t.Review.id)).scalars()],
        "delivered": None if delivery is None or delivery.take_id != take.id else delivery.url,
    }


def made_from(database: Database, sha256: str) -> list[dict[str, str]]:
    """Every artifact that rests on this one, however far."""
    with database.begin() as session:
        found, front = {}, [sha256]
        while front:
            rows = session.execute(select(t.Edge.sha256, t.Edge.role, t.Artifact.kind).join(t.Artifact, t.Artifact.sha256 == t.Edge.sha256).where(t.Edge.source.in_(front))).all()
            front = [row[0] for row in rows if row[0] not in found]
            found.update({row[0]: {"sha256": row[0], "role": row[1], "kind": row[2]} for row in rows})
        return list(found.values())


def source_of(database: Database, sha256: str, role: str) -> str | None:
    """What an artifact was made from in a role; None where there is no such thing."""
    with database.begin() as session:
        return session.execute(select(t.Edge.source).where(t.Edge.sha256 == sha256, t.Edge.role == role).limit(1)).scalar_one_or_none()


def to_openlineage(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree's last step as an OpenLineage run event: inputs, output, and facets for code, weights and parameters."""
    take = (tree["takes"] or [{}])[0]

    def dataset(node: dict[str, Any]) -> dict[str, Any]:
        return {"namespace": "dubwright", "name": node["sha256"], "facets": {"version": {"_producer": PRODUCER, "datasetVersion": node["sha256"]}}}

    def leaves(node: dict[str, Any]) -> list[dict[str, Any]]:
        return [dataset(n) for n in node["made_from"]] + [leaf for n in node["made_from"] for leaf in leaves(n)]

    return {
        "eventType": "COMPLETE",
        "eventTime": tree["created_at"],
        "producer": PRODUCER,
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "job": {
            "namespace": "dubwright",
            "name": take.get("job", tree["kind"]),
            "facets": {"sourceCode": {"_producer": PRODUCER, "language": "python", "sourceCode": take.get("code_version", "")}},
        },
        "run": {
            "runId": "-".join((tree["sha256"][:8], tree["sha256"][8:12], "4" + tree["sha256"][13:16], "8" + tree["sha256"][17:20], tree["sha256"][20:32])),
            "facets": {"dubwright_take": {"_producer": PRODUCER, **{k: take.get(k) for k in ("parameters", "machine", "seconds", "weights", "verdict")}}},
        },
        "inputs": leaves(tree),
        "outputs": [dataset(tree)],
    }
