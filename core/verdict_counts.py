"""What a plan's search and its counts mean: its criteria, and the share and the list of verdicts."""

from __future__ import annotations

from collections.abc import Mapping

from core.addresses import normal_form
from core.search_words import ADDRESS_CRITERIA, HARMFUL


def has_criteria(search: Mapping[str, object], criteria: Mapping[str, str]) -> bool:
    """Return whether a search has all these criteria with these values, in any spelling of addresses and domains."""
    return all(
        isinstance(found := search.get(name), str) and _normalized(name, found) == _normalized(name, wanted)
        for name, wanted in criteria.items()
    )


def clean_percent(by_disposition: Mapping[str, int]) -> float:
    """Return the percentage of messages without a harmful verdict (core.search_words.HARMFUL)."""
    clean = sum(count for verdict, count in by_disposition.items() if verdict not in HARMFUL)
    return 100 * clean / max(sum(by_disposition.values()), 1)


def breakdown(counts: Mapping[str, int]) -> str:
    """Return counts as text, the largest first: `25 NONE, 1 MALICIOUS`."""
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    return ", ".join(f"{count} {name}" for name, count in rows)


def _normalized(name: str, value: str) -> str:
    """Return the normal form of a criterion's value."""
    if name in ADDRESS_CRITERIA:
        return normal_form(value)
    return value if name == "exact_subject" else value.strip().lower()
