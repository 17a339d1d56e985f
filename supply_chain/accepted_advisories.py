"""Advisories that are reviewed and temporarily accepted, with the reason."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from packaging.utils import canonicalize_name

ACCEPTED = Path(__file__).parent / "accepted_advisories.toml"
REVIEW_DAYS = 180

_KEYS = {"id": str, "package": str, "reason": str, "reviewed": date}


@dataclass(frozen=True)
class AcceptedAdvisory:
    """An accepted advisory for a package. `reviewed` is the day of the last review."""

    id: str
    package: str
    reason: str
    reviewed: date

    def covers(self, package: str, ids: set[str]) -> bool:
        return self.package == package and self.id in ids

    def is_lapsed(self, today: date) -> bool:
        return today - self.reviewed > timedelta(days=REVIEW_DAYS)


def read_accepted(text: str, today: date) -> list[AcceptedAdvisory]:
    """Return the entries of a file of accepted advisories. Raises ValueError that names the invalid entry."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not valid TOML: {error}") from error
    entries = document.get("accepted", [])
    if document.keys() - {"accepted"} or not isinstance(entries, list):
        raise ValueError("only [[accepted]] tables are allowed")
    accepted = [_read_entry(entry, number, today) for number, entry in enumerate(entries, start=1)]
    named = [(entry.package, entry.id) for entry in accepted]
    for package, identifier in named:
        if named.count((package, identifier)) > 1:
            raise ValueError(f"{identifier} is listed twice for {package}")
    return accepted


def _read_entry(entry: object, number: int, today: date) -> AcceptedAdvisory:
    if not isinstance(entry, dict) or entry.keys() != _KEYS.keys():
        raise ValueError(f"entry {number} needs exactly these keys: {', '.join(_KEYS)}")
    for key, kind in _KEYS.items():
        # isinstance would accept a datetime as a date.
        if type(entry[key]) is not kind or not str(entry[key]).strip():
            raise ValueError(f"entry {number}: {key} is not a {'date' if kind is date else 'text'}")
    if entry["reviewed"] > today:
        raise ValueError(f"entry {number}: reviewed is in the future")
    return AcceptedAdvisory(
        id=entry["id"],
        package=canonicalize_name(entry["package"]),
        reason=entry["reason"],
        reviewed=entry["reviewed"],
    )
