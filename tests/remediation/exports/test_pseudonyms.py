"""A value always gets the same pseudonym, and no identifying word is left."""

from __future__ import annotations

import hashlib
import hmac
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from actions.shapes.example_job import example_job
from actions.shapes.example_plan import EXAMPLE_PLAN
from connectors.connection import Connection
from connectors.objects.end_of_life import ACTION_LOG
from connectors.objects.message import JobMessage, MessageActionParams, MessageDetails, MessageValidation
from connectors.objects.search import SearchParams
from connectors.paging.raw_rows import rows_of_lines
from core.errors import ConnectionSettingsError, PlanRefused
from remediation.exports.pseudonyms.fields import JOB, MESSAGE, PLAN, ROW, SEARCH_PARAMS
from remediation.exports.pseudonyms.form import is_pseudonym
from remediation.exports.pseudonyms.pseudonyms import Pseudonyms
from remediation.guardrails.plans.plan import Plan, read_plan
from remediation.stamp import Stamp
from tests.connectors.scripted import ACCOUNT, PSEUDONYM_KEY, TOKEN

PSEUDONYMS = Pseudonyms(SecretStr(PSEUDONYM_KEY))
OTHERS = Pseudonyms(SecretStr(PSEUDONYM_KEY[::-1]))

ROW_WITH_EVERYTHING: dict[str, Any] = {
    "message_id": "59f06be8-a933-4f8b-9c1a-94eb3b35a3c3",
    "postfix_id": "41oIWSn0SCxlZr9",
    "action_type": "MOVE",
    "action_params": {"type": "MOVE", "destination": "JunkEmail", "client_recipient": "Dana.Weber@corp.example"},
    "status": "FAILED",
    "status_message": "Mailbox dana.weber@corp.example not found",
    "retry_count": 2,
    "retry_after": None,
    "created_at": "2026-11-20T16:02:36Z",
    "processed_at": "2026-11-20T16:02:36.042204Z",
    "alert_id": "4WtWkr6nlBz9sNH-2026-11-20T15:32:35",
    "email_message_id": "<2026.4WtW@invoice-portal.example>",
    "message": {
        "id": "4WtWkr6nlBz9sNH-2026-11-20T15:32:35-12345678",
        "subject": "Overdue invoice for Dana",
        "from": "billing@invoice-portal.example",
        "from_name": "Invoice Portal",
        "to": ["dana.weber@corp.example", "Lee Park <lee@corp.example>"],
        "to_name": ["Dana Weber", "lee@corp.example"],
        "replyto": "pay@invoice-portal.example",
        "client_recipients": ["dana.weber@corp.example"],
        "sent_date": "Fri, 20 Nov 2026 15:32:35 +0000",
        "final_disposition": "MALICIOUS",
        "delivery_status": ["moved"],
        "detection_reasons": ["Sender domain registered 3 days ago", "Link to evil.example"],
        "is_quarantined": False,
        "smtp_helo_server_ip": "203.0.113.77",
        "x_originating_ip": "198.51.100.7",
        "action_log": [
            {"completed_at": "2026-11-20T16:02:36Z", "operation": "MOVE", "status": "OK",
             "properties": {"folder": "Dana's things", "requested_by": "lee@corp.example"}}
        ],
        "findings": [{"attachment": "weber.pdf", "detection": "MALICIOUS", "score": 9.5, "value": "https://evil.example"}],
        "properties": {"allowlisted_pattern": "lee@corp.example", "blocklisted_message": True},
        "validation": {"comment": "spf of lee@corp.example", "dkim": "fail", "dmarc": None},
    },
}  # fmt: skip
IDENTIFYING_WORDS = (
    "dana", "weber", "lee", "park", "corp.example", "invoice", "portal", "evil", "203.0.113", "198.51.100", "billing",
)  # fmt: skip


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text in a document, including keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from texts_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_in(inner)


def test_a_row_keeps_no_identifying_word() -> None:
    written = json.dumps(PSEUDONYMS.row(ROW_WITH_EVERYTHING)).lower()
    assert [word for word in IDENTIFYING_WORDS if word in written] == []


