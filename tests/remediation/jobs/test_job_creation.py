"""One request makes one job, on an API without idempotency keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from connectors.email_security import EmailSecurity
from connectors.http.client import httpx
from connectors.objects.job import BulkJobRequest
from connectors.objects.search import SearchParams
from core.errors import (
    ApiRefusal,
    IdempotencyConflict,
    NotReceived,
    OutcomeUnknown,
    PermissionDenied,
    PlanUsed,
    RateLimited,
)
from remediation.jobs.creation import Clearance, CreatedJob, JobRequest, create_job_once
from remediation.stamp import Stamp
from tests.clock import FakeClock
from tests.connectors.scripted import ACCOUNT, JOB_ID, RepeatingScript, connected, job, ok, refused

REQUEST = BulkJobRequest(
    action="MOVE", destination="JunkEmail", comment="case 42", search_params=SearchParams(sender="a@phish.example")
)
EMPTY = ok([])
OTHER_ID = "c2f4d8aa-0f55-4a6e-8a51-6b8a3d1b7e90"
# A job that is too old for an earlier duplicate to appear later.
MADE_LONG_AGO = {"created_at": "2026-11-20T15:32:35Z"}


def body_without_comment(request: BulkJobRequest) -> dict[str, Any]:
    return {name: value for name, value in request.body().items() if name != "comment"}


def create(
    api: EmailSecurity,
    request: BulkJobRequest,
    key: str | None,
    before_post: Callable[[Stamp], Clearance] = lambda _: Clearance(),
    **parts: Any,
) -> CreatedJob:
    return create_job_once(api, JobRequest(request, key, **parts), before_post)


def stamped_job(key: str = "case-42", **changes: Any) -> dict[str, Any]:
    return job(comment=Stamp.of(ACCOUNT, key, body_without_comment(REQUEST)).on("case 42"), **changes)


def test_without_a_key_a_create_is_one_call() -> None:
    script = RepeatingScript(ok(job(), 201))
    assert create(connected(script), REQUEST, None).created
    assert script.calls() == ["POST investigate/bulk"]


def test_the_comment_has_the_tag_and_then_the_callers_reason() -> None:
    script = RepeatingScript(ok(job(), 201))
    create(connected(script), REQUEST, None)
    comment = script.bodies()[0]["comment"]
    assert comment.startswith("[cfes:1:")
    assert comment.endswith("] case 42")
    assert Stamp.read(comment) is not None


def test_a_job_with_the_tag_is_reused() -> None:
    script = RepeatingScript(ok([job(job_id=OTHER_ID), stamped_job(status="COMPLETED")]), EMPTY)
    result = create(connected(script), REQUEST, "case-42")
    assert (result.created, result.job.status) == (False, "COMPLETED")
    assert script.bodies() == []


def test_the_same_key_for_another_request_is_refused_and_names_the_job() -> None:
    script = RepeatingScript(ok([stamped_job()]), EMPTY)
    other = REQUEST.model_copy(update={"destination": "Inbox"})
    with pytest.raises(IdempotencyConflict, match=JOB_ID):
        create(connected(script), other, "case-42")
    assert script.bodies() == []


LOST_RESPONSES: dict[str, httpx.Response | Exception] = {
    "reset": httpx.ReadError("reset"),
    "timeout": httpx.ReadTimeout("slow"),
    "502": httpx.Response(502),
    "truncated": httpx.Response(201, content=b'{"success": tr'),
    "html": httpx.Response(200, text="<html>"),
    "no job": ok({"id": 5}, 201),
    "success false": refused(200),
}


@pytest.mark.parametrize("lost_response", LOST_RESPONSES)
def test_the_job_is_found_by_its_tag_after_a_lost_response(lost_response: str) -> None:
    def list_jobs(_: httpx.Request) -> httpx.Response:
        return ok([job(comment=script.bodies()[0]["comment"])])

    script = RepeatingScript(LOST_RESPONSES[lost_response], list_jobs, EMPTY)
    result = create(connected(script), REQUEST, None)
    assert result.created
    assert len(script.bodies()) == 1


def test_a_lagging_list_is_polled_before_a_second_post() -> None:
    clock = FakeClock()

    def list_jobs(_: httpx.Request) -> httpx.Response:
        return ok([job(comment=script.bodies()[0]["comment"])])

    script = RepeatingScript(LOST_RESPONSES["reset"], EMPTY, EMPTY, EMPTY, EMPTY, list_jobs, EMPTY)
    assert create(connected(script, clock), REQUEST, None).created
    assert len(script.bodies()) == 1
    assert clock.slept == [1, 2]


def test_a_second_post_is_made_only_after_the_listing_lag() -> None:
    clock = FakeClock()
    script = RepeatingScript(LOST_RESPONSES["reset"], *[EMPTY] * 10, ok(job(), 201))
    create(connected(script, clock, listing_lag_seconds=15), REQUEST, None)
    assert len(script.bodies()) == 2
    assert clock.slept[:4] == [1, 2, 4, 8]
    assert script.bodies()[0] == script.bodies()[1]


def test_two_lost_responses_make_the_outcome_unknown() -> None:
    script = RepeatingScript(LOST_RESPONSES["reset"], *[EMPTY] * 2, LOST_RESPONSES["reset"], *[EMPTY] * 2)
    with pytest.raises(OutcomeUnknown) as caught:
        create(connected(script, listing_lag_seconds=0), REQUEST, None)
    assert len(script.bodies()) == 2
    assert caught.value.exit_code == 7
    assert "[cfes:1:" in caught.value.help


def test_no_second_post_is_sent_if_the_list_cannot_be_read() -> None:
    script = RepeatingScript(LOST_RESPONSES["reset"], *[httpx.Response(502)] * 6)
    with pytest.raises(OutcomeUnknown):
        create(connected(script), REQUEST, None)
    assert len(script.bodies()) == 1


def test_an_error_body_with_status_200_is_a_refusal_if_no_job_is_listed() -> None:
    script = RepeatingScript(refused(200), *[EMPTY] * 2)
    with pytest.raises(ApiRefusal):
        create(connected(script, listing_lag_seconds=0), REQUEST, None)


def test_the_outcome_is_unknown_if_the_second_post_is_not_sent() -> None:
    failed_posts: list[httpx.Response | Exception] = [httpx.ConnectError("down"), EMPTY, EMPTY] * 6
    script = RepeatingScript(LOST_RESPONSES["reset"], *[EMPTY] * 2, *failed_posts)
    with pytest.raises(OutcomeUnknown):
        create(connected(script, listing_lag_seconds=0), REQUEST, None)


def test_a_first_post_that_is_not_sent_changes_nothing() -> None:
    with pytest.raises(NotReceived):
        create(connected(RepeatingScript(*[httpx.ConnectError("down")] * 6)), REQUEST, None)


REFUSED_FOR_NOW = httpx.Response(429, headers={"retry-after": "120"})


def test_the_list_and_the_count_are_checked_again_after_a_rate_limit() -> None:
    counted_at: list[float] = []
    clock = FakeClock()

    def before_post(_: Stamp) -> Clearance:
        counted_at.append(clock.monotonic())
        return Clearance()

    script = RepeatingScript(EMPTY, EMPTY, REFUSED_FOR_NOW, EMPTY, EMPTY, ok(stamped_job(), 201), ok([stamped_job()]))
    assert create(connected(script, clock), REQUEST, "case-42", before_post).created
    assert clock.slept[0] == 120
    assert counted_at[1] - counted_at[0] == 120


def test_a_job_made_by_another_worker_during_a_rate_limit_is_reused() -> None:
    script = RepeatingScript(EMPTY, EMPTY, REFUSED_FOR_NOW, ok([stamped_job(status="PROCESSING")]), EMPTY)
    result = create(connected(script), REQUEST, "case-42")
    assert (result.created, result.job.job_id) == (False, JOB_ID)
    assert len(script.bodies()) == 1


def test_a_rate_limit_longer_than_the_call_allowance_is_raised() -> None:
    script = RepeatingScript(EMPTY, EMPTY, REFUSED_FOR_NOW)
    with pytest.raises(RateLimited) as caught:
        create(connected(script, call_allowance_seconds=100), REQUEST, "case-42")
    assert (caught.value.applied, caught.value.retry_after_seconds) == ("no", 120)


def test_a_rate_limited_second_post_is_repeated_after_another_check() -> None:
    script = RepeatingScript(LOST_RESPONSES["reset"], EMPTY, EMPTY, REFUSED_FOR_NOW, EMPTY, EMPTY, ok(job(), 201))
    assert create(connected(script, listing_lag_seconds=0), REQUEST, None).created
    assert len(script.bodies()) == 3


def test_the_outcome_is_unknown_if_the_second_post_is_refused() -> None:
    script = RepeatingScript(LOST_RESPONSES["reset"], EMPTY, EMPTY, refused(400), EMPTY, EMPTY)
    with pytest.raises(OutcomeUnknown):
        create(connected(script, listing_lag_seconds=0), REQUEST, None)


def test_of_two_jobs_with_one_tag_the_earlier_is_kept_and_the_later_cancelled() -> None:
    mine = stamped_job(created_at="2026-11-20T16:02:36Z")
    theirs = stamped_job(job_id=OTHER_ID, created_at="2026-11-20T16:02:35Z")
    cancelled = {**mine, "status": "CANCELLED", "total_messages_discovered": 5, "messages_successful": 2,
                 "messages_cancelled": 3}  # fmt: skip
    script = RepeatingScript(EMPTY, EMPTY, ok(mine, 201), ok([mine, theirs]), ok(cancelled))
    result = create(connected(script), REQUEST, "case-42")
    assert (result.created, result.job.job_id) == (False, OTHER_ID)
    assert f"POST investigate/bulk/{JOB_ID}/cancel" in script.calls()
    assert "2 of 5 messages" in result.warnings[0]


def test_the_earlier_job_is_kept_if_this_call_made_it() -> None:
    mine = stamped_job(created_at="2026-11-20T16:02:35Z")
    theirs = stamped_job(job_id=OTHER_ID, created_at="2026-11-20T16:02:36Z")
    script = RepeatingScript(EMPTY, EMPTY, ok(mine, 201), ok([theirs, mine]), ok({**theirs, "status": "CANCELLED"}))
    result = create(connected(script), REQUEST, "case-42")
    assert (result.created, result.job.job_id) == (True, JOB_ID)


def test_a_tag_inside_the_callers_comment_is_ignored() -> None:
    forged = str(Stamp.of(ACCOUNT, "victim", REQUEST.body()))
    comment = Stamp.of(ACCOUNT, "case-42", REQUEST.body()).on(f"subject: {forged}")
    read = Stamp.read(comment)
    assert read == Stamp.of(ACCOUNT, "case-42", REQUEST.body())
    assert Stamp.read(f"subject: {forged}") is None


def test_a_stamp_depends_on_account_key_and_request() -> None:
    body = REQUEST.body()
    stamps = {Stamp.of("a", "k", body), Stamp.of("b", "k", body), Stamp.of("a", "l", body), Stamp.of("a", "k", {})}
    assert len(stamps) == 4
    assert Stamp.of("a", "k", body) == Stamp.of("a", "k", dict(reversed(body.items())))


def test_an_unchecked_created_job_is_named_with_help_to_run_the_call_again() -> None:
    script = RepeatingScript(EMPTY, EMPTY, ok(stamped_job(), 201), refused(403))
    with pytest.raises(OutcomeUnknown, match=JOB_ID) as caught:
        create(connected(script), REQUEST, "case-42")
    assert (caught.value.applied, caught.value.job_id) == ("yes", JOB_ID)
    assert "Run the same call again" in caught.value.help


def test_a_dead_workers_later_duplicate_is_cancelled_when_the_earlier_job_is_reused() -> None:
    first = stamped_job(created_at="2026-11-20T16:02:35Z", status="PROCESSING")
    later_job = stamped_job(job_id=OTHER_ID, created_at="2026-11-20T16:02:36Z", status="DISCOVERING")
    script = RepeatingScript(ok([later_job, first]), EMPTY, ok({**later_job, "status": "CANCELLED"}))
    result = create(connected(script), REQUEST, "case-42")
    assert (result.created, result.job.job_id) == (False, JOB_ID)
    assert [(one.job_id, one.status) for one in result.duplicates] == [(OTHER_ID, "CANCELLED")]
    assert "is a later duplicate for the same request" in result.warnings[0]


def test_a_duplicate_is_polled_after_a_lost_response_to_its_cancellation() -> None:
    first = stamped_job(created_at="2026-11-20T16:02:35Z")
    later_job = stamped_job(job_id=OTHER_ID, created_at="2026-11-20T16:02:36Z")
    script = RepeatingScript(
        ok([later_job, first]), EMPTY, LOST_RESPONSES["reset"], ok({**later_job, "status": "CANCELLED"})
    )
    result = create(connected(script), REQUEST, "case-42")
    assert [one.status for one in result.duplicates] == ["CANCELLED"]
    assert script.calls()[-1].startswith("GET ")


def test_a_duplicate_that_cannot_be_cancelled_raises_an_error_without_a_change() -> None:
    first = stamped_job(created_at="2026-11-20T16:02:35Z")
    later_job = stamped_job(job_id=OTHER_ID, created_at="2026-11-20T16:02:36Z")
    script = RepeatingScript(ok([later_job, first]), EMPTY, refused(403))
    with pytest.raises(PermissionDenied, match=OTHER_ID) as caught:
        create(connected(script), REQUEST, "case-42")
    assert (caught.value.job_id, caught.value.applied) == (JOB_ID, "no")


def test_the_outcome_is_unknown_if_a_duplicate_cannot_be_cancelled_after_a_create() -> None:
    mine = stamped_job(created_at="2026-11-20T16:02:35Z")
    theirs = stamped_job(job_id=OTHER_ID, created_at="2026-11-20T16:02:36Z")
    script = RepeatingScript(EMPTY, EMPTY, ok(mine, 201), ok([mine, theirs]), refused(403))
    with pytest.raises(OutcomeUnknown, match=OTHER_ID) as caught:
        create(connected(script), REQUEST, "case-42")
    assert (caught.value.job_id, caught.value.applied, caught.value.http_status) == (JOB_ID, "yes", 403)


def test_a_duplicate_deleted_in_the_meantime_is_not_an_error() -> None:
    first = stamped_job(created_at="2026-11-20T16:02:35Z")
    later_job = stamped_job(job_id=OTHER_ID, created_at="2026-11-20T16:02:36Z")
    script = RepeatingScript(ok([later_job, first]), EMPTY, refused(404))
    assert create(connected(script), REQUEST, "case-42").job.job_id == JOB_ID


def test_a_tag_with_the_most_approvers_is_read_back() -> None:
    names = tuple(f"{'x' * 60}{number:04}" for number in range(10))
    stamp = replace(Stamp.of(ACCOUNT, "case-42", {}, plan_hash="ab" * 32, requested_by="y" * 64), approved_by=names)
    assert Stamp.read(stamp.on("case 42")) == stamp


def test_of_two_jobs_from_a_repeated_post_without_a_key_the_later_is_cancelled() -> None:
    def list_both_jobs(_: httpx.Request) -> httpx.Response:
        comment = script.bodies()[0]["comment"]
        late = job(comment=comment, created_at="2026-11-20T16:02:34Z")
        return ok([job(job_id=OTHER_ID, comment=comment, created_at="2026-11-20T16:02:50Z"), late])

    def second_post(_: httpx.Request) -> httpx.Response:
        return ok(job(job_id=OTHER_ID, comment=script.bodies()[0]["comment"]), 201)

    cancelled = ok(job(job_id=OTHER_ID, status="CANCELLED"))
    script = RepeatingScript(LOST_RESPONSES["reset"], *[EMPTY] * 2, second_post, list_both_jobs, cancelled)
    result = create(connected(script, listing_lag_seconds=0), REQUEST, None)
    assert result.job.job_id == JOB_ID
    assert f"POST investigate/bulk/{OTHER_ID}/cancel" in script.calls()


def test_another_workers_job_is_not_reported_as_created_after_a_lost_response() -> None:
    theirs = stamped_job(job_id=OTHER_ID)
    script = RepeatingScript(EMPTY, EMPTY, LOST_RESPONSES["reset"], *[ok([theirs]), EMPTY] * 10)
    result = create(connected(script), REQUEST, "case-42")
    assert (result.created, result.job.job_id) == (False, OTHER_ID)
    assert len(script.bodies()) == 1
    assert "was lost" in result.warnings[0]


def test_another_workers_job_for_another_request_prevents_a_second_post() -> None:
    comment = Stamp.of(ACCOUNT, "case-42", {"action": "RELEASE"}).on("theirs")
    script = RepeatingScript(
        EMPTY, EMPTY, LOST_RESPONSES["reset"], *[ok([job(job_id=OTHER_ID, comment=comment)]), EMPTY] * 10
    )
    with pytest.raises(IdempotencyConflict, match=OTHER_ID) as caught:
        create(connected(script), REQUEST, "case-42")
    assert (caught.value.applied, len(script.bodies())) == ("unknown", 1)


PLAN = "ab" * 32


def test_the_plan_hash_is_the_default_idempotency_key() -> None:
    comment = Stamp.of(ACCOUNT, PLAN, body_without_comment(REQUEST), plan_hash=PLAN).on("case 42")
    script = RepeatingScript(ok([job(comment=comment)]), EMPTY)
    assert not create(connected(script), REQUEST, None, plan_hash=PLAN).created


def test_a_plan_used_under_another_key_makes_no_second_job() -> None:
    comment = Stamp.of(ACCOUNT, "case-41", body_without_comment(REQUEST), plan_hash=PLAN).on("case 41")
    script = RepeatingScript(ok([job(comment=comment)]), EMPTY)
    with pytest.raises(PlanUsed, match=JOB_ID) as caught:
        create(connected(script), REQUEST, "case-42", plan_hash=PLAN)
    assert (caught.value.applied, script.bodies()) == ("no", [])


def test_the_tag_names_requester_and_approvers() -> None:
    script = RepeatingScript(EMPTY, EMPTY, lambda request: ok(job(comment=json.loads(request.content)["comment"]), 201),
                      lambda _: ok([job(comment=script.bodies()[0]["comment"])]), EMPTY)  # fmt: skip
    result = create(
        connected(script), REQUEST, "case-42", lambda _: Clearance(approved_by=["bob", "carol"]), requested_by="alice"
    )
    assert ":by=alice:ok=bob,carol] case 42" in script.bodies()[0]["comment"]
    assert (result.stamp.requested_by, result.stamp.approved_by) == ("alice", ("bob", "carol"))


def test_a_tag_with_fields_of_a_later_version_is_read() -> None:
    plain = Stamp.of(ACCOUNT, "case-42", body_without_comment(REQUEST))
    read = Stamp.read(f"{str(plain)[:-1]}:plan=0123abcd:zz=new] case 42")
    assert read is not None
    assert read.same_request(plain)
    assert read.plan == "0123abcd"


def test_a_changed_comment_makes_no_second_job() -> None:
    script = RepeatingScript(ok([stamped_job()]), EMPTY)
    assert not create(connected(script), REQUEST.model_copy(update={"comment": "again"}), "case-42").created


def test_a_lagging_list_is_polled_for_another_workers_job_after_a_create() -> None:
    mine = stamped_job(created_at="2026-11-20T16:02:36Z")
    theirs = stamped_job(job_id=OTHER_ID, created_at="2026-11-20T16:02:35Z")
    script = RepeatingScript(
        EMPTY, EMPTY, ok(mine, 201), EMPTY, EMPTY, ok([mine, theirs]), EMPTY, ok({**mine, "status": "CANCELLED"})
    )
    result = create(connected(script), REQUEST, "case-42")
    assert (result.created, result.job.job_id) == (False, OTHER_ID)


def test_a_list_that_never_shows_the_job_gets_a_warning() -> None:
    script = RepeatingScript(EMPTY, EMPTY, ok(stamped_job(), 201), *[EMPTY] * 10)
    result = create(connected(script), REQUEST, "case-42")
    assert any("does not show the job" in warning for warning in result.warnings)


def test_a_later_duplicate_that_has_ended_is_reported_with_its_counters() -> None:
    done: dict[str, Any] = {"status": "COMPLETED", "total_messages_discovered": 9, "messages_successful": 9}
    mine = stamped_job(created_at="2026-11-20T16:02:36Z", **done)
    theirs = stamped_job(job_id=OTHER_ID, created_at="2026-11-20T16:02:35.5Z")
    script = RepeatingScript(EMPTY, EMPTY, ok(mine, 201), ok([mine, theirs]))
    result = create(connected(script), REQUEST, "case-42")
    assert result.job.job_id == OTHER_ID
    assert "9 of 9" in result.warnings[0]


def test_jobs_are_ordered_by_time_not_by_text() -> None:
    mine = stamped_job(created_at="2026-11-20T16:02:35Z")
    theirs = stamped_job(job_id=OTHER_ID, created_at="2026-11-20T16:02:35.5Z")
    script = RepeatingScript(EMPTY, EMPTY, ok(mine, 201), ok([theirs, mine]), ok({**theirs, "status": "CANCELLED"}))
    assert create(connected(script), REQUEST, "case-42").job.job_id == JOB_ID


def test_a_key_used_for_another_request_in_the_meantime_cancels_the_new_job() -> None:
    other = REQUEST.model_copy(update={"destination": "Inbox"})
    mine = stamped_job(created_at="2026-11-20T16:02:36Z")
    comment = Stamp.of(ACCOUNT, "case-42", body_without_comment(other)).on("theirs")
    theirs = job(job_id=OTHER_ID, created_at="2026-11-20T16:02:35Z", comment=comment)

    def list_jobs(_: httpx.Request) -> httpx.Response:
        return ok([theirs, {**mine, "comment": script.bodies()[0]["comment"]}])

    script = RepeatingScript(
        EMPTY, EMPTY, LOST_RESPONSES["reset"], list_jobs, EMPTY, list_jobs, ok({**mine, "status": "CANCELLED"})
    )
    with pytest.raises(IdempotencyConflict, match=JOB_ID) as caught:
        create(connected(script), REQUEST, "case-42")
    assert caught.value.applied == "yes"
    assert f"POST investigate/bulk/{JOB_ID}/cancel" in script.calls()


def test_an_unreadable_job_in_the_list_is_ignored() -> None:
    unreadable_job = {"job_id": "not a uuid", "status": 5}
    script = RepeatingScript(ok([unreadable_job]), EMPTY, ok(stamped_job(), 201), ok([unreadable_job, stamped_job()]))
    assert create(connected(script), REQUEST, "case-42").created


def test_limits_are_checked_only_before_a_create() -> None:
    def fail_if_called(_: Stamp) -> Clearance:
        raise AssertionError("the limits were checked")

    script = RepeatingScript(ok([stamped_job(status="PROCESSING")]), EMPTY)
    assert not create(connected(script), REQUEST, "case-42", fail_if_called).created


PLAN_KEY = "plan-key-that-must-never-show-0123456789"


@pytest.mark.parametrize("hidden_fields", [{"search_params": None}, {"action_params": None}])
def test_fields_missing_from_the_list_are_read_from_the_job(hidden_fields: dict[str, Any]) -> None:
    script = RepeatingScript(
        ok([stamped_job(**hidden_fields, **MADE_LONG_AGO)]), EMPTY, ok(stamped_job(**MADE_LONG_AGO))
    )
    result = create(connected(script), REQUEST, "case-42")
    assert (result.created, result.job.search_params) == (False, {"sender": "a@phish.example"})
    other = {**stamped_job(), "search_params": {"sender": "b@phish.example"}}
    script = RepeatingScript(ok([stamped_job(**hidden_fields, **MADE_LONG_AGO)]), EMPTY, ok(other))
    with pytest.raises(IdempotencyConflict, match="sender is "):
        create(connected(script), REQUEST, "case-42")


@pytest.mark.parametrize("hidden_fields", [{"search_params": None}, {"action_params": None}])
def test_a_job_with_hidden_fields_and_an_unkeyed_tag_is_not_reused(hidden_fields: dict[str, Any]) -> None:
    script = RepeatingScript(
        ok([stamped_job(**hidden_fields, **MADE_LONG_AGO)]), EMPTY, ok(stamped_job(**hidden_fields, **MADE_LONG_AGO))
    )
    with pytest.raises(IdempotencyConflict, match="CFES_PLAN_KEY") as caught:
        create(connected(script), REQUEST, "case-42")
    assert (caught.value.applied, caught.value.job_id, script.bodies()) == ("no", JOB_ID, [])


def test_a_job_with_hidden_fields_and_a_keyed_tag_is_reused_with_a_warning() -> None:
    def list_hidden_job(_: httpx.Request | None = None) -> httpx.Response:
        return ok([job(comment=script.bodies()[0]["comment"], search_params=None)])

    def single_job(_: httpx.Request) -> httpx.Response:
        return ok(job(comment=script.bodies()[0]["comment"], search_params=None))

    def create_response(request: httpx.Request) -> httpx.Response:
        return ok(job(comment=json.loads(request.content)["comment"]), 201)

    clock = FakeClock()
    script = RepeatingScript(EMPTY, EMPTY, create_response, list_hidden_job)
    api = connected(script, clock, plan_key=PLAN_KEY)
    assert create(api, REQUEST, "case-42").created
    clock.advance(3600)
    script.steps += [list_hidden_job, EMPTY, single_job]
    again = create(api, REQUEST, "case-42")
    assert (again.created, again.job.job_id) == (False, JOB_ID)
    assert "by its keyed tag alone" in again.warnings[0]


def test_another_workers_different_job_cancels_the_new_job_and_is_reported() -> None:
    mine = stamped_job(created_at="2026-11-20T16:02:36Z")
    theirs = {**stamped_job(job_id=OTHER_ID, created_at="2026-11-20T16:02:35Z"), "search_params": {"sender": "x"}}
    script = RepeatingScript(EMPTY, EMPTY, ok(mine, 201), ok([mine, theirs]), ok({**mine, "status": "CANCELLED"}))
    with pytest.raises(IdempotencyConflict, match=OTHER_ID) as caught:
        create(connected(script), REQUEST, "case-42")
    assert (caught.value.applied, caught.value.job_id) == ("yes", OTHER_ID)
    assert "No job was created" not in caught.value.help


@pytest.mark.parametrize(("messages", "tag_field"), [(61, ":n=61"), (0, ":n=0"), (None, None)])
def test_the_tag_holds_the_message_count(messages: int | None, tag_field: str | None) -> None:
    script = RepeatingScript(EMPTY, EMPTY, ok(stamped_job(), 201), ok([stamped_job()]))
    create(connected(script), REQUEST, "case-42", lambda _: Clearance(messages=messages))
    stamp = script.bodies()[0]["comment"].partition("]")[0]
    assert ":n=" not in stamp if tag_field is None else stamp.endswith(tag_field)


def test_addresses_in_capitals_are_the_same_request() -> None:
    in_capitals = REQUEST.model_copy(update={"search_params": SearchParams(sender="A@Phish.Example")})
    script = RepeatingScript(ok([stamped_job()]), EMPTY)
    assert not create(connected(script), in_capitals, "case-42").created


@pytest.mark.parametrize("planned", [1, 61])
def test_a_job_that_found_nothing_does_not_match_a_plan_with_messages(planned: int) -> None:
    for listed in (stamped_job(status="COMPLETED"), job(comment=comment_with_count(0))):
        script = RepeatingScript(ok([listed]), EMPTY)
        with pytest.raises(IdempotencyConflict, match=f"the plan has {planned}"):
            create(connected(script), REQUEST, "case-42", planned_messages=planned)


def test_an_empty_job_is_kept_if_its_duplicate_processed_the_messages() -> None:
    """Two workers make jobs in one second. The lower ID is kept, whichever job processed the messages."""
    earlier = "7d9f3c1e-0000-4c55-9a57-0f6f3f0c9b1d"
    kept_job = stamped_job(status="COMPLETED", job_id=earlier)
    duplicate = stamped_job(status="COMPLETED", total_messages_discovered=5, messages_successful=5)
    script = RepeatingScript(ok([duplicate, kept_job]), EMPTY)
    result = create(connected(script), REQUEST, "case-42", planned_messages=5)
    assert (result.created, result.job.job_id) == (False, earlier)
    other = {**duplicate, "search_params": {**duplicate["search_params"], "sender": "b@phish.example"}}
    with pytest.raises(IdempotencyConflict, match="the plan has 5"):
        create(connected(RepeatingScript(ok([other, kept_job]), EMPTY)), REQUEST, "case-42", planned_messages=5)


def comment_with_count(messages: int) -> str:
    return replace(Stamp.of(ACCOUNT, "case-42", body_without_comment(REQUEST)), messages=messages).on("")


@pytest.mark.parametrize("status", ["PENDING", "DISCOVERING", "CANCELLED", "FAILED"])
def test_a_job_without_discovered_messages_yet_is_reused(status: str) -> None:
    script = RepeatingScript(ok([stamped_job(status=status)]), EMPTY)
    assert not create(connected(script), REQUEST, "case-42", planned_messages=61).created
