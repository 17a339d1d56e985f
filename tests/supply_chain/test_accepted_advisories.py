"""The file of accepted advisories: its format, and that the repository's file is valid."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from supply_chain.accepted_advisories import ACCEPTED, read_accepted

TODAY = date(2026, 11, 29)
ENTRY = '[[accepted]]\nid = "GHSA-x"\npackage = "PyJWT"\nreason = "never called"\nreviewed = 2026-11-01\n'


def test_an_entry_is_read_with_the_canonical_name_of_its_package() -> None:
    [entry] = read_accepted(ENTRY, TODAY)
    assert (entry.id, entry.package, entry.reason, entry.reviewed) == (
        "GHSA-x",
        "pyjwt",
        "never called",
        date(2026, 11, 1),
    )


@pytest.mark.parametrize(("day", "lapsed"), [(date(2027, 4, 30), False), (date(2027, 5, 1), True)])
def test_an_acceptance_is_valid_for_180_days(day: date, lapsed: bool) -> None:
    [entry] = read_accepted(ENTRY, TODAY)
    assert entry.is_lapsed(day) is lapsed


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[accepted", "not valid TOML"),
        ('ignored = "GHSA-x"', "only"),
        ("accepted = 3", "only"),
        ("accepted = [3]", "entry 1 needs exactly"),
        (ENTRY.replace("reason", "because"), "entry 1 needs exactly"),
        (ENTRY + 'until = "ever"\n', "entry 1 needs exactly"),
        (ENTRY.replace("never called", "  "), "reason is not a text"),
        (ENTRY.replace("2026-11-01", '"2026-11-01"'), "reviewed is not a date"),
        (ENTRY.replace("2026-11-01", "2026-11-01T00:00:00Z"), "reviewed is not a date"),
        (ENTRY.replace("2026-11-01", "2026-11-30"), "reviewed is in the future"),
        (ENTRY + ENTRY, "listed twice"),
    ],
)
def test_an_invalid_entry_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_accepted(text, TODAY)


def test_the_file_of_this_repository_is_valid() -> None:
    read_accepted(ACCEPTED.read_text(), datetime.now(UTC).date())
