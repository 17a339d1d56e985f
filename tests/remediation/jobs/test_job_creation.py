"""One intent makes one job, over an API without idempotency keys."""

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
from tests.connectors.scripted import ACCOUNT, JOB_ID, Steady, connected, job, ok, refused

REQUEST = BulkJobRequest(
    action="MOVE", destination="JunkEmail", comment="case 42", search_params=SearchParams(sender="a@phish.example")
)
EMPTY = ok([])
OTHER_ID = "c2f4d8aa-0f55-4a6e-8a51-6b8a3d1b7e90"
# A job that was made so long ago no other one can turn up beside it.
OLD = {"created_at": "2026-11-20T15:32:35Z"}


def asked(request: BulkJobRequest) -> dict[str, Any]:
    return {name: value for name, value in request.body().items() if name != "comment"}


def create(
    api: EmailSecurity,
    request: BulkJobRequest,
    key: str | None,
    before_post: Callable[[Stamp], Clearance] = lambda _: Clearance(),
    **parts: Any,
) -> CreatedJob:
    return create_job_once(api, JobRequest(request, key, **parts), before_post)


def stamped(key: str = "case-42", **changes: Any) -> dict[str, Any]:
    return job(comment=Stamp.of(ACCOUNT, key, asked(REQUEST)).on("case 42"), **changes)


def test_without_a_key_a_create_is_one_call() -> None:
    script = Steady(ok(job(), 201))
    assert create(connected(script), REQUEST, None).created
    assert script.asked() == ["POST investigate/bulk"]


def test_the_comment_has_the_tag_and_then_the_callers_reason() -> None:
    script = Steady(ok(job(), 201))
    create(connected(script), REQUEST, None)
    comment = script.bodies()[0]["comment"]
    assert comment.startswith("[cfes:1:")
    assert comment.endswith("] case 42")
    assert Stamp.read(comment) is not None


def test_a_job_with_the_tag_is_reused() -> None:
    script = Steady(ok([job(job_id=OTHER_ID), stamped(status="COMPLETED")]), EMPTY)
    made = create(connected(script), REQUEST, "case-42")
    assert (made.created, made.job.status) == (False, "COMPLETED")
    assert script.bodies() == []


def test_the_same_key_for_another_request_is_refused_and_names_the_job() -> None:
    script = Steady(ok([stamped()]), EMPTY)
    other = REQUEST.model_copy(update={"destination": "Inbox"})
    with pytest.raises(IdempotencyConflict, match=JOB_ID):
        create(connected(script), other, "case-42")
    assert script.bodies() == []


LOST: dict[str, httpx.Response | Exception] = {
    "reset": httpx.ReadError("reset"),
    "timeout": httpx.ReadTimeout("slow"),
    "502": httpx.Response(502),
    "truncated": httpx.Response(201, content=b'{"success": tr'),
    "html": httpx.Response(200, text="<html>"),
    "no job in it": ok({"id": 5}, 201),
    "success false": refused(200),
}


@pytest.mark.parametrize("lost", LOST)
def test_after_a_lost_answer_the_job_is_found_by_its_stamp(lost: str) -> None:
    def listing(_: httpx.Request) -> httpx.Response:
        return ok([job(comment=script.bodies()[0]["comment"])])

    script = Steady(LOST[lost], listing, EMPTY)
    made = create(connected(script), REQUEST, None)
    assert made.created
    assert len(script.bodies()) == 1


def test_a_listing_that_lags_is_given_time_before_any_second_post() -> None:
    clock = FakeClock()

    def listing(_: httpx.Request) -> httpx.Response:
        return ok([job(comment=script.bodies()[0]["comment"])])

    script = Steady(LOST["reset"], EMPTY, EMPTY, EMPTY, EMPTY, listing, EMPTY)
    assert create(connected(script, clock), REQUEST, None).created
    assert len(script.bodies()) == 1
    assert clock.slept == [1, 2]


