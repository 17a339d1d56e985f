"""Sends one call to the API: within the rate limit, with safe retries, and with a typed answer or error.

Only this module decides what to retry:
- A read (GET) is retried after connection errors, 429, 5xx, and bodies that are not a JSON envelope.
- A write is retried only if the API certainly did not receive it (no connection) or did not apply it (429). A write
  whose response is lost ends in `OutcomeUnknown`. The caller checks the outcome; this module never repeats the write.
- A write with `once` is never retried. Its caller repeats the check and the write, with `Patience`.
"""

from __future__ import annotations

import json
import math
import random
import re
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tenacity import RetryCallState, Retrying, retry_if_exception

from connectors import call_log
from connectors.call_record import CallRecord
from connectors.connection import Connection
from connectors.http.body_flaw import FlawedBodies
from connectors.http.client import SLOWEST_ANSWER_FACTOR, body_chunks, client, httpx, read_body
from connectors.http.exchange import Exchange
from connectors.http.page_buffers import PageBuffers
from connectors.http.retry_after import SHORTEST_SECONDS, retry_after_seconds
from connectors.objects.api_object import uuid_of
from connectors.rate.budget import RateBudget
from connectors.rate.call_count import CallCount, shared_count
from connectors.rate.call_window import LONGEST_WAIT_SECONDS
from core.clock import Clock, Deadline
from core.errors import (
    ApiRefusal,
    AuthenticationFailed,
    Conflict,
    NetworkFailure,
    NotFound,
    NotReceived,
    OutcomeUnknown,
    PackError,
    ParameterError,
    PermissionDenied,
    RateLimited,
    ServiceUnavailable,
    TemporaryFailure,
    UnexpectedAnswer,
)
from core.surrogates import SURROGATE_ESCAPE, replace_surrogates_in

Effect = Literal["read", "write"]
Parse = Callable[[memoryview], dict[str, Any] | None]

# Full jitter: between 0 and BACKOFF_BASE * 2^n, at most BACKOFF_CAP.
# Source: AWS Architecture Blog, "Exponential backoff and jitter".
BACKOFF_BASE_SECONDS = 0.5
BACKOFF_CAP_SECONDS = 20.0
MOST_ATTEMPTS = 6

# A call that starts late still gets this long, because a shorter timeout would always fail.
SHORTEST_TIMEOUT_SECONDS = 1.0
# The timeout when no time is left. A timeout of 0 would mean no timeout.
NO_TIME_SECONDS = 0.01

# Codes of the API for failed authentication, with any HTTP status (see docs/reference/remote-api.md).
AUTHENTICATION_CODES = {9106, 10000}
ADDRESS_NOT_ALLOWED_CODE = 9109
NO_SUCH_ROUTE_CODE = 7003

# Statuses of a proxy for a broken connection, after which the API may still have processed the request: 408 (request
# too slow), 444 and 499 (nginx, Cloudflare), 460 (AWS load balancer). After any other 4xx the outcome is known.
BROKEN_OFF = {408, 444, 460, 499}

NEVER_RECEIVED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class Patience:
    """The pauses of a caller who repeats a write that changed nothing, limited in attempts and time."""

    def __init__(self, clock: Clock, rng: random.Random, deadline: Deadline) -> None:
        self._clock = clock
        self._rng = rng
        self._deadline = deadline
        self._attempts = 0

    def outlasts(self, failure: PackError) -> bool:
        """Pause, then return True if the failed write may be repeated. Return False without a pause if it may not."""
        self._attempts += 1
        pause = _pause(failure, self._attempts, self._rng)
        if not _repeatable(failure, "write") or self._attempts >= MOST_ATTEMPTS or pause > self._deadline.remaining():
            return False
        self._clock.sleep(pause)
        return True


class Call(NamedTuple):
    """One call to the API. path: relative to the base URL, starts with a slash.

    once: one attempt, without a wait before it. A write is sent at once unless the rate limit is used up, because the
    check before it gets old. A read that would have to wait is not sent.
    parse: a special reader for the body. It returns None for a body that needs the usual reader.
    """

    method: str
    path: str
    effect: Effect
    query: Mapping[str, str | int] | None = None
    body: Mapping[str, Any] | None = None
    once: bool = False
    parse: Parse | None = None


class Answer(NamedTuple):
    """A successful response: HTTP status, JSON envelope and the headers that callers use."""

    status: int
    envelope: dict[str, Any]
    location: str | None
    ray_id: str | None

    @property
    def result(self) -> Any:
        return self.envelope.get("result")


