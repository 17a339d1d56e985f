"""Find the jobs of one request in the list of jobs, by the tag in their comments.

The list is read in pages while others create and delete jobs. A job that is deleted from a page already read moves a
row of the next page up, past the reader. So a single pass over several pages proves neither that no job exists nor that
the job found is the earliest. A second pass, from the last page to the first, must show every job of the first pass: a
deleted job moves no row past a backward pass. A new job may; the forward pass is safe from that.

In a list sorted by creation, jobs made since a pass are at one end. To read that end costs one or two calls, however
many jobs there are. In a list with another order, each check is a whole pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from connectors.email_security import EmailSecurity
from connectors.objects.api_object import uuid_of
from connectors.objects.job import ActionType, BulkJob
from connectors.paging.pages import LARGEST_PAGE, Page
from core.clock import CLOCK_SKEW
from core.errors import PackError, UnexpectedAnswer
from remediation.jobs.list_layout import ListLayout, created_at
from remediation.stamp import Stamp, StampKey

# Passes before a list that never shows the same jobs twice is accepted. A job would have to be hidden in each pass.
MOST_PASSES = 4
# Rows on a page from the third pass on. Where jobs come and go all the time, the same job can be hidden at the border
# of two pages in each pass; other borders show it.
OTHER_PAGE = 900
# A check of the new end reads back over this many known jobs: a newer job may have shown before an older one.
KNOWN_ROWS_READ = 50

StampedJobs = list[tuple[BulkJob, Stamp]]


@dataclass
class ListedJobs:
    """The relevant jobs of one pass over the list, or of one check of its new end.

    jobs: those with the request's key or plan, the earliest first. own: the row of the job with the given ID, as the
    API sent it. unmarked: rows without a tag that are new since `JobList.post_follows`.
    """

    jobs: StampedJobs = field(default_factory=list)
    own: dict[str, Any] | None = None
    unmarked: list[dict[str, Any]] = field(default_factory=list)

    def then(self, later: ListedJobs) -> ListedJobs:
        """Return the later listing, with the jobs of this one added."""
        seen = {job.job_id: (job, stamp) for job, stamp in (*self.jobs, *later.jobs)}
        unmarked = {uuid_of(row.get("job_id")) or id(row): row for row in (*self.unmarked, *later.unmarked)}
        return ListedJobs(in_order(seen.values()), later.own or self.own, list(unmarked.values()))


class JobList:
    """The list of jobs, searched for one tag. action: MOVE or RELEASE, as in the tag's request."""

    def __init__(self, api: EmailSecurity, stamp: Stamp, action: ActionType) -> None:
        self._api = api
        self._stamp = stamp
        self._action = action
        self._stamp_key = StampKey.of(api.connection.plan_key)
        self._sought = {stamp.key, *stamp.former_keys, *([stamp.plan] if stamp.plan else [])}
        self._known: set[str] = set()
        self._passes = 0
        self._agreed = False
        self._filtered = False
        self._any_hole = False
        self._per_page = LARGEST_PAGE
        self._layout = ListLayout()
        self._read_at = 0.0
        # When a POST was sent without a pass before it. A row without a tag from then on may be that POST's job. After
        # a pass, any row that the pass did not show may be.
        self._posted_at: datetime | None = None
        self._known_at_post: set[str] | None = None
        # The jobs on the pages that were read before a pass or a check failed.
        self.partial = ListedJobs()

    def post_follows(self) -> None:
        """Note that a POST is about to be sent. From now on rows without a tag are kept: one may be its job."""
        self._posted_at = self._api.clock.now() - CLOCK_SKEW
        self._known_at_post = self._known if self._passes else None

    @property
    def age_seconds(self) -> float:
        """Return how long ago the end of the list where new jobs appear was last read."""
        return self._api.clock.monotonic() - self._read_at

    @property
    def can_be_renewed(self) -> bool:
        """Return whether a check of the new end costs less than a pass."""
        return self._layout.new_end in ("front", "back")

    @property
    def has_one_page(self) -> bool:
        """Return whether the last pass showed all jobs on one page."""
        return self._layout.is_one_page

    def read_all(
        self,
        own_id: str | None = None,
        *,
        filtered: bool = False,
        per_page: int = LARGEST_PAGE,
        backwards: bool = False,
    ) -> ListedJobs:
        """Make one pass over the list. filtered: ask for jobs of this action only."""
        before, layout, known = self._known, ListLayout(backwards=backwards), set[str]()
        began = self._api.clock.monotonic()
        rows = _Rows(own_id)
        # A filter only removes rows: no page behind the end of the unfiltered list is worth fetching.
        same_pages = self._passes and (filtered or not self._filtered) and per_page == self._per_page
        last_page = self._layout.pages + 1 if same_pages else None
        if backwards:
            last_page = self._layout.page_behind(len(before))
        with self._keeping_partial(rows):
            for page in self._api.job_pages(
                action_type=self._action if filtered else None,
                last_page=last_page,
                per_page=per_page,
                backwards=backwards,
                full_page=self._layout.full_page,
            ):
                layout.take(page, self._api.clock.monotonic())
                known |= self._collect(rows, page.items)
                if not page.items and last_page is not None and before <= known and not backwards:
                    # The pass before ended here, and this pass has shown every job of it.
                    break
        layout.end()
        whole = not layout.has_hole and not self._layout.has_hole
        self._agreed = whole and before <= known if self._passes else layout.is_one_page
        # A job that an earlier pass showed and this one does not was lost by the filter, or deleted.
        self._passes, self._filtered, self._layout, self._known = self._passes + 1, filtered, layout, known
        self._any_hole, self._per_page = self._any_hole or layout.has_hole, per_page
        self._read_at = layout.read_at(began)
        return rows.listed()

    def confirm(self, listed: ListedJobs | None = None, own_id: str | None = None) -> ListedJobs:
        """Make passes until one shows every job of the pass before. One page needs no second pass.

        listed: the jobs of the pass before.
        Raises: UnexpectedAnswer where a page in the middle of the list came back empty: its jobs are not known.
        """
        listed = listed or ListedJobs()
        while not self._agreed and self._passes < MOST_PASSES:
            # An empty page behind one of fewer rows than the most would be the end.
            per_page = LARGEST_PAGE if self._passes < 2 or self._any_hole else OTHER_PAGE
            backwards, filtered = self._passes % 2 == 1, self._passes == 1
            listed = listed.then(self.read_all(own_id, filtered=filtered, per_page=per_page, backwards=backwards))
        if self._any_hole and not self._agreed and not listed.jobs:
            raise UnexpectedAnswer(
                "the job list has an empty page in the middle: could not check whether a job exists for this request"
            )
        return listed

    def read_again(self, own_id: str | None = None) -> ListedJobs:
        """Read the whole list again, with as many passes as before a first POST."""
        self._passes, self._agreed, self._any_hole = 0, False, False
        return self.confirm(self.read_all(own_id, filtered=True), own_id)

    def read_new(self, own_id: str | None = None) -> ListedJobs:
        """Read the end of the list where new jobs appear; the whole list where that end is not known."""
        if self._passes == 0 or self._layout.new_end is None:
            return self.read_all(own_id, filtered=True, backwards=self._passes % 2 == 1)
        began = self._api.clock.monotonic()
        rows = _Rows(own_id)
        with self._keeping_partial(rows):
            if self._layout.new_end in ("front", "either"):
                if self._read_front(rows):
                    return self.read_again(own_id)
                if self._layout.new_end == "either" and rows.own is not None:
                    self._layout.new_end = "front"
            if self._layout.new_end in ("back", "either"):
                self._read_back(rows)
                if self._layout.new_end == "either" and rows.own is not None:
                    self._layout.new_end = "back"
        self._read_at = began
        return rows.listed()

    @contextmanager
    def _keeping_partial(self, rows: _Rows) -> Iterator[None]:
        try:
            yield
        except PackError:
            self.partial = rows.listed()
            raise

    def _read_front(self, rows: _Rows) -> bool:
        """Read the front. Return whether a list of one page now has several, so that one pass proves nothing."""
        one_page = self._layout.is_one_page
        ids = set[str]()
        for page in self._pages(1, 1):
            self._collect(rows, page.items)
            of_page = {str(item.get("job_id")).lower() for item in page.items}
            if one_page and ids and not of_page <= ids:
                return True
            ids |= of_page
            if self._ends_list(page, rows) if one_page else len(rows.known) >= KNOWN_ROWS_READ:
                break
        return False

    def _read_back(self, rows: _Rows) -> None:
        first = self._layout.page_before_last_rows(KNOWN_ROWS_READ)
        for page in self._pages(first, self._layout.page_behind(self._layout.rows), backwards=True):
            self._collect(rows, page.items)

    def _ends_list(self, page: Page, rows: _Rows) -> bool:
        """Return whether nothing follows the first page.

        Where the service does not say how many rows a page holds, a page with the own job and all known jobs counts as
        the whole list.
        """
        if page.per_page is not None:
            return bool(page.items) and self._layout.has_room(page)
        return rows.own is not None and len(rows.known) >= len(self._known)

    def _pages(self, first: int, last_page: int, *, backwards: bool = False) -> Iterable[Page]:
        return self._api.job_pages(
            action_type=self._action if self._filtered else None,
            first=first,
            last_page=last_page,
            per_page=self._per_page,
            backwards=backwards,
            full_page=self._layout.full_page,
        )

    def stamp_of(self, item: dict[str, Any]) -> Stamp | None:
        """Return the tag in the row's comment; with CFES_PLAN_KEY only a tag that was made with that key."""
        comment = item.get("comment")
        read = Stamp.read(comment if isinstance(comment, str) else None)
        if read is None:
            return None
        read = self._stamp.recognized(read)
        if self._stamp_key is None or read.is_authentic(self._api.connection.account_id, self._stamp_key):
            return read
        return None

    def _matching_job(self, item: dict[str, Any]) -> tuple[BulkJob, Stamp] | None:
        """Return the row's job and tag where the tag has the request's key or plan."""
        comment = item.get("comment")
        # Most rows are of other requests: their tags are not read.
        if not isinstance(comment, str) or not any(digest in comment for digest in self._sought):
            return None
        found = self.stamp_of(item)
        if found is None or not (found.key == self._stamp.key or self._stamp.same_plan(found)):
            return None
        return BulkJob.read(item, "a job in the list"), found

    def _may_be_lost(self, item: dict[str, Any]) -> bool:
        """Return whether the row has no tag and is new since this call's POST."""
        if self._posted_at is None:
            return False
        if self._known_at_post is None:
            is_new = created_at(item.get("created_at")) >= self._posted_at
        else:
            # Not by a clock: the clock of this machine may be wrong by hours.
            is_new = uuid_of(item.get("job_id")) not in self._known_at_post
        return is_new and self.stamp_of(item) is None

    def _collect(self, rows: _Rows, items: list[dict[str, Any]]) -> set[str]:
        """Add a page's rows. Return the IDs of the jobs that may do the same action as the request's job.

        Other jobs are not parsed, so that a malformed job is not an error.
        """
        ids = set()
        for item in items:
            job_id = uuid_of(item.get("job_id"))
            if job_id is not None:
                if item.get("action_type") in (None, self._action):
                    ids.add(job_id)
                if job_id in self._known:
                    rows.known.add(job_id)
                if job_id == rows.own_id:
                    rows.own = item
            match = self._matching_job(item)
            if match is not None:
                rows.jobs[match[0].job_id] = match
            elif self._may_be_lost(item):
                rows.unmarked.append(item)
        return ids


@dataclass
class _Rows:
    """The rows of one pass or check. known: the jobs of the pass before that were listed again."""

    own_id: str | None
    own: dict[str, Any] | None = None
    jobs: dict[str, tuple[BulkJob, Stamp]] = field(default_factory=dict)
    unmarked: list[dict[str, Any]] = field(default_factory=list)
    known: set[str] = field(default_factory=set)

    def listed(self) -> ListedJobs:
        return ListedJobs(in_order(self.jobs.values()), self.own, self.unmarked)


def in_order(jobs: Iterable[tuple[BulkJob, Stamp]]) -> StampedJobs:
    """Return the jobs sorted by creation time, then by job ID. All workers use this order."""
    return sorted(jobs, key=lambda pair: (created_at(pair[0].created_at), pair[0].job_id))
