"""The generated tenant: deterministic, realistic, with hostile texts, and small."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from sandbox.account import open_account
from sandbox.campaign import BadAlertError, alert_from
from sandbox.clock import DAY, parse_instant
from sandbox.correspondence import HELD_SENDER
from sandbox.identifiers import Identifiers
from sandbox.message import CLEAN, QUARANTINED
from sandbox.message_details import message_details
from sandbox.settings import Settings
from sandbox.tenant import Tenant

MakeSettings = Callable[..., Settings]


def _tenant(settings: Settings) -> Tenant:
    return open_account(settings).account.tenant


def test_the_seed_determines_the_tenant(settings: MakeSettings) -> None:
    one, again, other = (
        [message_details(tenant, message, 0) for message in tenant.messages]
        for tenant in (_tenant(settings(messages=300, seed=seed)) for seed in (1, 1, 2))
    )
    assert one == again
    assert one != other


def test_mail_is_from_the_thirty_days_before_the_start(settings: MakeSettings) -> None:
    now = parse_instant("2026-11-20T16:02:35Z")
    times = [message.time for message in _tenant(settings(messages=2000)).messages]
    assert now - 30 * DAY <= min(times) < now - 28 * DAY
    assert now - 2 * DAY < max(times) < now


def test_a_tenant_has_hundreds_of_mailboxes_and_every_verdict(settings: MakeSettings) -> None:
    tenant = _tenant(settings(messages=20_000))
    boxes = {box for message in tenant.messages for box in message.recipients}
    assert 300 <= len([box for box in boxes if box.endswith("@corp.example")]) <= 2500
    verdicts = [message.disposition for message in tenant.messages]
    assert set(verdicts) == {CLEAN, "BULK", "SPAM", "SUSPICIOUS", "SPOOF", "MALICIOUS", "MALICIOUS-BEC"}
    assert 0.15 < sum(verdict != CLEAN for verdict in verdicts) / len(verdicts) < 0.35


def test_the_mail_includes_hostile_subjects(settings: MakeSettings) -> None:
    subjects = "\n".join({message.subject for message in _tenant(settings(messages=20_000)).messages})
    for sample in ("{{ 7*7 }}", "<script>", "=HYPERLINK(", "\u202e", "\x1b[2J", "\r\nBcc:", "\u0000", "../../"):
        assert sample in subjects
    assert max(len(subject) for subject in subjects.split("\n")) > 2000


def test_the_mail_includes_wrongly_quarantined_messages(settings: MakeSettings) -> None:
    held = _tenant(settings(messages=2000)).from_sender(HELD_SENDER)
    assert len(held) >= 5
    assert all(message.status == QUARANTINED and message.disposition != CLEAN for message in held)


def test_an_alert_plants_its_campaign_around_its_own_message(settings: MakeSettings, alert: dict[str, Any]) -> None:
    tenant = _tenant(settings(alert=alert, at=None))
    campaign = tenant.from_sender(alert["From"])
    assert len(campaign) == 420
    (own,) = tenant.by_alert_id(alert["AlertID"])
    assert tenant.by_message_id(alert["MessageID"]) == [own]
    assert own.recipients == ("dana@corp.example", "lee@corp.example")
    assert own.subject == alert["Subject"]
    assert len({message.subject for message in campaign}) > 50
    assert all(message.link_domains() == {"login.invoice-portal.example"} for message in campaign)
    assert all(abs(message.time - own.time) <= 30 * 60 * 1_000_000 for message in campaign)
    found = [message.disposition for message in campaign]
    assert found.count("MALICIOUS") > 300
    assert 20 <= found.count(CLEAN) <= 70
    assert 1 <= sum(message.submission for message in campaign) <= 20
    assert 1 < sum(len(message.recipients) > 1 for message in campaign) < 60


def test_the_clock_starts_half_an_hour_after_the_alert(settings: MakeSettings, alert: dict[str, Any]) -> None:
    account = open_account(settings(alert=alert, at=None)).account
    assert account.truth()["now"] == "2026-11-20T16:02:35.000000Z"


def test_an_alert_of_another_company_uses_its_mailboxes(settings: MakeSettings, alert: dict[str, Any]) -> None:
    alert["SMTPEnvelopeTo"] = ["kim@another.example"]
    tenant = _tenant(settings(alert=alert, messages=100))
    assert all(box.endswith("@another.example") for m in tenant.from_sender(alert["From"]) for box in m.recipients)


@pytest.mark.parametrize("timestamp", [1763652755, 1763652755000, 1763652755000000000, "2025-11-20T15:32:35Z"])
def test_an_alerts_time_may_be_text_or_a_number_of_any_unit(alert: dict[str, Any], timestamp: object) -> None:
    alert["Timestamp"] = timestamp
    assert alert_from(alert).time == parse_instant("2025-11-20T15:32:35Z")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("AlertID", None),
        ("From", 7),
        ("Timestamp", "yesterday"),
        ("Timestamp", True),
        ("To", "dana"),
        ("MessageID", ""),
    ],
)
def test_the_refusal_of_an_invalid_alert_names_the_field(alert: dict[str, Any], field: str, value: object) -> None:
    alert[field] = value
    with pytest.raises(BadAlertError, match=field):
        alert_from(alert)


@examples(deadline=None, derandomize=True, database=None)
@given(number=st.integers(0, 10**12), seed=st.integers())
def test_a_postfix_id_maps_back_to_its_message(number: int, seed: int) -> None:
    identifiers = Identifiers(seed)
    assert identifiers.number_of_postfix_id(identifiers.postfix_id(number)) == number


def test_every_identifier_of_a_message_finds_it(settings: MakeSettings) -> None:
    tenant = _tenant(settings(messages=200))
    for message in tenant.messages:
        assert tenant.by_id(tenant.id_of(message)) is message
        assert tenant.by_message_id(tenant.message_id_of(message)) == [message]
        alert_id = tenant.alert_id_of(message)
        assert (alert_id is None) == (message.disposition == CLEAN)
        assert alert_id is None or tenant.by_alert_id(alert_id) == [message]


@pytest.mark.parametrize(
    "wrong", ["", "x", "4Njp3P0STMz2c02Q-2024-01-05T10:00:00-00000001", "4-2024-01-05T10:00:00-99999999"]
)
def test_an_unknown_id_finds_nothing(settings: MakeSettings, wrong: str) -> None:
    assert _tenant(settings(messages=20)).by_id(wrong) is None


def test_a_message_takes_less_than_2_000_bytes(settings: MakeSettings) -> None:
    tracemalloc.start()
    try:
        tenant = _tenant(settings(messages=1000))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(tenant.messages) == 1000
    assert used / 1000 < 2000
