"""What one case is made of, drawn from its seed and number: a world, its faults, intents, and who works on them.

Left out, because no client could tell the lie from the truth:
- `delay`: real time. A dropped answer, told to the client as a timeout, stands for it.
- `empty_page` in the list of jobs and in the message search: an empty last page reads like the end. In a job's rows it
  is played: there the job's counters prove what is missing.
- rows that are hidden from each pass over the list of jobs (`repeat_page` in small pages, the same row every time): two
  passes that agree are all the proof there is. Rows hidden from one pass are played. A pass that shows a later job of
  the intent, which had ended before anybody could cancel it, needs no second one: the result may name that job.
- 4xx with `applied` that does not contradict itself: by the contract a refusal changed nothing.
- `created_at` without an order: only its fraction is lost.
- a worker's own job deleted while another call looks for its own, on pages that are cut small.
- rows of a release that lack some recipients, and a message search that shows a change only later: the sandbox tells
  all and at once.
- a job deleted and its key used again: whoever deletes the job takes back the journal's entry.
- a wall clock that jumps where a plan is made or used: a plan ends with the clock that it was made by, and is refused
  by another.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Literal

from tests.chaos.bad_days import Fields, faults
from tests.chaos.oddities import Oddities, drawn_oddities
from tests.red_team.forging import FORGERIES

Action = Literal["create-move-job", "release-job", "move-messages", "release-messages"]
FollowUp = Literal["wait-for-job", "export-job-messages", "cancel-job", "delete-job"]

# Whose plan a worker hands over: none, one of its own, or one that all workers of the intent were given.
Planning = Literal["none", "own", "shared"]

SENDER = "billing@invoice-portal.example"
HELD_SENDER = "statements@partner-bank.example"
WINDOW = "2026-11-13T15:32:35Z"

# The actions that change messages by their IDs, without a job, and the operation of each.
BY_ID = {"move-messages": "moveMessages", "release-messages": "releaseMessages"}
FOLLOW_UP_WRITES = {"cancel-job": "cancelBulkJob", "delete-job": "deleteBulkJob"}


@dataclass(frozen=True)
class Kill:
    """kill -9 at a worker's request number `at`, over all its calls: before it is sent, or before its answer."""

    at: int
    sent: bool


@dataclass(frozen=True)
class Worker:
    """One orchestrator.

    variant: which of its intent's requests it asks for. jump: at which request, by how much the wall clock is set.
    discovery_limit: what wait-for-job lets the job discover. forgery: how it forges the plan that it was given, before
    it uses the honest one.
    """

    name: str
    variant: int
    starts: float
    follow_ups: tuple[FollowUp, ...]
    kills: tuple[Kill, ...]
    jump: tuple[int, float] | None
    deadline_seconds: float | None
    planning: Planning
    discovery_limit: int | None
    forgery: str | None = None


@dataclass(frozen=True)
class Naming:
    """Which messages a request names by their IDs: a part of those that the change is for, and others.

    suspect: also what a release is refused for, unless it is allowed. unfit: so many that the change can't be made to.
    missing: IDs that no message has. late: also copies that arrive later. repeated: so many named twice.
    """

    seed: int
    part: float
    suspect: bool
    unfit: int
    missing: int
    late: bool
    repeated: int


@dataclass(frozen=True)
class Intent:
    """One thing to be done once.

    requests: the parameters of each variant; more than one is a key used for two requests, a plan under two keys, or
    different parts of the same messages. namings: for each request by ID, the messages that it names. guarded: under a
    policy that takes sealed and approved plans only.
    """

    action: Action
    key: str | None
    requests: tuple[Fields, ...]
    workers: tuple[Worker, ...]
    capped: bool
    namings: tuple[Naming, ...] = ()
    guarded: bool = False

    @property
    def by_id(self) -> bool:
        return self.action in BY_ID

    @property
    def shares_plan(self) -> bool:
        return any(worker.planning == "shared" for worker in self.workers)


@dataclass(frozen=True)
class Schedule:
    """faults: fields of sandbox.faults.Fault. page_limit: the service gives no more than so many items a page.

    most_ids: the pack sends no more than so many IDs a call.
    """

    name: str
    settings: Fields
    pace: Fields
    faults: tuple[Fields, ...]
    intents: tuple[Intent, ...]
    foreign_jobs: int
    page_limit: int | None
    most_ids: int | None
    oddities: Oddities = field(default_factory=Oddities)

    @property
    def lag_seconds(self) -> float:
        return max((fault["seconds"] for fault in self.faults if fault["kind"] == "lag"), default=0.0)


