"""What a service needs to take alerts in: the stores, the webhooks, and a thread that processes what was stored."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from connectors.call_log import LOGGER
from core.clock import Clock
from core.quantity import counted
from platforms.alerts.events import EventFiles
from platforms.alerts.inbox import ALERTS, Inbox, Receipt
from platforms.alerts.ledger import Ledger
from platforms.alerts.processing import Processed, Processor, StartRun, Stores
from platforms.alerts.rules import Rules
from platforms.alerts.webhook import SeenWebhooks, WebhookSecrets, alert_of, verify

# Between two attempts to start what was postponed.
RETRY_SECONDS = 30.0


class AlertIntake:
    """Receives alerts, and processes them in a thread of its own. Thread-safe.

    directory: the state directory. setting: the value of CFES_STATE_DIR.
    Raises: ConnectionSettingsError if a directory can't be used.
    """

    def __init__(self, directory: Path, setting: str | None, webhooks: WebhookSecrets, clock: Clock) -> None:
        self.inbox = Inbox(directory / "alerts" / "inbox", clock)
        self.events = EventFiles(directory / "alerts" / "events", clock)
        self.ledger = Ledger(setting, clock)
        self._seen = SeenWebhooks(setting, clock)
        self._webhooks = webhooks
        self._clock = clock
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, rules: Rules, start_run: StartRun) -> None:
        """Process what waits, and from now on each batch that is stored. start_run: see StartRun."""
        stores = Stores(self.inbox, self.ledger, self.events)
        processor = Processor(stores, rules, start_run, self._clock, self._stopping.is_set)
        self._thread = threading.Thread(target=self._run, args=(processor,), name="alerts", daemon=True)
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Stop after the present alert. Return whether the thread has ended. What waits is on disk."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(seconds)
        return self._thread is None or not self._thread.is_alive()

    def stored(self) -> None:
        """Tell the thread that a batch was stored."""
        self._wake.set()

    def receive_webhook(self, name: str, headers: Mapping[str, str], body: bytes) -> Receipt:
        """Store the alert of a signed webhook; a repetition is accepted and not stored again.

        Raises: NotFound for an unknown webhook, AuthenticationFailed, ParameterError, InboxFull.
        """
        webhook_id = verify(headers, body, self._webhooks.of(name), self._clock.now())
        if self._seen.knows(name, webhook_id):
            return Receipt(0, False, None)
        receipt = self.inbox.put(ALERTS, alert_of(body))
        self._seen.remember(name, webhook_id)
        self.stored()
        return receipt

    def _run(self, processor: Processor) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            postponed = True
            # A directory that can't be read for the moment is read again later.
            with suppress(OSError), _defects_logged():
                postponed = sum(_logged(done) for done in processor.process_waiting()) > 0
            if not self._stopping.is_set():
                self._wake.wait(RETRY_SECONDS if postponed else None)


@contextmanager
def _defects_logged() -> Iterator[None]:
    """Log a defect, so that it does not end the thread: the batches wait for the next attempt."""
    try:
        yield
    except OSError:
        raise
    except Exception:  # noqa: BLE001 -- a defect in one batch must not end the intake
        LOGGER.exception("alerts can't be processed: a defect")


def _logged(done: Processed) -> bool:
    """Write what became of a batch to the log. Return whether it has to be processed again."""
    text = (
        f"{done.batch.dataset}: {counted(done.read, 'record')}, {counted(len(done.started), 'run')} started, "
        f"{done.repeated} repeated, {done.refused} refused"
    )
    if done.problem is not None:
        LOGGER.warning("%s, %d postponed: %s", text, done.postponed, done.problem)
    else:
        LOGGER.info("%s", text)
    return bool(done.postponed)
