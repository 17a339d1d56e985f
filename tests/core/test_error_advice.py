"""An error's advice is its help without the first sentence about the call itself."""

from __future__ import annotations

import pytest

from core.errors import CheckRefused, OutcomeUnknown, PackError, ParameterError, TooManyMessages


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ParameterError("m", help="Nothing was sent. Give one JSON object."), "Give one JSON object."),
        (ParameterError("m", help="Nothing was changed: the policy only observes. Ask."), "Ask."),
        (
            TooManyMessages("m", help="No job was created. Narrow the search. Or raise it."),
            "Narrow the search. Or raise it.",
        ),
        (CheckRefused("m", help="Nothing was changed."), ""),
        (ParameterError("m", help="Give a file. Nothing was sent."), "Give a file. Nothing was sent."),
        # After an unknown outcome the first sentence doesn't describe the call.
        (OutcomeUnknown("m", help="Nothing was found. Check it."), "Nothing was found. Check it."),
    ],
)
def test_the_advice_is_the_help_without_what_the_call_changed(error: PackError, advice: str) -> None:
    assert error.advice == advice