def drawn(seed: int, number: int) -> Schedule:
    """Case `number` of `seed`."""
    name = f"{seed}/{number}"
    chance = random.Random(name)
    page_limit = chance.choice((2, 3, 5)) if chance.random() < 0.2 else None
    intents = tuple(
        _intent(chance, f"case-{name}-{place}", place, may_delete=page_limit is None)
        for place in range(2 if chance.random() < 0.2 else 1)
    )
    plain = Schedule(
        name=name,
        settings={
            "seed": chance.randrange(1000),
            "messages": chance.randrange(60, 120),
            "campaign_size": chance.randrange(8, 30),
            "late_copies": chance.choice((0, 0, 3, 8)),
            "late_every": chance.choice((1.0, 5.0, 20.0)),
            "quota": 80 if chance.random() < 0.1 else 1200,
            "row_order": chance.choice(("discovery", "recent")),
            "slow_search_seconds": chance.choice((0.0, 0.0, 0.0, 3.0)),
        },
        pace=chance.choice(
            (
                {},
                {"start_delay": chance.uniform(20, 200)},
                {"start_delay": 3.0, "discover_rate": 2.0, "process_rate": 1.0},
            )
        ),
        faults=faults(chance, len(intents), [BY_ID[intent.action] for intent in intents if intent.by_id]),
        intents=intents,
        foreign_jobs=chance.choice((0, 2, 6, 12)),
        page_limit=page_limit,
        most_ids=chance.choice((None, 3, 8)),
    )
    return _on_an_odd_service(plain)


def _on_an_odd_service(plain: Schedule) -> Schedule:
    """The case with its oddities. Of a draw of their own: they are beside everything else."""
    chance = random.Random(f"{plain.name}/oddities")
    follow_ups = {action for intent in plain.intents for worker in intent.workers for action in worker.follow_ups}
    writes = tuple(FOLLOW_UP_WRITES[action] for action in sorted(follow_ups) if action in FOLLOW_UP_WRITES)
    changes = tuple(BY_ID[intent.action] for intent in plain.intents if intent.by_id)
    odd = drawn_oddities(chance, changes, writes)
    played = replace(plain, oddities=odd, faults=(*plain.faults, *odd.faults(chance)))
    if odd.whole_seconds:
        # Jobs of one second: those who make them are there together.
        played = replace(played, intents=tuple(_at_once(chance, intent) for intent in played.intents))
    if odd.repeats_page:
        # In small pages the rows behind the first one would never show, to nobody.
        return replace(played, page_limit=None)
    if not odd.needs_pages or any("delete-job" in worker.follow_ups for one in plain.intents for worker in one.workers):
        return played
    return replace(played, page_limit=plain.page_limit or chance.choice((2, 3, 5)), foreign_jobs=12)


def _at_once(chance: random.Random, intent: Intent) -> Intent:
    workers = (replace(worker, starts=chance.uniform(0, 0.3)) for worker in intent.workers)
    return replace(intent, workers=tuple(workers))


def _intent(chance: random.Random, key: str, place: int, *, may_delete: bool) -> Intent:
    kinds = ("same", "conflict", "keyless", "shared plan", "plan under two keys", "by ID", "forged plan")
    kind = chance.choices(kinds, (50, 18, 14, 12, 6, 13, 12))[0]
    if kind == "by ID":
        return _by_id(chance, place)
    if kind == "forged plan":
        return _forged(chance, key, place)
    crowd = chance.choice((1, 2, 2, 3, 4, 5)) if kind in ("same", "shared plan") else chance.choice((1, 2, 3))
    if kind in ("conflict", "plan under two keys"):
        crowd += 1
    action: Action = "release-job" if place == 0 and chance.random() < 0.2 else "create-move-job"
    keyed = kind in ("same", "conflict", "plan under two keys") or (kind == "shared plan" and chance.random() < 0.3)
    requests = [_request(chance, action, key if keyed else None)]
    capped = chance.random() < 0.05
    if capped:
        requests[0]["max_messages"] = 1
    if kind == "plan under two keys":
        requests.append({**requests[0], "idempotency_key": f"{key}-again"})
    if kind == "conflict":
        other = {**requests[0], "search_params": {**requests[0]["search_params"], "recipient": "corp.example"}}
        if action == "create-move-job" and chance.random() < 0.5:
            other = {**requests[0], "destination": "Inbox", "allow_malicious": True}
        requests.append(other)
    shared = kind in ("shared plan", "plan under two keys")
    planners = 0.7 if chance.random() < 0.3 else 0.0
    return Intent(
        action=action,
        key=key if keyed else None,
        requests=tuple(requests),
        capped=capped,
        workers=tuple(
            _worker(
                chance,
                f"{'ABCD'[place]}{number}",
                number % len(requests),
                "shared" if shared else "own" if chance.random() < planners else "none",
                alone=crowd == 1 and may_delete,
            )
            for number in range(crowd)
        ),
    )


