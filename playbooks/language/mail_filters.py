"""The filters that read addresses, domains and verdicts.

They share the policy's reader (core.addresses). Lists that people write are read strictly; the fields of an alert are
read in every spelling. An entry that can't be read is an error, or is named. It is never left out silently.
"""

from __future__ import annotations

from collections.abc import Callable

from core.addresses import Address, RelatedDomains, read_addresses, read_domain_entry
from core.json_values import Json, shown
from core.search_words import HARMFUL
from playbooks.language.filter_values import FilterError, items_of, mapping_of, text_of


def address(text: Json) -> str:
    """Extract the one address in a text, in lower case: `Dana Lee <Dana@corp.example>` gives `dana@corp.example`."""
    written = text_of(text).strip()
    domain(written)
    [found] = _addresses(written)
    plain = not any(character in written for character in '<>"(), ')
    # The service spells it like this, and the result is searched for.
    return written.removesuffix(".").lower() if plain else f"{found.mailbox}@{found.domain}"


def domain(text: Json) -> str:
    """Extract the domain of the one address in a text: `A <a@Shop.Example>` gives `shop.example`; labels in ASCII."""
    found = _addresses(text_of(text))
    if len(found) != 1:
        raise FilterError(f"{shown(text)} names {len(found)} addresses, not one")
    return found[0].domain


def domains(addresses: Json, skip_unreadable: bool = False) -> list[str]:
    """Extract the domains of a list of addresses, each once. null counts as an empty list.

    An entry without a readable address is an error. `skip_unreadable=true` leaves it out; where the list protects
    something, check `address_problems` too.
    """
    found: dict[str, None] = {}
    for entry in items_of(addresses) if addresses is not None else []:
        try:
            found.update(dict.fromkeys(one.domain for one in _addresses(text_of(entry))))
        except FilterError:
            if not skip_unreadable:
                raise
    return list(found)


def address_problems(addresses: Json) -> list[str]:
    """List what is wrong with the addresses of an alert or a result, one text for each bad entry. null is empty."""
    return [problem for entry in items_of(addresses or []) if (problem := _problem(entry, read_addresses))]


def domain_problems(entries: Json) -> list[str]:
    """List what is wrong with the domains that a person entered, one text for each bad entry.

    They are read as strictly as the policy: `@corp.example`, ` corp.example` and `a.example, b.example` are wrong.
    """
    return [problem for entry in items_of(entries) if (problem := _problem(entry, read_domain_entry))]


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


def _addresses(text: str) -> list[Address]:
    try:
        return read_addresses(text)
    except ValueError:
        raise FilterError(f"{shown(text)} is not an email address") from None


def _problem(entry: Json, read: Callable[[str], object]) -> str | None:
    if not isinstance(entry, str):
        return f"{shown(entry)} is not text"
    try:
        read(entry)
    except ValueError as error:
        return f"{shown(entry)} {error}"
    return None


def _count(value: Json) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise FilterError(f"{shown(value)} is not a count")
    return value
