"""Only a signed, recent webhook is read, and each once."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from core.errors import AuthenticationFailed, ParameterError
from platforms.alerts.inbox import ALERTS, Inbox
from platforms.alerts.record_lines import read_record
from platforms.alerts.webhook import KEPT_FOR, SeenWebhooks, alert_of, verify
from remediation.notifications.channels import Channel
from remediation.notifications.notification import Draft, compose
from remediation.notifications.standard_webhook import webhook_body, webhook_post
from tests.clock import FakeClock

SECRET = SecretStr("whsec_" + base64.b64encode(b"a test-only signing key 123").decode())
OTHER = SecretStr("whsec_" + base64.b64encode(b"another test-only key 45678").decode())
BODY = b'{"type":"alert","data":{"AlertID":"1"}}'
NOW = FakeClock().now()


def signature(secret: SecretStr, webhook_id: str, sent_at: str, body: bytes) -> str:
    key = base64.b64decode(secret.get_secret_value().removeprefix("whsec_"))
    signed = f"{webhook_id}.{sent_at}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def headers(*, secret: SecretStr = SECRET, seconds: int = 0, **changes: str) -> dict[str, str]:
    sent_at = str(int(NOW.timestamp()) + seconds)
    found = {
        "webhook-id": "msg_1",
        "webhook-timestamp": sent_at,
        "webhook-signature": signature(secret, "msg_1", sent_at, BODY),
    }
    return found | {f"webhook-{name}": value for name, value in changes.items()}


def test_a_signed_webhook_gives_its_id() -> None:
    assert verify(headers(), BODY, [SECRET], NOW) == "msg_1"
    assert verify({name.title(): text for name, text in headers().items()}, BODY, [SECRET], NOW) == "msg_1"


def test_a_webhook_that_this_pack_sends_is_accepted() -> None:
    draft = Draft(event="done", title="Done")
    channel = Channel("soc", "webhook", SecretStr("https://x.example"), SECRET)
    notification = compose(draft, "msg_2", None)
    post = webhook_post(notification, channel, webhook_body(notification, NOW), NOW)
    assert verify(post.headers, post.body, [SECRET], NOW) == "msg_2"


def test_any_secret_and_any_signature_counts_so_that_a_secret_can_be_rotated() -> None:
    assert verify(headers(), BODY, [OTHER, SECRET], NOW) == "msg_1"
    both = f"v1a,AAAA {headers(secret=OTHER)['webhook-signature']} v1,??? {headers()['webhook-signature']}"
    assert verify(headers(signature=both), BODY, [SECRET], NOW) == "msg_1"


@pytest.mark.parametrize("seconds", [-300, -1, 1, 300])
def test_a_clock_may_be_five_minutes_off(seconds: int) -> None:
    assert verify(headers(seconds=seconds), BODY, [SECRET], NOW) == "msg_1"


@pytest.mark.parametrize("seconds", [-301, 301, -86_400])
def test_an_old_or_future_webhook_is_refused(seconds: int) -> None:
    with pytest.raises(AuthenticationFailed, match="more than 5 minutes"):
        verify(headers(seconds=seconds), BODY, [SECRET], NOW)


@pytest.mark.parametrize(
    ("given", "body", "secrets"),
    [
        ({}, BODY, [SECRET]),
        (headers(), BODY + b" ", [SECRET]),
        (headers(), BODY, [OTHER]),
        (headers(), BODY, []),
        (headers(id="msg_2"), BODY, [SECRET]),
        (headers(id=""), BODY, [SECRET]),
        (headers(id="x" * 257), BODY, [SECRET]),
        (headers(id="a\nb"), BODY, [SECRET]),
        (headers(timestamp=""), BODY, [SECRET]),
        (headers(timestamp="soon"), BODY, [SECRET]),
        (headers(timestamp="-1"), BODY, [SECRET]),
        (headers(timestamp="1" * 5000), BODY, [SECRET]),
        (headers(timestamp="\u0661" * 10), BODY, [SECRET]),
        (headers(signature=""), BODY, [SECRET]),
        (headers(signature="v1,"), BODY, [SECRET]),
        (headers(signature="v1,\u00e9"), BODY, [SECRET]),
        (headers(signature=headers()["webhook-signature"].replace("v1,", "v2,")), BODY, [SECRET]),
        (headers(signature="v1,AAAA " * 1000 + headers()["webhook-signature"]), BODY, [SECRET]),
    ],
)
def test_a_webhook_without_a_valid_signature_is_refused(
    given: dict[str, str], body: bytes, secrets: list[SecretStr]
) -> None:
    with pytest.raises(AuthenticationFailed, match="no valid signature") as caught:
        verify(given, body, secrets, NOW)
    assert "CLOUDFLARE" not in caught.value.help


def test_a_body_can_not_move_into_the_id() -> None:
    sent_at = str(int(NOW.timestamp()))
    given = headers(id=f"msg_1.{sent_at}")
    body = f"{sent_at}.".encode() + BODY
    given["webhook-signature"] = signature(SECRET, "msg_1", sent_at, body)
    try:
        verify(given, BODY, [SECRET], NOW)
    except AuthenticationFailed:
        return
    # The signed text is the same, but what was signed could not be an alert.
    with pytest.raises(ParameterError):
        alert_of(body)


@pytest.mark.parametrize("data", [{"AlertID": "1"}, {"alert": {"AlertID": "1"}, "note": 1}])
def test_the_alert_is_the_data_or_inside_it(data: dict[str, Any]) -> None:
    assert alert_of(json.dumps({"type": "alert", "data": data}).encode()) == {"AlertID": "1"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"data":[]}',
        b'{"data":{"alert":1}}',
        b'{"data":{"a":1,"a":2}}',
        b'{"data":{"a":1e999}}',
        b'{"data":' + b'{"a":' * 100 + b"1" + b"}" * 101,
        b'{"data":' + b"[" * 100_000,
        b"\xff",
    ],
)
def test_another_body_is_refused(body: bytes) -> None:
    with pytest.raises(ParameterError) as caught:
        alert_of(body)
    assert caught.value.help.startswith("Nothing was stored")


def test_odd_text_of_an_alert_is_stored(tmp_path: Path) -> None:
    alert = alert_of(b'{"data":{"AlertID":"1","Subject":"\\ud800 \\u0000 x{a}","n":123456789012345678901234567890}}')
    batch = Inbox(tmp_path / "inbox", FakeClock()).put(ALERTS, alert).batch
    assert batch is not None
    [line] = batch.lines()
    assert read_record(line) == {"AlertID": "1", "Subject": "\ufffd \0 x{a}", "n": 123456789012345678901234567890}


def test_a_replay_is_known(tmp_path: Path) -> None:
    clock = FakeClock()
    seen = SeenWebhooks(str(tmp_path / "state"), clock)
    assert not seen.knows("soc", "msg_1")
    seen.remember("soc", "msg_1")
    assert seen.knows("soc", "msg_1")
    assert not seen.knows("other", "msg_1")
    assert SeenWebhooks(str(tmp_path / "state"), clock).knows("soc", "msg_1")
    clock.set_forward(seconds=KEPT_FOR.total_seconds())
    seen.remember("soc", "msg_2")
    assert seen.knows("soc", "msg_1")
    clock.set_forward(seconds=timedelta(seconds=1).total_seconds())
    seen.remember("soc", "msg_3")
    assert not seen.knows("soc", "msg_1")