def test_fields_that_prove_the_export_are_kept() -> None:
    row = PSEUDONYMS.row(ROW_WITH_EVERYTHING)
    before, after = ROW_WITH_EVERYTHING["message"], row["message"]
    for name in ("message_id", "postfix_id", "alert_id", "action_type", "status", "retry_count", "retry_after",
                 "created_at", "processed_at"):  # fmt: skip
        assert row[name] == ROW_WITH_EVERYTHING[name]
    for name in ("id", "sent_date", "final_disposition", "delivery_status", "is_quarantined"):
        assert after[name] == before[name]
    assert row["action_params"]["destination"] == "JunkEmail"
    assert list(row) == list(ROW_WITH_EVERYTHING)
    assert after["findings"][0]["score"] == 9.5


def test_the_input_row_is_not_changed() -> None:
    before = json.dumps(ROW_WITH_EVERYTHING)
    PSEUDONYMS.row(ROW_WITH_EVERYTHING)
    assert json.dumps(ROW_WITH_EVERYTHING) == before


def test_a_page_is_replaced_row_by_row() -> None:
    page = [{**ROW_WITH_EVERYTHING, "message_id": f"0000000{number}-a933", "status": "FAILED"} for number in range(3)]
    found = PSEUDONYMS.rows(rows_of_lines([json.dumps(row).encode() for row in page]))
    assert [json.loads(bytes(text)) for text in found.texts] == [PSEUDONYMS.row(row) for row in page]
    assert list(found.ids) == [row["message_id"] for row in page]
    assert list(found.statuses) == ["FAILED"] * 3


def test_an_address_has_one_pseudonym_in_every_field_and_spelling() -> None:
    row = PSEUDONYMS.row(ROW_WITH_EVERYTHING)
    recipient = row["action_params"]["client_recipient"]
    assert row["message"]["client_recipients"] == [recipient]
    assert row["message"]["to"][0] == recipient
    assert recipient in row["status_message"]
    lee = PSEUDONYMS.address("lee@corp.example")
    assert row["message"]["to"][1].endswith(f" <{lee}>")
    assert row["message"]["to_name"][1] == lee
    assert row["message"]["action_log"][0]["properties"]["requested_by"] == lee
    assert row["message"]["properties"]["allowlisted_pattern"] == lee
    assert lee.partition("@")[2] == recipient.partition("@")[2] == PSEUDONYMS.domain("CORP.example.")


def test_addresses_with_the_same_local_part_have_different_pseudonyms() -> None:
    first, second = PSEUDONYMS.address("info@a.example"), PSEUDONYMS.address("info@b.example")
    assert first.partition("@")[0] != second.partition("@")[0]


def test_the_same_text_in_different_kinds_of_fields_has_different_pseudonyms() -> None:
    text = "corp.example"
    found = {PSEUDONYMS.name(text), PSEUDONYMS.subject(text), PSEUDONYMS.domain(text), PSEUDONYMS.message_id(text),
             PSEUDONYMS.text(text), PSEUDONYMS.address(text)}  # fmt: skip
    assert len({pseudonym.strip("<>")[2:22] for pseudonym in found}) == 6


def test_a_pseudonym_is_hmac_sha_256_truncated_to_80_bits() -> None:
    own = hmac.digest(PSEUDONYM_KEY.encode(), b"cfes pseudonym 1 subject", "sha256")
    expected = hmac.new(own, "Überfällig".encode(), hashlib.sha256).hexdigest()[:20]
    assert PSEUDONYMS.subject("Überfällig") == f"s-{expected}"


def test_another_key_gives_other_pseudonyms() -> None:
    first, second = PSEUDONYMS.row(ROW_WITH_EVERYTHING), OTHERS.row(ROW_WITH_EVERYTHING)
    originals = set(texts_in(ROW_WITH_EVERYTHING))
    shared = (set(texts_in(first)) & set(texts_in(second))) - originals
    assert shared == set()
    assert PSEUDONYMS.key_check != OTHERS.key_check


@given(st.text(min_size=1), st.sampled_from(["new_field", "Dana Weber", "dana@corp.example"]))
def test_an_unknown_field_does_not_leak(text: str, name: str) -> None:
    text = f"~{text}~"
    for unknown in (text, [text], {"inner": text}, {text: 1}, [[{text: [text]}]]):
        row = PSEUDONYMS.row({**ROW_WITH_EVERYTHING, name: unknown, "message": {"id": "x1", name: unknown}})
        assert not any(text in found for found in texts_in(row))
    assert ("new_field" in row) == (name == "new_field")


