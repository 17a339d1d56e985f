"""The names under which recipients are counted and compared, everywhere in the pack."""

from __future__ import annotations

from collections.abc import Iterable


def mailbox_of(address: str) -> str:
    """Return the address as it is compared: without white space around it, upper and lower case folded."""
    return address.strip().casefold()


def mailboxes_of(addresses: Iterable[str] | None) -> list[str]:
    """Return the addresses as they are compared, one for each that is given."""
    return [mailbox_of(address) for address in addresses or ()]
