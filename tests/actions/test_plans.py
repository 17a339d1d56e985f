"""A plan binds its job: what was looked at is what is done, or nothing is."""

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

Connect = Callable[..., EmailSecurity]
MOVE = {"search_params": CAMPAIGN, "destination": "JunkEmail"}


def preview(api: EmailSecurity, **changes: Any) -> dict[str, Any]:
    return preview_job.run({"action": "MOVE", **MOVE, **changes}, api)


def create(api: EmailSecurity, **params: Any) -> dict[str, Any]:
    """Create a job that the test itself waits for."""
    return create_move_job.run({"wait_follows": True, **params}, api)


def effects(sandbox: RunningSandbox) -> list[Any]:
    found: list[Any] = sandbox.state.truth()["effects"]
    return found


def one_more_mail(sandbox: RunningSandbox, *, seconds_ago: float = 60, number: int = 0) -> None:
    """A mail of the campaign, scanned a while ago, that shows only now."""
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
    def test_the_plan_alone_says_what_is_done(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        plan = preview(api)
        made = create(api, plan=plan)
        assert (made["created"], made["plan_hash"]) == (True, plan["plan_hash"])
        assert plan["search_params"].items() <= made["job"]["search_params"].items()
        job = sandbox.state.truth()["jobs"][0]
        assert job["action_params"]["destination"] == "JunkEmail"
        assert f":plan={plan['plan_hash'][:16]}" in job["comment"]

    def test_what_the_job_moves_is_what_the_plan_found(self, api: EmailSecurity) -> None:
        plan = preview(api)
        ended = wait(api, create(api, plan=plan), plan=plan)
        assert ended["progress"]["discovered"] == plan["messages"]
        assert ended["discovery_limit"]["tripped"] is False

    def test_one_plan_makes_one_job_however_often_it_is_called(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        plan = preview(api)
        first, second = create(api, plan=plan), create(api, plan=plan)
        assert (first["created"], second["created"]) == (True, False)
        assert first["job_id"] == second["job_id"]
        with pytest.raises(PlanUsed, match=first["job_id"]):
            create(api, plan=plan, idempotency_key="another case")
        assert len(effects(sandbox)) == 1

    def test_a_key_and_another_jobs_plan_touch_neither_job(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
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

    def test_a_key_adopts_its_job_also_with_a_newer_plan_of_the_same_search(self, api: EmailSecurity) -> None:
        first = create(api, plan=preview(api), idempotency_key="case-42")
        api.clock.sleep(3600)
        again = create(api, plan=preview(api), idempotency_key="case-42")
        assert (again["created"], again["job_id"]) == (False, first["job_id"])
        assert again["plan_hash"] is None
        assert any("not made from this plan" in warning for warning in again["warnings"])

    def test_the_callers_own_parameters_may_stand_beside_it_if_they_say_the_same(self, api: EmailSecurity) -> None:
        assert create(api, plan=preview(api), **MOVE)["created"]

    @pytest.mark.parametrize(
        ("other", "named"),
        [
            ({"destination": "Inbox"}, "Inbox"),
            ({"search_params": {**CAMPAIGN, "sender": "corp.example"}}, "another search"),
        ],
    )
    def test_other_parameters_beside_it_are_refused(
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

    def test_a_plan_of_another_version_says_that_a_new_one_is_needed(self, api: EmailSecurity) -> None:
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

    def test_without_plan_and_search_both_are_named(self, api: EmailSecurity) -> None:
        with pytest.raises(ParameterError, match="search_params"):
            create(api, destination="Inbox")


class TestMailThatArrivesInBetween:
    def test_after_the_preview_it_is_outside_the_pinned_window_and_not_touched(
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

    def test_within_the_window_it_is_a_drift_and_refused_with_both_numbers(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        plan = preview(api)
        for number in range(plan["messages"] // 10 + 1):
            one_more_mail(sandbox, number=number)
        now = plan["messages"] + plan["messages"] // 10 + 1
        with pytest.raises(PlanDrifted, match=f"found {plan['messages']} messages .* finds {now} for") as caught:
            create(api, plan=plan)
        assert (caught.value.exit_code, effects(sandbox)) == (3, [])
        with pytest.raises(PlanDrifted):
            create(api, plan=plan, max_drift=50)
        assert create(api, plan=preview(api))["created"]

    def test_a_drift_within_bounds_is_allowed_but_not_for_what_can_not_be_undone(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        soft, hard = preview(api), preview(api, destination="RecoverableItemsPurges")
        one_more_mail(sandbox)
        with pytest.raises(PlanDrifted, match="0 percent"):
            create(api, plan=hard)
        assert create(api, plan=soft)["created"]

    def test_after_the_create_the_discovery_limit_cancels_before_anything_is_processed(
        self, start_sandbox: Callable[..., RunningSandbox], connect: Connect
    ) -> None:
        sandbox = start_sandbox(pace=Pace(discover_rate=20))
        # The second look after a create moves the sandbox's clock on.
        api = connect(sandbox, listing_lag_seconds=0)
        plan = preview(api)
        made = create(api, plan=plan)
        for number in range(plan["messages"]):
            one_more_mail(sandbox, number=number)
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

    def test_the_limit_holds_while_other_workers_jobs_are_waited_for(
        self, start_sandbox: Callable[..., RunningSandbox], connect: Connect
    ) -> None:
        sandbox = start_sandbox(pace=Pace(discover_rate=20))
        api = connect(sandbox)
        plan = preview(api)
        posted: list[bool] = []

        def late(seconds: float) -> None:
            if not posted and sandbox.state.truth()["jobs"]:
                posted.append(True)
                for number in range(plan["messages"]):
                    one_more_mail(sandbox, number=number)
            sandbox.state.advance(seconds)

        api.clock = FakeClock(moved=late)
        made = create_move_job.run({"plan": plan, "wait_follows": True}, api)
        [job] = sandbox.state.truth()["jobs"]
        assert (job["status"], job["messages_successful"], made["discovery_limit"]["cancelled"]) == (
            "CANCELLED",
            0,
            True,
        )

    def test_a_limit_of_the_calls_own_goes_before_the_plans(self, api: EmailSecurity) -> None:
        made = create(api, **MOVE)
        ended = wait(api, made, cancel_if_discovered_over=5)
        assert ended["status"] == "CANCELLED"
        assert any("more than the 5 allowed" in warning for warning in ended["warnings"])

    def test_a_job_that_went_on_before_anybody_looked_is_told_with_what_it_did(self, api: EmailSecurity) -> None:
        made = create(api, **MOVE)
        api.clock.sleep(3600)
        ended = wait(api, made, cancel_if_discovered_over=5)
        assert (ended["status"], ended["changed"]) == ("COMPLETED", False)
        assert ended["discovery_limit"]["tripped"]
        assert not ended["discovery_limit"]["cancelled"]
        assert ended["discovery_limit"]["processed"] == ended["progress"]["processed"] > 0

    def test_a_brake_that_can_not_work_is_told_before_the_wait_or_with_the_job_that_goes_on(
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

    def test_a_limit_that_is_exceeded_at_once_is_told_with_the_job_that_goes_on(
        self, start_sandbox: Callable[..., RunningSandbox], connect: Connect
    ) -> None:
        sandbox = start_sandbox(pace=Pace(discover_rate=20))
        api = connect(sandbox)
        made = create(api, **MOVE)
        api.clock.sleep(1.5)
        with pytest.raises(PermissionDenied, match="more than 5, and could not be cancelled") as caught:
            wait(connect(sandbox, api_token=sandbox.read_token), made, cancel_if_discovered_over=5)
        assert caught.value.job_id == made["job_id"]

    def test_a_plans_limit_needs_the_permission_too(
        self, start_sandbox: Callable[..., RunningSandbox], connect: Connect
    ) -> None:
        sandbox = start_sandbox(pace=Pace(discover_rate=20))
        # The second look after a create moves the sandbox's clock on.
        api = connect(sandbox, listing_lag_seconds=0)
        plan = preview(api)
        made = create(api, plan=plan)
        with pytest.raises(PermissionDenied, match="lacks"):
            wait(connect(sandbox, api_token=sandbox.read_token), made, plan=plan)

    def test_the_permission_is_asked_once_and_only_while_the_limit_can_be_exceeded(
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

    def test_without_a_limit_reading_is_enough(self, sandbox: RunningSandbox, connect: Connect) -> None:
        made = create(connect(sandbox), **MOVE)
        assert wait(connect(sandbox, api_token=sandbox.read_token), made)["done"]

    def test_where_the_limit_is_the_policys_a_token_that_only_reads_is_warned(
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

    def test_a_plan_says_nothing_about_a_job_that_was_not_made_from_it(self, api: EmailSecurity) -> None:
        made = create(api, **MOVE)
        with pytest.raises(ParameterError, match="is not the plan"):
            wait(api, made, plan=preview(api))

    def test_another_jobs_plan_is_refused(self, api: EmailSecurity) -> None:
        made = create(api, plan=preview(api))
        with pytest.raises(ParameterError, match="is not the plan"):
            wait(api, made, plan=preview(api, max_messages=9999, destination="Inbox"))


class TestClocksThatJump:
    def test_a_plan_from_the_future_is_refused(self, sandbox: RunningSandbox, connect: Connect) -> None:
        ahead, here = connect(sandbox), connect(sandbox)
        assert isinstance(ahead.clock, FakeClock)
        ahead.clock.set_forward(hours=3)
        search = {**CAMPAIGN, "end": format_instant(here.clock.now())}
        plan = preview(ahead, search_params=search)
        with pytest.raises(PlanRefused, match="is in the future"):
            create(here, plan=plan)
        assert effects(sandbox) == []

    def test_a_plan_of_yesterday_is_refused(self, sandbox: RunningSandbox, connect: Connect) -> None:
        here = connect(sandbox)
        plan = preview(here)
        assert isinstance(here.clock, FakeClock)
        here.clock.set_forward(hours=25)
        with pytest.raises(PlanRefused, match="older than 24 h"):
            create(here, plan=plan)

    def test_a_clock_that_jumps_after_the_preview_moves_no_window(
        self, sandbox: RunningSandbox, connect: Connect
    ) -> None:
        here = connect(sandbox)
        plan = preview(here)
        assert isinstance(here.clock, FakeClock)
        here.clock.set_forward(hours=20)
        made = create(here, plan=plan)
        job = made["job"]["search_params"]
        assert (job["start"], job["end"]) == (plan["search_params"]["start"], plan["search_params"]["end"])

    def test_an_adopted_job_needs_no_fresh_plan(self, sandbox: RunningSandbox, connect: Connect) -> None:
        here = connect(sandbox)
        plan = preview(here)
        made = create(here, plan=plan)
        assert isinstance(here.clock, FakeClock)
        here.clock.set_forward(days=30)
        assert create(here, plan=plan)["job_id"] == made["job_id"]


class TestGuardrails:
    def test_what_can_not_be_undone_needs_a_plan_or_a_plain_word(
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

    def test_a_search_without_a_window_is_pinned_and_it_says_so(self, api: EmailSecurity) -> None:
        search = {"sender": CAMPAIGN["sender"], "detections_only": False}
        made = create(api, search_params=search, destination="JunkEmail", idempotency_key="case-42")
        assert made["job"]["search_params"]["start"].startswith("2026-10-21T16:02:35")
        assert any("pinned to 30 days" in warning for warning in made["warnings"])
        # The key stands for what was asked, not for the minute in which it was asked.
        api.clock.sleep(600)
        again = create(api, search_params=search, destination="JunkEmail", idempotency_key="case-42")
        assert not again["created"]
        open_ = create(api, search_params=search, destination="JunkEmail", allow_open_window=True)
        assert "start" not in open_["job"]["search_params"]

    def test_more_messages_or_recipients_than_allowed(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        with pytest.raises(TooManyMessages):
            create(api, **MOVE, max_messages=3)
        with pytest.raises(TooManyRecipients):
            create(api, **MOVE, max_recipients=3)
        assert effects(sandbox) == []

    def test_a_broad_search_in_a_plan_is_still_a_broad_search(self, api: EmailSecurity) -> None:
        plan = preview(api, search_params={"start": "2026-11-20T15:00:00Z"})
        with pytest.raises(BroadSearchRefused):
            create(api, plan=plan)
        assert create(api, plan=plan, allow_broad_search=True)["created"]

    def test_malicious_messages_are_not_released_by_the_way(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        search = {"sender": CAMPAIGN["sender"], "start": CAMPAIGN["start"]}
        with pytest.raises(MaliciousRelease, match="MALICIOUS"):
            release_job.run({"search_params": search}, api)
        with pytest.raises(MaliciousRelease, match="MALICIOUS-BEC"):
            release_job.run({"search_params": {**search, "final_disposition": "MALICIOUS-BEC"}}, api)
        assert effects(sandbox) == []
        assert release_job.run({"search_params": {**search, "final_disposition": "SPAM"}}, api)["created"]
        assert release_job.run({"search_params": search, "allow_malicious": True}, api)["created"]

    def test_read_only_mode_refuses_and_still_lets_one_look(self, sandbox: RunningSandbox, connect: Connect) -> None:
        api = connect(sandbox, read_only=True)
        plan = preview(api)
        with pytest.raises(ReadOnlyMode) as caught:
            create(api, plan=plan)
        assert caught.value.exit_code == 3
        assert effects(sandbox) == []

    def test_who_asks_is_what_the_environment_says(self, sandbox: RunningSandbox, connect: Connect) -> None:
        api = connect(sandbox, requested_by="alice@corp.example")
        made = create(api, **MOVE)
        assert made["requested_by"] == "alice@corp.example"
        assert ":by=alice@corp.example]" in made["job"]["comment"]
        with pytest.raises(ParameterError, match="must be the person in CFES_REQUESTED_BY"):
            create(api, **MOVE, requested_by="bob")
