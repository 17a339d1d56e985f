"""Reading the fields of a Logpush alert: required ones are named when they are wrong, the others are data."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import ParameterError
from remediation.alerts.alert import parse_alert

RECORD = {"AlertID": "a-1", "From": "x@evil.test", "Timestamp": "2026-11-20T15:32:35Z"}

# What a sender of mail can put into a field, or a broken job can write into it.
ODD_VALUES = [None, 5, -1.5, True, "", " ", "x" * 5000, [], [None], {}, {"a": 1}, "\x00\r\n", "{{ 7*7 }}", "../../x"]


@pytest.mark.parametrize("field", ["AlertID", "From", "Timestamp"])
@pytest.mark.parametrize("value", [value for value in ODD_VALUES if value not in ("{{ 7*7 }}", "../../x", "\x00\r\n")])
def test_a_required_field_that_cannot_be_read_is_named(field: str, value: Any) -> None:
    with pytest.raises(ParameterError) as refused:
        parse_alert({**RECORD, field: value}, "/alert")
    [problem] = refused.value.problems
    assert problem["pointer"] == f"/alert/{field}"


def test_every_missing_field_is_named_at_once() -> None:
    with pytest.raises(ParameterError) as refused:
        parse_alert({})
    assert [problem["pointer"] for problem in refused.value.problems] == ["/AlertID", "/From", "/Timestamp"]


@pytest.mark.parametrize("value", ODD_VALUES)
@pytest.mark.parametrize(
    "field",
    [
        *("Subject", "FinalDisposition", "Origin", "SMTPEnvelopeFrom", "SMTPEnvelopeTo"),
        *("DMARCResult", "SPFResult", "DKIMResult", "Attachments", "Links"),
    ],
)
def test_an_odd_value_in_another_field_is_data(field: str, value: Any) -> None:
    assert parse_alert({**RECORD, field: value}).id == "a-1"
