"""The dates on which fields of the API end. Before its date a field is in the answers, from then on it is not.

Sources: the prose of the vendor's contract. `x-sunset`, the machine-readable mark, is only on search `page` and on
`expected_disposition`. The sandbox goes by its own clock.
"""

from typing import Any, Final

from sandbox.clock import Instant, parse_instant

NOVEMBER: Final = parse_instant("2026-11-01T00:00:00Z")
"""action_log, ts and findings of a message, and more. `page` and `total_count` of a cursor list stay: they say 0."""

DECEMBER: Final = parse_instant("2026-12-01T00:00:00Z")
"""expected_disposition, wherever it appears."""


def until(date: Instant, now: Instant, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields if `now` is before `date`, else none."""
    return fields if now < date else {}
