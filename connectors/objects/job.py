"""A bulk action job: what is asked for, and what the API says of it."""

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
    """Return whether messages come into users' Inbox by it: a RELEASE, or a MOVE to Inbox (or to an unknown folder)."""
    return action == "RELEASE" or destination in ("Inbox", None)


class Reach(NamedTuple):
    """What a change does, and to how many messages and recipients. A number that is not known counts as too many."""

    action: ActionType
    destination: Destination | None
    messages: int | None
    recipients: int | None


# SKIPPED is of the older reference only; the API may still answer with it.
JobStatus = Literal["PENDING", "DISCOVERING", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED", "SKIPPED"]

BEFORE_PROCESSING = ("PENDING", "DISCOVERING")

# What a status means to someone who waits. A status that is not in the table is new: the job counts as running.
HAS_ENDED: dict[str, bool] = {
    "PENDING": False,
    "DISCOVERING": False,
    "PROCESSING": False,
    "COMPLETED": True,
    "FAILED": True,
    "CANCELLED": True,
    "SKIPPED": True,
}


class BulkJobRequest(BaseModel):
    """The body of a create. Source: POST /accounts/{account_id}/email-security/investigate/bulk."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    action: ActionType
    search_params: SearchParams
    comment: str | None = None
    destination: Destination | None = None

    def body(self) -> dict[str, Any]:
        """As sent."""
        body: dict[str, Any] = {"action": self.action, "search_params": self.search_params.request()}
        if self.destination is not None:
            body["destination"] = self.destination
        if self.comment is not None:
            body["comment"] = self.comment
        return body


class JobActionParams(ApiObject):
    """What the job does to each message."""

    type: ActionType | str | None = None
    destination: Destination | str | None = None
    expected_disposition: Disposition | str | None = None


# The older reference calls the counters numbers, not integers: 3.0 is 3.
Counter = Annotated[int, Field(ge=0, le=10**12, strict=False)]


class BulkJob(ApiObject):
    """A job as the API describes it. messages_skipped and messages_cancelled are absent from the older reference."""

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
        """Messages that the job is through with, well or badly; cancelled ones are not."""
        return self.messages_successful + self.messages_failed + (self.messages_skipped or 0)

    @property
    def cancelled_note(self) -> str | None:
        """Return what its cancelled messages mean, as a sentence without a stop; None where it has none."""
        return cancelled_note(self.messages_cancelled)

    def counters(self) -> dict[str, int]:
        """The counters that the answer holds, by the message status they count."""
        named = {
            "COMPLETED": self.messages_successful,
            "FAILED": self.messages_failed,
            "PENDING": self.messages_pending,
            "SKIPPED": self.messages_skipped,
            "CANCELLED": self.messages_cancelled,
        }
        return {status: count for status, count in named.items() if count is not None}