def test_only_after_the_whole_patience_a_second_post_is_made() -> None:
    clock = FakeClock()
    script = Steady(LOST["reset"], *[EMPTY] * 10, ok(job(), 201))
    create(connected(script, clock, listing_lag_seconds=15), REQUEST, None)
    assert len(script.bodies()) == 2
    assert clock.slept[:4] == [1, 2, 4, 8]
    assert script.bodies()[0] == script.bodies()[1]


def test_two_lost_answers_make_the_outcome_unknown() -> None:
    script = Steady(LOST["reset"], *[EMPTY] * 2, LOST["reset"], *[EMPTY] * 2)
    with pytest.raises(OutcomeUnknown) as caught:
        create(connected(script, listing_lag_seconds=0), REQUEST, None)
    assert len(script.bodies()) == 2
    assert caught.value.exit_code == 7
    assert "[cfes:1:" in caught.value.help


def test_where_the_check_of_the_list_fails_nothing_is_sent_again() -> None:
    script = Steady(LOST["reset"], *[httpx.Response(502)] * 6)
    with pytest.raises(OutcomeUnknown):
        create(connected(script), REQUEST, None)
    assert len(script.bodies()) == 1


def test_a_refusal_inside_a_good_status_is_a_refusal_once_the_listing_says_so() -> None:
    script = Steady(refused(200), *[EMPTY] * 2)
    with pytest.raises(ApiRefusal):
        create(connected(script, listing_lag_seconds=0), REQUEST, None)


def test_a_second_post_that_never_left_still_leaves_the_first_one_open() -> None:
    refused_posts: list[httpx.Response | Exception] = [httpx.ConnectError("down"), EMPTY, EMPTY] * 6
    script = Steady(LOST["reset"], *[EMPTY] * 2, *refused_posts)
    with pytest.raises(OutcomeUnknown):
        create(connected(script, listing_lag_seconds=0), REQUEST, None)


def test_a_first_post_that_never_left_changed_nothing() -> None:
    with pytest.raises(NotReceived):
        create(connected(Steady(*[httpx.ConnectError("down")] * 6)), REQUEST, None)


REFUSED_FOR_NOW = httpx.Response(429, headers={"retry-after": "120"})


def test_after_a_refusal_the_list_is_checked_and_the_messages_are_counted_again() -> None:
    counted: list[float] = []
    clock = FakeClock()

    def before_post(_: Stamp) -> Clearance:
        counted.append(clock.monotonic())
        return Clearance()

    script = Steady(EMPTY, EMPTY, REFUSED_FOR_NOW, EMPTY, EMPTY, ok(stamped(), 201), ok([stamped()]))
    assert create(connected(script, clock), REQUEST, "case-42", before_post).created
    assert clock.slept[0] == 120
    assert counted[1] - counted[0] == 120


def test_a_job_that_another_worker_made_while_the_refusal_was_waited_out_is_reused() -> None:
    script = Steady(EMPTY, EMPTY, REFUSED_FOR_NOW, ok([stamped(status="PROCESSING")]), EMPTY)
    made = create(connected(script), REQUEST, "case-42")
    assert (made.created, made.job.job_id) == (False, JOB_ID)
    assert len(script.bodies()) == 1


def test_a_refusal_that_lasts_longer_than_the_call_may_is_raised() -> None:
    script = Steady(EMPTY, EMPTY, REFUSED_FOR_NOW)
    with pytest.raises(RateLimited) as caught:
        create(connected(script, call_allowance_seconds=100), REQUEST, "case-42")
    assert (caught.value.applied, caught.value.retry_after_seconds) == ("no", 120)


def test_a_second_post_that_is_refused_for_now_is_preceded_by_a_check_too() -> None:
    script = Steady(LOST["reset"], EMPTY, EMPTY, REFUSED_FOR_NOW, EMPTY, EMPTY, ok(job(), 201))
    assert create(connected(script, listing_lag_seconds=0), REQUEST, None).created
    assert len(script.bodies()) == 3


