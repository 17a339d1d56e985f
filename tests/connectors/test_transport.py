"""Which calls are retried, which never are, and the error for each failure."""

from __future__ import annotations

import functools
import gzip
import json
import ssl
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from connectors.http import client
from connectors.http.client import LARGEST_BODY_BYTES, httpx
from connectors.objects.job import BulkJobRequest
from connectors.objects.search import SearchParams
from connectors.paging.pages import LARGEST_PAGE
from core.clock import Deadline
from core.errors import (
    ApiRefusal,
    AuthenticationFailed,
    Conflict,
    DeadlineExceeded,
    ListingRepeats,
    NetworkFailure,
    NotFound,
    NotReceived,
    OutcomeUnknown,
    PackError,
    ParameterError,
    PermissionDenied,
    RateLimited,
    ServiceUnavailable,
    UnexpectedAnswer,
)
from tests.clock import FakeClock
from tests.connectors.scripted import ACCOUNT, JOB_ID, TOKEN, Scripted, Step, connected, envelope, job, ok, refused

REQUEST = BulkJobRequest(action="MOVE", destination="JunkEmail", search_params=SearchParams(sender="a@phish.example"))

HTML = httpx.Response(200, text="<html>edge</html>", headers={"content-type": "text/html"})

TEMPORARY_FAILURES: dict[str, Callable[[], Step]] = {
    "connection refused": lambda: httpx.ConnectError("refused"),
    "connect timeout": lambda: httpx.ConnectTimeout("slow"),
    "reset": lambda: httpx.ReadError("reset"),
    "read timeout": lambda: httpx.ReadTimeout("slow"),
    "server disconnected": lambda: httpx.RemoteProtocolError("gone"),
    "502": lambda: httpx.Response(502, text="<html>bad gateway</html>"),
    "500 with an envelope": lambda: refused(500),
    "429": lambda: refused(429, headers={"retry-after": "3"}),
    "html with 200": lambda: httpx.Response(200, text="<html>edge</html>"),
    "truncated json": lambda: httpx.Response(200, content=b'{"success": true, "resu'),
    "json without an envelope": lambda: httpx.Response(200, json=[1, 2]),
    "NaN": lambda: httpx.Response(200, content=b'{"success": true, "result": NaN}'),
    "redirect": lambda: httpx.Response(302, headers={"location": "https://evil.example/"}),
}


# A complete body that is invalid in the same way twice is not temporary.
@pytest.mark.parametrize("failure", sorted(set(TEMPORARY_FAILURES) - {"NaN"}))
def test_a_read_is_retried_after_a_temporary_failure(failure: str) -> None:
    script = Scripted(TEMPORARY_FAILURES[failure](), TEMPORARY_FAILURES[failure](), ok(job()))
    assert connected(script).get_job(JOB_ID).job_id == JOB_ID
    assert len(script.requests) == 3


@pytest.mark.parametrize("failure", sorted(set(TEMPORARY_FAILURES) - {"connection refused", "connect timeout", "429"}))
def test_a_write_with_a_lost_response_is_never_retried(failure: str) -> None:
    script = Scripted(TEMPORARY_FAILURES[failure]())
    with pytest.raises(OutcomeUnknown) as caught:
        connected(script).create_job(REQUEST)
    assert len(script.requests) == 1
    assert caught.value.applied == "unknown"


@pytest.mark.parametrize("failure", ["connection refused", "connect timeout", "429"])
def test_a_write_that_was_certainly_not_applied_is_retried(failure: str) -> None:
    script = Scripted(TEMPORARY_FAILURES[failure](), ok(job()))
    assert connected(script).cancel_job(JOB_ID).job_id == JOB_ID
    assert len(script.requests) == 2


@pytest.mark.parametrize(("failure", "kind"), [("connection refused", NotReceived), ("429", RateLimited)])
def test_a_create_is_never_retried(failure: str, kind: type[PackError]) -> None:
    clock = FakeClock()
    script = Scripted(TEMPORARY_FAILURES[failure]())
    with pytest.raises(kind) as caught:
        connected(script, clock).create_job(REQUEST)
    assert (caught.value.applied, caught.value.retryable) == ("no", True)
    assert clock.slept == []