class Transport:
    """Calls the API through one httpx client.

    `clock`, `rng` and `http` inject time, randomness and the network. ends: no call may run after this deadline.
    write_timeout: the read timeout of writes in seconds, if it differs from that of reads.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        clock: Clock,
        rng: random.Random,
        http: httpx.BaseTransport | None = None,
        ends: Deadline | None = None,
        write_timeout: float | None = None,
    ) -> None:
        self.connection = connection
        self._ends = ends
        self._timeouts: dict[Effect, float] = {
            "read": connection.request_timeout_seconds,
            "write": write_timeout or connection.request_timeout_seconds,
        }
        self._clock = clock
        self._rng = rng
        # An injected network does not share the count of calls.
        count = CallCount(clock) if http is not None else shared_count(connection, clock)
        self._budget = RateBudget(clock, connection.rate_share, count)
        self._client = client(connection, http)
        # One buffer for each page in flight, and for those being written at the same time.
        self._buffers = PageBuffers(connection.pages_ahead + 3)

    def close(self) -> None:
        self._client.close()

    def call(self, call: Call, deadline: Deadline, record: CallRecord | None = None) -> Answer:
        """Send a call and return the answer. record: the file that each attempt is written to.

        Raises: every class of core.errors below AuthenticationFailed, ApiRefusal, TemporaryFailure and
        OutcomeUnknown (writes only).
        """
        retrying = Retrying(
            retry=retry_if_exception(lambda error: _repeatable(error, call.effect)),
            wait=self._wait,
            stop=lambda state: call.once or self._stop(state, deadline),
            sleep=self._clock.sleep,
            reraise=True,
        )
        flawed = FlawedBodies()
        for attempt in retrying:
            with attempt:
                self._pace(deadline, call.effect, once=call.once)
                return self._attempt(call, attempt.retry_state.attempt_number, deadline, record, flawed)
        raise AssertionError("tenacity returned without an answer or an error")  # pragma: no cover

    def _wait(self, state: RetryCallState) -> float:
        return _pause(state.outcome.exception() if state.outcome else None, state.attempt_number, self._rng)

    def _stop(self, state: RetryCallState, deadline: Deadline) -> bool:
        return state.attempt_number >= MOST_ATTEMPTS or state.upcoming_sleep > deadline.remaining()

    def _pace(self, deadline: Deadline, effect: Effect, *, once: bool) -> None:
        spaced = not once or effect == "read"
        self._wait_for_budget(self._budget.delay(spaced=spaced), 0 if once else deadline.remaining())
        # The first wait has used some of the time.
        most_wait = 0 if once else min(deadline.remaining(), LONGEST_WAIT_SECONDS)
        self._wait_for_budget(self._budget.take(most_wait, spaced=spaced), most_wait, self._budget.counted_in)

    def _wait_for_budget(self, delay: float, most_wait: float, counted_in: Path | None = None) -> None:
        if delay <= 0:
            return
        if delay > most_wait:
            counted = "" if counted_in is None else f" The count of this machine's calls is in {str(counted_in)!r}."
            raise RateLimited(
                f"the rate limit of the token is used up; the next call is possible in {delay:.0f} s",
                help=f"Nothing was changed. Run it again after retry_after_seconds.{counted}",
                retry_after_seconds=delay,
            )
        self._clock.sleep(delay)

    def _attempt(
        self, call: Call, number: int, deadline: Deadline, record: CallRecord | None, flawed: FlawedBodies
    ) -> Answer:
        effect = call.effect
        left = max(deadline.remaining(), SHORTEST_TIMEOUT_SECONDS)
        if self._ends is not None:
            left = min(left, max(self._ends.remaining(), NO_TIME_SECONDS))
        read_timeout = min(self._timeouts[effect], left)
        whole = min(left, read_timeout * SLOWEST_ANSWER_FACTOR)
        exchange, in_time = Exchange(read_timeout, whole), Deadline(self._clock, whole)
        began, begun_at = self._clock.monotonic(), self._clock.now()
        status: int | None = None
        ray_id: str | None = None
        problem: str | None = None
        try:
            with (
                exchange.under_way(),
                self._client.stream(
                    call.method,
                    self.connection.base_url + call.path,
                    params=call.query,
                    json=call.body,
                    timeout=read_timeout,
                    extensions={"trace": exchange.trace},
                ) as response,
            ):
                exchange.end_head()
                status = response.status_code
                ray_id = _ray_id(response.headers)
                self._budget.observe(response.headers)
                try:
                    if call.parse is None:
                        content = read_body(response, in_time)
                        data, envelope = memoryview(content), _envelope(content)
                    else:
                        data = self._buffers.fill(body_chunks(response, in_time))
                        envelope = (call.parse(data) if status == 200 else None) or _envelope(bytes(data))
                except (httpx.HTTPError, NetworkFailure):
                    # The status and the headers of a 429 are enough.
                    if status != 429:
                        raise
                    envelope = None
                if envelope is None and effect == "read" and response.is_success:
                    flawed.check(bytes(data), ray_id)
            # The body of a 404 tells "no such job" from "no such path".
            cut = status == 404 and effect == "read" and envelope is None and _is_cut(bytes(data))
            return self._judge(response, envelope, ray_id, effect, cut=cut)
        except httpx.InvalidURL:
            problem = "InvalidURL"
            raise ParameterError(
                "the search criteria are too long for one call", help="Nothing was sent. Shorten the search criteria."
            ) from None
        except httpx.HTTPError as error:
            problem = type(error).__name__
            raise _network_error(error, effect, ray_id, connecting=exchange.connecting) from None
        except PackError as error:
            problem = type(error).__name__
            raise
        finally:
            facts = {
                "method": call.method,
                "path": call.path,
                "status": status,
                "ray_id": ray_id,
                "milliseconds": round((self._clock.monotonic() - began) * 1000),
                "attempt": number,
                "problem": problem,
            }
            call_log.call(facts)
            if record is not None:
                record.add({"time": begun_at.isoformat(timespec="milliseconds"), **facts})

    def _judge(
        self,
        response: httpx.Response,
        envelope: dict[str, Any] | None,
        ray_id: str | None,
        effect: Effect,
        *,
        cut: bool,
    ) -> Answer:
        status = response.status_code
        if 200 <= status < 300 and envelope is not None and envelope.get("success") is True:
            return Answer(status, envelope, response.headers.get("location"), ray_id)
        notices = self._notices(envelope)
        reason = "; ".join(f"{n['code']}: {n['message']}" for n in notices)
        details: dict[str, Any] = {"http_status": status, "api_errors": notices, "ray_id": ray_id}
        if what := _contradiction(status, envelope, effect, cut=cut):
            raise _lost(f"the API {what}", effect, UnexpectedAnswer, {**details, "job_id": _job_id(envelope)})
        if status >= 500 or status in BROKEN_OFF:
            details["retry_after_seconds"] = retry_after_seconds(response.headers, self._clock.now())
            cause = f" ({reason})" if reason else ""
            raise _lost(f"the API answered {status}{cause}", effect, ServiceUnavailable, details)
        if status == 429:
            raise RateLimited(
                f"the API reported that the rate limit is exceeded ({reason or 429})",
                retry_after_seconds=retry_after_seconds(response.headers, self._clock.now())
                or max(self._budget.delay(), SHORTEST_SECONDS),
                **details,
            )
        raise _refusal(status, {n["code"] for n in notices}, reason, details)

    def _notices(self, envelope: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """Return the errors of the envelope that have the documented shape, without secrets."""
        listed = envelope.get("errors") if envelope else None
        notices = []
        for entry in listed if isinstance(listed, list) else []:
            if isinstance(entry, dict) and isinstance(entry.get("code"), int):
                notice = {"code": entry["code"], "message": self._without_secrets(str(entry.get("message", "")))}
                source = entry.get("source")
                if isinstance(source, dict) and isinstance(source.get("pointer"), str):
                    notice["pointer"] = self._without_secrets(source["pointer"])
                notices.append(notice)
        return notices[:20]

    def _without_secrets(self, text: str) -> str:
        for secret in self.connection.secrets():
            text = text.replace(secret, "**********")
        # The text goes to terminals and logs, so it must be short and have no control characters.
        return "".join(c if c.isprintable() else " " for c in text)[:500]


def _pause(error: BaseException | None, attempt: int, rng: random.Random) -> float:
    """Return the seconds between this failed attempt and the next."""
    backoff = rng.uniform(0, min(BACKOFF_CAP_SECONDS, BACKOFF_BASE_SECONDS * 2**attempt))
    if isinstance(error, PackError) and error.retry_after_seconds is not None:
        # Backoff also applies to a server that always asks for 1 s.
        return max(error.retry_after_seconds, backoff)
    return backoff


def _repeatable(error: BaseException, effect: Effect) -> bool:
    passing: tuple[type[PackError], ...] = (TemporaryFailure,) if effect == "read" else (NotReceived, RateLimited)
    return isinstance(error, passing) and error.retryable


def _envelope(data: bytes | bytearray) -> dict[str, Any] | None:
    try:
        parsed = json.loads(data, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    if not isinstance(parsed, dict):
        return None
    # Results go to programs and files that need valid UTF-8. This search is faster than a check of every text.
    return replace_surrogates_in(parsed) if SURROGATE_ESCAPE.search(data) else parsed


def _contradiction(status: int, envelope: dict[str, Any] | None, effect: Effect, *, cut: bool) -> str | None:
    """Return how a response without success contradicts itself, or None for a clear refusal or failure.

    cut: whether the body is only the beginning of an envelope.

    A clear refusal is a 4xx, or a 2xx with `success: false`, without a result. After any other response below 500 the
    outcome is unknown. After a write the caller checks it, as after a lost response.
    """
    success = None if envelope is None else envelope.get("success")
    if cut or (status < 400 and not isinstance(success, bool)):
        return f"answered {status} with a body that is not a JSON envelope"
    if 300 <= status < 400:
        return f"answered {status}, a redirect, with success: {json.dumps(success)}"
    # After a 429 a read waits and retries, whatever the body says.
    if 400 <= status < 500 and success not in (None, False) and not (status == 429 and effect == "read"):
        return f"answered {status}, but the body has success: {json.dumps(success)[:20]}"
    if status < 500 and _has_result(envelope) and (status < 400 or effect == "write"):
        return f"answered {status} with success: {json.dumps(success)}, but with a result"
    return None


def _has_result(envelope: dict[str, Any] | None) -> bool:
    """Return whether a response has the content of a success (a job, its ID, or rows), even without an envelope."""
    if envelope is None:
        return False
    result = envelope.get("result")
    if isinstance(result, list):
        return result != []
    return "job_id" in envelope or (isinstance(result, dict) and "id" in result) or bool(_named_job(result))


def _job_id(envelope: dict[str, Any] | None) -> str | None:
    """Return the UUID of the job in a response, or None."""
    if envelope is None:
        return None
    result = envelope.get("result")
    only = result[0] if isinstance(result, list) and len(result) == 1 else result
    return uuid_of(_named_job(only) or envelope.get("job_id"))


def _named_job(result: Any) -> Any:
    """Return the job ID in a result, at the top or one level down, or None."""
    if isinstance(result, str):
        return uuid_of(result)
    holders = [result, *result.values()] if isinstance(result, dict) else []
    return next((one["job_id"] for one in holders if isinstance(one, dict) and one.get("job_id")), None)


def _is_cut(body: bytes) -> bool:
    """Return whether the body is an incomplete JSON object."""
    if not body.lstrip().startswith(b"{"):
        return False
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return True
    return False


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is not finite")
    return number


def _network_error(error: httpx.HTTPError, effect: Effect, ray_id: str | None, *, connecting: bool) -> PackError:
    """Return the error for a failure of the network. connecting: it happened before the request was sent."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return NotReceived(
                f"the API's TLS certificate was not accepted: {cause.verify_message}",
                help="Nothing was sent. Behind a TLS-inspecting proxy, set SSL_CERT_FILE to its CA certificate.",
                retryable=False,
            )
        cause = cause.__cause__ or cause.__context__
    what = type(error).__name__
    if isinstance(error, NEVER_RECEIVED) or connecting:
        # Only the status of a proxy's response to CONNECT; the text after it is untrusted.
        proxy_status = (
            re.match(r"[1-9][0-9]{2}\b", str(error), re.ASCII) if isinstance(error, httpx.ProxyError) else None
        )
        answered = f": it answered {proxy_status[0]}" if proxy_status else ""
        return NotReceived(f"the API could not be reached ({what}{answered})")
    what = f"the connection failed before the response was complete ({what})"
    return _lost(what, effect, NetworkFailure, {"ray_id": ray_id})