@given(st.sampled_from(sorted(set(texts_in(ROW_WITH_EVERYTHING)) & (ROW.keys() | MESSAGE.keys()))), st.text())
def test_a_value_of_an_unexpected_form_is_replaced(name: str, text: str) -> None:
    """The API may put any value into any field: an address in a status, a list in an ID."""
    named = f"{text} dana@corp.example of Weber & Co"
    for value in (named, [named], {"x": named}):
        row = PSEUDONYMS.row({"message_id": "1", "status": "x", name: value, "message": {name: value}})
        assert not any("corp" in found or "Weber" in found for found in texts_in(row))


def test_numbers_booleans_and_null_are_kept_in_unknown_fields() -> None:
    unknown = {"a": [1, 2.5, True, None, 2**70]}
    assert list(PSEUDONYMS.row({"new": unknown})["new"].values()) == [[1, 2.5, True, None, 2**70]]


def test_a_deeply_nested_object_is_replaced() -> None:
    deep: Any = "dana@corp.example"
    for _ in range(200):
        deep = {"x": deep}
    written = json.dumps(PSEUDONYMS.row({"message_id": "1", "new": deep}))
    assert "dana" not in written
    assert len(written) < 1500


@given(st.text())
def test_any_text_gets_a_pseudonym_of_ascii_on_one_line(text: str) -> None:
    for replace in (PSEUDONYMS.address, PSEUDONYMS.name, PSEUDONYMS.subject, PSEUDONYMS.domain, PSEUDONYMS.message_id):
        found = replace(text)
        assert found == replace(text)
        assert found.isascii()
        assert found.isprintable()
        assert bool(found) == bool(text.strip())


def test_a_lone_surrogate_gets_a_pseudonym() -> None:
    assert PSEUDONYMS.subject("\ud800").startswith("s-")


@pytest.mark.parametrize(
    "text",
    [
        "Mailbox not found",
        "Message is held in quarantine",
        "The mail provider did not answer in time",
        "Access to the mailbox was denied",
        "3 of 1,443 messages failed",
        "Phish submissions can't be acted on",
        "The job ended before this message was processed",
        "Discovery failed: the search backend did not answer",
    ],
)
def test_status_messages_of_the_service_stay_readable(text: str) -> None:
    assert PSEUDONYMS.text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "Mailbox of Dana Weber not found",
        "Mailbox 'dana' not found",
        "Message 'Access denied' not found",
        "call +49 555 0100 0200",
        "1234567890 not found",
        "https://evil.example/x not found",
        "corp.example was not found",
        "mailbox not found\u202e",
        "mailbox " * 100,
    ],
)
def test_a_message_that_could_name_somebody_is_replaced(text: str) -> None:
    assert PSEUDONYMS.text(text).startswith("t-")
    assert len(PSEUDONYMS.text(text)) == 22


def test_addresses_in_a_status_message_are_replaced_and_the_rest_is_kept() -> None:
    found = PSEUDONYMS.text("message to lee@corp.example, not to dana@corp.example.")
    assert found == (
        f"message to {PSEUDONYMS.address('lee@corp.example')}, not to {PSEUDONYMS.address('dana@corp.example')}."
    )


# Jobs and plans


def test_a_jobs_search_and_comment_are_replaced_and_its_counters_kept() -> None:
    search = {"sender": "billing@invoice-portal.example", "recipient": "corp.example", "subject": "invoice",
              "query": "dana weber", "detections_only": False, "start": "2026-11-13T15:32:35Z",
              "message_id": "<a@b.example>", "smtp_helo_ip": "203.0.113.77", "unheard_of": "dana"}  # fmt: skip
    document = example_job(search_params=search, comment="for Dana Weber, case 42")
    found = PSEUDONYMS.job(document)
    assert [word for word in (*IDENTIFYING_WORDS, "case 42") if word in json.dumps(found).lower()] == []
    assert found["search_params"]["start"] == search["start"]
    assert found["search_params"]["recipient"] == PSEUDONYMS.domain("corp.example")
    assert found["search_params"]["sender"] == PSEUDONYMS.address(str(search["sender"]))
    for name, value in document.items():
        if name not in ("search_params", "comment"):
            assert found[name] == value


