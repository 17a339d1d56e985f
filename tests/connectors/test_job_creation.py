"""One intent makes one job, over an API without idempotency keys."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.errors import ApiRefusal, IdempotencyConflict, NotReceived, OutcomeUnknown
from connectors.job import BulkJobRequest
from connectors.job_creation import create_job_once
from connectors.search import SearchParams
from connectors.stamp import Stamp
from connectors.wire import httpx
from tests.clock import FakeClock
from tests.connectors.scripted import ACCOUNT, JOB_ID, Scripted, connected, job, ok, refused

REQUEST = BulkJobRequest(
    action="MOVE", destination="JunkEmail", comment="case 42", search_params=SearchParams(sender="a@phish.example")
)
EMPTY = ok([])
OTHER_ID = "c2f4d8aa-0f55-4a6e-8a51-6b8a3d1b7e90"


def stamped(key: str = "case-42", **changes: Any) -> dict[str, Any]:
    return job(comment=Stamp.of(ACCOUNT, key, REQUEST.body()).on("case 42"), **changes)


def test_without_a_key_a_create_is_one_call() -> None:
    script = Scripted(ok(job(), 201))
    assert create_job_once(connected(script), REQUEST, None).created
    assert script.asked() == ["POST investigate/bulk"]


def test_the_comment_keeps_the_callers_words_and_bears_the_stamp() -> None:
    script = Scripted(ok(job(), 201))
    create_job_once(connected(script), REQUEST, None)
    comment = script.bodies()[0]["comment"]
    assert comment.startswith("[cfes:1:")
    assert comment.endswith("] case 42")
    assert Stamp.read(comment) is not None


def test_a_job_that_bears_the_stamp_is_adopted() -> None:
    script = Scripted(ok([job(job_id=OTHER_ID), stamped(status="COMPLETED")]), EMPTY)
    made = create_job_once(connected(script), REQUEST, "case-42")
    assert (made.created, made.job.status) == (False, "COMPLETED")
    assert script.bodies() == []


def test_the_same_key_for_another_request_is_refused_and_names_the_job() -> None:
    script = Scripted(ok([stamped()]), EMPTY)
    other = REQUEST.model_copy(update={"destination": "Inbox"})
    with pytest.raises(IdempotencyConflict, match=JOB_ID):
        create_job_once(connected(script), other, "case-42")
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

    script = Scripted(LOST[lost], listing, EMPTY)
    made = create_job_once(connected(script), REQUEST, None)
    assert made.created
    assert len(script.bodies()) == 1


def test_a_listing_that_lags_is_given_time_before_any_second_post() -> None:
    clock = FakeClock()

    def listing(_: httpx.Request) -> httpx.Response:
        return ok([job(comment=script.bodies()[0]["comment"])])

    script = Scripted(LOST["reset"], EMPTY, EMPTY, EMPTY, EMPTY, listing, EMPTY)
    assert create_job_once(connected(script, clock), REQUEST, None).created
    assert len(script.bodies()) == 1
    assert clock.slept == [1, 2]


def test_only_after_the_whole_patience_a_second_post_is_made() -> None:
    clock = FakeClock()
    script = Scripted(LOST["reset"], *[EMPTY] * 10, ok(job(), 201))
    create_job_once(connected(script, clock, listing_lag_seconds=15), REQUEST, None)
    assert len(script.bodies()) == 2
    assert sum(clock.slept) == 15
    assert script.bodies()[0] == script.bodies()[1]


def test_two_lost_answers_end_in_an_outcome_that_is_said_to_be_unknown() -> None:
    script = Scripted(LOST["reset"], *[EMPTY] * 2, LOST["reset"], *[EMPTY] * 2)
    with pytest.raises(OutcomeUnknown) as caught:
        create_job_once(connected(script, listing_lag_seconds=0), REQUEST, None)
    assert len(script.bodies()) == 2
    assert caught.value.exit_code == 7
    assert "[cfes:1:" in caught.value.help


def test_where_looking_fails_nothing_is_sent_again() -> None:
    script = Scripted(LOST["reset"], *[httpx.Response(502)] * 6)
    with pytest.raises(OutcomeUnknown):
        create_job_once(connected(script), REQUEST, None)
    assert len(script.bodies()) == 1


def test_a_refusal_inside_a_good_status_is_a_refusal_once_the_listing_says_so() -> None:
    script = Scripted(refused(200), *[EMPTY] * 2)
    with pytest.raises(ApiRefusal):
        create_job_once(connected(script, listing_lag_seconds=0), REQUEST, None)


def test_a_second_post_that_never_left_still_leaves_the_first_one_open() -> None:
    script = Scripted(LOST["reset"], *[EMPTY] * 2, *[httpx.ConnectError("down")] * 6, *[EMPTY] * 2)
    with pytest.raises(OutcomeUnknown):
        create_job_once(connected(script, listing_lag_seconds=0), REQUEST, None)


def test_a_first_post_that_never_left_changed_nothing() -> None:
    with pytest.raises(NotReceived):
        create_job_once(connected(Scripted(*[httpx.ConnectError("down")] * 6)), REQUEST, None)


def test_of_two_jobs_with_one_stamp_the_earlier_stays_and_the_later_is_cancelled() -> None:
    mine = stamped(created_at="2026-11-20T16:02:36Z")
    theirs = stamped(job_id=OTHER_ID, created_at="2026-11-20T16:02:35Z")
    cancelled = {**mine, "status": "CANCELLED", "total_messages_discovered": 5, "messages_successful": 2,
                 "messages_cancelled": 3}  # fmt: skip
    script = Scripted(EMPTY, EMPTY, ok(mine, 201), ok([mine, theirs]), EMPTY, ok(cancelled))
    made = create_job_once(connected(script), REQUEST, "case-42")
    assert (made.created, made.job.job_id) == (False, OTHER_ID)
    assert script.asked()[-1] == f"POST investigate/bulk/{JOB_ID}/cancel"
    assert "2 of 5 messages" in made.warnings[0]


def test_the_earlier_job_stays_if_it_is_this_calls_own() -> None:
    mine = stamped(created_at="2026-11-20T16:02:35Z")
    theirs = stamped(job_id=OTHER_ID, created_at="2026-11-20T16:02:36Z")
    script = Scripted(EMPTY, EMPTY, ok(mine, 201), ok([theirs, mine]), EMPTY, ok({**theirs, "status": "CANCELLED"}))
    made = create_job_once(connected(script), REQUEST, "case-42")
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


def test_a_job_that_was_made_is_told_even_if_looking_for_a_second_one_is_refused() -> None:
    script = Scripted(EMPTY, EMPTY, ok(stamped(), 201), refused(403))
    made = create_job_once(connected(script), REQUEST, "case-42")
    assert (made.created, made.job.job_id) == (True, JOB_ID)
    assert any("could not be looked up" in warning for warning in made.warnings)


def test_after_a_create_the_listing_is_given_time_to_show_another_workers_job() -> None:
    mine = stamped(created_at="2026-11-20T16:02:36Z")
    theirs = stamped(job_id=OTHER_ID, created_at="2026-11-20T16:02:35Z")
    script = Scripted(
        EMPTY, EMPTY, ok(mine, 201), EMPTY, EMPTY, ok([mine, theirs]), EMPTY, ok({**mine, "status": "CANCELLED"})
    )
    made = create_job_once(connected(script), REQUEST, "case-42")
    assert (made.created, made.job.job_id) == (False, OTHER_ID)


def test_a_listing_that_never_shows_the_job_is_said_to() -> None:
    script = Scripted(EMPTY, EMPTY, ok(stamped(), 201), *[EMPTY] * 10)
    made = create_job_once(connected(script), REQUEST, "case-42")
    assert any("does not show the job" in warning for warning in made.warnings)


def test_a_later_job_that_has_ended_already_is_named_with_what_it_did() -> None:
    done: dict[str, Any] = {"status": "COMPLETED", "total_messages_discovered": 9, "messages_successful": 9}
    mine = stamped(created_at="2026-11-20T16:02:36Z", **done)
    theirs = stamped(job_id=OTHER_ID, created_at="2026-11-20T16:02:35.5Z")
    script = Scripted(EMPTY, EMPTY, ok(mine, 201), ok([mine, theirs]), EMPTY)
    made = create_job_once(connected(script), REQUEST, "case-42")
    assert made.job.job_id == OTHER_ID
    assert "9 of 9" in made.warnings[0]


def test_which_job_is_earlier_is_told_by_time_not_by_text() -> None:
    mine = stamped(created_at="2026-11-20T16:02:35Z")
    theirs = stamped(job_id=OTHER_ID, created_at="2026-11-20T16:02:35.5Z")
    script = Scripted(EMPTY, EMPTY, ok(mine, 201), ok([theirs, mine]), EMPTY, ok({**theirs, "status": "CANCELLED"}))
    assert create_job_once(connected(script), REQUEST, "case-42").job.job_id == JOB_ID


def test_a_key_used_for_another_request_meanwhile_cancels_the_own_job_and_says_that_something_was_done() -> None:
    other = REQUEST.model_copy(update={"destination": "Inbox"})
    mine = stamped(created_at="2026-11-20T16:02:36Z")
    comment = Stamp.of(ACCOUNT, "case-42", other.body()).on("theirs")
    theirs = job(job_id=OTHER_ID, created_at="2026-11-20T16:02:35Z", comment=comment)
    listing = ok([theirs, mine])
    script = Scripted(
        EMPTY, EMPTY, LOST["reset"], listing, EMPTY, ok([theirs, mine]), EMPTY, ok({**mine, "status": "CANCELLED"})
    )
    with pytest.raises(IdempotencyConflict, match=JOB_ID) as caught:
        create_job_once(connected(script), REQUEST, "case-42")
    assert caught.value.applied == "yes"
    assert script.asked()[-1].endswith(f"{JOB_ID}/cancel")


@pytest.mark.parametrize("kept", [None, "", "case 42", "[cfes:1:0123"])
def test_a_service_that_does_not_keep_the_comment_is_warned_about(kept: str | None) -> None:
    made = create_job_once(connected(Scripted(EMPTY, EMPTY, ok(job(comment=kept), 201))), REQUEST, "case-42")
    assert any("comment" in warning for warning in made.warnings)


def test_a_strange_job_of_somebody_else_blocks_nobody() -> None:
    strange = {"job_id": "not a uuid", "status": 5}
    script = Scripted(ok([strange]), EMPTY, ok(stamped(), 201), ok([strange, stamped()]), EMPTY)
    assert create_job_once(connected(script), REQUEST, "case-42").created


def test_the_cap_is_asked_for_only_where_a_job_would_be_made() -> None:
    def refuse() -> list[str]:
        raise AssertionError("asked")

    script = Scripted(ok([stamped(status="PROCESSING")]), EMPTY)
    assert not create_job_once(connected(script), REQUEST, "case-42", refuse).created
