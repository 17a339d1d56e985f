"""Looking through the list of jobs for those of one intent, by the stamp in their comments.

The list is read in pages while others create and delete jobs. A job that is deleted from a page that was read already
moves a row of the next page up, past the reader. So one pass over several pages proves nothing, neither that there is
no job nor that the one it shows is the earliest: a second one, from the last page to the first, has to show every job
that the first one showed. Past that one a deleted job moves nothing; a new job may, which the first one is safe from.

What is new since a pass stands at one end of a list that is in the order of creation: a look there costs one call or
two, however many jobs there are. Where the order is another one, each look is a whole pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from connectors.email_security import EmailSecurity, JobPage
from connectors.objects.api_object import uuid_of
from connectors.objects.job import ActionType, BulkJob
from connectors.paging.pages import LARGEST_PAGE
from core.clock import CLOCK_SKEW
from core.errors import PackError, UnexpectedAnswer
from core.instants import parse_instant
from remediation.stamp import Stamp, StampKey

# Passes before a list that never shows the same jobs twice is taken as it is. A job would have to be hidden in each.
MOST_PASSES = 4
# Rows on a page from the third pass on: where jobs come and go all the time, the one at the border of two pages can be
# the same in each pass. Other borders show it.
OTHER_PAGE = 900
# A look at the new end reads back over so many jobs that were known: others' jobs may have shown before an older one.
KNOWN_ROWS_READ = 50

# Where new jobs show: at the front, at the back, at one of the two; None where jobs are in no order of creation.
NewEnd = Literal["front", "back", "either"]

Bearers = list[tuple[BulkJob, Stamp]]


@dataclass
class Look:
    """What one look showed.

    bearers: the jobs with the intent's key or plan, the earliest first. own: the row of the job that was asked for, as
    the API sent it. unmarked: rows of the time since `JobLooks.post_follows` that have no stamp.
    """

    bearers: Bearers = field(default_factory=list)
    own: dict[str, Any] | None = None
    unmarked: list[dict[str, Any]] = field(default_factory=list)

    def then(self, later: Look) -> Look:
        """Return the later look, with what this one showed too."""
        seen = {job.job_id: (job, stamp) for job, stamp in (*self.bearers, *later.bearers)}
        return Look(in_order(seen.values()), later.own or self.own, _each_once([*self.unmarked, *later.unmarked]))


def _each_once(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({uuid_of(row.get("job_id")) or id(row): row for row in rows}.values())


class JobLooks:
    """Looks for one stamp. action: what its job does."""

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
        self._shape = _Shape()
        self._read_at = 0.0
        # Since when a row without a stamp may be the job of a POST whose answer was lost, where no look came before it;
        # else such a row is one that was not there before.
        self._posted_at: datetime | None = None
        self._known_at_post: set[str] | None = None
        # What the pages showed that were read before a look failed.
        self.broken_off = Look()

    def post_follows(self) -> None:
        """Note that a POST is about to be sent. From now on rows without a stamp are looked at: one may be its job."""
        self._posted_at = self._api.clock.now() - CLOCK_SKEW
        self._known_at_post = self._known if self._passes else None

    @property
    def age_seconds(self) -> float:
        """How long ago the end of the list where new jobs show was read last."""
        return self._api.clock.monotonic() - self._read_at

    @property
    def can_be_renewed(self) -> bool:
        """Whether a look at the new end costs less than a pass."""
        return self._shape.new_end in ("front", "back")

    @property
    def has_one_page(self) -> bool:
        """Whether the last pass showed all jobs on one page."""
        return self._shape.is_one_page

    def read_all(
        self,
        own_id: str | None = None,
        *,
        filtered: bool = False,
        per_page: int = LARGEST_PAGE,
        backwards: bool = False,
    ) -> Look:
        """Make one pass over the list. filtered: ask for jobs of this action only."""
        before, shape, known = self._known, _Shape(backwards=backwards), set[str]()
        began = self._api.clock.monotonic()
        shown = _Shown(self, own_id)
        # A filter takes rows away: the page after the last one without it is the furthest that is worth fetching.
        same_pages = self._passes and (filtered or not self._filtered) and per_page == self._per_page
        last_page = self._shape.pages + 1 if same_pages else None
        if backwards:
            last_page = self._shape.page_behind(len(before))
        with self._noting(shown):
            for page in self._api.job_pages(
                action_type=self._action if filtered else None,
                last_page=last_page,
                per_page=per_page,
                backwards=backwards,
                full_page=self._shape.full_page,
            ):
                shape.take(page, self._api.clock.monotonic())
                known |= shown.take(page.items)
                if not page.items and last_page is not None and before <= known and not backwards:
                    # A pass before this one has found the end here, and every job of it has shown.
                    break
        shape.end()
        whole = not shape.has_hole and not self._shape.has_hole
        self._agreed = whole and before <= known if self._passes else shape.is_one_page
        # What the filter leaves out though an earlier pass showed it is lost by the filter, or deleted.
        self._passes, self._filtered, self._shape, self._known = self._passes + 1, filtered, shape, known
        self._any_hole, self._per_page = self._any_hole or shape.has_hole, per_page
        self._read_at = shape.read_at(began)
        return shown.look()

    def confirm(self, look: Look | None = None, own_id: str | None = None) -> Look:
        """Make passes until one shows every job of the pass before. One page needs no second pass.

        look: what the pass before showed.
        Raises: UnexpectedAnswer where the list keeps a page back: its jobs can't be known.
        """
        look = look or Look()
        while not self._agreed and self._passes < MOST_PASSES:
            # An empty page behind one of fewer rows than the most would be the end.
            per_page = LARGEST_PAGE if self._passes < 2 or self._any_hole else OTHER_PAGE
            backwards, filtered = self._passes % 2 == 1, self._passes == 1
            look = look.then(self.read_all(own_id, filtered=filtered, per_page=per_page, backwards=backwards))
        if self._any_hole and not self._agreed and not look.bearers:
            raise UnexpectedAnswer(
                "the list of jobs has an empty page in the middle: whether a job exists for this request is not known"
            )
        return look

    def read_again(self, own_id: str | None = None) -> Look:
        """Look through the whole list anew, as before a first POST."""
        self._passes, self._agreed, self._any_hole = 0, False, False
        return self.confirm(self.read_all(own_id, filtered=True), own_id)

    def read_new(self, own_id: str | None = None) -> Look:
        """Look where new jobs show; the whole list where that is not known."""
        if self._passes == 0 or self._shape.new_end is None:
            return self.read_all(own_id, filtered=True, backwards=self._passes % 2 == 1)
        began = self._api.clock.monotonic()
        shown = _Shown(self, own_id)
        with self._noting(shown):
            if self._shape.new_end in ("front", "either"):
                if self._read_front(shown):
                    return self.read_again(own_id)
                if self._shape.new_end == "either" and shown.own is not None:
                    self._shape.new_end = "front"
            if self._shape.new_end in ("back", "either"):
                self._read_back(shown)
                if self._shape.new_end == "either" and shown.own is not None:
                    self._shape.new_end = "back"
        self._read_at = began
        return shown.look()

    @contextmanager
    def _noting(self, shown: _Shown) -> Iterator[None]:
        try:
            yield
        except PackError:
            self.broken_off = shown.look()
            raise

    def _read_front(self, shown: _Shown) -> bool:
        """Whether the list, which had one page, has several now: no single pass over it proves anything."""
        one_page = self._shape.is_one_page
        ids = set[str]()
        for page in self._pages(first=1, last_page=1):
            shown.take(page.items)
            of_page = {str(item.get("job_id")).lower() for item in page.items}
            if one_page and ids and not of_page <= ids:
                return True
            ids |= of_page
            if not one_page and shown.known_rows >= KNOWN_ROWS_READ:
                return False
            if one_page and self._ends_list(page, shown):
                return False
        return False

    def _read_back(self, shown: _Shown) -> None:
        first, last_page = self._shape.page_before_last_rows(KNOWN_ROWS_READ), self._shape.page_behind(self._shape.rows)
        for page in self._pages(first=first, last_page=last_page, backwards=True):
            shown.take(page.items)

    def _ends_list(self, page: JobPage, shown: _Shown) -> bool:
        """Whether nothing follows the first page. Where the service does not say how many rows a page holds, a page
        that has the own job and all that were known is taken for all."""
        if page.per_page is not None:
            return bool(page.items) and self._shape.has_room(page)
        return shown.own is not None and shown.known_rows >= len(self._known)

    def _pages(self, *, first: int, last_page: int, backwards: bool = False) -> Iterable[JobPage]:
        return self._api.job_pages(
            action_type=self._action if self._filtered else None,
            first=first,
            last_page=last_page,
            per_page=self._per_page,
            backwards=backwards,
            full_page=self._shape.full_page,
        )

    def stamp_of(self, item: dict[str, Any]) -> Stamp | None:
        """Return the stamp in the row's comment; with CFES_PLAN_KEY only one that was made with it."""
        comment = item.get("comment")
        read = Stamp.read(comment if isinstance(comment, str) else None)
        if read is None:
            return None
        read = self._stamp.recognised(read)
        if self._stamp_key is None or read.is_authentic(self._api.connection.account_id, self._stamp_key):
            return read
        return None

    def bearer(self, item: dict[str, Any]) -> tuple[BulkJob, Stamp] | None:
        """Return the row's job and stamp where the stamp has the intent's key or plan."""
        comment = item.get("comment")
        # Most rows are of other intents: their stamps are not read.
        if not isinstance(comment, str) or not any(digest in comment for digest in self._sought):
            return None
        found = self.stamp_of(item)
        if found is None or not (found.key == self._stamp.key or self._stamp.same_plan(found)):
            return None
        return BulkJob.read(item, "a job in the list"), found

    def is_known(self, job_id: str) -> bool:
        return job_id in self._known

    def may_be_lost(self, item: dict[str, Any]) -> bool:
        """Whether the row is of the time of this call's POST, and has no stamp."""
        if self._posted_at is None:
            return False
        if self._known_at_post is None:
            is_new = created_at(item.get("created_at")) >= self._posted_at
        else:
            # By no clock: this machine's may be wrong by hours.
            is_new = uuid_of(item.get("job_id")) not in self._known_at_post
        return is_new and self.stamp_of(item) is None

    def may_be_of_action(self, item: dict[str, Any]) -> bool:
        return item.get("action_type") in (None, self._action)