def _lost(what: str, effect: Effect, temporary: type[TemporaryFailure], details: Mapping[str, Any]) -> PackError:
    return OutcomeUnknown(what, **details) if effect == "write" else temporary(what, **details)


def _refusal(status: int, codes: set[int], reason: str, details: Mapping[str, Any]) -> PackError:
    cause = f"({reason})" if reason else "(no reason given)"
    if ADDRESS_NOT_ALLOWED_CODE in codes:
        return PermissionDenied(f"the token may not be used from this IP address {cause}", **details)
    if status == 403:
        return PermissionDenied(f"the token lacks the permission for this {cause}", **details)
    if status == 401 or codes & AUTHENTICATION_CODES:
        return AuthenticationFailed(f"the API does not accept these credentials {cause}", **details)
    if status == 404 and codes and NO_SUCH_ROUTE_CODE not in codes:
        return NotFound(f"the API found nothing with this ID {cause}", **details)
    if status == 404:
        wrong_url = "Nothing was changed. Check CLOUDFLARE_BASE_URL and CLOUDFLARE_ACCOUNT_ID."
        return ApiRefusal(f"the API has no such path {cause}", help=wrong_url, **details)
    if status == 409:
        return Conflict(f"the API refused the request: the current state does not allow it {cause}", **details)
    return ApiRefusal(f"the API refused the request with {status} {cause}", **details)


def _ray_id(headers: Mapping[str, str]) -> str | None:
    ray_id = headers.get("cf-ray", "")
    return ray_id if re.fullmatch(r"[A-Za-z0-9-]{1,64}", ray_id) else None
