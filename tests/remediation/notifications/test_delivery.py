"""Deliveries to receivers that refuse, fail, redirect, hang or send too much."""

from __future__ import annotations

import logging
import random
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from connectors import call_log
from remediation.notifications.delivery import Limits, WebhookClient
from remediation.notifications.notification import Draft
from remediation.notifications.sending import Report, Sent, send
from tests.clock import FakeClock
from tests.connectors.slow_peers import Caller, over_tls, peer
from tests.remediation.notifications.receivers import (
    API_KEY,
    BEARER,
    URL_SECRET,
    WEBHOOK_SECRET,
    Answer,
    Receiver,
    environment,
    receiver,
)
from tests.remediation.notifications.vendor_formats import CHECKS

DRAFT = Draft(event="stalled", title="The job stalled", run_id="run-1", case_id="~1")
QUICK = Limits(read_seconds=0.05)


def deliver(kind: str, url: str, clock: FakeClock | None = None, limits: Limits | None = None) -> Sent:
    """Return what became of a notification to one channel."""
    client = WebhookClient(clock or FakeClock(), random.Random(7), limits or Limits())
    report = send(DRAFT, None, environment=environment(kind, url), client=client)
    [found] = report.channels
    assert (report.warnings == []) == (found.outcome == "sent")
    return found


class TestRetries:
    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    def test_a_passing_failure_is_tried_again(self, status: int) -> None:
        clock = FakeClock()
        with receiver(CHECKS["webhook"], Answer(status), Answer(204, body=b"")) as running:
            found = deliver("webhook", running.url, clock)
        assert (found.outcome, found.attempts, found.http_status, found.error) == ("sent", 2, 204, None)
        first, second = running.requests
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert first.body == second.body
        assert len(clock.slept) == 1

    def test_a_repetition_is_signed_at_its_own_time(self) -> None:
        answers = Answer(429, headers=(("Retry-After", "12"),)), Answer()
        with receiver(CHECKS["webhook"], *answers) as running:
            assert deliver("webhook", running.url).outcome == "sent"
        first, second = (int(request.headers["webhook-timestamp"]) for request in running.requests)
        assert second - first == 12

    def test_at_most_three_attempts_are_made(self) -> None:
        with receiver(None, Answer(500)) as running:
            found = deliver("slack", running.url)
        assert (found.outcome, found.attempts, found.http_status) == ("failed", 3, 500)
        assert found.error == "the receiver answered 500"
        assert len(running.requests) == 3

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413])
    def test_a_refusal_is_final(self, status: int) -> None:
        clock = FakeClock()
        with receiver(None, Answer(status, body=b"channel_is_archived")) as running:
            found = deliver("slack", running.url, clock)
        assert (found.attempts, found.http_status, clock.slept) == (1, status, [])
        assert found.error == f"the receiver answered {status} (channel_is_archived)"

    def test_retry_after_is_obeyed(self) -> None:
        clock = FakeClock()
        with receiver(None, Answer(429, headers=(("Retry-After", "17"),)), Answer()) as running:
            assert deliver("slack", running.url, clock).attempts == 2
        assert clock.slept == [17.0]

    @pytest.mark.parametrize("seconds", ["30", "3600", "99999999"])
    def test_a_wait_beyond_the_time_limit_ends_the_delivery(self, seconds: str) -> None:
        clock = FakeClock()
        with receiver(None, Answer(503, headers=(("Retry-After", seconds),))) as running:
            found = deliver("teams", running.url, clock)
        assert (found.attempts, clock.slept) == (1, [])
        assert found.error == "the receiver answered 503; the next attempt would come too late"

    def test_the_whole_delivery_ends_within_thirty_seconds(self) -> None:
        clock = FakeClock()
        with receiver(None, Answer(503, headers=(("Retry-After", "15"),))) as running:
            found = deliver("teams", running.url, clock)
        assert (found.attempts, clock.slept) == (2, [15.0])


