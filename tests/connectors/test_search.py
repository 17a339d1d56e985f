"""Search criteria are validated strictly, because the API may ignore unknown ones."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from connectors.objects.search import NARROWING, SearchParams
from core.instants import format_instant, parse_instant


def test_unset_criteria_are_not_sent() -> None:
    search = SearchParams.model_validate({"sender": "a@b.example", "recipient": None, "detections_only": False})
    assert search.request() == {"sender": "a@b.example", "detections_only": False}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("2026-11-20T15:32:35Z", "2026-11-20T15:32:35Z"),
        ("2026-11-20T16:32:35+01:00", "2026-11-20T15:32:35Z"),
        ("2026-11-20t15:32:35.5z", "2026-11-20T15:32:35.500000Z"),
        ("2026-11-20T15:32:35.123456789Z", "2026-11-20T15:32:35.123456Z"),
        ("2026-11-20 15:32:35.1-00:00", "2026-11-20T15:32:35.100000Z"),
    ],
)
def test_an_instant_is_sent_in_utc(given: str, sent: str) -> None:
    assert SearchParams.model_validate({"start": given}).request() == {"start": sent}


@pytest.mark.parametrize(
    "given",
    ["2026-11-20", "2026-11-20T15:32:35", "2026-11-20 15:32", "2026-02-30T00:00:00Z", "yesterday", "", 1763652755, True,
     "2026-11-20T25:00:00Z", "0001-01-01T00:00:00+23:59", "２０２６-11-20T15:32:35Z"],
)  # fmt: skip
def test_an_invalid_instant_or_one_without_a_zone_is_refused(given: object) -> None:
    with pytest.raises(ValidationError):
        SearchParams.model_validate({"start": given})


def test_a_window_that_runs_backwards_is_refused() -> None:
    with pytest.raises(ValidationError, match="start is after end"):
        SearchParams.model_validate({"start": "2026-11-20T15:00:00Z", "end": "2026-11-20T15:59:00+01:00"})


@pytest.mark.parametrize("value", ["", " ", "\t", "a\nb", "a\x00b", "x" * 2001])
@pytest.mark.parametrize("name", NARROWING)
def test_an_empty_or_invalid_criterion_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValidationError):
        SearchParams.model_validate({name: value})


def test_instants_round_trip() -> None:
    assert format_instant(parse_instant("2026-11-20T15:32:35.000001Z")) == "2026-11-20T15:32:35.000001Z"
