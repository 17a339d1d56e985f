"""A job with the right stamp but another request is never reused; over real HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from actions import create_move_job, delete_job, preview_job, release_job, wait_for_job
from connectors.connection import Connection
from connectors.email_security import EmailSecurity
from connectors.http.client import httpx
from core.errors import IdempotencyConflict, ParameterError
from core.instants import format_instant
from remediation.guardrails.plans.plan import Plan, hash_of
from remediation.stamp import Stamp, StampKey
from sandbox.clock import SECOND
from sandbox.server import RunningSandbox
from tests.conftest import CAMPAIGN
from tests.exhaustive import exhaustive_unless
from tests.plain_http import PLAIN

# The messages of a campaign are looked up one by one.
CAMPAIGN_SIZE = 15

Connect = Callable[..., EmailSecurity]
KEY = "alert-4711"
PLAN_KEY = "plan-key-that-must-never-show-0123456789"
MOVE = {"search_params": CAMPAIGN, "destination": "JunkEmail", "idempotency_key": KEY}
CAMPAIGN_START = str(CAMPAIGN["start"])
NUMBERS = ("messages", "distinct_messages", "recipients", "malicious", "cancel_if_discovered_over")


def stamp_of(sandbox: RunningSandbox, key: str = KEY, plan_key: str | None = None, **more: Any) -> Stamp:
    """Return the stamp of the playbook's request; anyone who knows the alert can compute it."""
    secret = Connection.checked({"account_id": "a", "api_token": "t", "plan_key": plan_key}).plan_key
    request = {"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}
    return Stamp.of(sandbox.account_id, key, request, stamp_key=StampKey.of(secret), **more)


def create_forged_job(sandbox: RunningSandbox, comment: str, **changes: Any) -> str:
    """Create a job with this comment without the pack and return its ID."""
    body = {"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail", "comment": comment, **changes}
    answer = httpx.post(
        f"{sandbox.base_url}/accounts/{sandbox.account_id}/email-security/investigate/bulk",
        headers={"Authorization": f"Bearer {sandbox.token}"},
        json={name: value for name, value in body.items() if value is not None},
        verify=PLAIN,
    )
    assert answer.status_code == 201
    job_id: str = answer.json()["result"]["job_id"]
    return job_id


def count_jobs(sandbox: RunningSandbox) -> int:
    return len(sandbox.state.truth()["jobs"])


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in CAMPAIGN.items() if key != name}


OTHER_REQUESTS: dict[str, tuple[dict[str, Any], str]] = {
    "another destination": ({"destination": "Inbox"}, "destination"),
    "no destination": ({"action": "RELEASE", "destination": None}, "action"),
    "another sender": ({"search_params": {**CAMPAIGN, "sender": "nobody@elsewhere.example"}}, "sender"),
    "no sender": ({"search_params": without("sender")}, "sender"),
    "a domain instead": ({"search_params": {**without("sender"), "domain": "invoice-portal.example"}}, "domain"),
    "detections only": ({"search_params": {**CAMPAIGN, "detections_only": True}}, "detections_only"),
    "detections only by default": ({"search_params": without("detections_only")}, "detections_only"),
    "submissions": ({"search_params": {**CAMPAIGN, "submissions": True}}, "submissions"),
    "narrowed by a subject": ({"search_params": {**CAMPAIGN, "subject": "nothing has this"}}, "subject"),
    "narrowed by a recipient": ({"search_params": {**CAMPAIGN, "recipient": "x@corp.example"}}, "recipient"),
    "narrowed by a verdict": ({"search_params": {**CAMPAIGN, "final_disposition": "SPAM"}}, "final_disposition"),
    "an empty window": ({"search_params": {**CAMPAIGN, "end": CAMPAIGN_START}}, "end"),
    "an end before the alert": ({"search_params": {**CAMPAIGN, "end": "2026-11-14T00:00:00Z"}}, "end"),
    "an end in the future": ({"search_params": {**CAMPAIGN, "end": "2027-11-14T00:00:00Z"}}, "end"),
    "a later start": ({"search_params": {**CAMPAIGN, "start": "2026-11-20T15:32:35Z"}}, "start"),
    "an earlier start": ({"search_params": {**CAMPAIGN, "start": "2026-11-13T15:32:34Z"}}, "start"),
    "no start": ({"search_params": without("start")}, "start"),
}