@pytest.mark.parametrize(("left", "sent"), [(10, 1), (0, 0)])
def test_a_create_ignores_pacing_but_is_refused_without_budget(left: int, sent: int) -> None:
    clock = FakeClock()
    budget = {"ratelimit": f'"default";r={left};t=200', "ratelimit-policy": '"default";q=1200;w=300'}
    first = ok(job())
    first.headers.update(budget)
    script = Scripted(first, *[ok(job(), 201)] * sent)
    api = connected(script, clock)
    api.get_job(JOB_ID)
    if sent:
        api.create_job(REQUEST)
    else:
        with pytest.raises(RateLimited) as caught:
            api.create_job(REQUEST)
        assert caught.value.retry_after_seconds == 200
    assert clock.slept == []


def test_a_write_that_never_reaches_the_service_changes_nothing() -> None:
    script = Scripted(*[httpx.ConnectError("refused")] * 20)
    with pytest.raises(NotReceived) as caught:
        connected(script).cancel_job(JOB_ID)
    assert (caught.value.applied, caught.value.exit_code) == ("no", 6)
    assert len(script.requests) <= 6


@pytest.mark.parametrize(
    ("answer", "kind", "exit_code"),
    [
        (refused(401, 10000, "Authentication error"), AuthenticationFailed, 4),
        (refused(400, 9106, "Missing headers"), AuthenticationFailed, 4),
        (refused(403, 10000, "Authentication error"), PermissionDenied, 4),
        (refused(403, 9109, "Cannot use this token from here"), PermissionDenied, 4),
        (refused(404, 10404, "No such job"), NotFound, 5),
        (refused(404, 7003, "No route"), ApiRefusal, 5),
        (httpx.Response(404, text="<html>"), ApiRefusal, 5),
        (refused(409), Conflict, 5),
        (refused(400), ApiRefusal, 5),
        (refused(200), ApiRefusal, 5),
        (httpx.Response(418, text="<html>"), ApiRefusal, 5),
    ],
)
def test_each_refusal_has_its_own_error_and_is_not_retried(
    answer: httpx.Response, kind: type[PackError], exit_code: int
) -> None:
    script = Scripted(answer)
    with pytest.raises(kind) as caught:
        connected(script).get_job(JOB_ID)
    assert type(caught.value) is kind
    assert (caught.value.exit_code, caught.value.applied) == (exit_code, "no")
    assert len(script.requests) == 1


class _Broken(httpx.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        yield b'{"succ'
        raise httpx.ReadError("reset")


def test_a_429_with_a_truncated_body_is_still_a_rate_limit() -> None:
    """The head has the status and the Retry-After."""
    script = Scripted(httpx.Response(429, stream=_Broken(), headers={"retry-after": "7"}))
    api = connected(script)
    with pytest.raises(RateLimited) as caught:
        api.create_job(BulkJobRequest(action="MOVE", destination="JunkEmail", search_params=SearchParams(sender="a@b")))
    assert (caught.value.certainly_not_applied, caught.value.retry_after_seconds) == (True, 7)


@pytest.mark.parametrize("body", [b"", b"[]", b'"not found"', b"<html>"])
def test_a_404_for_an_unknown_path_is_reported_at_once(body: bytes) -> None:
    script = Scripted(httpx.Response(404, content=body, headers={"content-type": "application/json"}))
    with pytest.raises(ApiRefusal) as caught:
        connected(script).get_job(JOB_ID)
    assert "CLOUDFLARE_BASE_URL" in caught.value.help
    assert len(script.requests) == 1


@pytest.mark.parametrize("body", [b'{"success": fal', b'{"success": false, "errors": [{"code": 10404'])
def test_a_404_with_a_truncated_body_is_retried(body: bytes) -> None:
    """Only the body shows whether the job or the path is unknown."""
    cut = httpx.Response(404, content=body, headers={"content-type": "application/json"})
    script = Scripted(cut, refused(404, 10404, "No such job"))
    with pytest.raises(NotFound):
        connected(script).get_job(JOB_ID)
    assert len(script.requests) == 2


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        ("502", ServiceUnavailable),
        ("reset", NetworkFailure),
        ("connection refused", NotReceived),
        ("truncated json", UnexpectedAnswer),
    ],
)
def test_retries_are_bounded_and_raise_the_last_error(failure: str, kind: type[PackError]) -> None:
    script = Scripted(*[TEMPORARY_FAILURES[failure]() for _ in range(20)])
    with pytest.raises(kind):
        connected(script).get_job(JOB_ID)
    assert len(script.requests) == 6


