"""Reports of batches whose sender died: whoever comes by next writes them. The last worker, the sweep, `status`."""

import logging
from typing import Any

from db import reports
from db.session import Database
from infra.artifacts import open_artifacts
from infra.settings import Settings

log = logging.getLogger(__name__)
Row = dict[str, Any]


def overdue(database: Database, settings: Settings, batch_id: int | None = None) -> list[Row]:
    """Write the reports that are missing, of all batches or of one; a row (batch, name, report, rows) for each. Never a reason to fail."""
    made: list[Row] = []
    try:
        for number in reports.missing(database, batch_id):
            with reports.alone(database, number) as mine:
                if mine and number in reports.missing(database, number):
                    made.append(_write(database, settings, number))
    except Exception as error:  # whoever came by came for something else
        log.warning("a report that is missing could not be written: %s", error)
    return made


def _write(database: Database, settings: Settings, number: int) -> Row:
    from flows import shown
    from flows.run import finish

    rows, path, url = finish(database, open_artifacts(settings), settings, number)
    log.info("%s; whoever ran it is gone, its report is %s", shown.summary(rows), url or path)
    shown.batch(rows, url or str(path))
    return {"batch": number, "name": rows["name"], "report": url or str(path), "rows": rows}
