"""Compares people by their names in settings, policy and approvals, and matches them to groups."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence


def same_person(first: str, second: str) -> bool:
    """Return whether two names may belong to one person.

    Case, a `+` tag, white space around the name and a dot at the end make no difference. A login without a domain
    matches an address with any domain: `alice` may be `alice@corp.example`. Two addresses in different domains are two
    people.
    """
    (login, domain), (other_login, other_domain) = _parts(first), _parts(second)
    return login == other_login and (domain == other_domain or not domain or not other_domain)


def named_among(name: str, names: Iterable[str]) -> bool:
    """Return whether one of `names` may be the person that `name` names."""
    return any(same_person(name, other) for other in names)


def unmatched_groups(groups: Sequence[str], members: Mapping[str, Collection[str]]) -> list[str]:
    """Return the groups for which no person is left: each person counts for one group at most.

    members: the groups of each person.
    """
    group_of: dict[str, str] = {}

    def find(group: str, tried: set[str]) -> bool:
        for person, of_person in members.items():
            if group in of_person and person not in tried:
                tried.add(person)
                if person not in group_of or find(group_of[person], tried):
                    group_of[person] = group
                    return True
        return False

    return [group for group in groups if not find(group, set())]


def _parts(name: str) -> tuple[str, str]:
    """Return the login without its tag, and the domain; empty if there is none."""
    # `%40` is the @ of an address in a URL.
    folded = name.replace("%40", "@").strip().casefold()
    before, at, after = folded.rpartition("@")
    login, domain = (before, after) if at else (folded, "")
    untagged, _, _ = login.partition("+")
    return (untagged or login).rstrip("."), domain.rstrip(".")
