"""Whether one job stands for each intent, by the sandbox's own record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.findings import CREATES, Findings, in_order, is_not_sure
from tests.chaos.schedule import Intent
from tests.chaos.wire import Call, Made

KEY = "idempotency_key"
RUNNING = ("PENDING", "DISCOVERING", "PROCESSING")

# From the look that showed no job to the POST that made a twin. A list in small pages takes seconds to read.
WIDEST_RACE_SECONDS = 30.0

# A look that began so long after a job was in the list has to show it.
SURELY_SHOWN_SECONDS = 0.5

# What a job says of its search where the caller said nothing.
API_DEFAULTS = {"detections_only": True, "submissions": False}


def units(intent: Intent, calls: Sequence[Call]) -> list[list[Call]]:
    """The creates that stand for one job together: by key, by the plan that was shared, by a plan; else one call."""
    creates = [call for call in calls if call.action in CREATES]
    if intent.key is not None or intent.shares_plan:
        return [creates] if creates else []
    parted: dict[object, list[Call]] = {}
    for place, call in enumerate(creates):
        parted.setdefault(call.plan["plan_hash"] if call.plan else place, []).append(call)
    return list(parted.values())


@dataclass(frozen=True)
class Service:
    """What a service may keep from those who look.

    lag_seconds, loses_stamps, hides_rows: of its list. allows_few_calls: a look may have to wait in its middle.
    """

    lag_seconds: float
    loses_stamps: bool
    hides_rows: bool
    allows_few_calls: bool


def judge_jobs(intent: Intent, creates: Sequence[Call], found: Findings, service: Service, *, at_the_end: bool) -> None:
    """One job stands for these calls.

    at_the_end: after the calm call. Before it only what runs on beside the first job is wrong.
    """
    made = [one for call in creates for one in call.made]
    if at_the_end:
        if made and intent.capped:
            found.others.append(f"{len(made)} jobs were made in spite of the cap")
        for one in made:
            if not _does_what_was_asked(one):
                found.others.append(f"{one.job.job_id} does not do what {one.call.worker} asked for")
        found.worked_twice += sum(_processed(one) > 0 for one in made) > 1
    if not made:
        return
    if service.loses_stamps:
        _judge_unrecognised(intent, creates, made, found, at_the_end=at_the_end)
        return
    given_up = {effect.touched[0] for call in creates for effect in call.effects if effect.operation == "cancelBulkJob"}
    first, *later = in_order(made)
    if first.job.job_id in given_up:
        found.duplicates.append(f"the first job, {first.job.job_id}, was cancelled as a later one")
    if at_the_end:
        found.strays += _strays(creates, given_up)
    for twin in later:
        wrong = _mistreated(twin, first, creates, given_up) or _overlooked(twin, first, service)
        found.duplicates += wrong
        if not at_the_end or wrong:
            continue
        _count_later(twin, first, found, service, cancelled=twin.job.job_id in given_up)


def _count_later(twin: Made, first: Made, found: Findings, service: Service, *, cancelled: bool) -> None:
    """Count a later job that nobody could avoid; but not a race that was wider than any has to be."""
    done, race = _processed(twin), twin.at - (twin.looked_at or 0)
    found.stale_looks += twin.at - first.at > service.lag_seconds + 1
    if not service.allows_few_calls:
        found.widest_race_seconds = max(found.widest_race_seconds, race)
        if race > WIDEST_RACE_SECONDS:
            found.others.append(f"{twin.job.job_id} was made {race:.0f} s after the look that had shown no other")
    if cancelled:
        found.cancelled_twins += 1
        found.done_by_cancelled_twins += done
    else:
        found.ended_twins += 1
        found.done_by_ended_twins += done


def _processed(one: Made) -> int:
    return sum(one.job.counts[status] for status in ("COMPLETED", "FAILED", "SKIPPED"))


def _mistreated(twin: Made, first: Made, creates: Sequence[Call], given_up: set[str]) -> list[str]:
    """What is wrong with a later job: it could have been avoided, or was not stopped by those who saw it."""
    name, beside = twin.job.job_id, first.job.job_id
    seen = sorted(set(twin.shown or ()) & {one.job.job_id for call in creates for one in call.made})
    if seen:
        return [f"{name} was made although {', '.join(seen)} had been seen"]
    if first.call is twin.call:
        return [] if name in given_up else [f"{name} was made by the call that made {beside}"]
    if twin.looked_at is None:
        return [f"{name} was made without a look, beside {beside}"]
    if name in given_up:
        return []
    if not twin.job.ended:
        return [f"{name} runs on beside {beside}"]
    # Who has another key may not touch it.
    if any(_let_run(call, name, beside) for call in creates if call.asked.get(KEY) == twin.call.asked.get(KEY)):
        return [f"{name} was seen running beside {beside}, and left to itself"]
    return []


def _overlooked(twin: Made, first: Made, service: Service) -> list[str]:
    """A look that began when the first job was in the list had to show it.

    Where rows are hidden: one of the two looks that a call makes at least, if it began when the job was in the list.
    """
    since = (twin.call.began if service.hides_rows else twin.looked_at or 0.0) - first.at
    if first.at > twin.at or since <= service.lag_seconds + SURELY_SHOWN_SECONDS:
        return []
    return [f"{twin.job.job_id} was made by a look that began {since:.0f} s after {first.job.job_id} was there"]


def _strays(creates: Sequence[Call], given_up: set[str]) -> list[str]:
    """The results that name a job which was cancelled for another one, and don't say that they are not sure."""
    told = [call for call in creates if call.code == 0 and call.document["job_id"] in given_up]
    return [
        f"{call.worker} was given {call.document['job_id']}, which was cancelled for another one"
        for call in told
        if not is_not_sure(call)
    ]


def _judge_unrecognised(
    intent: Intent, creates: Sequence[Call], made: Sequence[Made], found: Findings, *, at_the_end: bool
) -> None:
    """Where no look can show a stamp, each result has to say so; and no call makes two jobs."""
    lasting = intent.key is not None or creates[0].plan is not None
    for call in creates if lasting else ():
        if call.code == 0 and call.document["created"] and not is_not_sure(call):
            found.others.append(f"{call.worker} was not told that {call.document['job_id']} can't be recognised")
    if at_the_end:
        found.unrecognised += len(made) - 1
    for call in creates:
        running = [one.job.job_id for one in call.made if not one.job.ended]
        if len(running) > 1:
            found.duplicates.append(f"{call.worker} made {', '.join(running)} in one call")


def _let_run(call: Call, job_id: str, beside: str) -> bool:
    """Whether the call was over with the twin running before its eyes, beside the first job."""
    told = call.code == 0 or call.error.get("type") in ("IdempotencyConflict", "PlanUsed")
    running = (call.shown or {}).get(job_id) in RUNNING
    return told and running and beside in (call.shown or {}) and job_id not in call.asked_to_cancel


def _does_what_was_asked(one: Made) -> bool:
    """No wider, no narrower, into the same folder; with a plan, as the plan says."""
    order, call = one.job.order, one.call
    wanted = call.plan["search_params"] if call.plan else call.asked["search_params"]
    sought = {name: value for name, value in order.search_params.items() if value is not None}
    return (
        sought == {**API_DEFAULTS, **wanted}
        and order.destination == call.asked.get("destination")
        and not order.ignored_params
    )
