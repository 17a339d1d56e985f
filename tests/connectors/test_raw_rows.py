"""Rows that are cut out of a page equal those of a full parse."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.http.client import httpx
from connectors.http.page_buffers import USUAL_PAGE_BYTES
from connectors.paging.raw_rows import RawRows, raw_rows, rows_envelope
from core.errors import PackError
from tests.connectors.scripted import JOB_ID, Scripted, connected

# Bytes that the text check decodes at a time.
PIECE = 1 << 11


def row(number: int, subject: str = "s", **more: Any) -> dict[str, Any]:
    return {"message_id": str(uuid.UUID(int=number)), "status": "COMPLETED", "message": {"subject": subject}, **more}


def page(rows: list[dict[str, Any]], **written: Any) -> bytes:
    document = {"success": True, "errors": [], "messages": [], "result": rows, "result_info": {"next": None}}
    return json.dumps(document, **written).encode()


def texts(found: RawRows) -> list[bytes]:
    return [bytes(text) for text in found.texts]


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(extra=st.lists(st.dictionaries(st.text(min_size=1), ANY_JSON, max_size=3), max_size=4), ascii_only=st.booleans())
def test_cut_rows_equal_parsed_rows(extra: list[dict[str, Any]], ascii_only: bool) -> None:
    rows = [{**more, **row(number)} for number, more in enumerate(extra)]
    try:
        body = page(rows, ensure_ascii=ascii_only)
    except UnicodeEncodeError:
        # A lone surrogate can only be sent as an escape.
        body = page(rows)
    found = rows_envelope(body)
    assert found is not None
    assert list(found["result"].read()) == rows
    assert list(found["result"].ids) == [row["message_id"] for row in rows]


@pytest.mark.parametrize("before", range(PIECE - 4, PIECE + 1))
def test_a_character_across_two_pieces_is_decoded(before: int) -> None:
    head = page([row(1, "")]).index(b'"subject": "') + len(b'"subject": "')
    body = page([row(1, "a" * (before - head) + "\N{SNOWMAN}\N{GRINNING FACE}")], ensure_ascii=False)
    found = rows_envelope(body)
    assert found is not None
    assert found["result"].form == "one-line"
    assert next(found["result"].read())["message"]["subject"].endswith("\N{SNOWMAN}\N{GRINNING FACE}")


@pytest.mark.parametrize("damage", [b"\xff", b"\xe2\x98", b"\xc0\xaf", b"\xed\xa0\x80"])
@pytest.mark.parametrize("place", [10, *range(PIECE - 70, PIECE - 50), 3 * PIECE])
def test_a_page_that_is_not_utf_8_is_not_cut(damage: bytes, place: int) -> None:
    body = page([row(1, "a" * 4 * PIECE)])
    at = body.index(b"aaaa") + place
    assert rows_envelope(body[:at] + damage + body[at + len(damage) :]) is None


def test_the_text_form_of_a_page_is_detected() -> None:
    def form_of(body: bytes) -> str:
        found = rows_envelope(body)
        assert found is not None
        form: str = found["result"].form
        return form

    ascii_only = page([row(1)])
    assert form_of(ascii_only) == "plain"
    for mark in "\x7f\u2028\u202eé":
        marked = page([row(1, "a" * 3 * PIECE + mark)], ensure_ascii=False)
        assert form_of(marked) == "one-line"
        # A line break can only be between the members of a row.
        for line_break in (b"\n", b"\r"):
            assert form_of(marked.replace(b', "status"', b"," + line_break + b'"status"')) == "unchecked"
            assert form_of(ascii_only.replace(b', "status"', b"," + line_break + b'"status"')) == "unchecked"


@pytest.mark.parametrize(
    "result",
    [
        None,
        {},
        "rows",
        [7],
        [{"status": "COMPLETED"}],
        [{"message_id": "", "status": "COMPLETED"}],
        [{"message_id": 7, "status": "COMPLETED"}],
        [{"message_id": str(uuid.UUID(int=1)), "status": None}],
    ],
)
def test_an_invalid_row_needs_a_full_parse(result: Any) -> None:
    assert rows_envelope(json.dumps({"success": True, "result": result}).encode()) is None


@pytest.mark.parametrize("size", [USUAL_PAGE_BYTES - 5_000, USUAL_PAGE_BYTES, USUAL_PAGE_BYTES + 1, 11_000_000])
def test_a_page_of_any_size_is_read_completely(size: int) -> None:
    rows = [row(number, "s" * (size // 100)) for number in range(100)]
    api = connected(Scripted(httpx.Response(200, content=page(rows)), httpx.Response(200, content=page([]))))
    found = [row for rows, _ in api.job_message_pages(JOB_ID, enough=lambda: True) for row in rows.read()]
    assert found == rows


def test_rows_outlive_their_page() -> None:
    rows = [row(number, "s" * 1000) for number in range(1000)]
    api = connected(
        Scripted(*(httpx.Response(200, content=page(rows)) for _ in range(3)), httpx.Response(200, content=page([])))
    )
    pages = [found for found, _ in api.job_message_pages(JOB_ID, enough=lambda: True)]
    assert all(list(found.read()) == rows for found in pages[:3])


def test_an_error_response_instead_of_a_page_is_raised() -> None:
    body = json.dumps({"success": False, "errors": [{"code": 7003, "message": "no route"}], "result": []})
    api = connected(Scripted(httpx.Response(200, content=body)))
    with pytest.raises(PackError, match="7003"):
        list(api.job_message_pages(JOB_ID))


def test_parsed_rows_are_written_as_json_again() -> None:
    rows = [row(1, "\ud800 \u202e"), row(2)]
    found = raw_rows(rows)
    assert found is not None
    assert [json.loads(text) for text in texts(found)] == rows
