"""The mail provider: the outcome of each move or release, which is success, a permanent or a temporary failure.

A fraction of the copies fails, the same ones for each run with one seed.
"""

from dataclasses import dataclass
from typing import Final, Literal

from sandbox.clock import Instant
from sandbox.identifiers import fraction
from sandbox.message import DELIVERED, MOVED, QUARANTINED, RELEASED, LogEntry, Message
from sandbox.tenant import Tenant

MESSAGE_NOT_FOUND: Final = "Message not found"
MAILBOX_NOT_FOUND: Final = "Mailbox not found"
NOT_QUARANTINED: Final = "Message is not quarantined"
HELD: Final = "Message is held in quarantine"

_LASTING: Final = (MAILBOX_NOT_FOUND, MESSAGE_NOT_FOUND, "Access to the mailbox was denied")
_PASSING: Final = ("Throttled by the mail provider", "The mail provider did not answer in time")

Operation = Literal["MOVE", "RELEASE"]
Trouble = Literal["ok", "gone", "throttled"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an attempt. `reason` is empty for success; `lasting` means that a retry can't succeed."""

    done: bool
    reason: str = ""
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """A change that was made. Tests compare reports with it."""

    at: Instant
    operation: Operation
    message_id: str
    investigate_id: str
    recipient: str
    folder: str
    job_id: str | None


class Delivery:
    """The mail provider of one tenant. `permanent` and `transient` are fractions of all copies, from 0 to 1."""

    def __init__(self, tenant: Tenant, *, seed: int, permanent: float, transient: float) -> None:
        self._tenant = tenant
        self._seed = seed
        self.permanent = permanent
        self.transient = transient
        self.mailboxes: dict[str, Trouble] = {}
        self.done: list[Done] = []

    def attempt(
        self,
        operation: Operation,
        message: Message,
        recipient: str,
        *,
        folder: str,
        tries_before: int,
        at: Instant,
        requested_by: str,
        job_id: str | None = None,
    ) -> Outcome:
        """Try to move one copy to `folder`, or to release it. Success changes the tenant."""
        trouble = self._trouble(operation, message, recipient, tries_before)
        # Each attempt has an entry in the action log, with its destination folder.
        logged, status = ("MOVE", MOVED) if operation == "MOVE" else (RELEASED, DELIVERED)
        if trouble is not None:
            message.note(LogEntry(at, logged, recipient, folder, requested_by, trouble.reason))
            return trouble
        message.record(LogEntry(at, logged, recipient, folder, requested_by), status)
        self.done.append(
            Done(
                at=at,
                operation=operation,
                message_id=self._tenant.message_id_of(message),
                investigate_id=self._tenant.id_of(message),
                recipient=recipient,
                folder=folder,
                job_id=job_id,
            )
        )
        return Outcome(done=True)

    def _trouble(self, operation: Operation, message: Message, recipient: str, tries_before: int) -> Outcome | None:
        held = message.copy_of(recipient).status == QUARANTINED
        if held and operation == "MOVE":
            return Outcome(done=False, reason=HELD, lasting=True)
        if not held and operation == "RELEASE":
            return Outcome(done=False, reason=NOT_QUARANTINED, lasting=True)
        scripted = self.mailboxes.get(recipient.casefold())
        if scripted == "ok":
            return None
        if scripted == "gone":
            return Outcome(done=False, reason=MAILBOX_NOT_FOUND, lasting=True)
        if scripted == "throttled":
            return Outcome(done=False, reason=_PASSING[0])
        luck = fraction(self._seed, "luck", message.number, recipient)
        kind = fraction(self._seed, "kind", message.number, recipient)
        if luck < self.permanent:
            return Outcome(done=False, reason=_LASTING[int(kind * len(_LASTING))], lasting=True)
        if luck < self.permanent + self.transient:
            # Most copies succeed at the second attempt, some at the third, a few never.
            failing_tries = 1 if kind < 0.8 else 2 if kind < 0.95 else 1_000_000
            if tries_before < failing_tries:
                return Outcome(done=False, reason=_PASSING[int(kind * 100) % len(_PASSING)])
        return None
