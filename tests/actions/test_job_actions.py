"""The job actions over real HTTP: their effects on the sandbox and their results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from actions import (
    cancel_job,
    create_move_job,
    delete_job,
    export_job_messages,
    get_job,
    list_jobs,
    preview_job,
    release_job,
    search_messages,
    test_connection,
    wait_for_job,
)
from connectors.email_security import EmailSecurity
from core.errors import (
    ApiRefusal,
    AuthenticationFailed,
    BroadSearchRefused,
    Conflict,
    IdempotencyConflict,
    JobStillRunning,
    ListingRepeats,
    NotFound,
    OutcomeUnknown,
    ParameterError,
    PermissionDenied,
    TooManyMessages,
    UncountableSearch,
)
from sandbox.faults import Kind
from sandbox.server import RunningSandbox
from tests.conftest import CAMPAIGN

NO_SUCH_JOB = "c2f4d8aa-0f55-4a6e-8a51-6b8a3d1b7e90"

Connect = Callable[..., EmailSecurity]


def move(api: EmailSecurity, **changes: Any) -> dict[str, Any]:
    return create_move_job.run({"search_params": CAMPAIGN, "destination": "JunkEmail", **changes}, api)


def jobs(sandbox: RunningSandbox) -> list[dict[str, Any]]:
    truth: list[dict[str, Any]] = sandbox.state.truth()["jobs"]
    return truth


class TestCreating:
    def test_a_move_job_is_created_with_the_callers_search(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        made = move(api, comment="case 42")
        assert made["created"]
        assert made["job"]["search_params"]["sender"] == CAMPAIGN["sender"]
        assert made["job"]["action_params"] == {"type": "MOVE", "destination": "JunkEmail"}
        assert made["job"]["comment"].endswith("] case 42")
        assert [job["job_id"] for job in jobs(sandbox)] == [made["job_id"]]

    def test_a_release_job_has_no_destination(self, api: EmailSecurity) -> None:
        made = release_job.run({"search_params": {"sender": "statements@partner-bank.example"}}, api)
        assert made["job"]["action_params"] == {"type": "RELEASE"}

    def test_the_same_key_any_number_of_times_makes_one_job(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        made = [move(api, idempotency_key="case-42") for _ in range(4)]
        assert [result["created"] for result in made] == [True, False, False, False]
        assert len({result["job_id"] for result in made}) == len(jobs(sandbox)) == 1

    def test_the_same_key_for_another_request_is_refused(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        move(api, idempotency_key="case-42")
        with pytest.raises(IdempotencyConflict, match=r"It differs: .*JunkEmail.*DeletedItems"):
            move(api, idempotency_key="case-42", destination="DeletedItems")
        assert len(jobs(sandbox)) == 1

    @pytest.mark.parametrize("fault", [
        {"kind": "drop_after"}, {"kind": "drop_after", "reset": True}, {"kind": "truncate"}, {"kind": "cut_json"},
        {"kind": "html", "applied": True}, {"kind": "status", "status": 503, "applied": True},
        {"kind": "success_false", "applied": True},
    ])  # fmt: skip
    def test_a_lost_answer_makes_no_second_job(
        self, sandbox: RunningSandbox, api: EmailSecurity, fault: dict[str, Any]
    ) -> None:
        sandbox.state.faults.add("createBulkJob", **fault)
        assert move(api)["created"]
        assert len(jobs(sandbox)) == 1

    @pytest.mark.parametrize("fault", [
        {"kind": "drop_before"}, {"kind": "html"}, {"kind": "status", "status": 503}, {"kind": "rate_limit"},
    ])  # fmt: skip
    def test_a_create_without_effect_is_sent_again(
        self, sandbox: RunningSandbox, api: EmailSecurity, fault: dict[str, Any]
    ) -> None:
        sandbox.state.faults.add("createBulkJob", **fault)
        assert move(api)["created"]
        assert len(jobs(sandbox)) == 1

    def test_an_unknown_outcome_of_a_create_is_reported(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        sandbox.state.faults.add("createBulkJob", "drop_after")
        sandbox.state.faults.add("listBulkJobs", "status", status=502, times=None)
        with pytest.raises(OutcomeUnknown) as caught:
            move(api)
        assert caught.value.applied == "unknown"
        assert len(jobs(sandbox)) == 1

    def test_a_search_that_narrows_nothing_is_refused_before_anything_is_sent(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        for search in ({}, {"detections_only": True, "final_disposition": "SPAM", "start": CAMPAIGN["start"]}):
            with pytest.raises(BroadSearchRefused):
                move(api, search_params=search)
        assert sandbox.state.truth()["calls"] == {}
        assert move(api, search_params={}, allow_broad_search=True)["created"]

    def test_max_messages_counts_each_mailbox_copy_and_refuses_more(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        copies = search_messages.run({"search_params": CAMPAIGN}, api)["mailbox_copies"]
        with pytest.raises(TooManyMessages, match=str(copies - 1)):
            move(api, max_messages=copies - 1)
        assert jobs(sandbox) == []
        assert move(api, max_messages=copies)["created"]

    def test_an_exact_subject_is_counted_message_by_message(self, api: EmailSecurity) -> None:
        subject = search_messages.run({"search_params": CAMPAIGN}, api)["messages"][0]["subject"]
        exactly = {**CAMPAIGN, "exact_subject": subject}
        made = move(api, search_params=exactly, max_messages=20)
        assert any("exact_subject" in warning for warning in made["warnings"])

    def test_max_messages_refuses_an_uncountable_search(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        with pytest.raises(UncountableSearch):
            move(api, search_params={**CAMPAIGN, "submissions": True}, max_messages=5)
        assert jobs(sandbox) == []

    def test_the_detections_only_default_is_warned_about(self, api: EmailSecurity) -> None:
        made = move(api, search_params={"sender": CAMPAIGN["sender"]})
        assert any("detections_only" in warning for warning in made["warnings"])
        assert any("start" in warning for warning in made["warnings"])

    def test_an_irreversible_destination_is_warned_about(self, api: EmailSecurity) -> None:
        made = move(api, destination="RecoverableItemsPurges", allow_irreversible=True)
        assert any("RecoverableItemsPurges" in warning for warning in made["warnings"])

    def test_without_the_permission_nothing_is_created(self, sandbox: RunningSandbox, connect: Connect) -> None:
        with pytest.raises(PermissionDenied) as caught:
            move(connect(sandbox, api_token=sandbox.read_token))
        assert "Cloud Email Security: Write" in caught.value.help
        assert jobs(sandbox) == []


class TestWaiting:
    def test_a_wait_returns_when_the_job_has_ended(self, api: EmailSecurity) -> None:
        waited = wait_for_job.run({"job_id": move(api)["job_id"]}, api)
        assert waited["done"]
        assert waited["progress"]["percent"] == 100
        assert waited["resume"] is None
        assert waited["outcome"] == ("partial" if waited["job"]["messages_failed"] else "succeeded")

    def test_a_wait_of_zero_seconds_polls_once(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        waited = wait_for_job.run({"job_id": move(api)["job_id"], "timeout_seconds": 0}, api)
        assert (waited["done"], waited["outcome"], waited["polls"]) == (False, None, 1)
        assert sandbox.state.truth()["calls"]["getBulkJob"] == 1

    def test_a_wait_continues_from_its_resume_object(self, api: EmailSecurity) -> None:
        params = {"job_id": move(api)["job_id"], "timeout_seconds": 0, "min_interval_seconds": 1.3}
        waited = wait_for_job.run(params, api)
        polls = 1
        while not waited["done"]:
            # Platform timers accept only whole seconds.
            assert type(waited["next_poll_seconds"]) is int and waited["next_poll_seconds"] > 1.3
            assert type(waited["progress"]["eta_seconds"]) in (int, type(None))
            api.clock.sleep(waited["next_poll_seconds"])
            waited = wait_for_job.run({**params, "resume": waited["resume"]}, api)
            polls += 1
        assert waited["polls"] == polls

    def test_a_resume_object_of_another_job_is_refused(self, api: EmailSecurity) -> None:
        job_id = move(api)["job_id"]
        resume = wait_for_job.run({"job_id": job_id, "timeout_seconds": 0}, api)["resume"]
        with pytest.raises(ParameterError, match="/resume/job_id"):
            wait_for_job.run({"job_id": NO_SUCH_JOB, "resume": resume}, api)

    def test_a_wait_keeps_its_timeout(self, api: EmailSecurity) -> None:
        began = api.clock.monotonic()
        waited = wait_for_job.run({"job_id": move(api)["job_id"], "timeout_seconds": 3}, api)
        assert not waited["done"]
        assert api.clock.monotonic() - began == pytest.approx(3)

    def test_a_wait_survives_a_temporary_outage(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        job_id = move(api)["job_id"]
        sandbox.state.faults.add("getBulkJob", "status", status=503, times=15, after=1)
        assert wait_for_job.run({"job_id": job_id}, api)["done"]

    def test_an_outage_until_the_timeout_returns_the_last_known_state(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        job_id = move(api)["job_id"]
        sandbox.state.faults.add("getBulkJob", "status", status=503, times=None, after=1)
        waited = wait_for_job.run({"job_id": job_id, "timeout_seconds": 60}, api)
        assert not waited["done"]
        assert any("the last poll failed" in warning for warning in waited["warnings"])

    @pytest.mark.parametrize(
        ("counters", "status", "outcome"),
        [
            ({"messages_successful": 5}, "COMPLETED", "succeeded"),
            ({"messages_successful": 3, "messages_skipped": 2}, "COMPLETED", "succeeded"),
            ({"messages_successful": 4, "messages_failed": 1}, "COMPLETED", "partial"),
            ({"messages_failed": 5}, "COMPLETED", "failed"),
            ({"messages_successful": 4, "messages_failed": 1}, "FAILED", "failed"),
            ({"messages_successful": 4, "messages_cancelled": 1}, "CANCELLED", "cancelled"),
            ({}, "SKIPPED", "failed"),
        ],
    )
    def test_the_outcome_considers_the_counters(
        self, sandbox: RunningSandbox, api: EmailSecurity, counters: dict[str, int], status: str, outcome: str
    ) -> None:
        job_id = move(api)["job_id"]
        fields = {"status": status, "total_messages_discovered": 5, "messages_pending": 0, **counters}
        sandbox.state.faults.add("getBulkJob", "rewrite", set=fields, times=None)
        waited = wait_for_job.run({"job_id": job_id}, api)
        assert (waited["done"], waited["outcome"]) == (True, outcome)
        assert wait_for_job.ACTION.verdict is not None
        assert wait_for_job.ACTION.verdict(waited) == (0 if outcome == "succeeded" else 8)

    def test_an_unknown_status_counts_as_running_with_a_warning(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        job_id = move(api)["job_id"]
        sandbox.state.faults.add("getBulkJob", "rewrite", set={"status": "PAUSED"}, times=None)
        waited = wait_for_job.run({"job_id": job_id, "timeout_seconds": 5}, api)
        assert not waited["done"]
        assert any("PAUSED" in warning for warning in waited["warnings"])

    def test_a_job_without_progress_is_reported_as_stalled(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        job_id = move(api)["job_id"]
        frozen = {"status": "PROCESSING", "total_messages_discovered": 9, "messages_pending": 9}
        sandbox.state.faults.add("getBulkJob", "rewrite", set=frozen, times=None)
        sandbox.state.faults.add("listBulkJobMessages", "rewrite", set={"retry_after": None}, times=None)
        waited = wait_for_job.run({"job_id": job_id, "timeout_seconds": 700}, api)
        assert waited["stalled"]
        assert wait_for_job.ACTION.verdict is not None
        assert wait_for_job.ACTION.verdict(waited) == 6

    def test_a_job_that_waits_for_a_retry_is_not_stalled(
        self, start_sandbox: Callable[..., RunningSandbox], connect: Connect
    ) -> None:
        sandbox = start_sandbox()
        api = connect(sandbox)
        job_id = move(api)["job_id"]
        api.clock.sleep(1.5)
        frozen = {"status": "PROCESSING", "total_messages_discovered": 9, "messages_pending": 9, "messages_failed": 0,
                  "messages_successful": 0, "messages_skipped": 0}  # fmt: skip
        sandbox.state.faults.add("getBulkJob", "rewrite", set=frozen, times=None)
        sandbox.state.faults.add(
            "listBulkJobMessages", "rewrite", set={"retry_after": "2099-01-01T00:00:00Z"}, times=None
        )
        sandbox.state.faults.add("listBulkJobMessages", "rewrite", set={"status": "PENDING"}, times=None)
        waited = wait_for_job.run({"job_id": job_id, "timeout_seconds": 700}, api)
        assert not waited["done"]
        assert not waited["stalled"]


class TestCancellingAndDeleting:
    def test_cancel_job_cancels_a_running_job_and_returns_its_previous_status(self, api: EmailSecurity) -> None:
        job_id = move(api)["job_id"]
        api.clock.sleep(3)
        result = cancel_job.run({"job_id": job_id}, api)
        assert (result["cancelled"], result["status"]) == (True, "CANCELLED")
        assert result["previous_status"] in ("DISCOVERING", "PROCESSING")

    def test_a_second_cancel_changes_nothing(self, api: EmailSecurity) -> None:
        job_id = move(api)["job_id"]
        cancel_job.run({"job_id": job_id}, api)
        again = cancel_job.run({"job_id": job_id}, api)
        assert (again["cancelled"], again["previous_status"]) == (False, "CANCELLED")

    def test_cancelling_an_ended_job_is_a_conflict_that_names_its_status(self, api: EmailSecurity) -> None:
        job_id = move(api)["job_id"]
        wait_for_job.run({"job_id": job_id}, api)
        with pytest.raises(Conflict, match="COMPLETED"):
            cancel_job.run({"job_id": job_id}, api)

    @pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
    def test_a_lost_answer_to_a_cancel_is_checked(
        self, sandbox: RunningSandbox, api: EmailSecurity, kind: Kind
    ) -> None:
        job_id = move(api)["job_id"]
        sandbox.state.faults.add("cancelBulkJob", kind)
        assert cancel_job.run({"job_id": job_id}, api)["status"] == "CANCELLED"

    def test_deleting_a_running_job_is_refused_with_its_status(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        job_id = move(api)["job_id"]
        with pytest.raises(JobStillRunning, match="PENDING"):
            delete_job.run({"job_id": job_id}, api)
        assert "deleteBulkJob" not in sandbox.state.truth()["calls"]

    @pytest.mark.parametrize("kind", ["drop_before", "drop_after", None])
    def test_an_ended_job_is_deleted_once(self, sandbox: RunningSandbox, api: EmailSecurity, kind: Kind | None) -> None:
        job_id = move(api)["job_id"]
        cancel_job.run({"job_id": job_id}, api)
        if kind is not None:
            sandbox.state.faults.add("deleteBulkJob", kind)
        assert delete_job.run({"job_id": job_id}, api)["previous_status"] == "CANCELLED"
        again = delete_job.run({"job_id": job_id}, api)
        assert (again["deleted"], again["previous_status"]) == (False, None)
        with pytest.raises(NotFound):
            get_job.run({"job_id": job_id}, api)


class TestListingAndSearching:
    def test_jobs_are_listed_by_type_and_status_over_all_pages(self, api: EmailSecurity) -> None:
        first = move(api)["job_id"]
        release_job.run({"search_params": {"sender": "statements@partner-bank.example"}}, api)
        wait_for_job.run({"job_id": first}, api)
        assert list_jobs.run({}, api)["count"] == 2
        assert list_jobs.run({"action_type": "RELEASE"}, api)["count"] == 1
        assert [j["job_id"] for j in list_jobs.run({"action_type": "MOVE", "status": "COMPLETED"}, api)["jobs"]] == [
            first
        ]
        assert list_jobs.run({"status": "FAILED"}, api)["jobs"] == []

    def test_a_job_list_that_repeats_its_only_page_is_complete(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        made = {move(api)["job_id"], move(api)["job_id"]}
        sandbox.state.faults.add("listBulkJobs", "repeat_page")
        before = sandbox.state.calls["listBulkJobs"]
        assert {job["job_id"] for job in list_jobs.run({}, api)["jobs"]} == made
        assert sandbox.state.calls["listBulkJobs"] - before <= 5

    def test_a_search_that_repeats_its_page_is_an_error_within_five_calls(
        self, start_sandbox: Callable[..., RunningSandbox], connect: Connect
    ) -> None:
        sandbox = start_sandbox(messages=0, campaign_size=1500)
        sandbox.state.faults.add("searchMessages", "repeat_page")
        with pytest.raises(ListingRepeats, match="the message search"):
            search_messages.run({"search_params": CAMPAIGN, "limit": 5000}, connect(sandbox))
        assert sandbox.state.calls["searchMessages"] <= 5

    def test_a_search_counts_messages_mailboxes_and_verdicts(self, api: EmailSecurity) -> None:
        found = search_messages.run({"search_params": CAMPAIGN, "sample": 3}, api)
        assert found["count"] == 40
        assert len(found["messages"]) == 3
        assert found["mailbox_copies"] >= found["recipients"] >= 40
        assert sum(found["counts_by_disposition"].values()) == 40

    def test_a_search_over_its_limit_reports_limit_reached(self, api: EmailSecurity) -> None:
        found = search_messages.run({"search_params": CAMPAIGN, "limit": 39}, api)
        assert (found["count"], found["limit_reached"]) == (39, True)
        assert not search_messages.run({"search_params": CAMPAIGN, "limit": 40}, api)["limit_reached"]

    def test_the_detections_only_default_hides_undetected_messages(self, api: EmailSecurity) -> None:
        narrow = search_messages.run({"search_params": {"sender": CAMPAIGN["sender"]}}, api)
        assert narrow["count"] < 40
        assert any("detections_only" in warning for warning in narrow["warnings"])

    def test_a_slow_search_is_polled_until_it_is_ready(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        sandbox.state.faults.add("searchMessages", "slow_search", seconds=5)
        assert search_messages.run({"search_params": CAMPAIGN}, api)["count"] == 40

    @pytest.mark.parametrize(
        "location", ["https://evil.example/steal", "//evil.example/x", "/user/tokens", "../../x", "x"]
    )
    def test_a_slow_search_is_not_polled_at_another_location(
        self, sandbox: RunningSandbox, api: EmailSecurity, location: str
    ) -> None:
        sandbox.state.faults.add("searchMessages", "slow_search", seconds=5, location=location)
        with pytest.raises(Exception, match="Location") as caught:
            search_messages.run({"search_params": CAMPAIGN}, api)
        assert type(caught.value).__name__ == "UnexpectedAnswer"

    def test_a_future_start_returns_the_errors_of_the_api(self, api: EmailSecurity) -> None:
        with pytest.raises(ApiRefusal) as caught:
            search_messages.run({"search_params": {"sender": "x", "start": "2030-01-01T00:00:00Z"}}, api)
        assert caught.value.api_errors

    @pytest.mark.parametrize(
        ("token", "read", "write", "missing"),
        [
            ("token", "granted", "granted", []),
            ("read_token", "granted", "missing", ["Cloud Email Security: Write"]),
        ],
    )
    def test_test_connection_names_the_missing_permission(
        self, sandbox: RunningSandbox, connect: Connect, token: str, read: str, write: str, missing: list[str]
    ) -> None:
        result = test_connection.run({}, connect(sandbox, api_token=getattr(sandbox, token)))
        assert (result["read"], result["write"], result["missing_permissions"]) == (read, write, missing)
        assert result["ok"] == (not missing)
        assert jobs(sandbox) == []

    def test_test_connection_without_the_probe_writes_nothing(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        assert test_connection.run({"probe_write": False}, api)["write"] == "not known"
        assert "cancelBulkJob" not in sandbox.state.truth()["calls"]

    def test_a_revoked_token_is_an_authentication_failure(self, sandbox: RunningSandbox, connect: Connect) -> None:
        with pytest.raises(AuthenticationFailed):
            test_connection.run({}, connect(sandbox, api_token=sandbox.revoked_token))

    def test_an_email_and_api_key_work(self, sandbox: RunningSandbox, connect: Connect) -> None:
        api = connect(sandbox, api_token=None, api_email=sandbox.email, api_key=sandbox.email_key)
        result = test_connection.run({}, api)
        assert (result["ok"], result["token_status"]) == (True, "not verified")


def test_a_rate_limit_block_within_the_call_allowance_is_waited_out(sandbox: RunningSandbox, connect: Connect) -> None:
    job_id = move(connect(sandbox))["job_id"]
    sandbox.state.faults.add("getBulkJob", "rate_limit", retry_after=280, block=True)
    assert get_job.run({"job_id": job_id}, connect(sandbox, call_allowance_seconds=300))["job_id"] == job_id


def test_an_export_never_exceeds_the_rate_limit(start_sandbox: Callable[..., RunningSandbox], connect: Connect) -> None:
    sandbox = start_sandbox(quota=30, window=60)
    api = connect(sandbox)
    job_id = move(api)["job_id"]
    for _ in range(60):
        get_job.run({"job_id": job_id}, api)
    assert export_job_messages.run({"job_id": job_id, "inline_limit_bytes": 10_000_000}, api)["complete"]
    assert sandbox.state.truth()["calls"]["getBulkJob"] >= 60


class TestSpellings:
    """Requests are compared by meaning, not by spelling."""

    def test_different_spellings_of_a_request_make_one_job(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        search = {**CAMPAIGN, "start": "2026-11-13T15:32:35Z"}
        given: list[dict[str, Any]] = [
            {"search_params": search, "idempotency_key": "caf\u00e9-42"},
            {"search_params": {**search, "start": "2026-11-13T16:32:35.123456789+01:00"}},
            {"search_params": {**search, "sender": " BILLING@Invoice-Portal.example. "}},
            {"search_params": {**search, "submissions": False}},
            {"search_params": dict(reversed(search.items())), "idempotency_key": " cafe\u0301-42"},
        ]
        made = [move(api, **{"idempotency_key": "caf\u00e9-42", **one}) for one in given]
        assert [one["created"] for one in made] == [True, False, False, False, False]
        assert len(sandbox.state.truth()["jobs"]) == 1

    def test_a_plan_accepts_its_search_in_another_spelling(self, api: EmailSecurity) -> None:
        plan = preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}, api)
        other = {**CAMPAIGN, "sender": str(CAMPAIGN["sender"]).upper(), "start": "2026-11-13T15:32:35.000Z"}
        assert create_move_job.run({"plan": plan, "search_params": other}, api)["created"]

    def test_a_blank_key_is_refused(self, api: EmailSecurity) -> None:
        with pytest.raises(ParameterError, match="idempotency_key"):
            move(api, idempotency_key=" \u00a0 ")
