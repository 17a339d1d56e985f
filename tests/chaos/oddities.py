"""A service that is not as it should be: what its lists and jobs show, and how its answers come, drawn from the seed.

The sandbox stays faithful; tests.chaos.odd_service plays these between it and the worker.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

Fields = dict[str, Any]

Place = Literal["list", "create", "get"]
Order = Literal["latest first", "earliest first", "by job ID"]

# How a comment is shown from which the stamp can't be read; and how one from which it can.
LOST_STAMPS = ("null", "cut", "padded", "upper case", "full width")
KEPT_STAMPS = ("padded behind", "cut behind the stamp")
PLACES: tuple[tuple[Place, ...], ...] = (("list",), ("list",), ("create",), ("get",), ("list", "create", "get"))

# What an answer says against itself.
CONTRADICTIONS = (
    "4xx with a success",
    "2xx with a failure",
    "5xx with a success",
    "redirect",
    "success without a result",
)
CONTRADICTED_WRITES = ("createBulkJob", "createBulkJob", "createBulkJob", "cancelBulkJob", "deleteBulkJob")

# An answer that takes its time: its head never ends; its body never does; it is late, and comes.
ENDLESS_HEADS = ("1xx without end", "header lines without end")
ENDLESS_BODIES = ("chunk extension without end", "body without end", "trailers without end")
LATE = ("late head", "trickled body")
SLOW_OPERATIONS = (
    *("createBulkJob", "createBulkJob", "listBulkJobs", "listBulkJobs", "getBulkJob"),
    *("cancelBulkJob", "deleteBulkJob", "searchMessages", "listBulkJobMessages"),
)


@dataclass(frozen=True)
class LostStamp:
    """How comments are shown, and in which answers."""

    form: str
    places: tuple[Place, ...]

    @property
    def is_lost_in_list(self) -> bool:
        return self.form in LOST_STAMPS and "list" in self.places


@dataclass(frozen=True)
class OddAnswer:
    """The answers of an operation that are odd: after so many, so many of them.

    form: one of the names above. applied: whether the request took effect. seconds: for those that are late.
    """

    operation: str
    form: str
    applied: bool
    after: int
    times: int
    seconds: float = 0.0
    status: int = 0


@dataclass(frozen=True)
class Oddities:
    """All of one case.

    churn: how many jobs of others come or go between two pages of a list. jumps: how many rows move up between two.
    repeats_page: a list gives its first page for every number. repeats_rows: a row comes twice on a page.
    odd_case: where job IDs are shown in another case. whole_seconds: created_at has no fraction.
    dates: Retry-After is a date; "alone" without the answer's own date.
    """

    order: Order = "latest first"
    churn: int = 0
    jumps: int = 0
    repeats_page: bool = False
    repeats_rows: bool = False
    odd_case: tuple[Place, ...] = ()
    stamp: LostStamp | None = None
    whole_seconds: bool = False
    contradictions: tuple[OddAnswer, ...] = ()
    slow: tuple[OddAnswer, ...] = ()
    dates: Literal["no", "with date", "alone"] = "no"
    retry_after: int | str | None = None

    @property
    def needs_pages(self) -> bool:
        """Whether it shows only in a list of several pages."""
        return bool(self.churn or self.jumps)

    @property
    def loses_stamps(self) -> bool:
        """Whether no look at the list can recognise a job."""
        return self.stamp is not None and self.stamp.is_lost_in_list

    @property
    def loses_stamps_of_jobs(self) -> bool:
        """Whether a job by its ID is shown without its stamp."""
        return self.stamp is not None and self.stamp.form in LOST_STAMPS and "get" in self.stamp.places

    def faults(self, chance: random.Random) -> list[Fields]:
        """Those that the sandbox plays itself, as its faults."""
        played: list[Fields] = []
        if self.repeats_page:
            played.append({"operation": "listBulkJobs", "kind": "repeat_page"})
        for _ in range(self.jumps):
            moved = {"by": chance.choice((-1, -1, -2)), "after": chance.randrange(12)}
            played.append({"operation": "listBulkJobs", "kind": "shift_rows", **moved})
        if self.retry_after is not None:
            operation = chance.choice(("listBulkJobs", "createBulkJob", "createBulkJob", "getBulkJob", "*"))
            refusal = chance.choice(({"kind": "rate_limit"}, {"kind": "status", "status": 503}))
            when = {"times": chance.choice((1, 2, 5)), "after": chance.choice((0, 0, 1, 4))}
            played.append({"operation": operation, **refusal, "retry_after": self.retry_after, **when})
        return played


KINDS = (
    *("order", "order", "hidden", "hidden", "jumps", "repeated rows", "repeated page", "case", "stamp", "stamp"),
    *("seconds", "seconds", "contradiction", "contradiction", "contradiction", "slow", "slow", "slow", "retry after"),
)


def drawn_oddities(chance: random.Random, changes: tuple[str, ...], writes: tuple[str, ...]) -> Oddities:
    """Draw those of one case. changes: the operations of the intents that go by ID. writes: of what follows a job."""
    if chance.random() < 0.3:
        return Oddities()
    kinds = {chance.choice(KINDS) for _ in range(chance.choice((1, 1, 2, 3)))}
    if changes and chance.random() < 0.6:
        kinds.add("contradiction")
    contradictions = _some(chance, _contradiction, (*changes, *writes)) if "contradiction" in kinds else ()
    if changes and contradictions:
        # By ID both are in one case: what was done, and what was not.
        contradictions += (replace(contradictions[0], applied=not contradictions[0].applied),)
    hidden = "hidden" in kinds
    stamp: LostStamp | None = None
    if "stamp" in kinds:
        stamp = LostStamp(chance.choice(LOST_STAMPS + KEPT_STAMPS), chance.choice(PLACES))
    order: Order = "latest first"
    if kinds & {"order", "hidden", "jumps"}:
        order = chance.choice(("earliest first", "earliest first", "by job ID", "latest first"))
    return Oddities(
        order=order,
        churn=chance.choice((1, 2, 4)) if hidden else 0,
        jumps=1 if "jumps" in kinds and not hidden else 0,
        # In small pages the rows behind the first one would never show, to nobody.
        repeats_page="repeated page" in kinds and not kinds & {"hidden", "jumps"},
        repeats_rows="repeated rows" in kinds,
        odd_case=chance.choice(PLACES) if "case" in kinds else (),
        stamp=stamp,
        whole_seconds="seconds" in kinds,
        contradictions=contradictions,
        slow=_some(chance, _slow, changes) if "slow" in kinds else (),
        dates=chance.choice(("with date", "with date", "alone")) if "retry after" in kinds else "no",
        retry_after=chance.choice((0, 0, 1, 20, "soon", "-3")) if "retry after" in kinds else None,
    )


def _some(
    chance: random.Random, draw: Callable[[random.Random, tuple[str, ...]], OddAnswer], changes: tuple[str, ...]
) -> tuple[OddAnswer, ...]:
    return tuple(draw(chance, changes) for _ in range(chance.choice((1, 1, 2))))


def _contradiction(chance: random.Random, changes: tuple[str, ...]) -> OddAnswer:
    form = chance.choice(CONTRADICTIONS)
    statuses = {
        "4xx with a success": (400, 401, 403, 404, 409, 422, 429),
        "5xx with a success": (500, 502, 503, 520),
        "redirect": (301, 302, 303, 307, 308),
    }.get(form, (200, 201))
    return OddAnswer(
        operation=chance.choice((*CONTRADICTED_WRITES, *changes * 4)),
        form=form,
        applied=chance.random() < 0.5,
        after=chance.choice((0, 0, 0, 1)),
        times=chance.choice((1, 1, 1, 2, 3)),
        status=chance.choice(statuses),
    )


def _slow(chance: random.Random, changes: tuple[str, ...]) -> OddAnswer:
    return OddAnswer(
        operation=chance.choice((*SLOW_OPERATIONS, *changes * 5)),
        form=chance.choice((*ENDLESS_HEADS, *ENDLESS_BODIES, *LATE)),
        # A request whose answer never ends may not have been carried out either.
        applied=chance.random() < 0.6,
        after=chance.choice((0, 0, 1, 3, 6)),
        times=chance.choice((1, 1, 2, 3)),
        seconds=chance.choice((2.0, 9.0, 25.0)),
    )