class _Shown:
    """The rows of one look, taken in page by page."""

    def __init__(self, looks: JobLooks, own_id: str | None) -> None:
        self._looks = looks
        self._own_id = own_id
        self._bearers: dict[str, tuple[BulkJob, Stamp]] = {}
        self._unmarked: list[dict[str, Any]] = []
        self._known: set[str] = set()
        self.own: dict[str, Any] | None = None

    @property
    def known_rows(self) -> int:
        """How many jobs of the last pass showed again."""
        return len(self._known)

    def take(self, items: list[dict[str, Any]]) -> set[str]:
        """Take a page's rows in. Return the IDs of those that may do what the intent's job does.

        Other jobs are not even read: a malformed one blocks nobody.
        """
        ids = set()
        for item in items:
            job_id = uuid_of(item.get("job_id"))
            if job_id is not None and self._looks.may_be_of_action(item):
                ids.add(job_id)
            known = job_id is not None and self._looks.is_known(job_id)
            if known and job_id is not None:
                self._known.add(job_id)
            if job_id is not None and job_id == self._own_id:
                self.own = item
            bearer = self._looks.bearer(item)
            if bearer is not None:
                self._bearers[bearer[0].job_id] = bearer
            elif self._looks.may_be_lost(item):
                self._unmarked.append(item)
        return ids

    def look(self) -> Look:
        return Look(in_order(self._bearers.values()), self.own, self._unmarked)


