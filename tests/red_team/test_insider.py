"""Attacks by an insider, who can call every action and write files, but not the policy, settings or keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions import (
    cancel_job,
    create_move_job,
    delete_job,
    get_job,
    move_messages,
    preview_job,
    release_job,
    release_messages,
    restore_messages,
    search_messages,
    wait_for_job,
)
from connectors.email_security import EmailSecurity
from core.errors import (
    ApiRefusal,
    ApprovalRefused,
    BroadSearchRefused,
    GuardrailRefusal,
    MaliciousRelease,
    ObserveMode,
    PackError,
    ParameterError,
    PlanDrifted,
    PlanNeeded,
    PlanRefused,
    PolicyRefused,
    TemporaryFailure,
    UncountableSearch,
)
from remediation.guardrails.approvals.approval import approve
from remediation.guardrails.approvals.token import Signing
from sandbox.server import RunningSandbox
from sandbox.settings import Pace
from tests.conftest import CAMPAIGN
from tests.exhaustive import exhaustive_unless
from tests.red_team.forging import FORGERIES, rehash
from tests.remediation.guardrails.test_approval import BOB, private_pem, public_pem

Connect = Callable[..., EmailSecurity]
Under = Callable[..., EmailSecurity]
MOVE: dict[str, Any] = {"search_params": CAMPAIGN, "destination": "JunkEmail"}
STRICT = "max_drift_percent: 0\nplan_needed: [{}]"
APPROVED = (
    f"approvers:\n  - {{name: bob, public_key: {public_pem(BOB)!r}}}".replace("'", '"')
    + "\napproval_needed:\n  - {approvals: 1}"
)


@pytest.fixture
def under(sandbox: RunningSandbox, connect: Connect, tmp_path: Path) -> Under:
    """Connect under a policy with this text."""

    def connected(text: str, at: RunningSandbox = sandbox, **settings: Any) -> EmailSecurity:
        file = tmp_path / "policy.yaml"
        file.write_text(f"policy: 1\n{text}\n")
        return connect(at, **{"policy_file": str(file), "state_directory": str(tmp_path / "state"), **settings})

    return connected


def preview(api: EmailSecurity, **params: Any) -> dict[str, Any]:
    return preview_job.run({"action": "MOVE", **MOVE, **params}, api)


def create(api: EmailSecurity, **params: Any) -> dict[str, Any]:
    return create_move_job.run(params, api)


def jobs(sandbox: RunningSandbox) -> list[Any]:
    found: list[Any] = sandbox.state.truth()["jobs"]
    return found


def effects(sandbox: RunningSandbox) -> list[Any]:
    found: list[Any] = sandbox.state.truth()["effects"]
    return found


def single_message_searches(sandbox: RunningSandbox, count: int) -> list[dict[str, Any]]:
    """Return searches that find one message each."""
    held = [m for m in sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"])) if len(m.recipients) == 1]
    return [{**CAMPAIGN, "recipient": message.recipients[0]} for message in held[:count]]


class TestForgedPlans:
    @pytest.mark.parametrize(
        "forge", exhaustive_unless(list(FORGERIES.values())[2::4], FORGERIES.values()), ids=FORGERIES
    )
    def test_a_forged_plan_is_refused_if_the_policy_needs_a_plan(
        self, forge: Callable[[dict[str, Any]], dict[str, Any]], sandbox: RunningSandbox, under: Under
    ) -> None:
        api = under(STRICT)
        forged = forge(preview(api, destination="DeletedItems"))
        for plan in (forged, {**forged, "seal": None}, {**forged, "seal": f"hmac-sha256:{'0' * 64}"}):
            with pytest.raises(PlanRefused):
                create(api, plan=plan)
        assert effects(sandbox) == []

    @pytest.mark.parametrize(
        "forge", exhaustive_unless(list(FORGERIES.values())[3::4], FORGERIES.values()), ids=FORGERIES
    )
    def test_an_approval_of_a_forged_plan_is_refused(
        self, forge: Callable[[dict[str, Any]], dict[str, Any]], sandbox: RunningSandbox, under: Under
    ) -> None:
        api = under(APPROVED, requested_by="mallory")
        forged = forge(preview(api, destination="DeletedItems"))
        signing = Signing(
            plan_hash=forged["plan_hash"], account_id=forged["account_id"], approver="bob", jti="1",
            private_key_pem=private_pem(BOB), now=api.clock.now(), lifetime_seconds=3600,
        )  # fmt: skip
        token = approve(signing).token
        with pytest.raises((PlanRefused, ApprovalRefused)):
            create(api, plan=forged, approvals=[token])
        assert effects(sandbox) == []

    def test_the_seal_of_another_key_or_plan_is_refused(self, sandbox: RunningSandbox, under: Under) -> None:
        api = under(STRICT)
        elsewhere = preview(under(STRICT, plan_key="another key that has its 32 characters"))
        one, other = preview(api), preview(api, destination="DeletedItems")
        for plan in (elsewhere, {**one, "seal": other["seal"]}):
            with pytest.raises(PlanRefused, match="seal"):
                create(api, plan=plan)
        assert effects(sandbox) == []
        assert create(api, plan=one)["created"]

    def test_without_a_plan_key_every_plan_is_refused_and_the_preview_says_so(
        self, sandbox: RunningSandbox, under: Under
    ) -> None:
        api = under(STRICT, plan_key=None)
        plan = preview(api)
        assert plan["seal"] is None
        assert [refusal["type"] for refusal in plan["refusals"]] == ["PlanRefused"]
        with pytest.raises(PlanRefused, match="CFES_PLAN_KEY is not set"):
            create(api, plan=plan)
        assert effects(sandbox) == []

    def test_without_a_policy_an_unverified_plan_is_accepted_with_a_warning(self, api: EmailSecurity) -> None:
        own = preview(api)
        assert not [warning for warning in create(api, plan=own)["warnings"] if "unverified" in warning]
        outside = rehash(preview(api, destination="DeletedItems"), warnings=["looks fine"])
        assert [warning for warning in create(api, plan=outside)["warnings"] if "unverified plan" in warning]

    def test_the_numbers_of_a_plan_are_checked_without_a_policy_too(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        honest = preview(api, destination="RecoverableItemsPurges")
        fewer = rehash(honest, messages=6, recipients=6, max_drift=1000.0, cancel_if_discovered_over=None)
        with pytest.raises(PlanDrifted, match="a drift of 0 percent is allowed"):
            create(api, plan=fewer)
        for name in ("another search than requested", "an empty window", "no numbers", "a wider window"):
            with pytest.raises(PlanRefused):
                create(api, plan=FORGERIES[name](honest))
        assert effects(sandbox) == []

    def test_a_forged_empty_plan_does_not_use_up_the_idempotency_key(
        self, sandbox: RunningSandbox, under: Under, connect: Connect
    ) -> None:
        for api in (under(STRICT), connect(sandbox)):
            plan = preview(api)
            with pytest.raises(PlanRefused):
                create(api, plan=FORGERIES["another search than requested"](plan), idempotency_key="the alert")
        assert effects(sandbox) == []
        ended = wait_for_job.run(
            {"job_id": create(api, plan=plan, idempotency_key="the alert")["job_id"], "timeout_seconds": 3600}, api
        )
        assert ended["progress"]["discovered"] == plan["messages"] > 0


class TestDiscovery:
    def test_a_create_cancels_a_job_that_exceeds_the_discovery_limit(
        self, start_sandbox: Callable[..., RunningSandbox], connect: Connect
    ) -> None:
        sandbox = start_sandbox(pace=Pace(discover_rate=20))
        api = connect(sandbox, listing_lag_seconds=0)
        plan = preview(api)
        like = sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[0]

        def more_mail(moved: float, advance: Callable[[float], object] = sandbox.state.advance) -> None:
            if len(sandbox.state.truth()["jobs"]) == 1 and not added:
                added.append(True)
                for number in range(plan["messages"]):
                    sandbox.state.tenant.add(
                        time=like.time, sender=like.sender, subject="late", recipients=(f"l{number}@corp.example",),
                        disposition="SPAM",
                    )  # fmt: skip
            advance(moved)

        added: list[bool] = []
        api.clock.moved = more_mail  # type: ignore[attr-defined]
        made = create(api, plan=plan)
        assert added
        assert (made["status"], made["discovery_limit"]["tripped"]) == ("CANCELLED", True)
        assert made["discovery_limit"]["processed"] < 5
        assert any("more than the" in warning for warning in made["warnings"])

    @pytest.mark.parametrize("trick", ["wait_follows", "the comment is not kept"])
    def test_under_a_policy_a_create_always_checks_the_discovery_limit(
        self, trick: str, start_sandbox: Callable[..., RunningSandbox], under: Under
    ) -> None:
        sandbox = start_sandbox(pace=Pace(discover_rate=20))
        api = under("max_messages: 41", sandbox)
        sandbox.state.faults.add("searchMessages", "empty_page", times=1)
        if trick != "wait_follows":
            for operation in ("createBulkJob", "getBulkJob", "cancelBulkJob"):
                sandbox.state.faults.add(operation, "rewrite", times=100, set={"comment": "x"})
        like = sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[0]
        sandbox.state.tenant.add(
            time=like.time, sender=like.sender, subject="late", recipients=("l@corp.example",), disposition="SPAM"
        )
        made = create(api, **MOVE, wait_follows=trick == "wait_follows")
        assert (made["status"], made["discovery_limit"]["limit"], made["discovery_limit"]["tripped"]) == (
            "CANCELLED",
            41,
            True,
        )

    def test_the_limit_is_the_smallest_of_call_plan_and_policy(self, under: Under) -> None:
        api = under("max_messages: 43")
        plan = preview(api)
        assert plan["cancel_if_discovered_over"] == 43
        made = create(api, plan=plan, max_messages=42)
        assert made["discovery_limit"]["limit"] == 42
        waited = wait_for_job.run({"job_id": made["job_id"], "timeout_seconds": 0}, api)
        assert waited["discovery_limit"]["limit"] == 43
        forged = rehash(plan, cancel_if_discovered_over=10**6, max_drift=1000.0)
        with pytest.raises(ParameterError, match="is not the plan"):
            wait_for_job.run({"job_id": made["job_id"], "plan": forged, "cancel_if_discovered_over": 10**6}, api)

    @pytest.mark.parametrize(("again", "ended"), [(False, (7, "yes")), (True, (4, "no"))])
    def test_a_failed_cancellation_reports_whether_this_call_created_the_job(
        self, again: bool, ended: tuple[int, str], start_sandbox: Callable[..., RunningSandbox], connect: Connect
    ) -> None:
        sandbox = start_sandbox(pace=Pace(discover_rate=20))
        api = connect(sandbox)
        plan = preview(api)
        like = sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[0]

        def find_more(seconds: float) -> None:
            if len(jobs(sandbox)) == 1 and not found:
                found.append(True)
                for number in range(plan["messages"]):
                    sandbox.state.tenant.add(
                        time=like.time, sender=like.sender, subject="late", recipients=(f"l{number}@corp.example",),
                        disposition="SPAM",
                    )  # fmt: skip
            sandbox.state.advance(seconds)

        found: list[bool] = []
        limit = {}
        if again:
            # The first call has no limit; the second call has one.
            made = create(api, plan=plan, wait_follows=True)
            limit = {"max_messages": 5}
        else:
            api.clock.moved = find_more  # type: ignore[attr-defined]
        sandbox.state.faults.add("cancelBulkJob", "status", times=50, status=403)
        with pytest.raises(PackError, match="could not be cancelled") as caught:
            create(api, plan=plan, **limit)
        assert (caught.value.exit_code, caught.value.applied) == ended
        assert not again or caught.value.job_id == made["job_id"]
        assert len(jobs(sandbox)) == 1

    def test_a_job_that_discovers_far_less_than_planned_is_not_a_success(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        plan = preview(api)
        # Skip the check for duplicate jobs: it would advance the clock, and the job would search meanwhile.
        api.connection = api.connection.model_copy(update={"listing_lag_seconds": 0.0})
        made = create(api, plan=plan, wait_follows=True)
        # Another cleanup removes messages before the job searches.
        del sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[20:]
        sandbox.state.tenant.found.clear()
        waited = wait_for_job.run({"job_id": made["job_id"], "plan": plan, "timeout_seconds": 3600}, api)
        assert waited["progress"]["discovered"] < plan["messages"] * 0.9
        assert waited["outcome"] != "succeeded"
        assert any("far fewer than" in warning for warning in waited["warnings"])


class TestInboxIsDelivery:
    def test_malicious_mail_is_not_moved_to_inboxes(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        found = search_messages.run({"search_params": CAMPAIGN}, api)["messages"]
        malicious = [one["id"] for one in found if one["final_disposition"] == "MALICIOUS"][:3]
        with pytest.raises(MaliciousRelease):
            create(api, search_params=CAMPAIGN, destination="Inbox")
        with pytest.raises(MaliciousRelease):
            create(api, plan=preview(api, destination="Inbox"))
        with pytest.raises(MaliciousRelease):
            move_messages.run({"ids": malicious, "destination": "Inbox"}, api)
        assert effects(sandbox) == []
        dry = move_messages.run({"ids": malicious, "destination": "Inbox", "dry_run": True}, api)
        assert [refusal["type"] for refusal in dry["refusals"]] == ["MaliciousRelease"]
        assert create(api, search_params=CAMPAIGN, destination="Inbox", allow_malicious=True)["created"]

    def test_restoring_malicious_mail_needs_allow_malicious(
        self, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        from actions import export_job_messages  # noqa: PLC0415 -- this test alone exports

        made = create(api, plan=preview(api))
        wait_for_job.run({"job_id": made["job_id"], "timeout_seconds": 3600}, api)
        file = str(tmp_path / "rows.ndjson")
        export_job_messages.run({"job_id": made["job_id"], "destination": file, "format": "ndjson"}, api)
        before = effects(sandbox)
        with pytest.raises(MaliciousRelease):
            restore_messages.run({"export": file, "dry_run": False}, api)
        assert effects(sandbox) == before
        assert restore_messages.run({"export": file, "dry_run": False, "allow_malicious": True}, api)["succeeded"]

    @pytest.mark.parametrize(
        "spelling",
        exhaustive_unless(
            {"Malicious-BEC", ""}, ["malicious", "Malicious-BEC", "MALICIOUS_BEC", " MALICIOUS ", "PHISH", ""]
        ),
    )
    def test_an_unknown_or_misspelled_verdict_counts_as_malicious(
        self, spelling: str, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        ids = [one["id"] for one in search_messages.run({"search_params": CAMPAIGN}, api)["messages"]][:2]
        sandbox.state.faults.add("searchMessages", "rewrite", times=100, set={"final_disposition": spelling})
        plan = preview(api, destination="Inbox")
        assert plan["malicious"] == (plan["messages"] if "mal" in spelling.lower() else 0)
        assert [refusal["type"] for refusal in plan["refusals"]] == ["MaliciousRelease"]
        calls: tuple[Callable[[], object], ...] = (
            lambda: create(api, search_params=CAMPAIGN, destination="Inbox"),
            lambda: create(api, plan=plan),
            lambda: release_job.run({"search_params": CAMPAIGN}, api),
            lambda: move_messages.run({"ids": ids, "destination": "Inbox"}, api),
            lambda: release_messages.run({"ids": ids}, api),
        )
        for call in calls:
            with pytest.raises(MaliciousRelease):
                call()
        assert effects(sandbox) == []

    @pytest.mark.parametrize("rule", ["actions: [RELEASE]", "delivers: true", "destinations: [Inbox]"])
    def test_a_rule_for_releases_applies_to_moves_to_the_inbox(
        self, rule: str, sandbox: RunningSandbox, under: Under
    ) -> None:
        api = under(f"overrides: [allow_malicious]\nplan_needed:\n  - {{{rule}}}")
        with pytest.raises(PlanNeeded):
            create(api, search_params=CAMPAIGN, destination="Inbox", allow_malicious=True)
        assert effects(sandbox) == []
        assert create(api, **MOVE)["created"]


class TestOverrides:
    @pytest.mark.parametrize(
        ("params", "refusal"),
        [
            ({"search_params": {"detections_only": True}, "allow_broad_search": True}, BroadSearchRefused),
            ({"destination": "RecoverableItemsPurges", "allow_irreversible": True}, PlanNeeded),
            ({"destination": "Inbox", "allow_malicious": True}, MaliciousRelease),
        ],
    )
    def test_an_override_that_the_policy_does_not_name_has_no_effect(
        self, params: dict[str, Any], refusal: type[GuardrailRefusal], sandbox: RunningSandbox, under: Under
    ) -> None:
        [name] = [name for name in params if name.startswith("allow_")]
        with pytest.raises(refusal) as caught:
            create(under(""), **{**MOVE, **params})
        assert f"{name} has no effect: the policy" in caught.value.help
        assert effects(sandbox) == []
        assert create(under(f"overrides: [{name}]"), **{**MOVE, **params})["created"]

    def test_an_open_window_is_fixed_when_the_job_is_created(self, under: Under) -> None:
        search = {"sender": CAMPAIGN["sender"], "end": "2027-01-01T00:00:00Z", "detections_only": False}
        made = create(under(""), **{**MOVE, "search_params": search}, allow_open_window=True)
        assert made["job"]["search_params"]["start"] == "2026-10-21T16:02:35Z"
        assert made["job"]["search_params"]["end"] == "2026-11-20T16:02:35Z"
        assert any("`end` is in the future" in warning for warning in made["warnings"])

    @pytest.mark.parametrize("end", [{}, {"end": "2027-01-01T00:00:00Z"}])
    @pytest.mark.parametrize("allowed", ["", "overrides: [allow_open_window]"])
    def test_a_search_of_future_mail_is_refused(
        self, end: dict[str, Any], allowed: str, sandbox: RunningSandbox, under: Under
    ) -> None:
        search = {**CAMPAIGN, "start": "2026-12-01T00:00:00Z", **end}
        calls: tuple[Callable[[EmailSecurity], object], ...] = (
            lambda api: create(api, **{**MOVE, "search_params": search}, allow_open_window=True),
            lambda api: preview(api, search_params=search),
        )
        for call in calls:
            with pytest.raises(ParameterError, match="is in the future"):
                call(under(allowed))
        assert effects(sandbox) == []

    def test_named_messages_have_the_same_overrides(self, sandbox: RunningSandbox, under: Under) -> None:
        api = under("")
        found = search_messages.run({"search_params": CAMPAIGN}, api)["messages"]
        ids = [one["id"] for one in found if one["final_disposition"] == "MALICIOUS"][:1]
        with pytest.raises(PlanNeeded):
            move_messages.run({"ids": ids, "destination": "RecoverableItemsPurges", "allow_irreversible": True}, api)
        with pytest.raises(MaliciousRelease):
            move_messages.run({"ids": ids, "destination": "Inbox", "allow_malicious": True}, api)
        assert effects(sandbox) == []


class TestSearches:
    @pytest.mark.parametrize(
        "search",
        [
            {"query": "a"},
            {"subject": "re"},
            {"recipient": "corp.example"},
            {"domain": "corp.example"},
            {"sender": "corp.example"},
            {"query": "@corp.example"},
            {"query": "\u200b\u200b\u200b"},
        ],
    )
    def test_a_broad_search_is_refused(self, search: dict[str, Any], sandbox: RunningSandbox, under: Under) -> None:
        for given in (search, {**search, "detections_only": False}):
            with pytest.raises(BroadSearchRefused):
                create(under("own_domains: [corp.example]"), search_params=given, destination="JunkEmail")
        assert effects(sandbox) == []

    def test_a_search_for_the_recipients_domain_is_refused_without_a_policy_too(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        domain = next(iter(preview(api)["by_recipient_domain"]))
        with pytest.raises(BroadSearchRefused):
            create(api, search_params={"domain": domain}, destination="JunkEmail", max_messages=1_000_000)
        assert effects(sandbox) == []

    def test_recipients_in_the_headers_do_not_count(self, sandbox: RunningSandbox, under: Under) -> None:
        sandbox.state.faults.add("searchMessages", "rewrite", times=50, remove=["client_recipients"])
        with pytest.raises(UncountableSearch):
            create(under("protected_recipients: [ceo@corp.example]"), **MOVE)
        assert effects(sandbox) == []


class TestBudgets:
    def test_the_messages_of_several_jobs_add_up(self, sandbox: RunningSandbox, under: Under) -> None:
        api = under("max_recipients: 1\nbudgets:\n  - {hours: 1, messages: 2}")
        first, second, third = single_message_searches(sandbox, 3)
        assert create(api, search_params=first, destination="JunkEmail")["created"]
        assert create(api, search_params=second, destination="JunkEmail")["created"]
        with pytest.raises(
            PolicyRefused, match=r"2 were or may have been changed .*, and this call would change 1 more"
        ):
            create(api, search_params=third, destination="JunkEmail")
        assert len(jobs(sandbox)) == 2
        api.clock.sleep(2 * 3600)
        assert create(api, search_params=third, destination="JunkEmail")["created"]

    def test_a_deleted_job_and_named_messages_count(self, sandbox: RunningSandbox, under: Under) -> None:
        api = under("budgets:\n  - {hours: 24, messages: 2}")
        first, second, third = single_message_searches(sandbox, 3)
        made = create(api, search_params=first, destination="JunkEmail", idempotency_key="one")
        wait_for_job.run({"job_id": made["job_id"], "timeout_seconds": 3600}, api)
        assert delete_job.run({"job_id": made["job_id"]}, api)["deleted"]
        found = search_messages.run({"search_params": second}, api)["messages"]
        assert move_messages.run({"ids": [found[0]["id"]], "destination": "JunkEmail"}, api)["done"]
        for key in ("one", "two"):
            with pytest.raises(PolicyRefused, match="budget"):
                create(api, search_params=third, destination="JunkEmail", idempotency_key=key)

    def test_a_cancelled_job_counts_messages_that_may_be_in_flight(
        self, start_sandbox: Callable[..., RunningSandbox], under: Under
    ) -> None:
        sandbox = start_sandbox(pace=Pace(process_rate=0.01))
        api = under("budgets:\n  - {hours: 24, messages: 2}", sandbox)
        first, second, third = single_message_searches(sandbox, 3)
        made = create(api, search_params=first, destination="JunkEmail", idempotency_key="one")
        while get_job.run({"job_id": made["job_id"]}, api)["status"] != "PROCESSING":
            api.clock.sleep(1)
        stopped = cancel_job.run({"job_id": made["job_id"]}, api)
        assert (stopped["status"], stopped["processed"]) == ("CANCELLED", 0)
        assert create(api, search_params=second, destination="JunkEmail", idempotency_key="two")["created"]
        with pytest.raises(PolicyRefused, match="2 were or may have been changed"):
            create(api, search_params=third, destination="JunkEmail", idempotency_key="three")

    def test_a_job_counts_before_the_list_shows_it(self, sandbox: RunningSandbox, under: Under) -> None:
        api = under("budgets:\n  - {hours: 24, jobs: 1}", listing_lag_seconds=0)
        sandbox.state.faults.add("listBulkJobs", "lag", times=50, seconds=600)
        first, second = single_message_searches(sandbox, 2)
        assert create(api, search_params=first, destination="JunkEmail")["created"]
        with pytest.raises(PolicyRefused, match="1 job in 24 h, and 1 was made in that time"):
            create(api, search_params=second, destination="JunkEmail")

    def test_each_requester_and_folder_has_its_own_budget(self, sandbox: RunningSandbox, under: Under) -> None:
        text = "budgets:\n  - {hours: 24, jobs: 1, per: [requester, destination]}"
        searches = iter(single_message_searches(sandbox, 8))

        def ask(name: str | None, folder: str = "JunkEmail", **params: Any) -> dict[str, Any]:
            search = next(searches)
            key = f"case {search['recipient']}"
            return create(
                under(text, requested_by=name), search_params=search, destination=folder, idempotency_key=key, **params
            )

        assert ask("alice")["created"]
        for name in ("alice", "ALICE", "alice+2", "alice@corp.example"):
            with pytest.raises(PolicyRefused, match="for requester and destination"):
                ask(name)
        assert ask("alice", "DeletedItems")["created"]
        assert ask("carol")["created"]
        with pytest.raises(PolicyRefused, match="CFES_REQUESTED_BY is not set"):
            ask(None, requested_by="dave")

    def test_a_change_is_refused_if_the_budget_cannot_be_counted(
        self, sandbox: RunningSandbox, under: Under, tmp_path: Path
    ) -> None:
        text = "budgets:\n  - {hours: 24, messages: 50000}"
        [first] = single_message_searches(sandbox, 1)
        (tmp_path / "open").mkdir(mode=0o777)
        (tmp_path / "open").chmod(0o777)
        with pytest.raises(PolicyRefused, match="state directory"):
            create(under(text, state_directory=str(tmp_path / "open")), search_params=first, destination="JunkEmail")
        broken = tmp_path / "broken"
        broken.mkdir(mode=0o700)
        (broken / "state.sqlite").write_text("not a database, but long enough to be looked at" * 50)
        (broken / "state.sqlite").chmod(0o600)
        with pytest.raises(PolicyRefused, match="not a database"):
            create(under(text, state_directory=str(broken)), search_params=first, destination="JunkEmail")
        sandbox.state.faults.add("listBulkJobs", "status", times=500, status=500)
        with pytest.raises(TemporaryFailure):
            create(under(text, call_allowance_seconds=1), search_params=first, destination="JunkEmail")
        assert effects(sandbox) == []

    def test_a_refused_create_uses_no_budget(self, sandbox: RunningSandbox, under: Under) -> None:
        api = under("budgets:\n  - {hours: 24, jobs: 1}")
        [first] = single_message_searches(sandbox, 1)
        sandbox.state.faults.add("createBulkJob", "status", times=1, status=400)
        with pytest.raises(ApiRefusal):
            create(api, search_params=first, destination="JunkEmail", idempotency_key="one")
        assert create(api, search_params=first, destination="JunkEmail", idempotency_key="one")["created"]

    def test_a_list_that_is_not_sent_uses_no_budget(self, sandbox: RunningSandbox, under: Under) -> None:
        text = "budgets:\n  - {hours: 24, messages: 1}"
        api = under(text)
        ids = [
            search_messages.run({"search_params": s}, api)["messages"][0]["id"]
            for s in single_message_searches(sandbox, 2)
        ]
        sandbox.state.faults.add("moveMessages", "status", times=1, status=400)
        calls = [{"ids": [one], "destination": "JunkEmail"} for one in ids]
        with pytest.raises(ApiRefusal):
            move_messages.run(calls[0], api)
        observing = under(f"{text}\nobserve: true")
        with pytest.raises(ObserveMode):
            move_messages.run(calls[0], observing)
        [first] = single_message_searches(sandbox, 1)
        with pytest.raises(ObserveMode):
            create(observing, search_params=first, destination="JunkEmail")
        api = under(text)
        assert move_messages.run(calls[1], api)["done"]
        # The same list counts once, even if the service refuses it the second time. Another list counts separately.
        sandbox.state.faults.add("moveMessages", "status", times=1, status=400)
        with pytest.raises(ApiRefusal):
            move_messages.run({**calls[1], "skip_done": False}, api)
        with pytest.raises(PolicyRefused, match="1 were or may have been changed"):
            move_messages.run(calls[0], api)

    def test_a_list_of_named_messages_counts_as_a_job(self, sandbox: RunningSandbox, under: Under) -> None:
        api = under("budgets:\n  - {hours: 24, jobs: 2}")
        found = [search_messages.run({"search_params": one}, api) for one in single_message_searches(sandbox, 3)]
        calls: list[dict[str, Any]] = [{"ids": [one["messages"][0]["id"]], "destination": "JunkEmail"} for one in found]
        for call in (*calls[:2], {**calls[1], "skip_done": False}):
            assert move_messages.run(call, api)["done"]
        with pytest.raises(PolicyRefused, match="2 jobs in 24 h, and 2 were made in that time"):
            move_messages.run(calls[2], api)
        with pytest.raises(PolicyRefused, match="2 were made in that time"):
            create(
                api,
                search_params=single_message_searches(sandbox, 1)[0],
                destination="JunkEmail",
                idempotency_key="one",
            )

    def test_a_job_with_an_unknown_folder_counts_for_every_folder(
        self, sandbox: RunningSandbox, under: Under, tmp_path: Path
    ) -> None:
        text = "budgets:\n  - {hours: 24, jobs: 1, per: [destination]}"
        first, second = single_message_searches(sandbox, 2)
        assert create(under(text), search_params=first, destination="JunkEmail")["created"]
        sandbox.state.faults.add("listBulkJobs", "rewrite", times=50, remove=["action_params", "action_type"])
        elsewhere = under(text, state_directory=str(tmp_path / "another"))
        with pytest.raises(PolicyRefused, match="1 was made in that time"):
            create(elsewhere, search_params=second, destination="JunkEmail", idempotency_key="another")


class TestObserveModeAndReasons:
    def test_observe_mode_checks_everything_and_sends_nothing(self, sandbox: RunningSandbox, under: Under) -> None:
        api = under("observe: true\nmax_messages: 41")
        with pytest.raises(ObserveMode, match="MOVE, JunkEmail") as caught:
            create(api, plan=preview(api), idempotency_key="one")
        assert (caught.value.exit_code, caught.value.applied) == (3, "no")
        with pytest.raises(PolicyRefused, match="the policy allows 5"):
            create(under("observe: true\nmax_messages: 5"), **MOVE)
        found = search_messages.run({"search_params": CAMPAIGN}, api)["messages"]
        with pytest.raises(ObserveMode, match=r"1 message\)"):
            move_messages.run({"ids": [found[0]["id"]], "destination": "JunkEmail"}, api)
        assert effects(sandbox) == []

    @pytest.mark.parametrize("comment", [None, "", "  ", "a", "...", "\u200b\u200b\u200b"])
    def test_a_change_without_a_reason_is_refused(
        self, comment: str | None, sandbox: RunningSandbox, under: Under
    ) -> None:
        api = under("reason_needed: true")
        given = {} if comment is None else {"comment": comment}
        with pytest.raises(PolicyRefused, match="requires a reason"):
            create(api, **MOVE, **given)
        with pytest.raises(PolicyRefused, match="requires a reason"):
            release_job.run({"search_params": CAMPAIGN, **given}, api)
        found = search_messages.run({"search_params": CAMPAIGN}, api)["messages"]
        with pytest.raises(PolicyRefused, match="requires a reason"):
            move_messages.run({"ids": [found[0]["id"]], "destination": "JunkEmail", **given}, api)
        assert effects(sandbox) == []
        made = create(api, **MOVE, comment="case 42")
        wait_for_job.run({"job_id": made["job_id"], "timeout_seconds": 3600}, api)
        with pytest.raises(PolicyRefused, match="requires a reason"):
            delete_job.run({"job_id": made["job_id"], **given}, api)
        assert get_job.run({"job_id": made["job_id"]}, api)["job"]["comment"].endswith("case 42")
