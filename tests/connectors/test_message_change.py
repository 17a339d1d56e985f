"""Moving and releasing by ID: the request, and the validation of the response."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.http.client import httpx
from core.errors import ApiRefusal, OutcomeUnknown, ReadOnlyMode
from tests.connectors.scripted import Scripted, connected, ok, refused

ONE = "4Njp3P0STMz2c02Q-2024-01-05T10:00:00-12345678"


def test_a_move_sends_its_message_ids_and_folder() -> None:
    script = Scripted(ok([{"success": True, "message_id": "<a@b>", "recipient": "a@corp.example", "new_field": 1}]))
    with connected(script) as api:
        (row,) = api.move_messages([ONE], "JunkEmail")
    assert script.calls() == ["POST investigate/move"]
    assert script.bodies() == [{"destination": "JunkEmail", "ids": [ONE]}]
    assert row.document() == {
        "success": True, "message_id": "<a@b>", "recipient": "a@corp.example", "new_field": 1,
    }  # fmt: skip


def test_a_release_sends_its_message_ids() -> None:
    script = Scripted(ok([{"id": ONE, "delivered": ["a@corp.example"], "failed": None}]))
    with connected(script) as api:
        (row,) = api.release_messages([ONE])
    assert script.calls() == ["POST investigate/release"]
    assert script.bodies() == [{"ids": [ONE]}]
    assert (row.id, row.delivered, row.failed, row.undelivered) == (ONE, ["a@corp.example"], None, None)


@pytest.mark.parametrize("ids", [[], [ONE] * 1001, ["../x"], ["a b"], ["a\n"], [""]])
def test_an_invalid_list_of_ids_is_not_sent(ids: list[str]) -> None:
    with connected(Scripted()) as api:
        with pytest.raises(ValueError, match="ID"):
            api.move_messages(ids, "JunkEmail")
        with pytest.raises(ValueError, match="ID"):
            api.release_messages(ids)


@pytest.mark.parametrize("result", [None, {}, "done", [1], [{}], [{"success": "true"}], [{"success": None}],
                                    [{"success": True, "recipient": ["a"]}]])  # fmt: skip
def test_a_move_with_an_invalid_response_has_an_unknown_outcome(result: Any) -> None:
    with connected(Scripted(ok(result))) as api, pytest.raises(OutcomeUnknown) as caught:
        api.move_messages([ONE], "JunkEmail")
    assert caught.value.applied == "unknown"


@pytest.mark.parametrize("result", [None, [{}], [{"id": ""}], [{"id": ONE, "delivered": "a@corp.example"}]])
def test_a_release_with_an_invalid_response_has_an_unknown_outcome(result: Any) -> None:
    with connected(Scripted(ok(result))) as api, pytest.raises(OutcomeUnknown):
        api.release_messages([ONE])


@pytest.mark.parametrize("step", [
    httpx.ReadTimeout("lost"), httpx.Response(502, text="<html>"), httpx.Response(200, text="{"), refused(503),
])  # fmt: skip
def test_a_move_is_not_repeated_after_a_lost_response(step: Any) -> None:
    script = Scripted(step)
    with connected(script) as api, pytest.raises(OutcomeUnknown):
        api.move_messages([ONE], "JunkEmail")
    assert len(script.requests) == 1


def test_a_refused_move_is_an_api_refusal() -> None:
    with connected(Scripted(refused(400, message="no such folder"))) as api, pytest.raises(ApiRefusal, match="folder"):
        api.move_messages([ONE], "JunkEmail")


def test_read_only_mode_sends_no_move_and_no_release() -> None:
    with connected(Scripted(), read_only=True) as api:
        with pytest.raises(ReadOnlyMode):
            api.move_messages([ONE], "JunkEmail")
        with pytest.raises(ReadOnlyMode):
            api.release_messages([ONE])
