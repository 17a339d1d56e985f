"""The filters that read addresses, domains and verdicts.

They share the policy's reader (core.addresses). Lists that people write are read strictly; the fields of an alert are
read in every spelling. An entry that can't be read is an error, or is named. It is never left out silently.
"""

from __future__ import annotations

from core.addresses import RelatedDomains, normal_form, read_addresses, read_one_address
from core.json_values import Json, shown
from core.search_words import ADDRESS_CRITERIA, HARMFUL
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
    search = mapping_of(search_params)
    return all(
        isinstance(search.get(name), str) and _normalized(name, search[name]) == _normalized(name, text_of(wanted))
        for name, wanted in mapping_of(criteria).items()
    )


def _normalized(name: str, value: str) -> str:
    """Return the normal form of a criterion's value."""
    if name in ADDRESS_CRITERIA:
        return normal_form(value)
    return value if name == "exact_subject" else value.strip().lower()


def clean_percent(by_disposition: Json) -> float:
    """Compute the percentage of a plan's messages without a harmful verdict.

    Harmful are MALICIOUS, MALICIOUS-BEC, SUSPICIOUS, SPOOF and SPAM.
    """
    counts = {verdict: _count(count) for verdict, count in mapping_of(by_disposition).items()}
    clean = sum(count for verdict, count in counts.items() if verdict not in HARMFUL)
    return 100 * clean / max(sum(counts.values()), 1)


def breakdown(counts: Json) -> str:
    """Write a map of numbers as text, the largest first: `25 NONE, 1 MALICIOUS`."""
    rows = sorted(
        ((_count(count), name) for name, count in mapping_of(counts).items()), key=lambda row: (-row[0], row[1])
    )
    return ", ".join(f"{count} {name}" for count, name in rows)


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