class TestHostileReceivers:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_not_followed(self, status: int) -> None:
        with receiver() as elsewhere:
            answer = Answer(status, headers=(("Location", elsewhere.url),))
            with receiver(None, answer) as running:
                found = deliver("ticket", running.url)
        assert (found.outcome, found.attempts) == ("failed", 1)
        assert found.error == f"the receiver answered {status}, and redirects are not followed"
        assert elsewhere.requests == []

    @pytest.mark.parametrize("status", [200, 400])
    def test_an_endless_body_is_not_read(self, status: int) -> None:
        sent = []

        def endless() -> Iterator[bytes]:
            while True:
                sent.append(1)
                yield b"x" * 65_536

        with receiver(None, Answer(status, body=endless)) as running:
            found = deliver("slack", running.url)
        assert (found.http_status, found.outcome) == (status, "sent" if status == 200 else "failed")
        # What fits into the buffers of the connection.
        assert len(sent) < 500

    def test_a_gzip_bomb_is_not_unpacked(self) -> None:
        bomb = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff" + b"\x00" * 100_000
        with receiver(None, Answer(400, headers=(("Content-Encoding", "gzip"),), body=bomb)) as running:
            assert deliver("slack", running.url).error == "the receiver answered 400"

    @pytest.mark.parametrize(
        "body",
        [b"<html>no</html>", b"invalid\nblocks", b"\x1b[31m", b"a" * 100, b"", b"\xff\xfe", URL_SECRET.encode(), b"ok"],
    )
    def test_a_reason_is_quoted_only_if_it_is_one_known_form(self, body: bytes) -> None:
        with receiver(None, Answer(400, body=body)) as running:
            assert deliver("slack", running.url).error == "the receiver answered 400"

    @pytest.mark.parametrize("piece", [b"x", b"HTTP/1.1 100 Continue\r\n\r\n"])
    def test_a_response_that_trickles_ends_in_time(self, piece: bytes) -> None:
        def trickle(caller: Caller) -> None:
            caller.request()
            caller.trickle(piece)

        began = time.monotonic()
        with peer(trickle) as listening:
            found = deliver("slack", f"http://127.0.0.1:{listening.port}/{URL_SECRET}", limits=QUICK)
        assert time.monotonic() - began < 3
        assert (found.outcome, found.attempts, found.http_status) == ("failed", 3, None)
        assert found.error is not None
        assert found.error.startswith("no response came (")

    def test_a_reason_that_trickles_ends_in_time(self) -> None:
        def trickle(caller: Caller) -> None:
            caller.request()
            caller.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            caller.trickle(b"x")

        with peer(trickle) as listening:
            found = deliver("slack", f"http://127.0.0.1:{listening.port}/{URL_SECRET}", limits=QUICK)
        assert (found.attempts, found.http_status, found.error) == (1, 400, "the receiver answered 400")

    def test_a_silent_receiver_may_have_got_the_notification(self) -> None:
        def hold(caller: Caller) -> None:
            caller.request()
            caller.over.wait(5)

        with peer(hold) as listening:
            found = deliver("slack", f"http://127.0.0.1:{listening.port}/{URL_SECRET}", limits=QUICK)
        assert (found.attempts, found.error) == (3, "no response came (ReadTimeout): the notification may have arrived")

    def test_a_refused_connection_is_tried_again(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        found = deliver("slack", f"http://127.0.0.1:{port}/{URL_SECRET}")
        assert (found.attempts, found.http_status) == (3, None)
        assert found.error == "the receiver could not be reached (ConnectError)"

    def test_a_certificate_that_is_not_trusted_is_refused_at_once(self) -> None:
        heads: list[bytes] = []

        def read(caller: Caller) -> None:
            heads.append(caller.request())

        with peer(over_tls(read)) as listening:
            found = deliver("slack", f"https://127.0.0.1:{listening.port}/{URL_SECRET}")
        assert found.attempts == 1
        assert found.error is not None
        assert found.error.startswith("the receiver's TLS certificate was not accepted")
        assert heads == []


class TestSeveralChannels:
    def test_a_channel_that_hangs_does_not_hold_up_the_others(self) -> None:
        """The first receiver answers only after the second one got its request."""
        heard = threading.Event()

        def wait() -> Iterator[bytes]:
            assert heard.wait(5)
            yield b"ok"

        def first_answer(_: object) -> None:
            assert heard.wait(5)

        def second_answer(_: object) -> None:
            heard.set()

        with receiver(first_answer) as first, receiver(second_answer) as second:
            settings = {
                "CFES_NOTIFY_CHANNELS": "one=slack,two=slack",
                "CFES_NOTIFY_ONE_URL": first.url,
                "CFES_NOTIFY_TWO_URL": second.url,
            }
            report = send(DRAFT, None, environment=settings, client=WebhookClient(FakeClock(), random.Random(7)))
        assert [one.outcome for one in report.channels] == ["sent", "sent"]

    def test_a_channel_that_fails_is_a_warning_and_the_others_get_the_notification(self) -> None:
        with receiver(None, Answer(404, body=b"no_service")) as broken, receiver(CHECKS["teams"]) as works:
            report = send_to_both(broken, works)
        assert [(one.name, one.outcome) for one in report.channels] == [("bad", "failed"), ("good", "sent")]
        assert report.warnings == ["bad: the receiver answered 404 (no_service)"]

    def test_a_comment_without_a_case_is_skipped(self) -> None:
        with receiver(CHECKS["thehive"]) as running:
            report = send(
                Draft(event="done", title="T"),
                None,
                environment=environment("thehive", running.origin),
                client=WebhookClient(FakeClock(), random.Random(7)),
            )
        assert [(one.outcome, one.error) for one in report.channels] == [("skipped", "no case_id was given")]
        assert report.warnings == []
        assert running.requests == []


def send_to_both(bad: Receiver, good: Receiver) -> Report:
    settings = {
        "CFES_NOTIFY_CHANNELS": "bad=slack,good=teams",
        "CFES_NOTIFY_BAD_URL": bad.url,
        "CFES_NOTIFY_GOOD_URL": good.url,
    }
    return send(DRAFT, None, environment=settings, client=WebhookClient(FakeClock(), random.Random(7)))


class TestSecrets:
    @pytest.mark.parametrize("kind", CHECKS)
    @pytest.mark.parametrize("answer", [Answer(), Answer(500), Answer(302)])
    def test_no_log_and_no_result_shows_a_secret(
        self, kind: str, answer: Answer, caplog: pytest.LogCaptureFixture
    ) -> None:
        call_log.LOGGER.propagate = True
        caplog.set_level(logging.DEBUG)
        with receiver(None, answer) as running:
            found = deliver(kind, running.origin if kind == "thehive" else running.url)
        assert caplog.records
        for shown in (repr(found), str(found), caplog.text, *(str(record.__dict__) for record in caplog.records)):
            for secret in (URL_SECRET, API_KEY, BEARER, WEBHOOK_SECRET, WEBHOOK_SECRET.removeprefix("whsec_")):
                assert secret not in shown

    def test_each_attempt_is_logged_with_the_name_of_the_channel(self, capsys: pytest.CaptureFixture[str]) -> None:
        call_log.configure("text")
        with receiver(None, Answer(500), Answer()) as running:
            deliver("slack", running.url)
        first, second = capsys.readouterr().err.splitlines()
        assert "POST (channel soc) 500 ray=- 0ms attempt=1" in first
        assert "POST (channel soc) 200 ray=- 0ms attempt=2" in second
