"""Two workers that come to the same stage's result at once: one makes it, the other waits for it. Of stages that jobs share, and that take long."""

import time

from db import ledger
from db.session import Database

STAGES = ("faces", "tracks")
LONGEST, LOOK = 600.0, 0.5  # seconds that a worker waits at most, and between looks


def awaited(database: Database, held: ledger.Lease, key: str, longest: float = LONGEST) -> tuple[str, float] | None:
    """What another worker makes under the key now, once it is there, as `ledger.find_stage` tells it; None where it is this one's to make.

    A claim holds as long as its job's lease does: nobody who died, or went on to another job, is waited for. Whoever waits has nothing unfinished
    claimed, so no two wait for each other. After so many seconds it is made all the same: twice is waste, and no fault. Raises StaleToken.
    """
    until = time.monotonic() + longest
    while not ledger.claim(database, held, key) and time.monotonic() < until:
        time.sleep(LOOK)
        if found := ledger.find_stage(database, key):
            return found
    return ledger.find_stage(database, key)
