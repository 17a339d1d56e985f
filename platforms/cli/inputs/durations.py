"""Read lengths of time from flags: `90d`."""

from __future__ import annotations

import re
from datetime import timedelta

from core.errors import ParameterError

_DURATION = re.compile(r"([0-9]{1,6})([mhdw])", flags=re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

# Later times are beyond what a calendar can hold, or a mistake.
LONGEST = timedelta(days=3650)


def read_duration(text: str, flag: str, unchanged: str, also: str = "") -> timedelta:
    """Return a length of time. Raises: ParameterError.

    unchanged: the first sentence of the help. also: a word that the caller accepts besides.
    """
    match = _DURATION.fullmatch(text)
    found = None if match is None else timedelta(**{_UNITS[match[2]]: int(match[1])})
    if found is None or found > LONGEST:
        wanted = f"{also} or a number" if also else "a number"
        raise ParameterError(
            f"{flag} must be {wanted} with m, h, d or w, like 90d, and at most {LONGEST.days}d, not {text[:40]!r}",
            help=unchanged,
        )
    return found
