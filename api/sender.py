"""What sends webhooks: takes deliveries out of the outbox, signs them by Standard Webhooks, posts them, records what came back.

Any number of senders may run, in threads, processes and machines. Every delivery is sent at least once: a sender that dies between the answer and
its record leaves a message that another one sends again, under the same `webhook-id`.
"""

import json
import logging
import threading
import time
from datetime import UTC, datetime

from standardwebhooks import Webhook

from db import outbox
from db.outbox import Claimed
from db.session import Database
from infra import outbound
from infra.errors import DubwrightError, LedgerError
from infra.sealing import unseal
from infra.settings import Settings
from infra.version import VERSION

PAUSE = 1.0  # seconds between looks at an outbox in which nothing is due
SLACK = 15.0  # seconds that a look-up and the record may take beside the call itself


class Sender:
    """Sends what is due, in threads of its own (`start` and `stop`, or as a context) or until nothing is (`drain`)."""

    def __init__(self, database: Database, settings: Settings, threads: int = 4) -> None:
        self.database, self.settings = database, settings
        self.allowed = outbound.Allowed.read(settings.webhook_allow)
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._work, name=f"webhooks {n}", daemon=True) for n in range(threads)]

    def start(self) -> "Sender":
        """Begin to send, in the background."""
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """Send nothing more; what is under way ends first."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> "Sender":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self) -> None:
        """Until somebody stops it."""
        while not self._end.wait(3600):
            pass

    def drain(self) -> dict[str, int]:
        """Send all that is due now; how many deliveries are in which state after it."""
        ended: dict[str, int] = {}
        while (state := self.one()) is not None:
            ended[state] = ended.get(state, 0) + 1
        return ended

    def one(self, only: int | None = None) -> str | None:
        """Send one delivery that is due, or a certain one; its state after it, None where none is due. Raises LedgerError where the ledger does not answer."""
        sent = outbox.claim(self.database, 2 * self.settings.webhook_seconds + SLACK, only)
        return None if sent is None else self._send(sent)

    def _work(self) -> None:
        while not self._end.is_set():
            try:
                if self.one() is None:
                    self._end.wait(PAUSE)
            except LedgerError as error:
                logging.getLogger(__name__).warning("webhooks wait: %s", error.message)
                self._end.wait(PAUSE * 5)
            except Exception:
                logging.getLogger(__name__).exception("a webhook was not sent")
                self._end.wait(PAUSE * 5)

    def _send(self, sent: Claimed) -> str:
        began = time.monotonic()
        try:
            answer = outbound.post(sent.url, *self._signed(sent), self.allowed, self.settings.webhook_seconds)
        except DubwrightError as error:
            return self._refused(sent, began, None, f"{error.code}: {error.message}")
        if 200 <= answer.status < 300:
            outbox.accepted(self.database, sent, time.monotonic() - began, answer.status)
            return "delivered"
        note = "redirects are not followed" if 300 <= answer.status < 400 else ""
        return self._refused(sent, began, answer.status, note, answer.retry_after)

    def _refused(self, sent: Claimed, began: float, status: int | None, note: str, asked: float = 0.0) -> str:
        return outbox.refused(self.database, sent, time.monotonic() - began, status, note, self.settings.webhook_hours, asked)

    def _signed(self, sent: Claimed) -> tuple[bytes, dict[str, str]]:
        """The body and its headers; a signature by each secret that is valid now."""
        body, now = json.dumps(sent.body, ensure_ascii=False, separators=(",", ":")), datetime.now(UTC)
        signatures = [Webhook(unseal(secret, self.settings)).sign(sent.message, now, body) for secret in sent.secrets]
        headers = {
            "Content-Type": "application/json", "User-Agent": f"dubwright/{VERSION}",
            "webhook-id": sent.message, "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": " ".join(signatures),
        }  # fmt: skip
        return body.encode(), headers