def test_the_tag_in_a_comment_has_digests_that_confirm_no_guess() -> None:
    plan = "ab" * 32
    stamp = Stamp.of("account", "case-42", {"sender": "x"}, plan_hash=plan, requested_by="dana@corp.example", call="c1")
    found = Stamp.read(PSEUDONYMS.job({"comment": stamp.on("hello Dana")})["comment"])
    again = Stamp.read(PSEUDONYMS.job({"comment": stamp.on(None)})["comment"])
    assert found is not None
    assert found == again
    assert found.requested_by == PSEUDONYMS.address("dana@corp.example")
    assert not {found.key, found.request, found.plan} & {stamp.key, stamp.request, stamp.plan}
    assert PSEUDONYMS.plan({"plan_hash": plan})["plan_hash"].startswith(found.plan)


def test_a_plans_names_are_replaced_and_its_numbers_kept() -> None:
    found = PSEUDONYMS.plan({**EXAMPLE_PLAN, "protected": ["recipient dana@corp.example"],
                             "by_sender": {"billing@invoice-portal.example": 5, "(others)": 2}})  # fmt: skip
    assert [word for word in IDENTIFYING_WORDS if word in json.dumps(found).lower()] == []
    assert (found["messages"], found["account_id"]) == (EXAMPLE_PLAN["messages"], EXAMPLE_PLAN["account_id"])
    assert found["by_sender"] == {PSEUDONYMS.address("billing@invoice-portal.example"): 5, "(others)": 2}
    assert found["by_recipient_domain"] == {PSEUDONYMS.domain("corp.example"): 420}
    assert found["by_disposition"] == EXAMPLE_PLAN["by_disposition"]
    assert found["reversibility"] == EXAMPLE_PLAN["reversibility"]
    assert found["protected"] == [f"recipient {PSEUDONYMS.address('dana@corp.example')}"]


def test_a_pseudonymized_plan_is_refused() -> None:
    with pytest.raises(PlanRefused, match="changed after it was made"):
        read_plan(PSEUDONYMS.plan(EXAMPLE_PLAN))


@pytest.mark.parametrize(
    ("fields", "model"),
    [(ROW, JobMessage), (MESSAGE, MessageDetails), (SEARCH_PARAMS, SearchParams), (PLAN, Plan),
     (ROW["action_params"], MessageActionParams), (MESSAGE["validation"], MessageValidation)],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_every_known_field_has_a_rule(fields: Any, model: Any) -> None:
    known = {field.alias or name for name, field in model.model_fields.items()}
    # Jobs that were made before the end of life of a parameter still have it.
    ended = {ACTION_LOG.path[-1]} if model is SearchParams else set[str]()
    assert set(fields) == known | ended


def test_every_field_of_a_job_has_a_rule() -> None:
    from connectors.objects.job import BulkJob  # noqa: PLC0415

    assert set(JOB) == set(BulkJob.model_fields)


# The key


def test_the_key_is_read_from_the_environment_or_from_a_mounted_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("0123456789abcdef0123456789ABCDEF\n")
    required = {"CLOUDFLARE_API_TOKEN": TOKEN, "CLOUDFLARE_ACCOUNT_ID": ACCOUNT}
    mounted, from_variable = (
        Pseudonyms(Connection.from_environment({**required, **key}).pseudonym_key)
        for key in (
            {"CFES_PSEUDONYM_KEY_FILE": str(path)},
            {"CFES_PSEUDONYM_KEY": path.read_text().strip()},
        )
    )
    assert mounted.key_check == from_variable.key_check


def test_a_missing_key_is_refused_with_a_command() -> None:
    with pytest.raises(ConnectionSettingsError, match="CFES_PSEUDONYM_KEY is not set") as caught:
        Pseudonyms(None)
    assert caught.value.exit_code == 2
    assert "openssl rand" in caught.value.help


@pytest.mark.parametrize("key", ["Zq7", "0123456789abcdef0123456789abcde", "a" * 64, "abcabc" * 10, " " * 40])
def test_a_short_or_repetitive_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ConnectionSettingsError, match="too weak") as caught:
        Pseudonyms(SecretStr(key))
    assert key not in str(caught.value.document())


def test_the_key_is_in_no_repr_and_cannot_be_pickled() -> None:
    assert PSEUDONYM_KEY not in repr(PSEUDONYMS) + str(vars(PSEUDONYMS))
    with pytest.raises(TypeError):
        pickle.dumps(PSEUDONYMS)


def test_a_pseudonym_is_distinguished_from_an_address() -> None:
    assert is_pseudonym(PSEUDONYMS.address("dana@corp.example"))
    assert is_pseudonym(PSEUDONYMS.message_id("<a@b>"))
    assert not is_pseudonym("p-1@d-1.invalid")