def test_a_successful_response_may_have_an_error_code_in_its_messages() -> None:
    answer = {"success": True, "errors": [], "messages": [{"code": 10000, "message": "note"}], "result": job()}
    assert connected(Scripted(httpx.Response(200, json=answer))).get_job(JOB_ID).status == "PENDING"


def test_retry_after_of_any_length_within_the_allowance_is_obeyed() -> None:
    clock = FakeClock()
    script = Scripted(refused(429, headers={"retry-after": "287"}), ok(job()))
    connected(script, clock, call_allowance_seconds=300).get_job(JOB_ID)
    assert clock.slept == [287]


def test_retry_after_beyond_the_allowance_fails_at_once_and_is_reported() -> None:
    clock = FakeClock()
    script = Scripted(refused(429, headers={"retry-after": "287"}))
    with pytest.raises(RateLimited) as caught:
        connected(script, clock, call_allowance_seconds=120).get_job(JOB_ID)
    assert caught.value.retry_after_seconds == 287
    assert clock.slept == []


def test_pauses_between_retries_have_jitter_and_stay_within_the_allowance() -> None:
    clock = FakeClock()
    script = Scripted(*[httpx.Response(502) for _ in range(20)])
    with pytest.raises(ServiceUnavailable):
        connected(script, clock, call_allowance_seconds=10).get_job(JOB_ID)
    assert sum(clock.slept) <= 10
    assert len(set(clock.slept)) == len(clock.slept)


def test_near_the_end_of_the_rate_budget_calls_are_spaced_out() -> None:
    clock = FakeClock()
    low = {"ratelimit": '"default";r=50;t=100', "ratelimit-policy": '"default";q=1200;w=300'}
    api = connected(Scripted(ok(job(), headers=low), ok(job())), clock)
    api.get_job(JOB_ID)
    api.get_job(JOB_ID)
    assert clock.slept == [2.0]


def test_without_budget_a_call_waits_for_the_next_window() -> None:
    clock = FakeClock()
    api = connected(Scripted(ok(job(), headers={"ratelimit": '"default";r=0;t=30'}), ok(job())), clock)
    api.get_job(JOB_ID)
    api.get_job(JOB_ID)
    assert clock.slept == [30.0]


def test_without_budget_and_time_to_wait_nothing_is_sent() -> None:
    script = Scripted(ok(job(), headers={"ratelimit": '"default";r=0;t=250'}))
    api = connected(script, call_allowance_seconds=60)
    api.get_job(JOB_ID)
    with pytest.raises(RateLimited) as caught:
        api.get_job(JOB_ID)
    assert len(script.requests) == 1
    assert caught.value.retry_after_seconds == pytest.approx(250)


@pytest.mark.parametrize("header", ["", "nonsense", '"default";r=-5;t=x', '"default";r=99999999999;t=1', "\x7f"])
def test_invalid_rate_headers_are_ignored(header: str) -> None:
    clock = FakeClock()
    api = connected(Scripted(ok(job(), headers={"ratelimit": header}), ok(job())), clock)
    api.get_job(JOB_ID)
    api.get_job(JOB_ID)
    assert clock.slept == []