class _Shape:
    """How a list is laid out, learnt in one pass over it. backwards: the pass goes from the last page to the first."""

    def __init__(self, *, backwards: bool = False) -> None:
        self._backwards = backwards
        # Rows of each page, up to the last one that has any.
        self._sizes: list[int] = []
        self._empty = 0
        self._times: list[float] = []
        self._told: int | None = None
        self._rises = self._falls = self._by_id = True
        self._last: tuple[object, str] | None = None
        self._decided: NewEnd | None = None

    def take(self, page: JobPage, at: float) -> None:
        self._times.append(at)
        if not page.items:
            # Before the first job of a pass backwards lies what is behind the list's end.
            self._empty += 1 if self._sizes or not self._backwards else 0
            return
        self._sizes += [0] * self._empty + [len(page.items)]
        self._empty = 0
        self._told = page.per_page
        for item in reversed(page.items) if self._backwards else page.items:
            here = (item.get("created_at"), str(item.get("job_id")).lower())
            if self._last is not None and here[1] != self._last[1]:
                one, other = (here, self._last) if self._backwards else (self._last, here)
                order = _compared(one[0], other[0])
                self._rises = self._rises and order <= 0
                self._falls = self._falls and order >= 0
                self._by_id = self._by_id and one[1] <= other[1]
            self._last = here

    def end(self) -> None:
        """Note that the pass is over."""
        if self._backwards:
            self._sizes = [0] * self._empty + self._sizes[::-1]

    @property
    def pages(self) -> int:
        """The number of the last page that has jobs."""
        return len(self._sizes)

    @property
    def has_hole(self) -> bool:
        """Whether an empty page came before one with jobs: the jobs of that page were kept back."""
        return 0 in self._sizes

    @property
    def is_one_page(self) -> bool:
        """Whether all jobs were on one page, which had room for more as far as the service says."""
        return not self._sizes or (len(self._sizes) == 1 and (self._told is None or self._sizes[0] < self._told))

    @property
    def new_end(self) -> NewEnd | None:
        """Where jobs that are made after the pass show."""
        if self._decided is not None:
            return self._decided
        if self.is_one_page or (self._falls and not self._rises):
            return "front"
        if self._rises and not self._falls:
            return "back"
        return "either" if self._rises and not self._by_id else None

    @new_end.setter
    def new_end(self, end: NewEnd) -> None:
        self._decided = end

    @property
    def full_page(self) -> int:
        """How many jobs are on a page that others may follow, as far as one pass shows."""
        return max(self._told or 0, *self._sizes, 1)

    def has_room(self, page: JobPage) -> bool:
        """Whether the page is shorter than its service makes pages, and so the last one."""
        largest = max(self._sizes[:-1], default=page.per_page or 0)
        return len(page.items) < (page.per_page or largest)

    def page_before_last_rows(self, rows: int) -> int:
        """Return the last page from which on there are so many rows."""
        page = len(self._sizes)
        while page > 1 and sum(self._sizes[page - 1 :]) < rows:
            page -= 1
        return max(page, 1)

    def page_behind(self, rows: int) -> int:
        """Return the page that has what follows so many jobs."""
        return rows // self.full_page + 1

    @property
    def rows(self) -> int:
        """How many jobs there were."""
        return sum(self._sizes)

    def read_at(self, began: float) -> float:
        """Return when the new end was read: at the pass's beginning, but for a list that grows where the pass ends."""
        if self.new_end != ("front" if self._backwards else "back") or len(self._times) < 3:
            return began
        # Pages are fetched ahead: the last ones may be as old as those that were taken in well before them.
        return self._times[-min(len(self._times), 10)]


def in_order(bearers: Iterable[tuple[BulkJob, Stamp]]) -> Bearers:
    """Sort jobs by when they were made; those of one instant by job ID. All workers share this order."""
    return sorted(bearers, key=lambda pair: (created_at(pair[0].created_at), pair[0].job_id))


def _compared(one: object, other: object) -> int:
    """Return -1, 0 or 1: whether the first instant is before the second. Of one form, they are not even parsed."""
    if isinstance(one, str) and isinstance(other, str) and len(one) == len(other) and one[-1:] == other[-1:] == "Z":
        return (one > other) - (one < other)
    first, second = created_at(one), created_at(other)
    return (first > second) - (first < second)


def created_at(value: object) -> datetime:
    """Return the instant; the end of all time for what is none."""
    try:
        return parse_instant(value)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
