"""A bulk action job: the request, and the job that the API returns."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from connectors.objects.api_object import ApiObject, Uuid
from connectors.objects.job_notes import cancelled_note
from connectors.objects.search import Disposition, SearchParams

ActionType = Literal["MOVE", "RELEASE"]
Destination = Literal["Inbox", "JunkEmail", "DeletedItems", "RecoverableItemsDeletions", "RecoverableItemsPurges"]
IRREVERSIBLE_DESTINATIONS: tuple[Destination, ...] = ("RecoverableItemsDeletions", "RecoverableItemsPurges")


def delivers(action: ActionType, destination: Destination | None) -> bool:
    """Return whether an action delivers to users' Inbox: a RELEASE, or a MOVE to Inbox (or to an unknown folder)."""
    return action == "RELEASE" or destination in ("Inbox", None)


class Reach(NamedTuple):
    """The action of a change, and the number of its messages and recipients. An unknown number counts as too many."""

    action: ActionType
    destination: Destination | None
    messages: int | None
    recipients: int | None


# Only the older reference has SKIPPED; the API may still return it.
JobStatus = Literal["PENDING", "DISCOVERING", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED", "SKIPPED"]

BEFORE_PROCESSING = ("PENDING", "DISCOVERING")

# Whether a job with a status has ended. With an unknown status, it counts as running.
HAS_ENDED: dict[str, bool] = {
    "PENDING": False,
    "DISCOVERING": False,
    "PROCESSING": False,
    "COMPLETED": True,
    "FAILED": True,
    "CANCELLED": True,
    "SKIPPED": True,
}


# The counters by the status of the messages they count; PENDING also counts those that are being processed.
COUNTERS = {
    "COMPLETED": "messages_successful",
    "FAILED": "messages_failed",
    "SKIPPED": "messages_skipped",
    "CANCELLED": "messages_cancelled",
    "PENDING": "messages_pending",
}


class BulkJobRequest(BaseModel):
    """The body of a create. Source: POST /accounts/{account_id}/email-security/investigate/bulk."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    action: ActionType
    search_params: SearchParams
    comment: str | None = None
    destination: Destination | None = None

    def body(self) -> dict[str, Any]:
        """Return the body as it is sent."""
        body: dict[str, Any] = {"action": self.action, "search_params": self.search_params.request()}
        if self.destination is not None:
            body["destination"] = self.destination
        if self.comment is not None:
            body["comment"] = self.comment
        return body


class JobActionParams(ApiObject):
    """The action of the job on each message."""

    type: ActionType | str | None = None
    destination: Destination | str | None = None
    expected_disposition: Disposition | str | None = None


# In the older reference the counters are numbers, not integers: 3.0 is 3.
Counter = Annotated[int, Field(ge=0, le=10**12, strict=False)]


class BulkJob(ApiObject):
    """A job that the API returns. The older reference has no messages_skipped and messages_cancelled."""

    job_id: Uuid
    status: JobStatus | str
    action_type: ActionType | str | None = None
    action_params: JobActionParams | None = None
    search_params: dict[str, Any] | None = None
    comment: str | None = None
    status_message: str | None = None
    created_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    total_messages_discovered: Counter
    messages_pending: Counter
    messages_successful: Counter
    messages_failed: Counter
    messages_skipped: Counter | None = None
    messages_cancelled: Counter | None = None

    @property
    def has_ended(self) -> bool:
        return HAS_ENDED.get(self.status, False)

    @property
    def processed(self) -> int:
        """Return the number of processed messages: successful, failed and skipped, but not cancelled."""
        return self.messages_successful + self.messages_failed + (self.messages_skipped or 0)

    @property
    def cancelled_note(self) -> str | None:
        """Return a note on its cancelled messages, as a sentence without a period, or None."""
        return cancelled_note(self.messages_cancelled)

    def counters(self) -> dict[str, int]:
        """Return the counters in the response, by message status."""
        return {status: count for status, name in COUNTERS.items() if (count := getattr(self, name)) is not None}