@pytest.mark.parametrize("case", exhaustive_unless(list(OTHER_REQUESTS)[::3], OTHER_REQUESTS))
def test_a_job_with_the_tag_but_another_request_is_not_reused(
    case: str, sandbox: RunningSandbox, api: EmailSecurity
) -> None:
    changes, named = OTHER_REQUESTS[case]
    forged = create_forged_job(sandbox, stamp_of(sandbox).on("case 42"), **changes)
    with pytest.raises(IdempotencyConflict, match=forged) as refused:
        create_move_job.run(MOVE, api)
    assert f"{named} is " in refused.value.message
    assert (refused.value.exit_code, refused.value.applied, refused.value.job_id) == (5, "no", forged)
    assert count_jobs(sandbox) == 1


@pytest.mark.parametrize("case", exhaustive_unless(list(OTHER_REQUESTS)[1::3], OTHER_REQUESTS))
def test_a_job_with_the_plan_digest_but_another_request_is_not_reused(
    case: str, sandbox: RunningSandbox, api: EmailSecurity
) -> None:
    plan = preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}, api)
    changes, named = OTHER_REQUESTS[case]
    forged = create_forged_job(sandbox, stamp_of(sandbox, plan_hash=plan["plan_hash"]).on("case 42"), **changes)
    with pytest.raises(IdempotencyConflict, match=forged) as refused:
        create_move_job.run({"plan": plan, "idempotency_key": KEY}, api)
    assert f"{named} is " in refused.value.message
    with pytest.raises(ParameterError, match="/plan") as other:
        wait_for_job.run({"job_id": forged, "plan": plan, "timeout_seconds": 0}, api)
    assert f"{named} is " in other.value.message


def test_a_job_without_a_tag_is_not_reported_as_the_job_of_another_plan(
    sandbox: RunningSandbox, api: EmailSecurity
) -> None:
    plan = preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}, api)
    made = create_move_job.run({"plan": plan, "idempotency_key": KEY, "wait_follows": True}, api)
    sandbox.state.faults.add("getBulkJob", "rewrite", set={"comment": None})
    with pytest.raises(ParameterError, match="without a tag") as refused:
        wait_for_job.run({"job_id": made["job_id"], "plan": plan, "timeout_seconds": 0}, api)
    assert "is not the plan" not in refused.value.message


def test_a_job_with_the_plan_digest_but_another_window_is_not_reused(
    sandbox: RunningSandbox, api: EmailSecurity
) -> None:
    plan = preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}, api)
    # Only another plan could have this end.
    window = {**plan["search_params"], "end": format_instant(api.clock.now() - timedelta(minutes=1))}
    stamp = stamp_of(sandbox, plan_hash=plan["plan_hash"])
    forged = create_forged_job(sandbox, stamp.on(""), search_params=window)
    with pytest.raises(IdempotencyConflict, match=f"{forged}.* end is "):
        create_move_job.run({"plan": plan, "idempotency_key": KEY}, api)


SAME_REQUESTS: dict[str, dict[str, Any]] = {
    "unchanged": {},
    "the defaults": {"search_params": {**CAMPAIGN, "submissions": False, "action_log": False}},
    "another spelling of the start": {"search_params": {**CAMPAIGN, "start": "2026-11-13T16:32:35.000+01:00"}},
    "another order": {"search_params": dict(reversed(CAMPAIGN.items()))},
    "the sender in capitals": {"search_params": {**CAMPAIGN, "sender": str(CAMPAIGN["sender"]).upper()}},
}


@pytest.mark.parametrize("case", exhaustive_unless(list(SAME_REQUESTS)[::2], SAME_REQUESTS))
def test_another_spelling_of_the_same_job_is_reused(case: str, sandbox: RunningSandbox, api: EmailSecurity) -> None:
    same = create_forged_job(sandbox, stamp_of(sandbox).on("case 42"), **SAME_REQUESTS[case])
    made = create_move_job.run(MOVE, api)
    assert (made["created"], made["job_id"]) == (False, same)


def test_a_later_run_with_a_new_plan_reuses_the_job_of_the_earlier_plan(
    sandbox: RunningSandbox, api: EmailSecurity
) -> None:
    def run() -> dict[str, Any]:
        plan = preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}, api)
        # Time for an approval.
        api.clock.sleep(7 * 3600)
        return create_move_job.run({"plan": plan, "idempotency_key": KEY}, api)

    first = run()
    api.clock.sleep(3 * 86_400)
    again = run()
    assert (again["created"], again["job_id"]) == (False, first["job_id"])
    assert count_jobs(sandbox) == 1


