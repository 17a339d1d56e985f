"""Choose the job to keep among duplicates and cancel the others.

The earliest job is kept (by `created_at`, then by job ID in lower case), the later ones are cancelled. All workers
follow this rule and return the same job. So each waits until the list has had time to show the other workers' jobs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob
from core.errors import Applied, NotFound, OutcomeUnknown, PackError
from core.quantity import counted
from remediation.jobs.cancelling import Cancelled, cancel_and_confirm
from remediation.jobs.job_list import JobList, ListedJobs, StampedJobs, in_order
from remediation.jobs.list_layout import created_at
from remediation.stamp import Stamp

# The first pause between two checks of the list; each further pause is twice as long.
FIRST_PAUSE_SECONDS = 1.0
MOST_CHECKS = 20
# The list is checked again this long after a create if the first check showed the own job and no other. Otherwise it
# is checked after CFES_LISTING_LAG_SECONDS, if those are more.
QUIET_SECONDS = 4.0
# Where `created_at` has no fraction, the order of two jobs is known only when their second is over.
WHOLE_SECOND = 1.0
_FRACTION = re.compile(r"\.\d")

_LOST_TAG = (
    "the job list does not show the tag of job {job} ({comment}). Don't run the same call again: it would not "
    "recognize the job, and would create another one. Follow this job by its ID"
)
_NOT_SHOWN = (
    "the job list does not show the job yet, {seconds:.0f} s after it was created. Another worker may have created one "
    "for the same request. Run the same call again only when the list shows the job: before that it creates another one"
)
_NO_TIME = (
    "the time allowed ended before the job list had time to show other workers' jobs. If another worker created an "
    "earlier job for this request, that job is kept and wait-for-job follows it"
)
_UNCONFIRMED = (
    "the job list showed no other job for this request, but could not be read once more: {reason}. If another worker "
    "created an earlier job for this request, that job is kept and wait-for-job follows it"
)

# Called in each pause, because a discovery limit can't wait: with the job to keep as far as is known, its tag, whether
# this call created it, and how many seconds the call may take.
Meanwhile = Callable[[BulkJob, Stamp, bool, float], None]


def surest(applied: Collection[Applied]) -> Applied:
    """Return "yes" if any is, else "unknown" if any is, else "no"."""
    return "yes" if "yes" in applied else "unknown" if "unknown" in applied else "no"


@dataclass
class Race:
    """The jobs of one request, as several checks of the list showed them, and the cancels of this call.

    own: the job that this call created, if any. lost: whether this call sent a POST whose answer was lost and whose job
    does not show. meanwhile: is called in each pause. cancelled: by job ID, the later jobs after this call's cancel.
    """

    api: EmailSecurity
    stamp: Stamp
    own: BulkJob | None = None
    lost: bool = False
    meanwhile: Meanwhile = lambda _job, _stamp, _created, _seconds: None
    cancelled: dict[str, Cancelled] = field(default_factory=dict)
    _seen: dict[str, tuple[BulkJob, Stamp]] = field(default_factory=dict)
    _own_comments: list[str | None] = field(default_factory=list)
    _own_is_marked: bool = False
    _own_was_cancelled: bool = False
    _in_every_listing: bool = True
    _out_of_time: bool = False
    _unconfirmed: str | None = None

    @property
    def applied(self) -> set[Applied]:
        """Return whether this call has changed anything so far, for each of its writes."""
        begun: Applied = "yes" if self.own is not None else "unknown" if self.lost else "no"
        return {begun, *(one.applied for one in self.cancelled.values())}

    @property
    def own_shows(self) -> bool:
        """Return whether a check of the list has shown the own job."""
        return bool(self._own_comments)

    def _take(self, listed: ListedJobs, job_list: JobList) -> None:
        if self.own is not None:
            self._take_own(listed, job_list)
        self.take_jobs(listed.jobs)

    def take_jobs(self, jobs: StampedJobs) -> None:
        """Add jobs that the list shows, and cancel those that are later than another."""
        self._seen |= {job.job_id: (job, stamp) for job, stamp in jobs}
        for job in self.ranked()[1] if len(self.jobs()) > 1 else []:
            if job.job_id not in self.cancelled:
                self.cancelled[job.job_id] = self._cancel(job)

    def _take_own(self, listed: ListedJobs, job_list: JobList) -> None:
        self._in_every_listing = self._in_every_listing and listed.own is not None
        if listed.own is None:
            return
        self._own_was_cancelled = listed.own.get("status") == "CANCELLED"
        comment = listed.own.get("comment")
        self._own_comments.append(comment if isinstance(comment, str) else None)
        found = job_list.stamp_of(listed.own)
        self._own_is_marked |= found is not None and found.same_request(self.stamp) and found.mac == self.stamp.mac

    def jobs(self) -> StampedJobs:
        """Return the jobs of the request that were seen, the own one among them, the earliest first."""
        own = {} if self.own is None else {self.own.job_id: (self.own, self.stamp)}
        return in_order((own | self._seen).values())

    def ranked(self) -> tuple[tuple[BulkJob, Stamp], list[BulkJob]]:
        """Return the job to keep with its tag, and the later ones. Another key's job is never cancelled."""
        jobs = self.jobs()
        of_key = [(job, found) for job, found in jobs if found.key == self.stamp.key]
        of_plan = [(job, found) for job, found in jobs if found.key != self.stamp.key]
        if self._is_unrecognized and len(of_key) > 1:
            # Other workers can't recognize the own job, so they keep another one.
            of_key.sort(key=lambda pair: self.own is not None and pair[0].job_id == self.own.job_id)
        first = of_key[0] if of_key else of_plan[0]
        if of_plan and first[1].same_plan(self.stamp) and of_plan[0] == jobs[0]:
            # Two keys raced for one plan. A job that this key made without that plan does not count.
            first = of_plan[0]
        # Also where the first is for another request: no later call with this key would cancel these.
        return first, [job for job, _ in of_key if job.job_id != first[0].job_id]

    @property
    def _is_unrecognized(self) -> bool:
        return self.own_shows and not self._own_is_marked

    def await_others(self, job_list: JobList) -> None:
        """Check the list until it has had time to show the jobs of other workers.

        Raises: OutcomeUnknown if something was changed and the list can't be read, or a later job can't be
        cancelled; where nothing was changed, what reading the list and cancelling raise.
        """
        own_id = None if self.own is None else self.own.job_id
        for _ in self._pauses():
            try:
                with self._reading():
                    listed = job_list.read_new(own_id)
            except PackError as failure:
                if not self._is_confirmed_once:
                    raise
                self._unconfirmed = failure.message
                self.take_jobs(job_list.partial.jobs)
                return
            self._take(listed, job_list)
        if self.own is not None and not self._out_of_time and (not self.own_shows or self._lost_to_unseen_job):
            with self._reading():
                listed = job_list.read_again(own_id)
            self._take(listed, job_list)

    @property
    def _lost_to_unseen_job(self) -> bool:
        """Return whether another worker has cancelled the own job, as a duplicate of a job that was never listed."""
        return self._own_was_cancelled and len(self.jobs()) == 1

    @property
    def _is_confirmed_once(self) -> bool:
        """Return whether one check was enough, and only a second one to confirm it is missing."""
        return self._is_quiet and (self.own is None or self.own_shows)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except PackError as failure:
            applied = surest(self.applied)
            if applied == "no":
                raise
            job = self.own or self.jobs()[0][0]
            was = "was created" if self.own is not None else "exists for this request"
            raise OutcomeUnknown(
                f"job {job.job_id} {was}, but the job list could not be read to check for duplicates: "
                f"{failure.message}",
                help="Run the same call again with the same key or plan: it reuses the job, and cancels a later "
                "duplicate.",
                applied=applied,
                job_id=job.job_id,
            ) from None

    def _pauses(self) -> Iterator[None]:
        """Yield before each check of the list, after a pause, for as long as another job may appear."""
        clock = self.api.clock
        began, pause = clock.monotonic() - self._age_seconds(), FIRST_PAUSE_SECONDS
        # A check shows the list as it was when the check began; with a rate limit it may take long.
        checked_at = clock.monotonic() if self.own is not None else -math.inf
        if self.own is not None:
            yield
        for _ in range(MOST_CHECKS):
            until = began + self._patience()
            if max(checked_at, began) >= until - 0.001:  # what sums of pauses leave
                return
            left = until - clock.monotonic()
            if self.own is None and checked_at == -math.inf and left <= 0:
                return
            time_left = self.api.time_left()
            if time_left is not None and time_left <= max(left, 0):
                self._out_of_time = True
                return
            self._pause(max(left if self._is_quiet else min(pause, left), 0))
            pause *= 2
            checked_at = clock.monotonic()
            yield

    def _pause(self, seconds: float) -> None:
        """Sleep for so long, and call `meanwhile` with the job to keep as far as is known."""
        until = self.api.clock.monotonic() + seconds
        (job, stamp), _ = self.ranked()
        self.meanwhile(job, stamp, self.own is not None and job.job_id == self.own.job_id, seconds)
        self.api.clock.sleep(max(until - self.api.clock.monotonic(), 0))

    def _age_seconds(self) -> float:
        """Return how long ago the latest job was created, by this machine's clock; 0 for the own job."""
        if self.own is not None:
            return 0.0
        latest = max(created_at(job.created_at) for job, _ in self.jobs())
        # With a clock that is behind, the job seems to be of the future: its age is 0.
        return max((self.api.clock.now() - latest).total_seconds(), 0.0)

    @property
    def _is_quiet(self) -> bool:
        """Return whether no check has shown another job, or a list that lags."""
        return len(self.jobs()) == 1 and self._in_every_listing

    def _patience(self) -> float:
        jobs = [job for job, _ in self.jobs()]
        in_whole_seconds = any(not _FRACTION.search(job.created_at or "") for job in jobs)
        sure = self.api.connection.listing_lag_seconds + (WHOLE_SECOND if in_whole_seconds else 0.0)
        return min(sure, QUIET_SECONDS) if self._is_quiet else sure

    def warnings(self) -> list[str]:
        """Return warnings about the later jobs, and about a list that is not complete."""
        found = [_later(one.job) for one in self.cancelled.values() if one.applied != "no" or self.own is not None]
        if self._unconfirmed is not None:
            found.append(_UNCONFIRMED.format(reason=self._unconfirmed))
        if self.own is None or self.own.job_id in self.cancelled:
            return found
        if self._is_unrecognized:
            comment = self._own_comments[-1]
            shown = f"its comment there begins {comment[:60]!r}" if comment else "its comment there is empty"
            found.append(_LOST_TAG.format(job=self.own.job_id, comment=shown))
        elif not self.own_shows and not self._out_of_time:
            found.append(_NOT_SHOWN.format(seconds=self._patience()))
        return [*found, _NO_TIME] if self._out_of_time else found

    def _cancel(self, job: BulkJob) -> Cancelled:
        """Cancel a later job for the same request."""
        (kept, _), _ = self.ranked()
        try:
            return cancel_and_confirm(self.api, job)
        except NotFound:
            # Deleted meanwhile, and still in a list that lags.
            return Cancelled(job, "no")
        except PackError as failure:
            message = f"Job {job.job_id} is a duplicate of job {kept.job_id} and could not be cancelled"
            applied = surest({*self.applied, failure.applied})
            if applied == "no":
                raise failure.restate(f"{message}: {failure.message}", job_id=kept.job_id) from None
            raise OutcomeUnknown(
                f"{message}: {failure.message}",
                help=f"Run: cfes cancel-job --job-id {job.job_id}",
                applied=applied,
                http_status=failure.http_status,
                api_errors=failure.api_errors,
                ray_id=failure.ray_id,
                job_id=kept.job_id,
                retry_after_seconds=failure.retry_after_seconds,
            ) from None


def _later(job: BulkJob) -> str:
    done = f"after it had processed {job.processed} of {counted(job.total_messages_discovered, 'message')}"
    note = "" if job.cancelled_note is None else f"; {job.cancelled_note}"
    return f"job {job.job_id} is a later duplicate for the same request: it is {job.status}, {done}{note}"