def test_a_second_post_that_is_refused_permanently_leaves_the_first_one_open() -> None:
    script = Steady(LOST["reset"], EMPTY, EMPTY, refused(400), EMPTY, EMPTY)
    with pytest.raises(OutcomeUnknown):
        create(connected(script, listing_lag_seconds=0), REQUEST, None)


def test_of_two_jobs_with_one_stamp_the_earlier_stays_and_the_later_is_cancelled() -> None:
    mine = stamped(created_at="2026-11-20T16:02:36Z")
    theirs = stamped(job_id=OTHER_ID, created_at="2026-11-20T16:02:35Z")
    cancelled = {**mine, "status": "CANCELLED", "total_messages_discovered": 5, "messages_successful": 2,
                 "messages_cancelled": 3}  # fmt: skip
    script = Steady(EMPTY, EMPTY, ok(mine, 201), ok([mine, theirs]), ok(cancelled))
    made = create(connected(script), REQUEST, "case-42")
    assert (made.created, made.job.job_id) == (False, OTHER_ID)
    assert f"POST investigate/bulk/{JOB_ID}/cancel" in script.asked()
    assert "2 of 5 messages" in made.warnings[0]


def test_the_earlier_job_stays_if_it_is_this_calls_own() -> None:
    mine = stamped(created_at="2026-11-20T16:02:35Z")
    theirs = stamped(job_id=OTHER_ID, created_at="2026-11-20T16:02:36Z")
    script = Steady(EMPTY, EMPTY, ok(mine, 201), ok([theirs, mine]), ok({**theirs, "status": "CANCELLED"}))
    made = create(connected(script), REQUEST, "case-42")
    assert (made.created, made.job.job_id) == (True, JOB_ID)


def test_a_stamp_in_the_callers_own_words_is_not_believed() -> None:
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


def test_a_job_whose_duplicates_could_not_be_checked_is_named_and_the_help_is_to_run_the_same_call_again() -> None:
    script = Steady(EMPTY, EMPTY, ok(stamped(), 201), refused(403))
    with pytest.raises(OutcomeUnknown, match=JOB_ID) as caught:
        create(connected(script), REQUEST, "case-42")
    assert (caught.value.applied, caught.value.job_id) == ("yes", JOB_ID)
    assert "Run the same call again" in caught.value.help


def test_a_later_duplicate_of_a_dead_worker_is_cancelled_when_the_earlier_job_is_reused() -> None:
    first = stamped(created_at="2026-11-20T16:02:35Z", status="PROCESSING")
    left = stamped(job_id=OTHER_ID, created_at="2026-11-20T16:02:36Z", status="DISCOVERING")
    script = Steady(ok([left, first]), EMPTY, ok({**left, "status": "CANCELLED"}))
    made = create(connected(script), REQUEST, "case-42")
    assert (made.created, made.job.job_id) == (False, JOB_ID)
    assert [(one.job_id, one.status) for one in made.duplicates] == [(OTHER_ID, "CANCELLED")]
    assert "is a later duplicate for the same request" in made.warnings[0]


def test_a_duplicate_whose_cancel_was_lost_is_polled_before_it_is_cancelled_again() -> None:
    first = stamped(created_at="2026-11-20T16:02:35Z")
    left = stamped(job_id=OTHER_ID, created_at="2026-11-20T16:02:36Z")
    script = Steady(ok([left, first]), EMPTY, LOST["reset"], ok({**left, "status": "CANCELLED"}))
    made = create(connected(script), REQUEST, "case-42")
    assert [one.status for one in made.duplicates] == ["CANCELLED"]
    assert script.asked()[-1].startswith("GET ")