def test_an_oversized_body_is_not_read_to_its_end() -> None:
    sent_bytes = 0

    def endless() -> object:
        nonlocal sent_bytes
        while True:
            sent_bytes += 1 << 20
            yield b"x" * (1 << 20)

    script = Scripted(*[lambda _: httpx.Response(200, content=endless()) for _ in range(6)])  # type: ignore[arg-type]
    with pytest.raises(NetworkFailure):
        connected(script).get_job(JOB_ID)
    assert sent_bytes <= 6 * (LARGEST_BODY_BYTES + (2 << 20))


def zipped(data: bytes) -> httpx.Response:
    return httpx.Response(200, stream=httpx.ByteStream(gzip.compress(data)), headers={"content-encoding": "GZip"})


def test_a_compressed_body_is_read_completely() -> None:
    body = json.dumps(envelope(job(comment="c" * 300_000))).encode()
    assert connected(Scripted(zipped(body))).get_job(JOB_ID).comment == "c" * 300_000


def test_a_gzip_bomb_stays_within_the_memory_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 4 << 20
    monkeypatch.setattr(client, "LARGEST_BODY_BYTES", limit)
    bomb = gzip.compress(b" " * (8 * limit))
    script = Scripted(
        *(httpx.Response(200, stream=httpx.ByteStream(bomb), headers={"content-encoding": "gzip"}) for _ in range(6))
    )
    tracemalloc.start()
    try:
        with pytest.raises(NetworkFailure):
            connected(script).get_job(JOB_ID)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * limit


@functools.cache
def zipped_twice() -> bytes:
    return gzip.compress(gzip.compress(b" " * LARGEST_BODY_BYTES))


@pytest.mark.parametrize("encoding", ["gzip, gzip", "deflate", "br", "zstd", "x-gzip,identity"])
def test_a_body_in_an_unrequested_encoding_is_not_decoded(encoding: str) -> None:
    body = json.dumps(envelope(job())).encode()
    bad = httpx.Response(200, stream=httpx.ByteStream(zipped_twice()), headers={"content-encoding": encoding})
    script = Scripted(bad, zipped(body))
    assert connected(script).get_job(JOB_ID).job_id == JOB_ID
    assert {request.headers["accept-encoding"] for request in script.requests} == {"gzip"}


@pytest.mark.parametrize("damage", [(0, b"no gzip"), (-30, b""), (30, b"??????")])
def test_a_read_is_retried_after_a_damaged_compressed_body(damage: tuple[int, bytes]) -> None:
    body = json.dumps(envelope(job())).encode()
    kept, more = damage
    broken = gzip.compress(body)[:kept] + more
    bad = httpx.Response(200, stream=httpx.ByteStream(broken), headers={"content-encoding": "gzip"})
    assert connected(Scripted(bad, zipped(body))).get_job(JOB_ID).job_id == JOB_ID


def test_an_endless_trickling_body_is_an_error() -> None:
    clock = FakeClock()

    def trickle() -> object:
        while True:
            clock.advance(10)
            yield b" "

    script = Scripted(*[lambda _: httpx.Response(200, content=trickle()) for _ in range(6)])  # type: ignore[arg-type]
    with pytest.raises(NetworkFailure):
        connected(script, clock, call_allowance_seconds=3600).get_job(JOB_ID)


def test_an_untrusted_certificate_is_reported_and_not_retried() -> None:
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_message = "self-signed certificate"
    error = httpx.ConnectError("tls")
    error.__cause__ = cause
    script = Scripted(error)
    with pytest.raises(NotReceived, match="self-signed certificate") as caught:
        connected(script).get_job(JOB_ID)
    assert "SSL_CERT_FILE" in caught.value.help
    assert len(script.requests) == 1


def test_a_token_in_a_response_appears_nowhere() -> None:
    with pytest.raises(ApiRefusal) as caught:
        connected(Scripted(refused(400, 1001, f"bad header Bearer {TOKEN}\x1b[2J"))).get_job(JOB_ID)
    shown = json.dumps(caught.value.document()) + str(caught.value) + repr(caught.value)
    assert TOKEN not in shown
    assert "\x1b" not in shown and "\\u001b" not in shown


