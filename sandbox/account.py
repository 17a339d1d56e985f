"""One account of the fake API: its mail, jobs and tokens, and a record of everything that happened."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sandbox import campaign, correspondence, mail_files
from sandbox.access import AccessList
from sandbox.agenda import Agenda
from sandbox.campaign import Alert
from sandbox.clock import Clock, Instant, ManualClock, RealClock, iso, parse_instant
from sandbox.delivery import Delivery
from sandbox.faults import FaultList
from sandbox.identifiers import draw
from sandbox.job_life import JobBoard
from sandbox.jobs import job_view
from sandbox.paging import CursorSeal
from sandbox.rate_limit import RateLimit
from sandbox.settings import Settings
from sandbox.tenant import Tenant

_MANUAL_START: Final = parse_instant("2026-11-22T09:00:00Z")


@dataclass(frozen=True, slots=True)
class Effect:
    """A call that changed something: the operation and the IDs of what it changed (a job, or messages)."""

    at: Instant
    operation: str
    touched: tuple[str, ...]


class Account:
    """The whole state of a sandbox.

    Access it within `present()`, which holds the lock and runs the jobs up to the present.
    """

    def __init__(self, settings: Settings, clock: Clock, tenant: Tenant) -> None:
        self.settings = settings
        self.clock = clock
        self.tenant = tenant
        self.delivery = Delivery(
            tenant,
            seed=settings.seed,
            permanent=settings.permanent_failures,
            transient=settings.transient_failures,
        )
        self.jobs = JobBoard(tenant, self.delivery, agenda := Agenda(), settings.pace)
        self.access = AccessList(settings.account_id)
        self.rate_limit = RateLimit(settings.quota, settings.window)
        self.faults = FaultList()
        self.cursors = CursorSeal(settings.seed)
        self.calls: Counter[str] = Counter()
        self.effects: list[Effect] = []
        self.tries: Counter[tuple[int, str]] = Counter()
        self._agenda = agenda
        self._lock = threading.RLock()
        self._rays = 0

    @contextmanager
    def present(self) -> Iterator[Instant]:
        """Lock the account at the present instant, after running everything that is due."""
        with self._lock:
            now = self.clock.now()
            self._agenda.run_until(now)
            yield now

    def advance(self, seconds: float) -> Instant:
        """Advance a manual clock, and the jobs with it. Raises RuntimeError for a real clock."""
        if not isinstance(self.clock, ManualClock):
            raise RuntimeError("this sandbox has a real clock: start it with --manual-clock to advance the time")
        self.clock.advance(seconds)
        with self.present() as now:
            return now

    def record_effect(self, operation: str, *touched: str) -> None:
        self.effects.append(Effect(self.clock.now(), operation, touched))

    def ray(self) -> str:
        """Return the next `cf-ray`: sixteen hexadecimal digits and a data center."""
        with self._lock:
            self._rays += 1
            return f"{draw(self.settings.seed, 'ray', self._rays).hex()[:16]}-AMS"

    def truth(self) -> dict[str, Any]:
        """Return everything that happened as JSON, including deleted jobs."""
        with self.present() as now:
            changes = [
                {
                    "operation": done.operation,
                    "id": done.investigate_id,
                    "message_id": done.message_id,
                    "recipient": done.recipient,
                    "folder": done.folder,
                    "at": iso(done.at),
                    "job_id": done.job_id,
                }
                for done in self.delivery.done
            ]
            return {
                "now": iso(now),
                "messages": len(self.tenant.messages),
                "jobs": [
                    {
                        **job_view(job, now),
                        "deleted": job.deleted,
                        "requested_by": job.requested_by,
                        "ignored_search_params": list(job.order.ignored_params),
                    }
                    for job in self.jobs.all.values()
                ],
                "calls": dict(self.calls),
                "effects": [
                    {"operation": effect.operation, "touched": list(effect.touched), "at": iso(effect.at)}
                    for effect in self.effects
                ],
                "moved": [change for change in changes if change["operation"] == "MOVE"],
                "released": [change for change in changes if change["operation"] == "RELEASE"],
                "faults": self.faults.view(),
            }


@dataclass(frozen=True, slots=True)
class Opened:
    """A new account, and the result of loading its mail files, if any."""

    account: Account
    mail: mail_files.Loaded | None


def open_account(settings: Settings) -> Opened:
    """Build the account for the settings. Raises BadAlertError or NoMailError."""
    alert: Alert | None = None
    if settings.alert is not None:
        given = settings.alert
        alert = campaign.read_alert(given) if isinstance(given, Path) else campaign.alert_from(given)
    start = settings.at
    if start is None and alert is not None:
        start = alert.time + campaign.START_AFTER_ALERT
    clock: Clock = ManualClock(_MANUAL_START if start is None else start) if settings.manual_clock else RealClock(start)
    now = clock.now()
    tenant = Tenant(settings.seed, _domain_of(alert))
    size = settings.messages if settings.messages is not None else 0 if settings.mbox else 2000
    correspondence.fill(
        tenant,
        seed=settings.seed,
        messages=size,
        until=now,
        at_least_mailboxes=settings.campaign_size + settings.late_copies if alert else 0,
    )
    if alert is not None:
        campaign.plant(
            tenant,
            alert,
            seed=settings.seed,
            size=settings.campaign_size,
            late=settings.late_copies,
            late_every=settings.late_every,
        )
    mail = None
    if settings.mbox is not None:
        mail = mail_files.load(tenant, settings.mbox, undated=now, verdict=settings.mbox_disposition)
    # Sort before the first search needs it.
    tenant.newest_first()
    return Opened(Account(settings, clock, tenant), mail)


def _domain_of(alert: Alert | None) -> str:
    """Return the domain of the tenant: that of the alert's recipients, so that a real alert matches its mailboxes."""
    address = next(iter(alert.envelope_to), "") if alert else ""
    return address.rpartition("@")[2].casefold() or "corp.example"