def _forged(chance: random.Random, key: str, place: int) -> Intent:
    """Workers under a policy that asks for approved plans. At least one forges the plan before using the honest one."""
    planning: Planning = chance.choice(("own", "shared"))
    workers = []
    for number in range(chance.choice((1, 2, 3))):
        worker = _worker(chance, f"{'ABCD'[place]}{number}", 0, planning, alone=False)
        forges = number == 0 or chance.random() < 0.5
        workers.append(replace(worker, forgery=chance.choice(sorted(FORGERIES)) if forges else None))
    request = _request(chance, "create-move-job", key if chance.random() < 0.7 else None)
    return Intent(
        action="create-move-job",
        key=request.get("idempotency_key"),
        requests=(request,),
        workers=tuple(workers),
        capped=False,
        guarded=True,
    )


def _by_id(chance: random.Random, place: int) -> Intent:
    """Workers who name the same messages, or different parts of them."""
    action: Action = "release-messages" if chance.random() < 0.35 else "move-messages"
    request: Fields = {"skip_done": False} if chance.random() < 0.15 else {}
    if action == "move-messages":
        request["destination"] = chance.choice(("JunkEmail", "DeletedItems", "Inbox"))
        if request["destination"] == "Inbox":
            request["allow_malicious"] = True
    elif chance.random() < 0.5:
        request["allow_malicious"] = True
    capped = chance.random() < 0.05
    if capped:
        request["max_messages"] = 1
    suspect = action == "move-messages" or "allow_malicious" in request or chance.random() < 0.3
    namings = tuple(_naming(chance, suspect=suspect) for _ in range(chance.choice((1, 1, 2))))
    workers = [
        _worker(chance, f"{'ABCD'[place]}{number}", number % len(namings), "none", alone=False, kills_within=30)
        for number in range(chance.choice((1, 2, 3)))
    ]
    return Intent(
        action=action,
        key=None,
        requests=(request,) * len(namings),
        workers=tuple(replace(worker, follow_ups=(), discovery_limit=None) for worker in workers),
        capped=capped,
        namings=namings,
    )


def _naming(chance: random.Random, *, suspect: bool) -> Naming:
    return Naming(
        seed=chance.randrange(1_000_000),
        part=chance.choice((1.0, 1.0, 0.5, 0.2)),
        suspect=suspect,
        unfit=chance.choice((0, 0, 0, 2)) if suspect else 0,
        missing=chance.choice((0, 0, 0, 1, 2)) if suspect else 0,
        late=chance.random() < 0.2,
        repeated=chance.choice((0, 0, 0, 1)),
    )


def _worker(
    chance: random.Random, name: str, variant: int, planning: Planning, *, alone: bool, kills_within: int = 14
) -> Worker:
    jump = (chance.randrange(12), chance.uniform(-90_000, 90_000)) if chance.random() < 0.2 else None
    return Worker(
        name=name,
        variant=variant,
        starts=chance.choice((0.0, 0.0, chance.uniform(0, 2), chance.uniform(0, 40))),
        follow_ups=_follow_ups(chance, alone=alone),
        kills=tuple(
            Kill(chance.randrange(kills_within), chance.random() < 0.6)
            for _ in range(chance.choice((0, 0, 0, 0, 1, 2)))
        ),
        jump=jump if planning == "none" else None,
        deadline_seconds=chance.uniform(35, 200) if chance.random() < 0.15 else None,
        planning=planning,
        discovery_limit=chance.choice((0, 3, 1000)) if chance.random() < 0.15 else None,
    )


def _request(chance: random.Random, action: Action, key: str | None) -> Fields:
    request: Fields = {"search_params": {"sender": SENDER, "start": WINDOW, "detections_only": False}}
    if action == "release-job":
        request["search_params"] = {"sender": HELD_SENDER, "start": WINDOW, "delivery_status": "quarantined"}
    else:
        request["destination"] = chance.choice(("JunkEmail", "DeletedItems"))
    if key is not None:
        request["idempotency_key"] = key
    if chance.random() < 0.5:
        request["max_messages"] = 1000
    if chance.random() < 0.5:
        request["comment"] = "case 42"
    return request


def _follow_ups(chance: random.Random, *, alone: bool) -> tuple[FollowUp, ...]:
    chosen: list[FollowUp] = []
    if chance.random() < 0.15:
        chosen.append("cancel-job")
    if chance.random() < 0.35 or chosen:
        chosen.append("wait-for-job")
    if "wait-for-job" in chosen and chance.random() < 0.5:
        chosen.append("export-job-messages")
    if "wait-for-job" in chosen and alone and chance.random() < 0.6:
        chosen.append("delete-job")
    return tuple(chosen)