def test_a_duplicate_that_can_not_be_cancelled_is_an_error_and_nothing_was_changed() -> None:
    first = stamped(created_at="2026-11-20T16:02:35Z")
    left = stamped(job_id=OTHER_ID, created_at="2026-11-20T16:02:36Z")
    script = Steady(ok([left, first]), EMPTY, refused(403))
    with pytest.raises(PermissionDenied, match=OTHER_ID) as caught:
        create(connected(script), REQUEST, "case-42")
    assert (caught.value.job_id, caught.value.applied) == (JOB_ID, "no")


def test_after_a_create_a_duplicate_that_can_not_be_cancelled_makes_the_outcome_unknown() -> None:
    mine = stamped(created_at="2026-11-20T16:02:35Z")
    theirs = stamped(job_id=OTHER_ID, created_at="2026-11-20T16:02:36Z")
    script = Steady(EMPTY, EMPTY, ok(mine, 201), ok([mine, theirs]), refused(403))
    with pytest.raises(OutcomeUnknown, match=OTHER_ID) as caught:
        create(connected(script), REQUEST, "case-42")
    assert (caught.value.job_id, caught.value.applied, caught.value.http_status) == (JOB_ID, "yes", 403)


def test_a_duplicate_that_was_deleted_meanwhile_is_not_an_error() -> None:
    first = stamped(created_at="2026-11-20T16:02:35Z")
    left = stamped(job_id=OTHER_ID, created_at="2026-11-20T16:02:36Z")
    script = Steady(ok([left, first]), EMPTY, refused(404))
    assert create(connected(script), REQUEST, "case-42").job.job_id == JOB_ID


def test_a_stamp_with_as_many_approvers_as_there_can_be_is_read_back() -> None:
    names = tuple(f"{'x' * 60}{number:04}" for number in range(10))
    stamp = replace(Stamp.of(ACCOUNT, "case-42", {}, plan_hash="ab" * 32, requested_by="y" * 64), approved_by=names)
    assert Stamp.read(stamp.on("case 42")) == stamp


def test_after_a_second_post_without_a_key_the_first_ones_job_is_looked_for_and_cancelled() -> None:
    def both(_: httpx.Request) -> httpx.Response:
        comment = script.bodies()[0]["comment"]
        late = job(comment=comment, created_at="2026-11-20T16:02:34Z")
        return ok([job(job_id=OTHER_ID, comment=comment, created_at="2026-11-20T16:02:50Z"), late])

    def second(_: httpx.Request) -> httpx.Response:
        return ok(job(job_id=OTHER_ID, comment=script.bodies()[0]["comment"]), 201)

    cancelled = ok(job(job_id=OTHER_ID, status="CANCELLED"))
    script = Steady(LOST["reset"], *[EMPTY] * 2, second, both, cancelled)
    made = create(connected(script, listing_lag_seconds=0), REQUEST, None)
    assert made.job.job_id == JOB_ID
    assert f"POST investigate/bulk/{OTHER_ID}/cancel" in script.asked()


def test_another_workers_job_is_not_taken_for_the_one_whose_answer_was_lost() -> None:
    theirs = stamped(job_id=OTHER_ID)
    script = Steady(EMPTY, EMPTY, LOST["reset"], *[ok([theirs]), EMPTY] * 10)
    made = create(connected(script), REQUEST, "case-42")
    assert (made.created, made.job.job_id) == (False, OTHER_ID)
    assert len(script.bodies()) == 1
    assert "was lost" in made.warnings[0]


def test_another_workers_job_for_another_request_keeps_this_call_from_a_second_post() -> None:
    comment = Stamp.of(ACCOUNT, "case-42", {"action": "RELEASE"}).on("theirs")
    script = Steady(EMPTY, EMPTY, LOST["reset"], *[ok([job(job_id=OTHER_ID, comment=comment)]), EMPTY] * 10)
    with pytest.raises(IdempotencyConflict, match=OTHER_ID) as caught:
        create(connected(script), REQUEST, "case-42")
    assert (caught.value.applied, len(script.bodies())) == ("unknown", 1)


PLAN = "ab" * 32


