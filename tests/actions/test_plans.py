"""A plan binds its job: the job does what the preview showed, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions import create_move_job, preview_job, release_job, wait_for_job
from connectors.email_security import EmailSecurity
from core.errors import (
    BroadSearchRefused,
    Conflict,
    MaliciousRelease,
    ParameterError,
    PermissionDenied,
    PlanDrifted,
    PlanNeeded,
    PlanRefused,
    PlanUsed,
    ReadOnlyMode,
    TooManyMessages,
    TooManyRecipients,
)
from core.instants import format_instant
from sandbox.clock import SECOND
from sandbox.server import RunningSandbox
from sandbox.settings import Pace
from tests.clock import FakeClock
from tests.conftest import CAMPAIGN

# The messages of a campaign are looked up one by one.
CAMPAIGN_SIZE = 15

Connect = Callable[..., EmailSecurity]
MOVE = {"search_params": CAMPAIGN, "destination": "JunkEmail"}


def preview(api: EmailSecurity, **changes: Any) -> dict[str, Any]:
    return preview_job.run({"action": "MOVE", **MOVE, **changes}, api)


def create(api: EmailSecurity, **params: Any) -> dict[str, Any]:
    """Create a job; the test waits for it itself."""
    return create_move_job.run({"wait_follows": True, **params}, api)


def effects(sandbox: RunningSandbox) -> list[Any]:
    found: list[Any] = sandbox.state.truth()["effects"]
    return found


def add_mail(sandbox: RunningSandbox, *, seconds_ago: float = 60, number: int = 0) -> None:
    """Add a mail to the campaign that was scanned `seconds_ago`."""
    like = sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[0]
    sandbox.state.tenant.add(
        time=sandbox.clock.now() - round(seconds_ago * SECOND),
        sender=like.sender,
        subject="one more",
        recipients=(f"late{number}@corp.example",),
        disposition="MALICIOUS",
    )


def wait(api: EmailSecurity, job: dict[str, Any], **params: Any) -> dict[str, Any]:
    return wait_for_job.run({"job_id": job["job_id"], "timeout_seconds": 3600, **params}, api)


class TestCreatingFromAPlan:
    def test_a_plan_alone_defines_the_job(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        plan = preview(api)
        made = create(api, plan=plan)
        assert (made["created"], made["plan_hash"]) == (True, plan["plan_hash"])
        assert plan["search_params"].items() <= made["job"]["search_params"].items()
        job = sandbox.state.truth()["jobs"][0]
        assert job["action_params"]["destination"] == "JunkEmail"
        assert f":plan={plan['plan_hash'][:16]}" in job["comment"]

    def test_the_job_moves_the_messages_that_the_plan_found(self, api: EmailSecurity) -> None:
        plan = preview(api)
        ended = wait(api, create(api, plan=plan), plan=plan)
        assert ended["progress"]["discovered"] == plan["messages"]
        assert ended["discovery_limit"]["tripped"] is False

    def test_repeated_calls_with_one_plan_make_one_job(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        plan = preview(api)
        first, second = create(api, plan=plan), create(api, plan=plan)
        assert (first["created"], second["created"]) == (True, False)
        assert first["job_id"] == second["job_id"]
        with pytest.raises(PlanUsed, match=first["job_id"]):
            create(api, plan=plan, idempotency_key="another case")
        assert len(effects(sandbox)) == 1

    def test_a_key_with_the_plan_of_another_job_changes_neither_job(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        first = create(api, **MOVE, idempotency_key="case-1")
        plan = preview(api, destination="DeletedItems")
        second = create(api, plan=plan, idempotency_key="case-2")
        with pytest.raises(Conflict) as caught:
            create(api, plan=plan, idempotency_key="case-1")
        assert (caught.value.applied, caught.value.job_id) == ("no", first["job_id"])
        other = preview(api)
        with pytest.raises(PlanUsed, match=second["job_id"]):
            create(api, plan=plan, idempotency_key="case-3")
        assert create(api, plan=other, idempotency_key="case-1")["job_id"] == first["job_id"]
        assert "CANCELLED" not in {job["status"] for job in sandbox.state.truth()["jobs"]}

    def test_a_key_reuses_its_job_with_a_newer_plan_of_the_same_search(self, api: EmailSecurity) -> None:
        first = create(api, plan=preview(api), idempotency_key="case-42")
        api.clock.sleep(3600)
        again = create(api, plan=preview(api), idempotency_key="case-42")
        assert (again["created"], again["job_id"]) == (False, first["job_id"])
        assert again["plan_hash"] is None
        assert any("not made from this plan" in warning for warning in again["warnings"])

    def test_parameters_that_match_the_plan_are_accepted(self, api: EmailSecurity) -> None:
        assert create(api, plan=preview(api), **MOVE)["created"]

    @pytest.mark.parametrize(
        ("other", "named"),
        [
            ({"destination": "Inbox"}, "Inbox"),
            ({"search_params": {**CAMPAIGN, "sender": "corp.example"}}, "search differs"),
        ],
    )
    def test_parameters_that_differ_from_the_plan_are_refused(
        self, sandbox: RunningSandbox, api: EmailSecurity, other: dict[str, Any], named: str
    ) -> None:
        with pytest.raises(PlanRefused, match=named):
            create(api, plan=preview(api), **other)
        assert effects(sandbox) == []

    def test_a_plan_for_another_action_or_account_is_refused(
        self, start_sandbox: Callable[..., RunningSandbox], sandbox: RunningSandbox, connect: Connect
    ) -> None:
        api = connect(sandbox)
        with pytest.raises(PlanRefused, match="not for a RELEASE"):
            release_job.run({"plan": preview(api)}, api)
        other = start_sandbox(account_id="a" * 32)
        with pytest.raises(PlanRefused, match="another account"):
            create(connect(other), plan=preview(api))
        assert effects(sandbox) + effects(other) == []

    def test_a_plan_of_another_version_is_refused_with_advice(self, api: EmailSecurity) -> None:
        plan = {name: value for name, value in preview(api).items() if name != "own_senders"}
        with pytest.raises(ParameterError, match="/plan/own_senders") as caught:
            create(api, plan=plan)
        assert "make a new one" in caught.value.help

    def test_an_edited_plan_is_refused(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        plan = preview(api)
        with pytest.raises(PlanRefused, match="was changed"):
            create(api, plan={**plan, "messages": 10**6, "max_drift": 100.0})
        with pytest.raises(ParameterError):
            create(api, plan={"plan_hash": plan["plan_hash"]})
        assert effects(sandbox) == []

    def test_a_create_without_plan_and_search_names_search_params(self, api: EmailSecurity) -> None:
        with pytest.raises(ParameterError, match="search_params"):
            create(api, destination="Inbox")


class TestLateMail:
    def test_mail_after_the_pinned_window_is_not_moved(
        self, start_sandbox: Callable[..., RunningSandbox], connect: Connect
    ) -> None:
        sandbox = start_sandbox(late_copies=10, late_every=1.0)
        api = connect(sandbox)
        plan = preview(api)
        api.clock.sleep(5)
        ended = wait(api, create(api, plan=plan), plan=plan)
        assert ended["progress"]["discovered"] == plan["messages"]
        # Without the plan the same search finds them.
        assert wait(api, create(api, **MOVE))["progress"]["discovered"] > plan["messages"]

    def test_mail_within_the_window_is_drift_and_refused_with_both_counts(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        plan = preview(api)
        for number in range(plan["messages"] // 10 + 1):
            add_mail(sandbox, number=number)
        now = plan["messages"] + plan["messages"] // 10 + 1
        with pytest.raises(PlanDrifted, match=f"found {plan['messages']} messages .* finds {now} for") as caught:
            create(api, plan=plan)
        assert (caught.value.exit_code, effects(sandbox)) == (3, [])
        with pytest.raises(PlanDrifted):
            create(api, plan=plan, max_drift=50)
        assert create(api, plan=preview(api))["created"]

    def test_drift_within_the_limit_is_allowed_except_for_irreversible_moves(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        soft, hard = preview(api), preview(api, destination="RecoverableItemsPurges")
        add_mail(sandbox)
        with pytest.raises(PlanDrifted, match="0 percent"):
            create(api, plan=hard)
        assert create(api, plan=soft)["created"]

    def test_the_discovery_limit_cancels_the_job_before_any_message_is_processed(
        self, start_sandbox: Callable[..., RunningSandbox], connect: Connect
    ) -> None:
        sandbox = start_sandbox(pace=Pace(discover_rate=20))
        # The check for duplicates after a create would advance the clock of the sandbox.
        api = connect(sandbox, listing_lag_seconds=0)
        plan = preview(api)
        made = create(api, plan=plan)
        for number in range(plan["messages"]):
            add_mail(sandbox, number=number)
        ended = wait(api, made, plan=plan)
        assert (ended["outcome"], ended["changed"]) == ("cancelled", True)
        assert ended["discovery_limit"]["tripped"]
        assert ended["discovery_limit"]["cancelled"]
        assert ended["job"]["messages_successful"] == 0
        assert (
            ended["discovery_limit"]["limit"]
            == plan["cancel_if_discovered_over"]
            < ended["discovery_limit"]["discovered"]
        )
        assert sandbox.state.truth()["moved"] == []

    def test_the_discovery_limit_holds_during_the_check_for_duplicates(
        self, start_sandbox: Callable[..., RunningSandbox], connect: Connect
    ) -> None:
        sandbox = start_sandbox(pace=Pace(discover_rate=20))
        api = connect(sandbox)
        plan = preview(api)
        posted: list[bool] = []

        def deliver_late(seconds: float) -> None:
            if not posted and sandbox.state.truth()["jobs"]:
                posted.append(True)
                for number in range(plan["messages"]):
                    add_mail(sandbox, number=number)
            sandbox.state.advance(seconds)

        api.clock = FakeClock(moved=deliver_late)
        made = create_move_job.run({"plan": plan, "wait_follows": True}, api)
        [job] = sandbox.state.truth()["jobs"]
        assert (job["status"], job["messages_successful"], made["discovery_limit"]["cancelled"]) == (
            "CANCELLED",
            0,
            True,
        )

    def test_a_discovery_limit_of_the_call_is_enforced_without_a_plan(self, api: EmailSecurity) -> None:
        made = create(api, **MOVE)
        ended = wait(api, made, cancel_if_discovered_over=5)
        assert ended["status"] == "CANCELLED"
        assert any("more than the 5 allowed" in warning for warning in ended["warnings"])

    def test_a_job_over_the_limit_that_already_ended_is_reported_with_its_count(self, api: EmailSecurity) -> None:
        made = create(api, **MOVE)
        api.clock.sleep(3600)
        ended = wait(api, made, cancel_if_discovered_over=5)
        assert (ended["status"], ended["changed"]) == ("COMPLETED", False)
        assert ended["discovery_limit"]["tripped"]
        assert not ended["discovery_limit"]["cancelled"]
        assert ended["discovery_limit"]["processed"] == ended["progress"]["processed"] > 0

    def test_a_discovery_limit_without_write_permission_is_refused_before_the_wait(
        self, start_sandbox: Callable[..., RunningSandbox], connect: Connect
    ) -> None:
        sandbox = start_sandbox(pace=Pace(discover_rate=20))
        made = create(connect(sandbox), **MOVE)
        with pytest.raises(ReadOnlyMode):
            wait(connect(sandbox, read_only=True), made, cancel_if_discovered_over=5)
        calls = sandbox.state.truth()["calls"].get("getBulkJob", 0)
        with pytest.raises(PermissionDenied, match="Cloud Email Security: Write") as caught:
            wait(connect(sandbox, api_token=sandbox.read_token), made, cancel_if_discovered_over=5)
        assert caught.value.job_id == made["job_id"]
        assert (caught.value.exit_code, caught.value.applied) == (4, "no")
        assert sandbox.state.truth()["calls"]["getBulkJob"] == calls + 1

    def test_a_job_over_the_limit_that_cannot_be_cancelled_is_named(
        self, start_sandbox: Callable[..., RunningSandbox], connect: Connect
    ) -> None:
        sandbox = start_sandbox(pace=Pace(discover_rate=20))
        api = connect(sandbox)
        made = create(api, **MOVE)
        api.clock.sleep(1.5)
        with pytest.raises(PermissionDenied, match="more than 5, and could not be cancelled") as caught:
            wait(connect(sandbox, api_token=sandbox.read_token), made, cancel_if_discovered_over=5)
        assert caught.value.job_id == made["job_id"]

    def test_the_discovery_limit_of_a_plan_needs_write_permission(
        self, start_sandbox: Callable[..., RunningSandbox], connect: Connect
    ) -> None:
        sandbox = start_sandbox(pace=Pace(discover_rate=20))
        # The check for duplicates after a create would advance the clock of the sandbox.
        api = connect(sandbox, listing_lag_seconds=0)
        plan = preview(api)
        made = create(api, plan=plan)
        with pytest.raises(PermissionDenied, match="lacks"):
            wait(connect(sandbox, api_token=sandbox.read_token), made, plan=plan)

    def test_write_permission_is_checked_once_and_only_while_the_job_runs(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        made = create(api, **MOVE)
        wait(api, made)
        assert "cancelBulkJob" not in sandbox.state.truth()["calls"]
        made = create(api, search_params={**CAMPAIGN, "sender": "other@phish.example"}, destination="JunkEmail")
        params = {"job_id": made["job_id"], "cancel_if_discovered_over": 10**6, "timeout_seconds": 0}
        first = wait_for_job.run(params, api)
        wait_for_job.run({**params, "resume": first["resume"]}, api)
        assert sandbox.state.truth()["calls"]["cancelBulkJob"] == 1

    def test_a_wait_without_a_limit_needs_only_read_permission(self, sandbox: RunningSandbox, connect: Connect) -> None:
        made = create(connect(sandbox), **MOVE)
        assert wait(connect(sandbox, api_token=sandbox.read_token), made)["done"]

    def test_a_policy_limit_with_a_read_only_token_is_a_warning(
        self, start_sandbox: Callable[..., RunningSandbox], connect: Connect, tmp_path: Path
    ) -> None:
        sandbox = start_sandbox(pace=Pace(discover_rate=20))
        made = create(connect(sandbox), **MOVE)
        policy = tmp_path / "policy.yaml"
        policy.write_text("policy: 1\nmax_messages: 1000000\n")
        reading = connect(sandbox, api_token=sandbox.read_token, policy_file=str(policy))
        waited = wait(reading, made)
        assert waited["done"]
        assert any("can't be enforced. The policy sets this limit" in warning for warning in waited["warnings"])

    def test_a_wait_with_a_plan_for_a_job_without_plan_is_refused(self, api: EmailSecurity) -> None:
        made = create(api, **MOVE)
        with pytest.raises(ParameterError, match="is not the plan"):
            wait(api, made, plan=preview(api))

    def test_a_wait_with_the_plan_of_another_job_is_refused(self, api: EmailSecurity) -> None:
        made = create(api, plan=preview(api))
        with pytest.raises(ParameterError, match="is not the plan"):
            wait(api, made, plan=preview(api, max_messages=9999, destination="Inbox"))


class TestClockJumps:
    def test_a_plan_from_the_future_is_refused(self, sandbox: RunningSandbox, connect: Connect) -> None:
        fast_api, local_api = connect(sandbox), connect(sandbox)
        assert isinstance(fast_api.clock, FakeClock)
        fast_api.clock.set_forward(hours=3)
        search = {**CAMPAIGN, "end": format_instant(local_api.clock.now())}
        plan = preview(fast_api, search_params=search)
        with pytest.raises(PlanRefused, match="is in the future"):
            create(local_api, plan=plan)
        assert effects(sandbox) == []

    def test_an_expired_plan_is_refused(self, sandbox: RunningSandbox, connect: Connect) -> None:
        local_api = connect(sandbox)
        plan = preview(local_api)
        assert isinstance(local_api.clock, FakeClock)
        local_api.clock.set_forward(hours=25)
        with pytest.raises(PlanRefused, match="older than 24 h"):
            create(local_api, plan=plan)

    def test_a_clock_jump_after_the_preview_keeps_the_window(self, sandbox: RunningSandbox, connect: Connect) -> None:
        local_api = connect(sandbox)
        plan = preview(local_api)
        assert isinstance(local_api.clock, FakeClock)
        local_api.clock.set_forward(hours=20)
        made = create(local_api, plan=plan)
        job = made["job"]["search_params"]
        assert (job["start"], job["end"]) == (plan["search_params"]["start"], plan["search_params"]["end"])

    def test_a_reused_job_needs_no_fresh_plan(self, sandbox: RunningSandbox, connect: Connect) -> None:
        local_api = connect(sandbox)
        plan = preview(local_api)
        made = create(local_api, plan=plan)
        assert isinstance(local_api.clock, FakeClock)
        local_api.clock.set_forward(days=30)
        assert create(local_api, plan=plan)["job_id"] == made["job_id"]


class TestGuardrails:
    def test_an_irreversible_move_needs_a_plan_or_allow_irreversible(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        for destination in ("RecoverableItemsDeletions", "RecoverableItemsPurges"):
            with pytest.raises(PlanNeeded) as caught:
                create(api, search_params=CAMPAIGN, destination=destination)
            assert caught.value.exit_code == 3
        assert effects(sandbox) == []
        assert create(api, plan=preview(api, destination="RecoverableItemsPurges"))["created"]
        allowed = {"search_params": CAMPAIGN, "destination": "RecoverableItemsDeletions", "allow_irreversible": True}
        assert create(api, **allowed)["created"]

    def test_a_plan_without_counts_is_refused_for_a_permanent_move(self, api: EmailSecurity) -> None:
        search = {**CAMPAIGN, "submissions": True}
        with pytest.raises(PlanRefused, match="a plan without counts can't limit the job"):
            create(api, plan=preview(api, search_params=search, destination="RecoverableItemsPurges"))
        assert create(api, plan=preview(api, search_params=search))["created"]

    def test_a_search_without_a_window_is_pinned_with_a_warning(self, api: EmailSecurity) -> None:
        search = {"sender": CAMPAIGN["sender"], "detections_only": False}
        made = create(api, search_params=search, destination="JunkEmail", idempotency_key="case-42")
        assert made["job"]["search_params"]["start"].startswith("2026-10-21T16:02:35")
        assert any("pinned to 30 days" in warning for warning in made["warnings"])
        # The key identifies the request, not the minute of the call.
        api.clock.sleep(600)
        again = create(api, search_params=search, destination="JunkEmail", idempotency_key="case-42")
        assert not again["created"]
        open_ = create(api, search_params=search, destination="JunkEmail", allow_open_window=True)
        assert "start" not in open_["job"]["search_params"]

    def test_more_messages_or_recipients_than_allowed_are_refused(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        with pytest.raises(TooManyMessages):
            create(api, **MOVE, max_messages=3)
        with pytest.raises(TooManyRecipients):
            create(api, **MOVE, max_recipients=3)
        assert effects(sandbox) == []

    def test_a_broad_search_in_a_plan_is_refused(self, api: EmailSecurity) -> None:
        plan = preview(api, search_params={"start": "2026-11-20T15:00:00Z"})
        with pytest.raises(BroadSearchRefused):
            create(api, plan=plan)
        assert create(api, plan=plan, allow_broad_search=True)["created"]

    def test_a_release_of_malicious_messages_is_refused(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        search = {"sender": CAMPAIGN["sender"], "start": CAMPAIGN["start"]}
        with pytest.raises(MaliciousRelease, match="MALICIOUS"):
            release_job.run({"search_params": search}, api)
        with pytest.raises(MaliciousRelease, match="MALICIOUS-BEC"):
            release_job.run({"search_params": {**search, "final_disposition": "MALICIOUS-BEC"}}, api)
        assert effects(sandbox) == []
        assert release_job.run({"search_params": {**search, "final_disposition": "SPAM"}}, api)["created"]
        assert release_job.run({"search_params": search, "allow_malicious": True}, api)["created"]

    def test_read_only_mode_allows_a_preview_and_refuses_a_create(
        self, sandbox: RunningSandbox, connect: Connect
    ) -> None:
        api = connect(sandbox, read_only=True)
        plan = preview(api)
        with pytest.raises(ReadOnlyMode) as caught:
            create(api, plan=plan)
        assert caught.value.exit_code == 3
        assert effects(sandbox) == []

    def test_the_requester_of_the_environment_is_recorded(self, sandbox: RunningSandbox, connect: Connect) -> None:
        api = connect(sandbox, requested_by="alice@corp.example")
        made = create(api, **MOVE)
        assert made["requested_by"] == "alice@corp.example"
        assert ":by=alice@corp.example]" in made["job"]["comment"]
        with pytest.raises(ParameterError, match="must be the person in CFES_REQUESTED_BY"):
            create(api, **MOVE, requested_by="bob")