@pytest.mark.parametrize("start", [None, CAMPAIGN_START])
def test_a_pinned_window_is_compared_relative_to_the_creation_of_the_job(
    start: str | None, sandbox: RunningSandbox, api: EmailSecurity
) -> None:
    search = {**without("start"), **({"start": start} if start else {})}
    params = {**MOVE, "search_params": search}
    first = create_move_job.run(params, api)
    api.clock.sleep(86_400)
    assert create_move_job.run(params, api)["job_id"] == first["job_id"]
    plan = preview_job.run({"action": "MOVE", "search_params": search, "destination": "JunkEmail"}, api)
    assert create_move_job.run({"plan": plan, "idempotency_key": KEY}, api)["job_id"] == first["job_id"]


def edit_plan(plan: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the plan with other content and the hash of that content; anyone can make such a plan."""
    changed = {**plan, **changes}
    return {**changed, "plan_hash": hash_of(Plan.model_validate(changed))}


def test_the_job_of_an_edited_plan_is_not_reused_for_the_alert(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    """The job of an edited plan matches no message; the real run must not report it as success."""
    plan = preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}, api)
    empty = edit_plan(
        plan,
        search_params={**plan["search_params"], "sender": "nobody@elsewhere.example"},
        **dict.fromkeys(NUMBERS, 0),
    )
    try:
        decoy = create_move_job.run({"plan": empty, "idempotency_key": KEY}, api)["job_id"]
    except Exception:  # noqa: BLE001 -- the guardrails may refuse such a plan
        decoy = create_forged_job(
            sandbox,
            stamp_of(sandbox, plan_hash=empty["plan_hash"]).on(""),
            search_params={**CAMPAIGN, "sender": "nobody@elsewhere.example"},
        )
    with pytest.raises(IdempotencyConflict, match=decoy):
        create_move_job.run({"plan": plan, "idempotency_key": KEY}, api)
    assert count_jobs(sandbox) == 1


def test_a_job_that_found_nothing_is_not_reused_for_a_plan_with_messages(
    sandbox: RunningSandbox, api: EmailSecurity
) -> None:
    # A plan made a few hours earlier may have this window, which ends before the mail of the campaign.
    early = format_instant(api.clock.now() - timedelta(hours=23))
    only_late = {**CAMPAIGN, "start": format_instant(api.clock.now() - timedelta(hours=23, minutes=1))}
    request = {"action": "MOVE", "search_params": only_late, "destination": "JunkEmail"}
    plan = preview_job.run({**request}, api)
    assert plan["messages"] > 0
    forged = create_forged_job(
        sandbox, Stamp.of(sandbox.account_id, KEY, request).on(""), search_params={**only_late, "end": early}
    )
    wait_for_job.run({"job_id": forged}, api)
    with pytest.raises(IdempotencyConflict, match="found no message"):
        create_move_job.run({"plan": plan, "idempotency_key": KEY}, api)


def test_a_job_whose_window_ends_before_all_matching_mail_is_not_reused(
    sandbox: RunningSandbox, api: EmailSecurity
) -> None:
    # Within the lifetime of a plan: an honest job can have this end.
    end = api.clock.now() - timedelta(hours=2)
    deliver_late(sandbox, 3600)
    forged = create_forged_job(
        sandbox, stamp_of(sandbox).on(""), search_params={**CAMPAIGN, "end": format_instant(end)}
    )
    plan = preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}, api)
    for params in (MOVE, {"plan": plan, "idempotency_key": KEY}):
        with pytest.raises(IdempotencyConflict, match=f"{forged}.* end is .*has no message"):
            create_move_job.run(params, api)
    assert count_jobs(sandbox) == 1


def deliver_late(sandbox: RunningSandbox, seconds_ago: int) -> None:
    """Add one more message to the campaign."""
    like = sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[0]
    sandbox.state.tenant.add(
        time=sandbox.clock.now() - seconds_ago * SECOND,
        sender=like.sender, subject="late", recipients=("dana@corp.example",), disposition="NONE",
    )  # fmt: skip


@pytest.mark.parametrize("ended", exhaustive_unless({True}, [False, True]))
def test_the_job_of_an_older_plan_is_reused_with_a_warning_about_later_mail(
    ended: bool, sandbox: RunningSandbox, api: EmailSecurity
) -> None:
    request = {"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}
    plan = preview_job.run(request, api)
    api.clock.sleep(7 * 3600)
    deliver_late(sandbox, 3600)
    first = create_move_job.run({"plan": plan, "idempotency_key": KEY, "wait_follows": True}, api)
    if ended:
        wait_for_job.run({"job_id": first["job_id"], "timeout_seconds": 3600}, api)
    newer = preview_job.run(request, api)
    assert newer["messages"] == plan["messages"] + 1
    for params in (MOVE, {"plan": newer, "idempotency_key": KEY}):
        again = create_move_job.run(params, api)
        assert (again["created"], again["job_id"]) == (False, first["job_id"])
        [warning] = [text for text in again["warnings"] if "is left out." in text]
        assert first["job"]["search_params"]["end"] in warning
        assert first["job"]["created_at"] in warning
        assert "idempotency_key or a new plan (in a playbook: a higher attempt)" in warning
    own = create_move_job.run({"plan": plan, "idempotency_key": KEY}, api)
    assert not [text for text in own["warnings"] if "left out" in text]
    assert count_jobs(sandbox) == 1


def test_a_reused_job_with_an_uncountable_search_warns_about_mail_that_may_be_left_out(
    sandbox: RunningSandbox, api: EmailSecurity
) -> None:
    search = {**CAMPAIGN, "submissions": True}
    plan = preview_job.run({"action": "MOVE", "search_params": search, "destination": "JunkEmail"}, api)
    api.clock.sleep(3600)
    first = create_move_job.run({"plan": plan, "idempotency_key": KEY}, api)
    again = create_move_job.run({**MOVE, "search_params": search}, api)
    assert again["job_id"] == first["job_id"]
    assert [text for text in again["warnings"] if "may be left out." in text]


def test_a_completed_job_that_found_nothing_is_not_reused_if_mail_existed(
    sandbox: RunningSandbox, api: EmailSecurity
) -> None:
    """Without a plan there is no count to compare, so mail after the end of the window makes the job invalid."""
    end = format_instant(api.clock.now() - timedelta(hours=5))
    forged = create_forged_job(sandbox, stamp_of(sandbox).on(""), search_params={**CAMPAIGN, "end": end})
    ended = wait_for_job.run({"job_id": forged, "timeout_seconds": 3600}, api)
    assert ended["progress"]["discovered"] == 0
    with pytest.raises(IdempotencyConflict, match="has no message"):
        create_move_job.run(MOVE, api)


def test_the_job_of_the_same_plan_is_reused_although_its_mail_disappeared(
    sandbox: RunningSandbox, connect: Connect
) -> None:
    # The mail disappears before the job finds any, so the create must not wait for other workers.
    api = connect(sandbox, listing_lag_seconds=0)
    search = {"sender": "statements@partner-bank.example", "start": "2026-10-22T00:00:00Z", "detections_only": False}
    plan = preview_job.run({"action": "RELEASE", "search_params": {**search, "delivery_status": "quarantined"}}, api)
    params = {"plan": plan, "idempotency_key": KEY, "wait_follows": True}
    first = release_job.run(params, api)
    sandbox.state.tenant.from_sender("statements@partner-bank.example").clear()
    sandbox.state.tenant.found.clear()
    ended = wait_for_job.run({"job_id": first["job_id"], "plan": plan, "timeout_seconds": 3600}, api)
    assert (ended["progress"]["discovered"], ended["outcome"]) == (0, "partial")
    again = release_job.run(params, api)
    assert (again["created"], again["job_id"]) == (False, first["job_id"])
    assert [text for text in again["warnings"] if "found no message, but the plan has" in text]


def test_mail_that_arrived_after_the_job_does_not_prevent_its_reuse(
    sandbox: RunningSandbox, api: EmailSecurity
) -> None:
    plan = preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}, api)
    api.clock.sleep(3600)
    first = create_move_job.run({"plan": plan, "idempotency_key": KEY}, api)
    api.clock.sleep(7200)
    deliver_late(sandbox, 3600)
    newer = preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}, api)
    assert newer["messages"] == plan["messages"] + 1
    for params in (MOVE, {"plan": newer, "idempotency_key": KEY}, {"plan": plan, "idempotency_key": KEY}):
        again = create_move_job.run(params, api)
        assert again["job_id"] == first["job_id"]
        assert not [text for text in again["warnings"] if "left out" in text]


class TestWithAPlanKey:
    def test_the_same_key_makes_one_job_with_a_keyed_stamp(self, sandbox: RunningSandbox, connect: Connect) -> None:
        api = connect(sandbox, plan_key=PLAN_KEY)
        made = [create_move_job.run(MOVE, api) for _ in range(3)]
        assert [result["created"] for result in made] == [True, False, False]
        stamp = Stamp.read(made[0]["job"]["comment"])
        assert stamp is not None
        assert stamp.is_authentic(sandbox.account_id, StampKey.of(api.connection.plan_key))  # type: ignore[arg-type]
        assert PLAN_KEY not in str(made)

    def test_a_job_with_a_stamp_forged_without_the_plan_key_is_ignored(
        self, sandbox: RunningSandbox, connect: Connect
    ) -> None:
        api = connect(sandbox, plan_key=PLAN_KEY)
        plan = preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}, api)
        forged = [
            create_forged_job(sandbox, stamp_of(sandbox, plan_hash=plan["plan_hash"]).on("")),
            create_forged_job(sandbox, stamp_of(sandbox, plan_key=PLAN_KEY + "x").on("")),
            # With the right key digest, as a list shows it, and without a MAC.
            create_forged_job(sandbox, stamp_of(sandbox, plan_key=PLAN_KEY).on(""), destination="Inbox"),
        ]
        made = create_move_job.run({"plan": plan, "idempotency_key": KEY}, api)
        assert made["created"]
        assert made["duplicates"] == []
        assert made["job_id"] not in forged
        assert "CANCELLED" not in {job["status"] for job in sandbox.state.truth()["jobs"]}

    def test_a_stamp_copied_to_another_job_is_refused(self, sandbox: RunningSandbox, connect: Connect) -> None:
        api = connect(sandbox, plan_key=PLAN_KEY)
        real = create_move_job.run(MOVE, api)
        sandbox.state.advance(3600)
        wait_for_job.run({"job_id": real["job_id"]}, api)
        delete_job.run({"job_id": real["job_id"]}, api)
        copied = create_forged_job(
            sandbox, real["job"]["comment"], search_params={**CAMPAIGN, "sender": "nobody@else.example"}
        )
        with pytest.raises(IdempotencyConflict, match=copied):
            create_move_job.run(MOVE, api)

    def test_jobs_of_another_plan_key_are_ignored(self, sandbox: RunningSandbox, connect: Connect) -> None:
        keys: list[dict[str, Any]] = [{}, {"plan_key": PLAN_KEY}, {"plan_key": PLAN_KEY[::-1]}]
        made = [create_move_job.run(MOVE, connect(sandbox, **key)) for key in keys]
        assert [result["created"] for result in made] == [True, True, True]

    def test_the_plan_digest_has_128_bits_and_one_plan_makes_one_job(
        self, sandbox: RunningSandbox, connect: Connect
    ) -> None:
        api = connect(sandbox, plan_key=PLAN_KEY)
        plan = preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}, api)
        made = create_move_job.run({"plan": plan}, api)
        assert f":plan={plan['plan_hash'][:32]}:" in made["job"]["comment"]
        assert create_move_job.run({"plan": plan}, api)["job_id"] == made["job_id"]
        with pytest.raises(Exception, match="already has a job"):
            create_move_job.run({"plan": plan, "idempotency_key": "another"}, api)


def test_a_release_with_a_stamp_of_another_request_is_not_reused(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    search = {"sender": "statements@partner-bank.example", "start": CAMPAIGN_START}
    stamp = Stamp.of(sandbox.account_id, KEY, {"action": "RELEASE", "search_params": search})
    forged = create_forged_job(sandbox, stamp.on(""), search_params=search, destination="DeletedItems")
    with pytest.raises(IdempotencyConflict, match=forged):
        release_job.run({"search_params": search, "idempotency_key": KEY}, api)


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ({"detections_only": True}, {}),
        ({}, {"submissions": False}),
        ({"smtp_helo_ip": "2001:db8::1"}, {"smtp_helo_ip": "2001:0DB8:0:0::1"}),
        ({"sender": "Billing@Invoice-Portal.example "}, {"sender": "billing@invoice-portal.example"}),
        ({"start": "2026-11-13T15:32:35Z"}, {"start": "2026-11-13T16:32:35.000+01:00"}),
    ],
)
def test_another_spelling_of_a_request_reuses_its_job(
    first: dict[str, Any], again: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity
) -> None:
    search = {"sender": "billing@invoice-portal.example", "start": CAMPAIGN_START}
    made = [
        create_move_job.run({**MOVE, "search_params": {**search, **given}}, api)["job_id"] for given in (first, again)
    ]
    assert made[0] == made[1]
    assert count_jobs(sandbox) == 1