def test_a_plan_is_the_key_of_its_request_where_no_key_is_given() -> None:
    comment = Stamp.of(ACCOUNT, PLAN, asked(REQUEST), plan_hash=PLAN).on("case 42")
    script = Steady(ok([job(comment=comment)]), EMPTY)
    assert not create(connected(script), REQUEST, None, plan_hash=PLAN).created


def test_a_plan_that_has_made_its_job_under_another_key_makes_no_second_one() -> None:
    comment = Stamp.of(ACCOUNT, "case-41", asked(REQUEST), plan_hash=PLAN).on("case 41")
    script = Steady(ok([job(comment=comment)]), EMPTY)
    with pytest.raises(PlanUsed, match=JOB_ID) as caught:
        create(connected(script), REQUEST, "case-42", plan_hash=PLAN)
    assert (caught.value.applied, script.bodies()) == ("no", [])


def test_the_tag_has_requester_and_approvers() -> None:
    script = Steady(EMPTY, EMPTY, lambda request: ok(job(comment=json.loads(request.content)["comment"]), 201),
                      lambda _: ok([job(comment=script.bodies()[0]["comment"])]), EMPTY)  # fmt: skip
    made = create(
        connected(script), REQUEST, "case-42", lambda _: Clearance(approved_by=["bob", "carol"]), requested_by="alice"
    )
    assert ":by=alice:ok=bob,carol] case 42" in script.bodies()[0]["comment"]
    assert (made.stamp.requested_by, made.stamp.approved_by) == ("alice", ("bob", "carol"))


def test_a_stamp_with_fields_of_a_later_version_is_still_this_packs_own() -> None:
    plain = Stamp.of(ACCOUNT, "case-42", asked(REQUEST))
    read = Stamp.read(f"{str(plain)[:-1]}:plan=0123abcd:zz=new] case 42")
    assert read is not None
    assert read.same_request(plain)
    assert read.plan == "0123abcd"


def test_another_comment_does_not_make_another_request() -> None:
    script = Steady(ok([stamped()]), EMPTY)
    assert not create(connected(script), REQUEST.model_copy(update={"comment": "again"}), "case-42").created


def test_after_a_create_the_listing_is_given_time_to_show_another_workers_job() -> None:
    mine = stamped(created_at="2026-11-20T16:02:36Z")
    theirs = stamped(job_id=OTHER_ID, created_at="2026-11-20T16:02:35Z")
    script = Steady(
        EMPTY, EMPTY, ok(mine, 201), EMPTY, EMPTY, ok([mine, theirs]), EMPTY, ok({**mine, "status": "CANCELLED"})
    )
    made = create(connected(script), REQUEST, "case-42")
    assert (made.created, made.job.job_id) == (False, OTHER_ID)


def test_a_list_that_never_shows_the_job_gets_a_warning() -> None:
    script = Steady(EMPTY, EMPTY, ok(stamped(), 201), *[EMPTY] * 10)
    made = create(connected(script), REQUEST, "case-42")
    assert any("does not show the job" in warning for warning in made.warnings)


def test_a_later_job_that_has_ended_already_is_named_with_what_it_did() -> None:
    done: dict[str, Any] = {"status": "COMPLETED", "total_messages_discovered": 9, "messages_successful": 9}
    mine = stamped(created_at="2026-11-20T16:02:36Z", **done)
    theirs = stamped(job_id=OTHER_ID, created_at="2026-11-20T16:02:35.5Z")
    script = Steady(EMPTY, EMPTY, ok(mine, 201), ok([mine, theirs]))
    made = create(connected(script), REQUEST, "case-42")
    assert made.job.job_id == OTHER_ID
    assert "9 of 9" in made.warnings[0]


def test_jobs_are_ordered_by_time_not_by_text() -> None:
    mine = stamped(created_at="2026-11-20T16:02:35Z")
    theirs = stamped(job_id=OTHER_ID, created_at="2026-11-20T16:02:35.5Z")
    script = Steady(EMPTY, EMPTY, ok(mine, 201), ok([theirs, mine]), ok({**theirs, "status": "CANCELLED"}))
    assert create(connected(script), REQUEST, "case-42").job.job_id == JOB_ID


