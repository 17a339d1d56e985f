"""What goes wrong in a case: the faults of the operations that its actions call, drawn from its seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

Fields = dict[str, Any]

LOOKS = ("searchMessages", "getMessage", "listMessageActions")
READS = ("listBulkJobs", "listBulkJobs", "searchMessages", "getBulkJob", "listBulkJobMessages")
WRITES = ("createBulkJob", "createBulkJob", "createBulkJob", "cancelBulkJob", "deleteBulkJob")
SERVER_ERRORS = (408, 500, 502, 503, 504, 520)


def faults(chance: random.Random, intents: int, changes: Sequence[str]) -> tuple[Fields, ...]:
    """The faults of a case with so many intents. changes: the operations of those that go by ID."""
    chosen = [_fault(chance, intents, changes) for _ in range(chance.choice((0, 1, 2, 3, 3, 4, 5, 6, 8)))]
    if chance.random() < 0.45:
        chosen.append({"operation": "listBulkJobs", "kind": "lag", "seconds": chance.uniform(0.2, 10)})
    if chance.random() < 0.2:
        chosen.append({"operation": chance.choice(("listBulkJobs", "listBulkJobMessages")), "kind": "cursor"})
    return tuple(chosen)


def _fault(chance: random.Random, intents: int, changes: Sequence[str]) -> Fields:
    """One that is over after some calls: every intent comes to an end."""
    by_id = chance.random() < len(changes) / intents
    if chance.random() < 0.25:
        return {**_when(chance), **_shaping(chance, changes if by_id else ())}
    writes = chance.random() < 0.6
    pool = (changes if writes else LOOKS) if by_id else (WRITES if writes else READS)
    operation = chance.choice(pool) if chance.random() < 0.95 else "*"
    applied = chance.random() < 0.5
    retry_after = chance.choice((1, 5, 30, 60, 290))
    fault = chance.choice(
        (
            {"kind": "drop_before", "reset": chance.random() < 0.5},
            {"kind": "drop_after", "reset": chance.random() < 0.5},
            {"kind": "drop_after", "reset": chance.random() < 0.5},
            {"kind": "status", "status": chance.choice(SERVER_ERRORS), "applied": applied},
            {"kind": "status", "status": 503, "retry_after": retry_after, "applied": applied},
            {"kind": "html", "status": chance.choice(SERVER_ERRORS), "applied": applied},
            {"kind": "truncate", "keep": chance.choice((None, 0, 7))},
            {"kind": "cut_json", "keep": chance.choice((None, 0, 7))},
            {"kind": "rate_limit", "retry_after": retry_after, "block": False},
            {"kind": "rate_limit", "retry_after": retry_after, "block": True},
            {"kind": "success_false", "applied": applied},
            {"kind": "status", "status": chance.choice((400, 403, 409)), "applied": False},
            {"kind": "address_denied"},
        )
    )
    when = _when(chance)
    if by_id and not writes:
        # A look takes a search for each minute in which messages came, and there is one before the POST.
        when["after"] = chance.choice((0, 3, 8, 15, 25, 40))
    # A few more calls than a read is tried again: only then does it fail.
    long = not writes and chance.random() < 0.4
    return {"operation": operation, **fault, **when, **({"times": chance.randrange(4, 9)} if long else {})}


def _when(chance: random.Random) -> Fields:
    return {"times": chance.choice((1, 1, 2, 3)), "after": chance.choice((0, 0, 0, 1, 2, 4, 7))}


def _shaping(chance: random.Random, changes: Sequence[str]) -> Fields:
    if changes:
        return chance.choice(
            (
                {"operation": "searchMessages", "kind": "slow_search", "seconds": chance.choice((1.0, 5.0, 90.0))},
                {"operation": "*", "kind": "notice"},
                {"operation": chance.choice(changes), "kind": "rewrite", "set": {"message_id": None}},
                {"operation": "listMessageActions", "kind": "rewrite", "remove": ["properties"], "times": 60},
            )
        )
    return chance.choice(
        (
            {"operation": "searchMessages", "kind": "slow_search", "seconds": chance.choice((1.0, 5.0, 90.0))},
            {"operation": "*", "kind": "notice"},
            {"operation": "listBulkJobMessages", "kind": "empty_page"},
            {"operation": "listBulkJobMessages", "kind": "shift_rows", "by": chance.choice((-3, -1, 1, 4))},
            {"operation": "listBulkJobs", "kind": "shift_rows", "by": chance.choice((1, 2, 1000))},
            {"operation": "createBulkJob", "kind": "fail_job", "rows": chance.choice((0, 3))},
            {"operation": "getBulkJob", "kind": "rewrite", "set": {"new_field": [1]}, "remove": ["messages_skipped"]},
            {"operation": "listBulkJobs", "kind": "rewrite", "set": {"action_params": None}, "remove": ["started_at"]},
        )
    )
