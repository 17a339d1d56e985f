"""The filters that read addresses, domains and verdicts: who is our own, who is an outsider, what is clean.

They use the reader of the policy (core.addresses). Lists that people write are read strictly, the fields of an
alert in every spelling. What cannot be read is an error or is named, never left out unseen.
"""

from __future__ import annotations

from collections.abc import Callable

from core.addresses import Address, RelatedDomains, read_addresses, read_domain_entry
from core.json_values import Json, shown
from core.search_words import HARMFUL
from playbooks.language.filter_values import FilterError, items_of, mapping_of, text_of


def address(text: Json) -> str:
    """The one address in a text, in lower case: `Dana Lee <Dana@corp.example>` gives `dana@corp.example`."""
    written = text_of(text).strip()
    domain(written)
    [found] = _addresses(written)
    plain = not any(character in written for character in '<>"(), ')
    # As the service spells it, for it is searched for.
    return written.removesuffix(".").lower() if plain else f"{found.mailbox}@{found.domain}"


def domain(text: Json) -> str:
    """The domain of the one address in a text, international labels as `xn--`: `A <a@Shop.Example>`: `shop.example`."""
    found = _addresses(text_of(text))
    if len(found) != 1:
        raise FilterError(f"{shown(text)} names {len(found)} addresses, not one")
    return found[0].domain


def domains(addresses: Json, skip_unreadable: bool = False) -> list[str]:
    """The domains of a list of addresses, each once; null is an empty list.

    An entry that names no address, or one that cannot be read, is an error. `skip_unreadable=true` leaves it out: check
    `address_problems` too, where the list guards something.
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
    """What is wrong with the entries of a list of addresses as data has them, one text for each; null has no entry."""
    return [problem for entry in items_of(addresses or []) if (problem := _problem(entry, read_addresses))]


def domain_problems(entries: Json) -> list[str]:
    """What is wrong with the entries of a list of domains that somebody wrote, one text for each.

    Read as strictly as the policy: `@corp.example`, ` corp.example` and `a.example, b.example` are wrong.
    """
    return [problem for entry in items_of(entries) if (problem := _problem(entry, read_domain_entry))]


def related(name: Json, others: Json, skip_unreadable: bool = False) -> bool:
    """Whether a domain is one of the others, lies below one of them, or above one, in any spelling.

    What cannot be read as a domain is an error. `skip_unreadable=true` leaves out others that data has.
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
    """How many percent of a plan's messages have no harmful verdict: not MALICIOUS, SUSPICIOUS, SPOOF or SPAM."""
    counts = {verdict: _count(count) for verdict, count in mapping_of(by_disposition).items()}
    clean = sum(count for verdict, count in counts.items() if verdict not in HARMFUL)
    return 100 * clean / max(sum(counts.values()), 1)


def breakdown(counts: Json) -> str:
    """A map of numbers as text, the largest first: `25 NONE, 1 MALICIOUS`."""
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
