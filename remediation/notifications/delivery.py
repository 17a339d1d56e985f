"""Deliver one POST to a receiver: a few attempts within a fixed time, and no redirects.

A notification that may have arrived is sent again: a duplicate is better than a run that nobody sees. The rate
limit of Cloudflare's API does not count these calls.
"""

from __future__ import annotations

import random
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from connectors import call_log
from connectors.http.client import body_chunks, httpx, open_client
from connectors.http.exchange import Exchange
from connectors.http.retry_after import retry_after_seconds
from core.clock import Clock, Deadline
from core.errors import PackError
from remediation.notifications.channels import Channel
from remediation.notifications.post import Post

# An attempt with less time would fail.
SHORTEST_ATTEMPT_SECONDS = 1.0
# Full jitter: between 0 and BACKOFF_BASE * 2^n.
BACKOFF_BASE_SECONDS = 1.0

# Receivers that refuse a request name the reason in a word, such as `invalid_payload` (Slack). No more is read.
LARGEST_REASON_BYTES = 64

_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)


@dataclass(frozen=True)
class Limits:
    """The limits of a delivery. seconds: all attempts and pauses, to the last byte. read_seconds: one read.

    An attempt may take twice `read_seconds`: for the connection, and for the response.
    """

    attempts: int = 3
    seconds: float = 30.0
    read_seconds: float = 10.0


class Delivery(NamedTuple):
    """How a delivery ended. error: None if the receiver accepted it. http_status: of the last response, if any."""

    attempts: int
    http_status: int | None
    error: str | None


class _Failure(NamedTuple):
    error: str
    retryable: bool
    http_status: int | None = None
    wait_seconds: float = 0.0


@dataclass(frozen=True)
class WebhookClient:
    """Delivers POSTs to the receivers of channels."""

    clock: Clock
    rng: random.Random
    limits: Limits = field(default_factory=Limits)

    def deliver(self, channel: Channel, build: Callable[[datetime], Post]) -> Delivery:
        """Send the POST that `build` returns for the time of each attempt. No error quotes a URL or a body."""
        deadline = Deadline(self.clock, self.limits.seconds)
        number, failure = 0, _Failure("nothing was sent", retryable=False)
        try:
            with open_client(channel.url.get_secret_value(), timeout=self.limits.read_seconds) as client:
                for number in range(1, self.limits.attempts + 1):
                    answer = self._attempt(client, channel.name, build(self.clock.now()), number, deadline)
                    if isinstance(answer, int):
                        return Delivery(number, answer, None)
                    failure = answer
                    pause = max(failure.wait_seconds, self.rng.uniform(0, BACKOFF_BASE_SECONDS * 2**number))
                    if not failure.retryable or number == self.limits.attempts:
                        break
                    if pause + SHORTEST_ATTEMPT_SECONDS > deadline.remaining():
                        failure = failure._replace(error=f"{failure.error}; the next attempt would come too late")
                        break
                    self.clock.sleep(pause)
        except PackError as error:
            # A proxy or certificates that can't be used.
            failure = _Failure(error.message, retryable=False)
        return Delivery(number, failure.http_status, failure.error)

    def _attempt(self, client: httpx.Client, name: str, post: Post, number: int, deadline: Deadline) -> int | _Failure:
        """Return the status of a response that accepts the POST, else the failure."""
        whole = min(deadline.remaining(), 2 * self.limits.read_seconds)
        read = min(whole, self.limits.read_seconds)
        exchange, in_time = Exchange(read, whole), Deadline(self.clock, whole)
        began = self.clock.monotonic()
        status, problem = None, None
        try:
            with (
                exchange.under_way(),
                client.stream(
                    "POST",
                    post.url,
                    content=post.body,
                    headers={"Content-Type": "application/json", **post.headers},
                    timeout=read,
                    extensions={"trace": exchange.trace},
                ) as response,
            ):
                exchange.end_head()
                status = response.status_code
                return status if response.is_success else _refusal(response, self.clock.now(), in_time)
        except httpx.HTTPError as error:
            problem = type(error).__name__
            return _network_failure(error, connecting=exchange.connecting)
        except (httpx.InvalidURL, UnicodeError) as error:
            problem = type(error).__name__
            return _Failure("the URL of the channel is not valid", retryable=False)
        finally:
            call_log.call(
                {
                    "method": "POST",
                    "path": f"(channel {name})",
                    "status": status,
                    "ray_id": None,
                    "milliseconds": round((self.clock.monotonic() - began) * 1000),
                    "attempt": number,
                    "problem": problem,
                }
            )


def _refusal(response: httpx.Response, now: datetime, in_time: Deadline) -> _Failure:
    status = response.status_code
    if 300 <= status < 400:
        return _Failure(f"the receiver answered {status}, and redirects are not followed", False, status)
    retryable = status in (408, 429) or status >= 500
    wait = retry_after_seconds(response.headers, now) or 0.0
    reason = _reason(response, in_time)
    return _Failure(f"the receiver answered {status}{f' ({reason})' if reason else ''}", retryable, status, wait)


def _reason(response: httpx.Response, in_time: Deadline) -> str:
    """Return the body if it is one word in small letters, else an empty text."""
    body = b""
    try:
        for chunk in body_chunks(response, in_time):
            body += chunk
            if len(body) > LARGEST_REASON_BYTES:
                return ""
    except httpx.HTTPError:
        return ""
    word = re.fullmatch(rb"[a-z]+(?:_[a-z]+)+", body.strip())
    return word[0].decode() if word else ""


def _network_failure(error: httpx.HTTPError, *, connecting: bool) -> _Failure:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _Failure(f"the receiver's TLS certificate was not accepted: {cause.verify_message}", retryable=False)
        cause = cause.__cause__ or cause.__context__
    what = type(error).__name__
    if connecting or isinstance(error, _UNSENT):
        return _Failure(f"the receiver could not be reached ({what})", retryable=True)
    return _Failure(f"no response came ({what}): the notification may have arrived", retryable=True)
