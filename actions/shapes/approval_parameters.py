"""The parameter types for the requester and the approvals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, StringConstraints

from connectors.connection import PERSON

Person = Annotated[str, StringConstraints(pattern=PERSON)]
Token = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


def _tokens(given: Any) -> Any:
    """Return the tokens, where whole documents of `cfes approve` are given, one or several."""
    listed = [given] if isinstance(given, str | Mapping) else given
    return [_token(one) for one in listed] if isinstance(listed, list) else given


def _token(given: Any) -> Any:
    if not isinstance(given, Mapping):
        return given
    # A document with both is left as it is, and refused.
    names = [name for name in ("approval", "rejection") if name in given]
    return given[names[0]] if len(names) == 1 else given


Approvals = Annotated[list[Token], BeforeValidator(_tokens)]