def test_requests_have_the_user_agent_and_the_credentials() -> None:
    script = Scripted(ok(job()))
    connected(script).get_job(JOB_ID)
    headers = script.requests[0].headers
    assert headers["user-agent"].startswith("cloudflare-email-security-pack/")
    assert headers["authorization"] == f"Bearer {TOKEN}"


def test_an_api_key_and_email_are_sent() -> None:
    script = Scripted(ok(job()))
    connected(script, api_token=None, api_key="k" * 37, api_email="ops@corp.example").get_job(JOB_ID)
    headers = script.requests[0].headers
    assert (headers["x-auth-email"], headers["x-auth-key"]) == ("ops@corp.example", "k" * 37)
    assert "authorization" not in headers


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("job_id", "../../../zones"),
        ("job_id", None),
        ("status", 5),
        ("total_messages_discovered", "many"),
        ("messages_failed", -1),
        ("messages_pending", None),
    ],
)
def test_an_invalid_field_of_a_job_is_named(field: str, value: object) -> None:
    script = Scripted(ok(job(**{field: value})))
    with pytest.raises(UnexpectedAnswer, match=f"field {field}"):
        connected(script).get_job(JOB_ID)


def test_new_fields_of_the_api_are_passed_through() -> None:
    sent = job(status="PAUSED", priority="high", action_params={"type": "SHRED", "strength": 3})
    del sent["messages_skipped"], sent["messages_cancelled"]
    read = connected(Scripted(ok(sent))).get_job(JOB_ID)
    assert read.document() == sent
    assert not read.has_ended


def test_a_response_about_another_job_is_refused() -> None:
    with pytest.raises(UnexpectedAnswer, match="job_id"):
        connected(Scripted(ok(job(job_id=JOB_ID.replace("7", "8"))))).get_job(JOB_ID)


def test_the_path_has_the_account_and_the_job_id() -> None:
    script = Scripted(ok(job()))
    connected(script).get_job(JOB_ID)
    assert script.requests[0].url.path == f"/client/v4/accounts/{ACCOUNT}/email-security/investigate/bulk/{JOB_ID}"


def test_an_endless_body_that_decodes_to_nothing_is_an_error() -> None:
    clock = FakeClock()

    def nothing() -> object:
        yield b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
        while True:
            clock.advance(10)
            yield b"\x00\x00\x00\xff\xff"

    headers = {"content-encoding": "gzip"}
    script = Scripted(*[lambda _: httpx.Response(200, headers=headers, content=nothing()) for _ in range(6)])  # type: ignore[arg-type]
    with pytest.raises(NetworkFailure):
        connected(script, clock, call_allowance_seconds=3600).get_job(JOB_ID)


def test_an_endless_search_is_an_error() -> None:
    answers = 0

    def same(_: httpx.Request) -> httpx.Response:
        nonlocal answers
        answers += 1
        return ok([{"id": "x-1"}], result_info={"next": f"cursor-{answers}"})

    script = Scripted(*[same] * 50)
    with pytest.raises(ListingRepeats, match="the message search"):
        list(connected(script).search_messages(SearchParams(sender="a@phish.example")))
    assert answers == 3


@pytest.mark.parametrize("per_page", [1000, 999])
def test_a_list_of_jobs_that_repeats_a_full_page_is_an_error(per_page: int) -> None:
    listed = [job(job_id=f"{number:08}{JOB_ID[8:]}") for number in range(per_page)]
    script = Scripted(*[lambda _: ok(listed)] * 5)
    if per_page == LARGEST_PAGE:
        with pytest.raises(ListingRepeats, match="the list of jobs"):
            list(connected(script).list_jobs())
    else:
        assert len(list(connected(script).list_jobs())) == per_page
    assert len(script.requests) == 3


def test_a_search_that_is_never_ready_costs_few_polls() -> None:
    later = {"location": f"/client/v4/accounts/{ACCOUNT}/email-security/investigate?x=1"}
    script = Scripted(*[lambda _: ok([], status=202, headers=later)] * 60)
    clock = FakeClock()
    with pytest.raises(ServiceUnavailable, match="did not finish"):
        list(connected(script, clock, call_allowance_seconds=3600).search_messages(SearchParams(sender="a@x.example")))
    assert len(script.requests) <= 41