def test_a_key_used_for_another_request_meanwhile_cancels_the_own_job_and_says_that_something_was_done() -> None:
    other = REQUEST.model_copy(update={"destination": "Inbox"})
    mine = stamped(created_at="2026-11-20T16:02:36Z")
    comment = Stamp.of(ACCOUNT, "case-42", asked(other)).on("theirs")
    theirs = job(job_id=OTHER_ID, created_at="2026-11-20T16:02:35Z", comment=comment)

    def listing(_: httpx.Request) -> httpx.Response:
        return ok([theirs, {**mine, "comment": script.bodies()[0]["comment"]}])

    script = Steady(EMPTY, EMPTY, LOST["reset"], listing, EMPTY, listing, ok({**mine, "status": "CANCELLED"}))
    with pytest.raises(IdempotencyConflict, match=JOB_ID) as caught:
        create(connected(script), REQUEST, "case-42")
    assert caught.value.applied == "yes"
    assert f"POST investigate/bulk/{JOB_ID}/cancel" in script.asked()


def test_an_unreadable_job_of_somebody_else_blocks_nobody() -> None:
    strange = {"job_id": "not a uuid", "status": 5}
    script = Steady(ok([strange]), EMPTY, ok(stamped(), 201), ok([strange, stamped()]))
    assert create(connected(script), REQUEST, "case-42").created


def test_the_cap_is_asked_for_only_where_a_job_would_be_made() -> None:
    def refuse(_: Stamp) -> Clearance:
        raise AssertionError("asked")

    script = Steady(ok([stamped(status="PROCESSING")]), EMPTY)
    assert not create(connected(script), REQUEST, "case-42", refuse).created


PLAN_KEY = "plan-key-that-must-never-show-0123456789"


@pytest.mark.parametrize("hidden", [{"search_params": None}, {"action_params": None}])
def test_what_a_row_of_the_list_leaves_out_is_read_from_the_job(hidden: dict[str, Any]) -> None:
    script = Steady(ok([stamped(**hidden, **OLD)]), EMPTY, ok(stamped(**OLD)))
    made = create(connected(script), REQUEST, "case-42")
    assert (made.created, made.job.search_params) == (False, {"sender": "a@phish.example"})
    other = {**stamped(), "search_params": {"sender": "b@phish.example"}}
    script = Steady(ok([stamped(**hidden, **OLD)]), EMPTY, ok(other))
    with pytest.raises(IdempotencyConflict, match="sender is "):
        create(connected(script), REQUEST, "case-42")


@pytest.mark.parametrize("hidden", [{"search_params": None}, {"action_params": None}])
def test_a_stamp_without_a_key_on_a_job_that_does_not_show_what_it_does_is_not_proof(hidden: dict[str, Any]) -> None:
    script = Steady(ok([stamped(**hidden, **OLD)]), EMPTY, ok(stamped(**hidden, **OLD)))
    with pytest.raises(IdempotencyConflict, match="CFES_PLAN_KEY") as refused:
        create(connected(script), REQUEST, "case-42")
    assert (refused.value.applied, refused.value.job_id, script.bodies()) == ("no", JOB_ID, [])


def test_a_keyed_stamp_on_a_job_that_does_not_show_what_it_does_is_reused_with_a_warning() -> None:
    def hidden(_: httpx.Request | None = None) -> httpx.Response:
        return ok([job(comment=script.bodies()[0]["comment"], search_params=None)])

    def alone(_: httpx.Request) -> httpx.Response:
        return ok(job(comment=script.bodies()[0]["comment"], search_params=None))

    def created(request: httpx.Request) -> httpx.Response:
        return ok(job(comment=json.loads(request.content)["comment"]), 201)

    clock = FakeClock()
    script = Steady(EMPTY, EMPTY, created, hidden)
    api = connected(script, clock, plan_key=PLAN_KEY)
    assert create(api, REQUEST, "case-42").created
    clock.advance(3600)
    script.steps += [hidden, EMPTY, alone]
    again = create(api, REQUEST, "case-42")
    assert (again.created, again.job.job_id) == (False, JOB_ID)
    assert "by its keyed tag alone" in again.warnings[0]


