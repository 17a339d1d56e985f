"""What one bad day of an export is made of, drawn from its seed and number: a job, its faults, and who exports it how.

Left out, because no client could tell the lie from the truth: rows that hide while the job's counters are lowered by as
many, and rows of an ended job that change.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Literal

from tests.chaos.bad_days import SERVER_ERRORS, Fields

Kind = Literal["inline", "file", "zip", "folder"]

# Of a process's own steps; those of the threads that fetch ahead have no order.
Step = Literal["request", "file"]
What = Literal["killed before", "killed after", "disk full"]

# Faults of the service that hide rows or miscount them for a while: the only reasons for an export to be incomplete.
LOSING = frozenset({"empty_page", "shift_rows", "rewrite"})


@dataclass(frozen=True)
class Mishap:
    """What befalls the process at step `at` of one kind, counted over all calls."""

    of: Step
    at: int
    what: What


@dataclass(frozen=True)
class Day:
    """settings, pace: of the sandbox. faults: fields of sandbox.faults.Fault.

    page_size: what the pack takes for the service's largest page. ages: for how long the job had run when the export
    began. gap: seconds between two calls. params: of export-job-messages, but for the job and the destination.
    """

    name: str
    settings: Fields
    pace: Fields
    faults: tuple[Fields, ...]
    page_size: int
    pages_ahead: int
    age: float
    cancelled_after: float | None
    gap: float
    kind: Kind
    params: Fields
    mishaps: tuple[Mishap, ...]

    @property
    def file_name(self) -> str:
        """The destination's name; empty for an inline export."""
        suffix = {"file": f".{self.params.get('format')}", "zip": ".zip", "folder": "", "inline": None}[self.kind]
        return "" if suffix is None else f"case{suffix}"


def drawn(seed: int, number: int) -> Day:
    """Day `number` of `seed`."""
    name = f"{seed}/{number}"
    chance = random.Random(f"export {name}")
    kind: Kind = chance.choices(("file", "zip", "folder", "inline"), (60, 18, 10, 12))[0]
    return Day(
        name=name,
        settings={
            "seed": chance.randrange(1000),
            "messages": chance.randrange(20, 60),
            "campaign_size": chance.choice((1, 10, 30, 60, 60, chance.randrange(1, 70))),
            "late_copies": chance.choice((0, 0, 5)),
            "late_every": 0.7,
            "quota": 30 if chance.random() < 0.1 else 1200,
            "row_order": chance.choice(("discovery", "recent")),
            "permanent_failures": chance.choice((0.0, 0.1, 0.5)),
            "transient_failures": chance.choice((0.0, 0.2)),
        },
        pace={"start_delay": 1.0, "discover_rate": 30.0, "process_rate": chance.choice((3.0, 20.0))},
        faults=tuple(_fault(chance) for _ in range(chance.choice((0, 1, 2, 3, 4, 6)))),
        page_size=chance.choice((3, 3, 5, 10, 1000)),
        pages_ahead=chance.choice((0, 0, 1, 8)),
        age=chance.choice((1000.0, chance.uniform(0, 15))),
        cancelled_after=chance.uniform(0, 8) if chance.random() < 0.15 else None,
        gap=chance.choice((0.0, 3.0, 10.0, 400.0)),
        kind=kind,
        params=_params(chance, kind),
        mishaps=_mishaps(chance, kind),
    )


def _params(chance: random.Random, kind: Kind) -> Fields:
    params: Fields = {}
    if kind == "file":
        params["format"] = chance.choices(("ndjson", "csv", "json", "parquet"), (50, 24, 24, 2))[0]
    elif kind == "inline":
        params |= {"inline_limit_bytes": 5_000_000, "format": chance.choice(("ndjson", "json"))}
    else:
        params["evidence"] = "bundle"
    if chance.random() < 0.25:
        params["status"] = chance.choice(("COMPLETED", "FAILED", "SKIPPED", "CANCELLED", "PENDING"))
    if chance.random() < 0.3:
        params["require_complete"] = False
    if chance.random() < 0.15:
        params["pseudonymize"] = True
    if kind != "inline" and chance.random() < 0.4:
        params["time_budget_seconds"] = chance.choice((0.4, 1.0, 2.0, 30.0))
    return params


def _mishaps(chance: random.Random, kind: Kind) -> tuple[Mishap, ...]:
    if kind == "inline":
        return ()
    steps: tuple[tuple[Step, int, tuple[What, ...]], ...] = (
        ("request", 12, ("killed before", "killed after")),
        ("file", 30, ("killed before", "killed after", "disk full")),
        ("file", 10, ("killed before", "killed after", "disk full")),
    )
    chosen = [chance.choice(steps) for _ in range(chance.choice((0, 0, 0, 1, 1, 2)))]
    return tuple(Mishap(step, chance.randrange(within), chance.choice(kinds)) for step, within, kinds in chosen)


def _fault(chance: random.Random) -> Fields:
    """One that is over after some calls: every export comes to an end."""
    when = {"times": chance.choice((1, 1, 2, 3, 6)), "after": chance.choice((0, 0, 1, 2, 4, 7, 11))}
    rows: Fields = {"operation": "listBulkJobMessages"}
    if chance.random() < 0.4:
        shaping: tuple[Fields, ...] = (
            {"kind": "empty_page"},
            {"kind": "shift_rows", "by": chance.choice((-7, -3, -1, 1, 2, 9))},
            {"kind": "cursor"},
            {"kind": "notice"},
        )
        counters: Fields = chance.choice(({"total_messages_discovered": 9_999}, {"messages_failed": 1}, {"new": [1]}))
        miscounted: Fields = {"operation": "getBulkJob", "kind": "rewrite", "set": counters}
        return {**rows, **when, **chance.choice((*shaping, miscounted))}
    retry_after = chance.choice((1, 5, 60, 290))
    wire: tuple[Fields, ...] = (
        {"kind": "drop_before", "reset": chance.random() < 0.5},
        {"kind": "drop_after", "reset": chance.random() < 0.5},
        {"kind": "status", "status": chance.choice(SERVER_ERRORS)},
        {"kind": "status", "status": 503, "retry_after": retry_after},
        {"kind": "html", "status": chance.choice(SERVER_ERRORS)},
        {"kind": "truncate", "keep": chance.choice((None, 0, 700))},
        {"kind": "cut_json", "keep": chance.choice((None, 0, 700))},
        {"kind": "rate_limit", "retry_after": retry_after, "block": chance.random() < 0.5},
        {"kind": "success_false"},
        {"kind": "status", "status": chance.choice((400, 403, 404))},
        {"kind": "address_denied"},
    )
    operation = chance.choices(("listBulkJobMessages", "getBulkJob", "*"), (75, 20, 5))[0]
    return {"operation": operation, **when, **chance.choice(wire)}


def told(day: Day) -> list[str]:
    """The day in words."""
    facts: dict[str, Any] = {name: value for name, value in vars(day).items() if name != "faults"}
    faults = [", ".join(f"{name} {value}" for name, value in fault.items()) for fault in day.faults]
    return [*(f"{name}: {value}" for name, value in facts.items()), *faults]
