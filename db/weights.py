"""What the ledger knows of weights beside their cards."""

from sqlalchemy import func, select, update

from db import tables as t
from db.session import Database


def relicense(database: Database, sha256: str, licence: str, licence_class: str) -> int:
    """Say anew under which licence weights are, for takes that were made and wait to be delivered; returns how many takes they made."""
    with database.begin() as session:
        session.execute(update(t.Weights).where(t.Weights.sha256 == sha256).values(licence=licence, licence_class=licence_class))
        return session.execute(select(func.count()).select_from(t.TakeWeights).where(t.TakeWeights.sha256 == sha256)).scalar_one()
