"""An answer to a yes-or-no question about an alert, with the reason for it."""

from __future__ import annotations

from typing import Literal, NamedTuple

YesNoUnknown = Literal["yes", "no", "unknown"]


class Answer(NamedTuple):
    """answer: unknown where the alert does not show it. reason: a part of a sentence."""

    answer: YesNoUnknown
    reason: str
