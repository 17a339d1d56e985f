"""Each receiver gets its documented format, and no text of a mailbox has an effect there."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remediation.notifications.delivery import WebhookClient
from remediation.notifications.notification import WORDS, Draft
from remediation.notifications.sending import Report, send
from tests.clock import FakeClock
from tests.exhaustive import exhaustive_unless
from tests.remediation.notifications.receivers import Receiver, environment, receiver
from tests.remediation.notifications.vendor_formats import CHECKS, Seen, signature

RUN = "phish-campaign-purge-20261120T160235Z-1f9c2a"
APPROVAL = Draft(
    event="needs_approval",
    title="Move 409 messages to Junk Email",
    message="A plan waits for approval.\nIt took 1.5 s.",
    facts={"Messages": 1409, "Sender": "billing@invoice-portal.example", "Clean": 0.5, "Own": False, "Job": None},
    run_id=RUN,
    signal="approvals",
    case_id="~4104",
)

HOSTILE = [
    "<!channel> <!here> <@U024BE7LH> <#C024BE7LR> <https://evil.example|Your bank> &lt;!everyone&gt; @here",
    "*bold* _it_ ~no~ `code` ```block``` :tada: > quote",
    "[Sign in](https://evil.example/login) ![x](http://evil.example/p.png) <img src=x onerror=1>",
    "# Heading\n===\n- list\n1. one\n    code\n| a | b |\n|---|---|\n<script>alert(1)</script>\n&#60;b&#62; \\<b>",
    "{{DATE(2017-02-14T06:00:00Z, SHORT)}} ${title} @{body('x')} {code} [~admin] !img.png!",
    "https://evil.example www.evil.example dana@evil.example mailto:dana@evil.example a\u3002example \uff20all",
    "invoice\u202egnp.exe pay\u200bpal \u2066iso\u2069 \ufeff \u00ad",
    "\x1b[31mred\x1b[0m\x07\x00\r\nwebhook-signature: v1,forged\r\n\r\n",
    "Z" + "\u0301" * 300 + "algo",
    "half \ud83d of a pair",
    '"quoted" \\ \\u0022 \u2028 \u2029 \x85 \x0b\x0c',
    "   \n \t ",
    "A" * 10_000,
    "\U0001f600" * 10_000,
    "&<>\"'" * 2_000,
    "a.b@" * 2_500,
    "\u3002\u4e2d" * 5_000,
    "line\n" * 10_000,
]


def client(clock: FakeClock | None = None) -> WebhookClient:
    return WebhookClient(clock or FakeClock(), random.Random(7))


def sent_to(running: Receiver, kind: str, draft: Draft, **more: str) -> tuple[Report, Seen]:
    """Send a draft to the receiver. Return the report, and what a person sees there."""
    report = send(draft, None, environment={**environment(kind, _url(running, kind)), **more}, client=client())
    assert running.problems == []
    return report, CHECKS[kind](running.requests[-1])


def _url(running: Receiver, kind: str) -> str:
    return running.origin if kind == "thehive" else running.url


each_kind = pytest.mark.parametrize("kind", CHECKS)


@each_kind
def test_a_notification_has_the_documented_format_and_all_its_parts(kind: str) -> None:
    with receiver(CHECKS[kind]) as running:
        report, seen = sent_to(running, kind, APPROVAL)
    assert [(one.name, one.kind, one.outcome, one.error) for one in report.channels] == [("soc", kind, "sent", None)]
    assert report.warnings == []
    for part in ("Move 409 messages to Junk Email", "A plan waits for approval.", "It took 1.5 s."):
        assert part in seen.text
    sender = "billing@invoice-portal.example" if kind == "webhook" else "billing[@]invoice-portal[.]example"
    assert sender in seen.text
    assert f"cfes playbook show {RUN}" in seen.texts
    assert f"cfes playbook approve {RUN} --key KEY" in seen.texts
    assert seen.links == []
    if kind != "webhook":
        assert [part for part in ("Approval needed", "1,409", "not known") if part not in seen.text] == []


@each_kind
def test_a_link_to_the_run_replaces_the_commands(kind: str) -> None:
    template = "https://soar.example/runs?id={run_id}&tab=a_b#top"
    with receiver(CHECKS[kind]) as running:
        _, seen = sent_to(running, kind, APPROVAL, CFES_RUN_URL=template)
    assert seen.links == [f"https://soar.example/runs?id={RUN}&tab=a_b#top"]
    if kind != "webhook":
        assert "cfes playbook" not in seen.text


@each_kind
@pytest.mark.parametrize(("signal", "word"), [("decision", "decision"), ("asks[1]/decision", "'asks[1]/decision'")])
def test_another_signal_is_answered_with_a_file(kind: str, signal: str, word: str) -> None:
    with receiver(CHECKS[kind]) as running:
        _, seen = sent_to(running, kind, replace(APPROVAL, event="stalled", signal=signal))
    assert f"cfes playbook signal {RUN} {word} @FILE" in seen.texts


@each_kind
@pytest.mark.parametrize("event", WORDS)
def test_a_notification_of_a_title_alone_is_valid_for_each_event(kind: str, event: Any) -> None:
    with receiver(CHECKS[kind]) as running:
        sent_to(running, kind, Draft(event=event, title="Only a title", case_id="42"))


@each_kind
@pytest.mark.parametrize("text", exhaustive_unless(HOSTILE[::4], HOSTILE), ids=lambda text: ascii(text)[1:25])
def test_hostile_text_has_no_effect_and_is_cut(kind: str, text: str) -> None:
    draft = Draft(event="failed", title=text, message=text, facts={text: text, "again": text}, case_id="~1")
    with receiver(CHECKS[kind]) as running:
        report, seen = sent_to(running, kind, draft)
    assert [one.outcome for one in report.channels] == ["sent"]
    if len(text) >= 5_000:
        assert "more characters)" in seen.text or "more lines)" in seen.text


@each_kind
def test_ten_facts_of_the_longest_characters_fit(kind: str) -> None:
    text = "\u4e2d" * 10_000
    facts = {f"{number}{text}": text for number in range(12)}
    draft = replace(APPROVAL, title=text, message="\n".join([text[:100]] * 100), facts=facts)
    with receiver(CHECKS[kind]) as running:
        sent_to(running, kind, draft)


@pytest.fixture(scope="module")
def receivers() -> Iterator[dict[str, Receiver]]:
    """One receiver of each kind, for many examples."""
    with ExitStack() as stack:
        yield {kind: stack.enter_context(receiver(check)) for kind, check in CHECKS.items()}


@settings(suppress_health_check=list(HealthCheck))
@given(title=st.text(min_size=1), message=st.text(), value=st.text() | st.integers() | st.booleans())
def test_any_text_is_valid_in_every_format(
    receivers: Mapping[str, Receiver], title: str, message: str, value: Any
) -> None:
    draft = Draft(event="info", title=title, message=message, facts={title: value}, case_id="1")
    for kind, running in receivers.items():
        running.problems.clear()
        sent_to(running, kind, draft)


def test_a_text_that_is_cut_says_how_much_is_missing() -> None:
    with receiver(CHECKS["slack"]) as running:
        _, seen = sent_to(running, "slack", Draft(event="done", title="T", message="x" * 10_000))
    kept, _, mark = seen.texts[1].partition("… (")
    assert mark == f"{10_000 - len(kept):,} more characters)"
    assert 2490 < len(seen.texts[1]) <= 2500


def test_the_signature_of_the_tests_matches_a_published_example() -> None:
    """The example is from the libraries of Standard Webhooks, so that this test does not check itself."""
    found = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "1614265330",
        b'{"test": 2432232314}',
    )
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_webhook_is_signed_at_the_time_of_the_attempt() -> None:
    clock = FakeClock("2026-11-20T16:02:35+00:00")
    with receiver(CHECKS["webhook"]) as running:
        send(APPROVAL, None, environment=environment("webhook", running.url), client=client(clock))
        [request] = running.requests
    assert int(request.headers["webhook-timestamp"]) == datetime.fromisoformat("2026-11-20T16:02:35+00:00").timestamp()
    assert request.document["type"] == "run.needs_approval"


def test_a_program_gets_numbers_as_numbers() -> None:
    facts = {"Messages": 1409, "Clean": 0.5, "Own": False, "Job": None, "Large": 2**80, "Huge": 2**400}
    with receiver(CHECKS["webhook"]) as running:
        sent_to(running, "webhook", replace(APPROVAL, facts=facts))
        found = running.requests[0].document["data"]["facts"]
    small = {name: facts[name] for name in ("Messages", "Clean", "Own", "Job")}
    assert found == {**small, "Large": str(2**80), "Huge": "a number with more than 70 digits"}


class TestMessageId:
    def ids(self, *drafts: Draft) -> list[str]:
        with receiver(CHECKS["webhook"]) as running:
            for draft in drafts:
                sent_to(running, "webhook", draft)
            return [request.headers["webhook-id"] for request in running.requests]

    def test_the_same_event_of_a_run_has_the_same_id(self) -> None:
        first, again = self.ids(APPROVAL, APPROVAL)
        assert first == again

    def test_another_run_event_or_content_has_another_id(self) -> None:
        changed = [{"run_id": "other"}, {"event": "done"}, {"message": "other"}, {"facts": {}}, {"signal": "other"}]
        ids = self.ids(APPROVAL, *(replace(APPROVAL, **change) for change in changed))  # type: ignore[arg-type]
        assert len(set(ids)) == len(ids)

    def test_a_key_of_the_caller_replaces_the_content(self) -> None:
        one, same, other = self.ids(
            replace(APPROVAL, dedupe="step-4", message="after 3 s"),
            replace(APPROVAL, dedupe="step-4", message="after 9 s"),
            replace(APPROVAL, dedupe="step-5", message="after 9 s"),
        )
        assert one == same != other

    def test_a_notification_of_no_run_has_a_random_id(self) -> None:
        draft = Draft(event="info", title="T")
        source = client()
        with receiver(CHECKS["webhook"]) as running:
            reports = [
                send(draft, None, environment=environment("webhook", running.url), client=source) for _ in range(2)
            ]
        assert reports[0].notification_id != reports[1].notification_id