def test_a_write_is_not_started_without_time_for_its_response() -> None:
    clock, script = FakeClock(), Scripted()
    api = connected(script, clock)
    api.deadline = Deadline(clock, 10)
    with pytest.raises(DeadlineExceeded) as caught:
        api.create_job(REQUEST)
    assert (caught.value.applied, script.requests) == ("no", [])


def test_criteria_too_long_for_a_url_are_refused() -> None:
    names = ("sender", "recipient", "domain", "subject", "query", "message_id", "alert_id", "smtp_helo_ip", "metric")
    search = SearchParams.model_validate(dict.fromkeys(names, "é" * 2000))
    with pytest.raises(ParameterError):
        list(connected(Scripted()).search_messages(search))


def test_control_characters_of_the_server_are_removed_from_errors() -> None:
    with pytest.raises(UnexpectedAnswer) as caught:
        connected(Scripted(*[ok(job(job_id=JOB_ID.replace("7", "8"))) for _ in range(6)])).get_job(JOB_ID)
    assert "\x1b" not in caught.value.message
    assert PackError("a\x1b[2Jb\u202ec" + "x" * 9000).message.startswith("a�[2Jb�c")
    assert len(PackError("x" * 9000).message) < 4100


CONTRADICTORY_RESPONSES: dict[str, Callable[[], httpx.Response]] = {
    "400, success and a job": lambda: ok(job(), 400),
    "404, success and a job": lambda: ok(job(), 404),
    "409, success and nothing": lambda: ok(None, 409),
    "403, success in a word": lambda: httpx.Response(403, json={**envelope(job()), "success": "true"}),
    "422, success 1": lambda: httpx.Response(422, json={**envelope(job()), "success": 1}),
    "200, no success and a job": lambda: httpx.Response(200, json=envelope(job(), success=False)),
    "201, no success and an id": lambda: httpx.Response(201, json=envelope({"id": JOB_ID}, success=False)),
    "200, no success and rows": lambda: httpx.Response(200, json=envelope([job()], success=False)),
    "302, success and a job": lambda: ok(job(), 302),
    "307, no success": lambda: refused(307),
    "304 with an envelope": lambda: ok(job(), 304),
    "500, success and a job": lambda: ok(job(), 500),
    "200, success is null": lambda: httpx.Response(200, json={**envelope(job()), "success": None}),
}


@pytest.mark.parametrize("answer", CONTRADICTORY_RESPONSES)
def test_a_contradictory_response_makes_a_write_unknown_and_a_read_retried(answer: str) -> None:
    with pytest.raises(OutcomeUnknown) as caught:
        connected(Scripted(CONTRADICTORY_RESPONSES[answer]())).create_job(REQUEST)
    assert caught.value.certainly_not_applied is False
    script = Scripted(CONTRADICTORY_RESPONSES[answer](), ok(job()))
    assert connected(script).get_job(JOB_ID).job_id == JOB_ID
    with pytest.raises((UnexpectedAnswer, ServiceUnavailable)):
        connected(Scripted(*[CONTRADICTORY_RESPONSES[answer]() for _ in range(6)])).get_job(JOB_ID)


@pytest.mark.parametrize("body", ["an envelope", "a page", "nothing"])
@pytest.mark.parametrize("status", [408, 444, 460, 499, 520, 524, 599])
def test_the_timeout_status_of_a_proxy_counts_as_a_lost_response(status: int, body: str) -> None:
    def answer() -> httpx.Response:
        return refused(status) if body == "an envelope" else httpx.Response(status, text="<p>" * (body == "a page"))

    with pytest.raises(OutcomeUnknown) as caught:
        connected(Scripted(answer())).create_job(REQUEST)
    assert caught.value.http_status == status
    script = Scripted(answer(), ok(job()))
    assert connected(script).get_job(JOB_ID).job_id == JOB_ID