def test_another_workers_job_that_does_something_else_leaves_the_own_one_cancelled_and_says_so() -> None:
    mine = stamped(created_at="2026-11-20T16:02:36Z")
    theirs = {**stamped(job_id=OTHER_ID, created_at="2026-11-20T16:02:35Z"), "search_params": {"sender": "x"}}
    script = Steady(EMPTY, EMPTY, ok(mine, 201), ok([mine, theirs]), ok({**mine, "status": "CANCELLED"}))
    with pytest.raises(IdempotencyConflict, match=OTHER_ID) as refused:
        create(connected(script), REQUEST, "case-42")
    assert (refused.value.applied, refused.value.job_id) == ("yes", OTHER_ID)
    assert "No job was created" not in refused.value.help


@pytest.mark.parametrize(("messages", "tag_field"), [(61, ":n=61"), (0, ":n=0"), (None, None)])
def test_the_tag_has_the_count(messages: int | None, tag_field: str | None) -> None:
    script = Steady(EMPTY, EMPTY, ok(stamped(), 201), ok([stamped()]))
    create(connected(script), REQUEST, "case-42", lambda _: Clearance(messages=messages))
    stamp = script.bodies()[0]["comment"].partition("]")[0]
    assert ":n=" not in stamp if tag_field is None else stamp.endswith(tag_field)


def test_addresses_in_capitals_are_the_same_request() -> None:
    loud = REQUEST.model_copy(update={"search_params": SearchParams(sender="A@Phish.Example")})
    script = Steady(ok([stamped()]), EMPTY)
    assert not create(connected(script), loud, "case-42").created


@pytest.mark.parametrize("planned", [1, 61])
def test_a_job_that_found_nothing_is_not_that_of_a_plan_with_messages(planned: int) -> None:
    for listed in (stamped(status="COMPLETED"), job(comment=replace_n(0))):
        script = Steady(ok([listed]), EMPTY)
        with pytest.raises(IdempotencyConflict, match=f"the plan has {planned}"):
            create(connected(script), REQUEST, "case-42", planned_messages=planned)


def test_a_job_that_found_nothing_stays_where_another_one_for_the_request_took_the_mail_before_it() -> None:
    """Two workers in one second: the lower ID stays, whichever of the two was first at the messages."""
    earlier = "7d9f3c1e-0000-4c55-9a57-0f6f3f0c9b1d"
    stays = stamped(status="COMPLETED", job_id=earlier)
    duplicate = stamped(status="COMPLETED", total_messages_discovered=5, messages_successful=5)
    script = Steady(ok([duplicate, stays]), EMPTY)
    made = create(connected(script), REQUEST, "case-42", planned_messages=5)
    assert (made.created, made.job.job_id) == (False, earlier)
    other = {**duplicate, "search_params": {**duplicate["search_params"], "sender": "b@phish.example"}}
    with pytest.raises(IdempotencyConflict, match="the plan has 5"):
        create(connected(Steady(ok([other, stays]), EMPTY)), REQUEST, "case-42", planned_messages=5)


def replace_n(messages: int) -> str:
    return replace(Stamp.of(ACCOUNT, "case-42", asked(REQUEST)), messages=messages).on("")


@pytest.mark.parametrize("status", ["PENDING", "DISCOVERING", "CANCELLED", "FAILED"])
def test_a_job_that_has_not_found_anything_yet_is_reused(status: str) -> None:
    script = Steady(ok([stamped(status=status)]), EMPTY)
    assert not create(connected(script), REQUEST, "case-42", planned_messages=61).created
