"""One HTTP POST to the receiver of a channel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from core.json_values import Json


@dataclass(frozen=True)
class Post:
    """The URL, headers and body of a POST. All of them can hold secrets or text of a mailbox, so no repr shows them."""

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)


def json_body(document: Json) -> bytes:
    """Return a JSON document as UTF-8."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
