"""The dates on which the API removes fields. Responses have a field only before its date.

Sources: the descriptions in the vendor's API schema. The machine-readable mark `x-sunset` exists only for `page` of the
search and for `expected_disposition`. The sandbox uses its own clock.
"""

from typing import Any, Final

from sandbox.clock import Instant, parse_instant

NOVEMBER: Final = parse_instant("2026-11-01T00:00:00Z")
"""action_log, ts and findings of a message, and more. `page` and `total_count` of a cursor list remain, as 0."""

DECEMBER: Final = parse_instant("2026-12-01T00:00:00Z")
"""expected_disposition, wherever it appears."""


def until(date: Instant, now: Instant, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields if `now` is before `date`, else an empty dict."""
    return fields if now < date else {}
