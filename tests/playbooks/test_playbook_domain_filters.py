"""The filters that tell our own side from an outsider."""

from __future__ import annotations

import pytest

from playbooks.filters import FilterError, domains, related


def test_domains_leave_out_what_is_no_address() -> None:
    hostile = ["dana@Corp.example", "undisclosed-recipients:;", "", "x", "lee@corp.example", "a@sub.corp.example"]
    assert domains(hostile) == ["corp.example", "sub.corp.example"]
    assert domains(None) == []


def test_domains_of_what_is_no_list_is_an_error_for_the_author() -> None:
    with pytest.raises(FilterError):
        domains(5)


@pytest.mark.parametrize(
    "name", ["corp.example", "CORP.example", "mail.corp.example", "a.b.corp.example", "corp.example."]
)
def test_a_domain_is_related_to_itself_and_to_what_lies_below(name: str) -> None:
    assert related(name, ["other.example", "corp.example"])


def test_a_domain_above_ours_is_related_too() -> None:
    assert related("corp.example", ["mail.corp.example"])


@pytest.mark.parametrize("name", ["notcorp.example", "corp.example.evil.test", "example.test", "corp-example.test"])
def test_a_domain_that_only_looks_alike_is_not_related(name: str) -> None:
    assert not related(name, ["corp.example", ""])
