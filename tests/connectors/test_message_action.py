"""Reading one message and its action log: missing fields are accepted, an endless log is an error."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.objects.message_action import MOST_LOG_PAGES
from core.errors import NotFound, UnexpectedAnswer
from tests.connectors.scripted import Scripted, connected, ok, refused

ONE = "4Njp3P0STMz2c02Q-2024-01-05T10:00:00-12345678"
ENTRY = {"operation": "MOVE"}


def test_a_log_entry_needs_only_its_operation() -> None:
    odd: dict[str, Any] = {
        "operation": "RECALL",
        "success": None,
        "status": None,
        "properties": {"folder": None, "new": 1},
        "more": [],
    }
    with connected(Scripted(ok([ENTRY, odd]))) as api:
        first, second = api.message_actions(ONE)
    assert (first.carried_out, first.folder, second.operation, second.carried_out) == (None, None, "RECALL", None)


@pytest.mark.parametrize(("info", "pages"), [
    ({}, [1]), (None, [1]), ({"per_page": 1000, "total_count": 0}, [1]),
    ({"total_count": 3}, [1, 2]), ({"per_page": 2}, [2, 1]), ({"total_count": 3, "per_page": 2}, [2, 1]),
])  # fmt: skip
def test_a_log_is_read_completely_without_extra_calls(info: Any, pages: list[int]) -> None:
    more = {} if info is None else {"result_info": info}
    answers = [ok([{**ENTRY, "status": f"{page} {n}"} for n in range(size)], **more) for page, size in enumerate(pages)]
    script = Scripted(*answers)
    with connected(script) as api:
        assert len(api.message_actions(ONE)) == sum(pages)
    queries = [dict(request.url.params) for request in script.requests]
    assert queries == [{"page": str(page), "per_page": "1000"} for page in range(1, len(pages) + 1)]


def test_a_service_that_ignores_the_page_number_is_called_twice() -> None:
    script = Scripted(*[ok([ENTRY] * 20, result_info={"per_page": 20, "total_count": 30})] * 5)
    with connected(script) as api:
        assert len(api.message_actions(ONE)) == 20
    assert len(script.requests) == 2


def test_a_log_without_end_is_an_error() -> None:
    pages = [ok([{**ENTRY, "status": str(page)}], result_info={"per_page": 1}) for page in range(MOST_LOG_PAGES + 5)]
    script = Scripted(*pages)
    with connected(script) as api, pytest.raises(UnexpectedAnswer, match="did not end"):
        api.message_actions(ONE)
    assert len(script.requests) == MOST_LOG_PAGES


@pytest.mark.parametrize("result", [None, {}, "x", [None], [{}], [{"operation": ""}], [{**ENTRY, "success": "yes"}]])
def test_an_invalid_action_log_is_reported(result: Any) -> None:
    with connected(Scripted(ok(result))) as api, pytest.raises(UnexpectedAnswer, match="action log"):
        api.message_actions(ONE)


def test_a_message_is_read_by_its_id_from_the_requested_store() -> None:
    script = Scripted(ok({"id": ONE}), ok({"id": ONE}), refused(404, message="Message not found"), ok({"id": "other"}))
    with connected(script) as api:
        api.get_message(ONE)
        api.get_message(ONE, submission=True)
        with pytest.raises(NotFound):
            api.get_message(ONE)
        with pytest.raises(UnexpectedAnswer, match="requested"):
            api.get_message(ONE)
    assert [str(request.url.query, "ascii") for request in script.requests] == ["", "submission=true", "", ""]


@pytest.mark.parametrize("one", ["", "a/b", "..", "bulk", "move", "release", "preview", "x?y", "x" * 300])
def test_an_invalid_message_id_never_becomes_part_of_a_url(one: str) -> None:
    script = Scripted()
    with connected(script) as api:
        for read in (api.get_message, api.message_actions):
            with pytest.raises(ValueError, match="ID"):
                read(one)
    assert script.requests == []
