"""The filters that distinguish own domains from others, and clean mail from harmful mail."""

from __future__ import annotations

from typing import Any

import pytest

from playbooks.language.filter_values import FilterError
from playbooks.language.mail_filters import (
    address,
    breakdown,
    clean_percent,
    domain,
    related,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" Dana@Corp.example. ", "dana@corp.example"),
        ("Dana Lee <Dana@Corp.example>", "dana@corp.example"),
        # The spelling of the service is kept, because the address is searched for.
        ("Dana@BÜCHER.example", "dana@bücher.example"),
    ],
)
def test_an_address_is_returned_without_its_display_name(text: str, expected: str) -> None:
    assert address(text) == expected
    assert domain(text) == domain(expected)


@pytest.mark.parametrize(
    "name",
    ["corp.example", "CORP.example", "mail.corp.example", "a.b.corp.example", "corp.example.", "co\u200brp.example"],
)
def test_a_domain_is_related_to_itself_and_its_subdomains(name: str) -> None:
    assert related(name, ["other.example", "corp.example"])


def test_a_parent_domain_is_related() -> None:
    assert related("corp.example", ["mail.corp.example"])


def test_international_domains_are_related_in_either_spelling() -> None:
    assert related("bücher.example", ["xn--bcher-kva.example"])
    assert related("xn--bcher-kva.example", ["mail.BÜCHER.example"])


@pytest.mark.parametrize("name", ["notcorp.example", "corp.example.evil.test", "example.test", "corp-example.test"])
def test_a_similar_domain_is_not_related(name: str) -> None:
    assert not related(name, ["corp.example"])


@pytest.mark.parametrize(
    "entry", ["", "@corp.example", " corp.example", "corp.example, b.example", "x@corp.example", "example", "(others)"]
)
def test_a_text_that_is_not_a_domain_is_an_error_on_either_side(entry: str) -> None:
    with pytest.raises(FilterError, match="is not a domain"):
        related("corp.example", ["good.example", entry])
    with pytest.raises(FilterError, match="is not a domain"):
        related(entry, ["good.example"])
    assert related("good.example", [entry, "good.example"], skip_unreadable=True)


@pytest.mark.parametrize(
    ("counts", "percent"),
    [
        ({"NONE": 25, "MALICIOUS": 1}, 100 * 25 / 26),
        ({"MALICIOUS": 3, "MALICIOUS-BEC": 1, "SUSPICIOUS": 1, "SPOOF": 1, "SPAM": 1}, 0),
        ({"BULK": 1, "UNKNOWN": 1, "(others)": 1, "NEW": 1, "MALICIOUS": 4}, 50),
        ({}, 0),
    ],
)
def test_a_message_without_a_harmful_verdict_is_clean(counts: dict[str, int], percent: float) -> None:
    assert clean_percent(counts) == percent


@pytest.mark.parametrize("counts", [{"NONE": -1}, {"NONE": "5"}, {"NONE": True}, {"NONE": 1.5}, [1], None])
def test_a_value_that_is_not_a_breakdown_is_an_error(counts: Any) -> None:
    for read in (clean_percent, breakdown):
        with pytest.raises(FilterError):
            read(counts)


def test_a_breakdown_is_sorted_by_count() -> None:
    assert breakdown({"MALICIOUS": 1, "NONE": 25}) == "25 NONE, 1 MALICIOUS"
