"""Whether a call went as promised, by the sandbox's own truth: its exit code, its result, and the time it took."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.account import Account
from tests.chaos.findings import CREATES, NOT_SHOWN, Findings, in_order, is_not_sure
from tests.chaos.named_messages import change_may_be_refused, mistold_change
from tests.chaos.oddities import Oddities
from tests.chaos.schedule import BY_ID, Intent
from tests.chaos.wire import Call, Made

STATES_OF_THINGS = ("IdempotencyConflict", "PlanUsed", "Conflict", "JobStillRunning", "ListingRepeats")

# What one call of the API may take with its retries, and what nobody may hang beyond what was allowed or asked for.
CALL_ALLOWANCE_SECONDS = 120.0
LONGEST_HANG_SECONDS = 60.0

# Calls of the API that an action may take, with all its retries, and passes over the list of jobs that it may make.
MOST_CALLS = 100
# A lost answer, and each refusal for now after it, are followed by patient looks.
LOOKS_AT_THE_LIST = 60

# What is not a create may wait until the rate budget's window is over; a wait goes on after an outage, too.
LONGEST_PAUSE_SECONDS = 305.0


def judge_call(
    call: Call, intent: Intent, made: Sequence[Made], account: Account, found: Findings, shown: Oddities
) -> None:
    """The exit code and the document against what this call did.

    made: all jobs so far of what the call stands for. shown: what the service shows of jobs.
    """
    wrong = _mistold(call, plans_are_lost=shown.loses_stamps_of_jobs)
    if call.action in CREATES:
        wrong += _mistold_create(call, intent, made, account, shown)
    elif call.action in BY_ID:
        wrong += mistold_change(call, intent, account)
    elif call.action == "preview-job":
        wrong += [f"exit {call.code} of a preview"] if call.code == 3 else []
    elif call.code == 0:
        wrong += _mistold_follow_up(call, account)
    elif call.error.get("type") == "JobStillRunning" and account.jobs.all[call.params["job_id"]].ended:
        wrong.append("the job has ended")
    found.codes += [f"{call.worker} {call.action}, exit {call.code}: {problem}" for problem in wrong]


def judge_time(call: Call, most: int, found: Findings) -> None:
    """A call ends, on the injected clock; and it takes no more than `most` calls of the API."""
    if call.requests > most:
        found.others.append(f"{call.worker} {call.action} took {call.requests} calls of the API, {most} at most")
    if call.code is None:
        return
    allowed = CALL_ALLOWANCE_SECONDS + LONGEST_HANG_SECONDS
    if call.action not in CREATES:
        # A wait, an export, and what has changed messages already outlive an outage: as long as they are asked to.
        allowed += max(call.told_to_wait, LONGEST_PAUSE_SECONDS)
    if call.silence > allowed:
        found.hangs.append(f"{call.worker} {call.action} made no call and did not end for {call.silence:.0f} s")
    took, deadline = call.ended - call.began, call.deadline_seconds
    if deadline is not None and took > deadline + LONGEST_HANG_SECONDS:
        found.hangs.append(f"{call.worker} {call.action} took {took:.0f} s, and was given {deadline:.0f}")


def most_requests(call: Call, *, list_pages: int) -> int:
    """How many calls of the API an action may take. list_pages: how many pages the list of jobs has."""
    looks = LOOKS_AT_THE_LIST * list_pages if call.action in (*CREATES, "wait-for-job") else 0
    # Rows of a job come in small pages too; messages are looked up one by one, before and after each change.
    return MOST_CALLS + looks + (200 if call.action == "export-job-messages" or call.action in BY_ID else 0)


def _mistold(call: Call, *, plans_are_lost: bool) -> list[str]:
    error, wrong = call.error, []
    if plans_are_lost and call.action == "wait-for-job" and "without a tag" in str(error.get("message")):
        # A plan can't be compared with a job that is shown without its tag.
        return []
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


def _mistold_create(call: Call, intent: Intent, made: Sequence[Made], account: Account, shown: Oddities) -> list[str]:
    # Where stamps are lost, each call can only know its own.
    known = in_order(call.made if shown.loses_stamps else made)
    first = known[0] if known else None
    hidden = shown.needs_pages and _is_hidden(first, call)
    if call.forged:
        # An honest call may have made the job that its key stands for: that job is followed.
        return [f"a forged plan made {own.job.job_id}" for own in call.made]
    if intent.guarded and made and call.error.get("type") == "ApprovalRefused":
        # Another worker used the approvals for this job, and the list may not show it yet.
        return []
    if call.code == 3:
        return (
            []
            if may_be_refused(call, intent, account, stamps_are_lost=shown.loses_stamps)
            else [f"there was no reason to refuse: {call.error['message']}"]
        )
    if call.error.get("type") in ("IdempotencyConflict", "PlanUsed"):
        others = [one for one in known if not same_request(one.call, call)]
        other = bool(others) if hidden else first in others
        return [] if other else ["there is no earlier job of another request"]
    if call.code != 0:
        return []
    wrong, result = [], call.document
    if first is None or result["job_id"] != first.job.job_id:
        if not is_not_sure(call) and not (hidden and _is_no_duplicate(result["job_id"], account)):
            wrong.append(f"gave {result['job_id']}, and the first job is {first.job.job_id if first else None}")
    elif not same_request(first.call, call):
        wrong.append("gave the job of another request")
    unseen = [warning for warning in result["warnings"] if NOT_SHOWN in warning]
    if unseen and result["job_id"] in (call.shown or {}):
        wrong.append("says that the list does not show the job, which it did")
    if result["created"] != any(own.job.job_id == result["job_id"] for own in call.made):
        wrong.append(f"created is {result['created']}, and it made {[own.job.job_id for own in call.made]}")
    running = [twin["job_id"] for twin in result["duplicates"] if not account.jobs.all[twin["job_id"]].ended]
    return wrong + [f"its twin {job_id} runs on" for job_id in running]


def _is_hidden(first: Made | None, call: Call) -> bool:
    """Whether the call's last look did not show the first job."""
    return first is not None and call.shown is not None and first.job.job_id not in call.shown


def _is_no_duplicate(job_id: str, account: Account) -> bool:
    """Whether it is a later job that nobody had to cancel: it had ended before a look could show it."""
    return account.jobs.all[job_id].status in ("COMPLETED", "FAILED")


def may_be_refused(call: Call, intent: Intent, account: Account, *, stamps_are_lost: bool) -> bool:
    """Whether a guardrail has a reason: the cap, or that what a plan would release was released by now.

    Or that the approvals were used for a job that nobody can recognise.
    """
    if stamps_are_lost and intent.guarded and call.error.get("type") == "ApprovalRefused":
        return True
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
    result = call.document
    # wait-for-job follows from a job that was cancelled for another one to that one.
    job = account.jobs.all[result["job_id"] if call.action == "wait-for-job" else call.params["job_id"]]
    match call.action:
        case "cancel-job" if job.status != "CANCELLED":
            return [f"the job is {job.status}"]
        case "delete-job" if not job.deleted:
            return ["the job is still there"]
        case "wait-for-job":
            wire = result["discovery_limit"] or {"tripped": False, "cancelled": False, "limit": len(job.rows)}
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
