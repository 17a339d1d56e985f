"""The state of a wait for a job: the latest polls, as a value that a later call resumes from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, Field

from connectors.objects.api_object import Uuid
from connectors.objects.job import BEFORE_PROCESSING, BulkJob
from core.json_model import StrictModel
from remediation.jobs.progress import POLLS_REMEMBERED, Poll

_JobId = Annotated[Uuid, Field(description="The job's UUID.")]


class Resume(StrictModel):
    """The state of a wait: a later call continues from it as if the wait had never stopped.

    The second name of a field is that of earlier versions.
    """

    version: Literal[1] = 1
    job_id: _JobId
    followed_from: _JobId | None = Field(
        None,
        description="The job of the first call, if it was cancelled as a duplicate: `job_id` replaces it.",
    )
    polls: int = Field(ge=0, description="Polls so far.")
    began_at: float = Field(description="When the wait began, in seconds since the epoch.")
    moved_at: float = Field(description="When a counter or the status last changed, in seconds since the epoch.")
    polls_while_processing: int = Field(
        0,
        ge=0,
        validation_alias=AliasChoices("polls_while_processing", "looks_at_processing"),
        description="Polls since the job began to process messages.",
    )
    latest_polls: list[Poll] = Field(
        max_length=POLLS_REMEMBERED,
        validation_alias=AliasChoices("latest_polls", "looks"),
        description="The latest polls: at, processed, discovered, status. Of a stall the first and the last.",
    )

    @property
    def stalled_seconds(self) -> float:
        """Return for how long no poll has seen a change."""
        return self.latest_polls[-1].at - self.moved_at if self.latest_polls else 0.0

    @property
    def watched_seconds(self) -> float:
        return self.latest_polls[-1].at - self.began_at

    @classmethod
    def after_poll(cls, before: Resume | None, job: BulkJob, at: float) -> Resume:
        """Return the state after a poll of the job. A job that replaces another begins with no polls remembered."""
        followed_from = None
        if before is not None:
            is_same = job.job_id == before.job_id
            followed_from = before.followed_from if is_same else before.followed_from or before.job_id
        if before is None or job.job_id != before.job_id:
            polls = 0 if before is None else before.polls
            before = cls(job_id=job.job_id, polls=polls, began_at=at, moved_at=at, latest_polls=[])
        # A clock that was set back must not make time run backwards.
        kept = before.latest_polls
        at = max(at, kept[-1].at if kept else before.began_at)
        poll = Poll(at, job.processed, job.total_messages_discovered, job.status)
        changed = not kept or kept[-1][1:] != poll[1:]
        if not changed and len(kept) > 1 and kept[-2][1:] == kept[-1][1:]:
            kept = kept[:-1]
        return cls(
            job_id=job.job_id,
            followed_from=followed_from,
            polls=before.polls + 1,
            began_at=before.began_at,
            moved_at=poll.at if changed else before.moved_at,
            polls_while_processing=before.polls_while_processing + (poll.status not in BEFORE_PROCESSING),
            latest_polls=[*kept, poll][-POLLS_REMEMBERED:],
        )
