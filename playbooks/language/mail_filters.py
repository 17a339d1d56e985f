"""The filters that read addresses, domains and verdicts.

They share the policy's reader (core.addresses). Lists that people write are read strictly; the fields of an alert are
read in every spelling. An entry that can't be read is an error, or is named. It is never left out silently.
"""

from __future__ import annotations

from core import verdict_counts
from core.addresses import RelatedDomains, read_addresses, read_one_address
from core.json_values import Json, shown
from playbooks.language.filter_values import FilterError, items_of, mapping_of, text_of


def address(text: Json) -> str:
    """Extract the one address in a text, in lower case: `Dana Lee <Dana@corp.example>` gives `dana@corp.example`."""
    return _one_address(text)[0]


def domain(text: Json) -> str:
    """Extract the domain of the one address in a text: `A <a@Shop.Example>` gives `shop.example`; labels in ASCII."""
    return _one_address(text)[1]


def related(name: Json, others: Json, skip_unreadable: bool = False) -> bool:
    """Check whether a domain is one of the others, or a parent or a subdomain of one, in any spelling.

    A text that can't be read as a domain is an error. `skip_unreadable=true` leaves it out of the others.
    """
    return related_domains(others, skip_unreadable).relates(_domain(text_of(name)))


def related_domains(listed: Json, skip_unreadable: bool = False) -> RelatedDomains:
    """Return the domains of a list, to compare others with. Raises: FilterError, unless unreadable ones are skipped."""
    found = RelatedDomains()
    for entry in items_of(listed):
        try:
            found.add(_domain(text_of(entry)))
        except FilterError:
            if not skip_unreadable:
                raise
    return found


def has_criteria(search_params: Json, criteria: Json) -> bool:
    """Check whether a search has all these criteria with these values. Further criteria are allowed."""
    wanted = {name: text_of(value) for name, value in mapping_of(criteria).items()}
    return verdict_counts.has_criteria(mapping_of(search_params), wanted)


def clean_percent(by_disposition: Json) -> float:
    """Compute the percentage of a plan's messages without a harmful verdict.

    Harmful are MALICIOUS, MALICIOUS-BEC, SUSPICIOUS, SPOOF and SPAM.
    """
    return verdict_counts.clean_percent(_counts(by_disposition))


def breakdown(counts: Json) -> str:
    """Write a map of numbers as text, the largest first: `25 NONE, 1 MALICIOUS`."""
    return verdict_counts.breakdown(_counts(counts))


def _counts(value: Json) -> dict[str, int]:
    return {name: _count(count) for name, count in mapping_of(value).items()}


def _domain(text: str) -> str:
    try:
        [found] = read_addresses(f"x@{text}")
    except ValueError:
        raise FilterError(f"{shown(text)} is not a domain") from None
    return found.domain


def _one_address(text: Json) -> tuple[str, str]:
    try:
        return read_one_address(text_of(text))
    except ValueError as error:
        raise FilterError(f"the value {error}") from None


def _count(value: Json) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise FilterError(f"{shown(value)} is not a count")
    return value
