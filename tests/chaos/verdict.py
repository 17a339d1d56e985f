"""Whether a case went as promised, by the sandbox's own truth: each call's exit code, then the jobs of each intent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.account import Account
from sandbox.clock import Instant, parse_instant
from sandbox.search import Criteria, find
from tests.chaos.named_messages import change_may_be_refused, judge_changes, mistold_change
from tests.chaos.schedule import BY_ID, Intent
from tests.chaos.wire import Call, Made

KEY = "idempotency_key"
CREATES = ("create-move-job", "release-job")
STATES_OF_THINGS = ("IdempotencyConflict", "PlanUsed", "Conflict", "JobStillRunning")
RUNNING = ("PENDING", "DISCOVERING", "PROCESSING")

# From the look that showed no job to the POST that made a twin. A list in small pages takes seconds to read.
WIDEST_RACE_SECONDS = 30.0

# What a job says of its search where the caller said nothing.
API_DEFAULTS = {"detections_only": True, "submissions": False}

# (investigate ID, recipient): one copy of a message.
Copies = set[tuple[str, str]]


@dataclass
class Findings:
    """What is wrong, in words; and what is to be told though it is not wrong.

    ended_twins: later jobs of an intent that had ended before any look could show them beside the first: on an API
    without idempotency keys nobody can stop those. stale_looks: twins of either kind that were made more than a second
    after the first job could have been seen, by a call that had looked before and not again. worked_twice: how many
    intents had more than one job that processed messages.
    """

    duplicates: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    cancelled_twins: int = 0
    done_by_cancelled_twins: int = 0
    ended_twins: int = 0
    done_by_ended_twins: int = 0
    stale_looks: int = 0
    widest_race_seconds: float = 0.0
    worked_twice: int = 0

    @property
    def wrong(self) -> list[str]:
        """Each once: some are looked for before the calm call and after it."""
        return list(dict.fromkeys(self.duplicates + self.codes + self.others))


# One call


def judge_call(call: Call, intent: Intent, made: Sequence[Made], account: Account, found: Findings) -> None:
    """The exit code and the document against what this call did. made: all jobs so far of what the call stands for."""
    wrong = _mistold(call)
    if call.action in CREATES:
        wrong += _mistold_create(call, intent, made, account)
    elif call.action in BY_ID:
        wrong += mistold_change(call, intent, account)
    elif call.action == "preview-job":
        wrong += [f"exit {call.code} of a preview"] if call.code == 3 else []
    elif call.code == 0:
        wrong += _mistold_follow_up(call, account)
    elif call.error.get("type") == "JobStillRunning" and account.jobs.all[call.params["job_id"]].ended:
        wrong.append("the job has ended")
    found.codes += [f"{call.worker} {call.action}, exit {call.code}: {problem}" for problem in wrong]


def _mistold(call: Call) -> list[str]:
    error, wrong = call.error, []
    # To send IDs changes nothing by itself: the copies that were changed are counted.
    effects = [effect for effect in call.effects if effect.operation not in BY_ID.values()]
    did = [f"{effect.operation} {effect.touched[0]}" for effect in effects]
    did += [f"{done.operation} {done.investigate_id}" for done in call.changed]
    if error.get("type") == "InternalError" or call.code in (1, 2):
        wrong.append(f"a defect: {error.get('message')}")
    if error.get("applied") == "no" and did:
        wrong.append(f"says that it changed nothing, and did: {', '.join(did)}")
    if error.get("applied") == "yes" and not did and call.code != 7:
        wrong.append("says that it changed something, and did not")
    if call.code in (3, 4, 6) and error.get("applied") != "no":
        wrong.append(f"stands for nothing changed, and applied says {error.get('applied')}")
    if call.code == 7 and error.get("applied") == "no":
        wrong.append("stands for an outcome that is not known, and applied says no")
    if call.code == 4 and not call.statuses & {401, 403}:
        wrong.append("nobody refused the credentials")
    if call.code == 5 and error.get("type") not in STATES_OF_THINGS and not call.refused:
        wrong.append("nothing was refused")
    return wrong


def _mistold_create(call: Call, intent: Intent, made: Sequence[Made], account: Account) -> list[str]:
    first = in_order(made)[0] if made else None
    if call.forged:
        # An honest call may have made the job that its key stands for: that job is followed.
        return [f"a forged plan made {own.job.job_id}" for own in call.made]
    if intent.guarded and made and call.error.get("type") == "ApprovalRefused":
        # Another worker used the approvals for this job, and the list may not show it yet.
        return []
    if call.code == 3:
        return (
            [] if may_be_refused(call, intent, account) else [f"there was no reason to refuse: {call.error['message']}"]
        )
    if call.error.get("type") in ("IdempotencyConflict", "PlanUsed"):
        other = first is not None and not same_request(first.call, call)
        return [] if other else ["there is no earlier job of another request"]
    if call.code != 0:
        return []
    wrong, result = [], call.document
    if first is None or result["job_id"] != first.job.job_id:
        wrong.append(f"gave {result['job_id']}, and the first job is {first.job.job_id if first else None}")
    elif not same_request(first.call, call):
        wrong.append("gave the job of another request")
    if result["created"] != any(own.job.job_id == result["job_id"] for own in call.made):
        wrong.append(f"created is {result['created']}, and it made {[own.job.job_id for own in call.made]}")
    running = [twin["job_id"] for twin in result["twins"] if not account.jobs.all[twin["job_id"]].ended]
    return wrong + [f"its twin {job_id} runs on" for job_id in running]


def may_be_refused(call: Call, intent: Intent, account: Account) -> bool:
    """Whether a guardrail has a reason: the cap, or that what a plan would release was released by now."""
    if call.forged:
        return call.error.get("type") in ("PlanRefused", "PlanDrifted", "ApprovalRefused")
    if intent.by_id:
        return change_may_be_refused(call, intent, account)
    drifted = call.error.get("type") == "PlanDrifted" and intent.action == "release-job"
    return (intent.capped and call.error.get("type") == "TooManyMessages") or drifted


def same_request(one: Call, other: Call) -> bool:
    """Whether two calls ask for the same job; its comment and caps are no part of it."""
    parts = ("search_params", "destination", "idempotency_key")
    return all(one.asked.get(part) == other.asked.get(part) for part in parts)


def _mistold_follow_up(call: Call, account: Account) -> list[str]:
    job, result = account.jobs.all[call.params["job_id"]], call.document
    match call.action:
        case "cancel-job" if job.status != "CANCELLED":
            return [f"the job is {job.status}"]
        case "delete-job" if not job.deleted:
            return ["the job is still there"]
        case "wait-for-job":
            wire = result["tripwire"] or {"tripped": False, "cancelled": False, "limit": len(job.rows)}
            wrong = [f"the job is {job.status}"] if result["done"] and not job.ended else []
            if wire["cancelled"] and job.status != "CANCELLED":
                wrong.append(f"says that it cancelled the job, which is {job.status}")
            if result["done"] and wire["tripped"] != (len(job.rows) > wire["limit"]):
                wrong.append(f"tripped is {wire['tripped']} at {len(job.rows)} messages, the limit is {wire['limit']}")
            return wrong
        case "export-job-messages" if result["complete"]:
            rows = {row["message_id"] for row in result["messages"]}
            if rows != {row.row_id for row in job.rows} or not job.ended:
                return [f"calls {len(rows)} of {len(job.rows)} rows complete, the job is {job.status}"]
    return []


# The jobs of an intent


def in_order(made: Iterable[Made]) -> list[Made]:
    return sorted(made, key=lambda one: (one.job.created_at, one.job.job_id))


def units(intent: Intent, calls: Sequence[Call]) -> list[list[Call]]:
    """The creates that stand for one job together: by key, by the plan that was shared, by a plan; else one call."""
    creates = [call for call in calls if call.action in CREATES]
    if intent.key is not None or intent.shares_plan:
        return [creates] if creates else []
    parted: dict[object, list[Call]] = {}
    for place, call in enumerate(creates):
        parted.setdefault(call.plan["plan_hash"] if call.plan else place, []).append(call)
    return list(parted.values())


def judge_jobs(
    intent: Intent, creates: Sequence[Call], found: Findings, *, lag_seconds: float, at_the_end: bool
) -> None:
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
    given_up = {effect.touched[0] for call in creates for effect in call.effects if effect.operation == "cancelBulkJob"}
    first, *later = in_order(made)
    if first.job.job_id in given_up:
        found.duplicates.append(f"the first job, {first.job.job_id}, was cancelled as a later one")
    for twin in later:
        wrong = _mistreated(twin, first, creates, given_up)
        found.duplicates += wrong
        if not at_the_end or wrong:
            continue
        done, race = _processed(twin), twin.at - (twin.looked_at or 0)
        found.stale_looks += twin.at - first.at > lag_seconds + 1
        found.widest_race_seconds = max(found.widest_race_seconds, race)
        if race > WIDEST_RACE_SECONDS:
            found.others.append(f"{twin.job.job_id} was made {race:.0f} s after the look that had shown no other")
        if twin.job.job_id in given_up:
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
    if any(_let_run(call, name) for call in creates if call.asked.get(KEY) == twin.call.asked.get(KEY)):
        return [f"{name} was seen running beside {beside}, and left to itself"]
    return []


def _let_run(call: Call, job_id: str) -> bool:
    """Whether the call was over with the twin running before its eyes."""
    told = call.code == 0 or call.error.get("type") in ("IdempotencyConflict", "PlanUsed")
    running = (call.shown or {}).get(job_id) in RUNNING
    return told and running and job_id not in call.asked_to_cancel


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


# The messages


def judge_messages(account: Account, calls: Sequence[Call], planned: Mapping[str, Copies], found: Findings) -> None:
    """Only what was meant was touched, with a plan only what it had found; and nobody else's job was."""
    makers = {one.job.job_id: call for call in calls for one in call.made}
    by_id = {done for call in calls for done in call.changed}
    with account.present() as now:
        pass
    for job_id, call in makers.items():
        if call.plan and call.plan["plan_hash"] not in planned:
            found.others.append(f"{job_id} is of a plan that no preview made")
            continue
        meant = planned[call.plan["plan_hash"]] if call.plan else copies(account, call.asked["search_params"], now)
        touched = {(done.investigate_id, done.recipient) for done in account.delivery.done if done.job_id == job_id}
        if touched - meant:
            found.others.append(f"{job_id} touched {len(touched - meant)} messages that were not meant")
    found.others += judge_changes(calls, account)
    if any(done.job_id not in makers and done not in by_id for done in account.delivery.done):
        found.others.append("messages were touched by a job that nobody here made")
    for job in account.jobs.all.values():
        if job.job_id not in makers and (job.deleted or job.status == "CANCELLED"):
            found.others.append(f"somebody else's job {job.job_id} was touched")


def copies(account: Account, search_params: Mapping[str, Any], now: Instant) -> Copies:
    """What the sandbox's own search finds for these parameters; what state it is in does not count."""
    end = search_params.get("end")
    criteria = Criteria(
        start=parse_instant(search_params["start"]),
        end=parse_instant(end) if end else None,
        sender=search_params["sender"],
        recipient=search_params.get("recipient"),
        detections_only=search_params.get("detections_only", True),
    )
    return {
        (account.tenant.id_of(message), recipient)
        for message in find(account.tenant, criteria, now)
        for recipient in message.recipients
    }