@pytest.mark.parametrize("status", [400, 404, 405, 409, 410, 413, 415, 422, 425, 428, 429, 431, 451])
def test_any_other_refusal_means_that_a_write_was_not_applied(status: int) -> None:
    with pytest.raises(PackError) as caught:
        connected(Scripted(*[refused(status) for _ in range(6)])).create_job(REQUEST)
    assert caught.value.certainly_not_applied
    assert caught.value.exit_code == (6 if status == 429 else 5)


def test_a_429_with_success_makes_a_write_unknown_and_a_read_wait() -> None:
    with pytest.raises(OutcomeUnknown) as caught:
        connected(Scripted(ok(job(), 429))).cancel_job(JOB_ID)
    assert caught.value.job_id == JOB_ID
    clock = FakeClock()
    api = connected(Scripted(ok(job(), 429, {"retry-after": "7"}), ok(job())), clock)
    assert api.get_job(JOB_ID).job_id == JOB_ID
    assert clock.slept == [7]


REFUSALS_WITH_A_JOB: dict[str, dict[str, Any]] = {
    "success: false": envelope(job(), success=False),
    "success: null": {**envelope(job()), "success": None},
    "success left out": {"result": job(), "errors": []},
    "the job without an envelope": job(),
    "the job one level down": envelope({"job": job()}, success=False),
    "the job in a list": envelope([job()], success=False),
    "the job's ID": envelope(JOB_ID, success=False),
}


@pytest.mark.parametrize("body", REFUSALS_WITH_A_JOB)
@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 429])
def test_a_refusal_that_contains_a_job_is_unknown_for_writes_only(status: int, body: str) -> None:
    answer = REFUSALS_WITH_A_JOB[body] | {"errors": [{"code": 1000, "message": "no"}]}
    with pytest.raises(OutcomeUnknown) as caught:
        connected(Scripted(httpx.Response(status, json=answer))).create_job(REQUEST)
    assert caught.value.job_id == JOB_ID
    with pytest.raises(PackError) as read:
        connected(Scripted(*[httpx.Response(status, json=answer) for _ in range(6)])).get_job(JOB_ID)
    assert isinstance(read.value, ApiRefusal | RateLimited | PermissionDenied)


@pytest.mark.parametrize("result", [None, {}, [], "no", {"reason": "bad window"}])
@pytest.mark.parametrize("status", [400, 409, 422])
def test_a_refusal_without_a_job_is_an_api_refusal(status: int, result: object) -> None:
    with pytest.raises(ApiRefusal) as caught:
        connected(Scripted(httpx.Response(status, json=envelope(result, success=False)))).create_job(REQUEST)
    assert (caught.value.applied, caught.value.certainly_not_applied) == ("no", True)


def test_a_job_id_is_normalized() -> None:
    loud = job(job_id=JOB_ID.upper())
    script = Scripted(ok(loud), ok({**loud, "status": "CANCELLED"}), ok({"id": JOB_ID.upper()}))
    api = connected(script)
    assert api.get_job(JOB_ID).job_id == JOB_ID
    assert api.cancel_job(JOB_ID.upper()).job_id == JOB_ID
    api.delete_job(JOB_ID)
    assert {request.url.path.partition("/bulk/")[2][:36] for request in script.requests} == {JOB_ID}


@pytest.mark.parametrize("result", [None, {}, [], {"id": None}])
def test_a_delete_without_a_job_id_in_its_response_is_verified(result: object) -> None:
    gone = httpx.Response(404, json=envelope(None, success=False, errors=[{"code": 10404, "message": "no such job"}]))
    connected(Scripted(ok(result), gone)).delete_job(JOB_ID)
    with pytest.raises(OutcomeUnknown, match="still exists") as caught:
        connected(Scripted(ok(result), ok(job()))).delete_job(JOB_ID)
    assert (caught.value.exit_code, caught.value.job_id) == (7, JOB_ID)


def test_a_job_listed_in_two_spellings_is_returned_once() -> None:
    script = Scripted(ok([job(), job(job_id=JOB_ID.upper())]), ok([]))
    assert [found.job_id for found in connected(script).list_jobs()] == [JOB_ID]
