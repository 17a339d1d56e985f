"""The fast parse of a message for counts gives the same fields as the full parse."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.objects.found_message import FoundMessage, found_envelope, messages_of
from connectors.objects.message import details_of
from core.errors import UnexpectedAnswer
from core.surrogates import replace_surrogates_in

COUNTED = FoundMessage.__struct_fields__
WORDS = st.text(max_size=20)
MAYBE = st.none() | WORDS
MESSAGES = st.fixed_dictionaries(
    {"id": st.text(min_size=1, max_size=20)},
    optional={
        "from": MAYBE,
        "subject": MAYBE,
        "envelope_from": MAYBE,
        "client_recipients": st.none() | st.lists(WORDS, max_size=3),
        "scanned_at": MAYBE,
        "final_disposition": MAYBE,
        "delivery_status": st.none() | st.lists(WORDS, max_size=3),
        "validation": st.none() | st.fixed_dictionaries({}, optional={"dmarc": MAYBE, "spf": MAYBE, "dkim": MAYBE}),
        "findings": st.lists(st.dictionaries(WORDS, st.integers() | WORDS, max_size=2), max_size=2),
        "not known yet": st.floats(allow_nan=False, allow_infinity=False) | st.booleans(),
    },
)


def page(items: Any, **more: Any) -> bytes:
    return json.dumps({"success": True, "result": items, "result_info": {"next": "abc"}, **more}).encode()


def shown(message: Any) -> dict[str, Any]:
    found = {name: getattr(message, name) for name in (*COUNTED, "copies") if name != "validation"}
    checks = message.validation
    return {**found, "validation": checks and (checks.dmarc, checks.spf)}


@given(st.lists(MESSAGES, max_size=3))
def test_the_fast_parse_gives_the_same_fields_as_the_full_parse(items: list[dict[str, Any]]) -> None:
    in_full = details_of(json.loads(page(items))["result"])
    assert in_full is not None
    for text in (page(items), json.dumps(json.loads(page(items)), ensure_ascii=False).encode()):
        envelope = found_envelope(text)
        assert envelope is not None
        found = messages_of(envelope["result"])
        assert found is not None
        assert all(isinstance(message, FoundMessage) for message in found)
        assert list(map(shown, found)) == list(map(shown, in_full))
        assert envelope["result_info"] == {"next": "abc"}


@pytest.mark.parametrize(
    "text",
    [
        page([{"id": "1", "subject": 5}]),
        page([{"id": ""}]),
        page([{}]),
        page([None]),
        page({"id": "1"}),
        page([{"id": "1", "subject": "half \ud83d of a pair"}]),
        page([], success=False),
        page([{"id": "1"}])[:-3],
        b'{"success":true,"result":[{"id":"\xff"}]}',
        b'{"success":true,"result":[{"id":"1","findings":' + b"[" * 100_000,
    ],
)
def test_an_unusual_page_needs_a_full_parse(text: bytes) -> None:
    assert found_envelope(text) is None


def test_a_full_parse_validates_each_message() -> None:
    items = replace_surrogates_in([{"id": "1", "subject": "half \ud83d of a pair"}])
    [message] = messages_of(items) or []
    assert message.subject == "half \N{REPLACEMENT CHARACTER} of a pair"
    with pytest.raises(UnexpectedAnswer, match="field subject"):
        messages_of([{"id": "1", "subject": 5}])
    assert messages_of({"id": "1"}) is None
