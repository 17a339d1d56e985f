"""move-messages with faults: it checks before it sends again and reports unknown outcomes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions import move_messages
from connectors.email_security import EmailSecurity
from connectors.http.client import httpx
from core.clock import Deadline
from core.errors import (
    ApiRefusal,
    AuthenticationFailed,
    OutcomeUnknown,
    PartlyApplied,
    PermissionDenied,
    RateLimited,
)
from sandbox.server import RunningSandbox
from tests.actions.named_messages import SMOOTH, any_ids, campaign, delivered, folders, ids_of, sent
from tests.connectors.scripted import Scripted, connected, envelope, ok, refused
from tests.exhaustive import exhaustive_unless

Connect = Callable[..., EmailSecurity]
Start = Callable[..., RunningSandbox]


@pytest.fixture
def sandbox(start_sandbox: Start) -> RunningSandbox:
    return start_sandbox(**SMOOTH)


def move(api: EmailSecurity, **params: Any) -> dict[str, Any]:
    return move_messages.run({"destination": "JunkEmail", **params}, api)


class TestFaults:
    @pytest.mark.parametrize("fault", exhaustive_unless(lambda fault: fault["kind"] in {"truncate", "status"}, [
        {"kind": "drop_after"}, {"kind": "drop_after", "reset": True}, {"kind": "truncate"}, {"kind": "cut_json"},
        {"kind": "html", "applied": True}, {"kind": "status", "status": 503, "applied": True},
        {"kind": "success_false", "applied": True},
    ]))  # fmt: skip
    def test_a_lost_answer_is_checked_and_nothing_is_sent_twice(
        self, sandbox: RunningSandbox, api: EmailSecurity, fault: dict[str, Any]
    ) -> None:
        ids = ids_of(api, 6)
        sandbox.state.faults.add("moveMessages", **fault)
        result = move(api, ids=ids)
        assert (result["succeeded"], result["unknown"], result["done"]) == (6, 0, True)
        assert sent(sandbox) == [ids]

    @pytest.mark.parametrize("fault", exhaustive_unless(lambda fault: fault["kind"] in {"status", "rate_limit"}, [
        {"kind": "drop_before"}, {"kind": "html"}, {"kind": "status", "status": 503}, {"kind": "rate_limit"},
    ]))  # fmt: skip
    def test_a_batch_without_effect_is_sent_again(
        self, sandbox: RunningSandbox, api: EmailSecurity, fault: dict[str, Any]
    ) -> None:
        ids = ids_of(api, 6)
        sandbox.state.faults.add("moveMessages", **fault)
        assert move(api, ids=ids)["succeeded"] == 6
        assert sent(sandbox) == [ids]

    def test_a_contradictory_answer_that_changed_nothing_is_a_refusal(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        sandbox.state.faults.add("moveMessages", "success_false")
        with pytest.raises(ApiRefusal) as caught:
            move(api, ids=ids_of(api, 2))
        assert caught.value.applied == "no"
        assert sent(sandbox) == []

    def test_an_earlier_move_to_another_folder_is_not_counted_as_this_move(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        ids = ids_of(api, 2)
        move(api, ids=ids)
        sandbox.state.faults.add("moveMessages", "drop_before")
        assert move(api, ids=ids, destination="Inbox", allow_malicious=True)["succeeded"] == 2
        assert folders(sandbox) == dict.fromkeys(ids, "Inbox")

    def test_a_batch_is_sent_at_most_twice(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        ids = ids_of(api, 2)
        sandbox.state.faults.add("moveMessages", "drop_before", times=5)
        with pytest.raises(OutcomeUnknown) as caught:
            move(api, ids=ids)
        assert caught.value.applied == "unknown"
        assert caught.value.resume == {"ids": ids}
        assert sandbox.state.truth()["calls"]["moveMessages"] == 2

    def test_an_unknown_outcome_is_reported_and_the_same_call_can_be_run_again(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        ids = ids_of(api, 3)
        sandbox.state.faults.add("moveMessages", "drop_after")
        sandbox.state.faults.add("searchMessages", "status", status=502, times=None)
        with pytest.raises(OutcomeUnknown) as caught:
            move(api, ids=ids, skip_done=False)
        assert "Run the same call again. That is safe" in caught.value.help
        sandbox.state.faults.clear()
        assert move(api, ids=ids)["already"] == 3
        assert sent(sandbox) == [ids]

    def test_an_id_without_a_time_is_left_unknown_after_a_lost_answer(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        sandbox.state.faults.add("moveMessages", "drop_after")
        with pytest.raises(PartlyApplied) as caught:
            move(api, ids=[*ids_of(api, 2), "no-time-in-it"])
        assert caught.value.applied == "yes"
        assert caught.value.resume == {"ids": ["no-time-in-it"]}

    @pytest.mark.parametrize("fault", exhaustive_unless(lambda fault: fault.get("status") == 404 or "set" in fault, [
        {"kind": "status", "status": 404}, {"kind": "empty_page"}, {"kind": "rewrite", "remove": ["properties"]},
        {"kind": "rewrite", "set": {"completed_at": None, "success": None}}, {"kind": "status", "status": 502},
    ]))  # fmt: skip
    def test_a_moved_message_without_a_readable_log_is_reported_as_unknown(
        self, sandbox: RunningSandbox, api: EmailSecurity, fault: dict[str, Any]
    ) -> None:
        ids = ids_of(api, 2)
        sandbox.state.faults.add("moveMessages", "drop_after")
        sandbox.state.faults.add("listMessageActions", times=None, **fault)
        with pytest.raises(OutcomeUnknown) as caught:
            move(api, ids=ids)
        assert caught.value.resume == {"ids": ids}
        assert sent(sandbox) == [ids]

    def test_an_unchanged_message_is_sent_again_without_reading_its_log(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        ids = ids_of(api, 2)
        sandbox.state.faults.add("moveMessages", "drop_before")
        assert move(api, ids=ids)["succeeded"] == 2
        assert "listMessageActions" not in sandbox.state.truth()["calls"]

    def test_a_message_in_two_mailboxes_moved_before_is_reported_as_unknown(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        one = delivered(sandbox, "a@corp.example", "b@corp.example")
        move(api, ids=[one], destination="DeletedItems")
        sandbox.state.faults.add("moveMessages", "drop_after")
        with pytest.raises(OutcomeUnknown) as caught:
            move(api, ids=[one])
        assert caught.value.resume == {"ids": [one]}
        # Moving it there again is safe, and its rows name the recipients.
        assert move(api, ids=[one])["succeeded"] == 1

    def test_a_copy_moved_twice_does_not_count_as_two_copies(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        one = delivered(sandbox, "a@corp.example", "b@corp.example")
        move(api, ids=[one], destination="DeletedItems")
        sandbox.state.delivery.mailboxes["b@corp.example"] = "gone"
        move(api, ids=[one])
        sandbox.state.faults.add("moveMessages", "drop_after")
        with pytest.raises(OutcomeUnknown):
            move(api, ids=[one])

    def test_an_error_before_any_change_is_raised_unchanged(
        self, sandbox: RunningSandbox, api: EmailSecurity, connect: Connect
    ) -> None:
        ids = ids_of(api, 2)
        sandbox.state.faults.add("moveMessages", "rate_limit", retry_after=600)
        with pytest.raises(RateLimited) as caught:
            move(api, ids=ids)
        assert (caught.value.applied, caught.value.exit_code) == ("no", 6)
        with pytest.raises(PermissionDenied):
            move(connect(sandbox, api_token=sandbox.read_token), ids=ids)
        with pytest.raises(AuthenticationFailed):
            move(connect(sandbox, api_token="no-such-token"), ids=ids)
        assert sent(sandbox) == []

    def test_an_error_in_a_later_batch_reports_done_and_remaining_messages(
        self, start_sandbox: Start, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("remediation.messages.batches.MOST_IDS", 100)
        sandbox = start_sandbox(messages=200, **SMOOTH)
        api = connect(sandbox)
        ids = any_ids(api, 150)
        sandbox.state.faults.add("moveMessages", "status", status=400, after=1)
        with pytest.raises(PartlyApplied) as caught:
            move(api, ids=ids)
        error = caught.value.document()["error"]
        assert (error["applied"], caught.value.exit_code) == ("yes", 7)
        assert error["resume"] == {"ids": ids[100:]}
        assert "92 done, 8 failed, 0 not known, 50 not sent" in error["message"]
        left = move(api, ids=error["resume"]["ids"])
        assert left["succeeded"] + left["failed"] == 50

    @pytest.mark.parametrize(("most", "number"), exhaustive_unless({(200_000, 50)}, [(20_000, 430), (200_000, 50)]))
    def test_a_resume_list_over_the_size_limit_is_dropped_not_cut(
        self, most: int, number: int, start_sandbox: Start, connect: Connect
    ) -> None:
        sandbox = start_sandbox(messages=600, **SMOOTH)
        api = connect(sandbox)
        ids = any_ids(api, number)
        sandbox.state.faults.add("moveMessages", "drop_before", times=5)
        with pytest.raises(OutcomeUnknown) as caught:
            move(api, ids=ids, skip_done=False, max_result_bytes=most)
        assert caught.value.resume == (None if most == 20_000 else {"ids": ids})
        assert (f"{number} IDs are left" in caught.value.help) is (most == 20_000)

    def test_a_moved_copy_of_a_failed_message_counts_as_a_change(
        self, sandbox: RunningSandbox, api: EmailSecurity, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("remediation.messages.batches.MOST_IDS", 1)
        message = next(one for one in campaign(api) if one.copies > 1)
        sandbox.state.delivery.mailboxes[(message.client_recipients or [])[0]] = "gone"
        other = next(one.id for one in campaign(api) if one.id != message.id)
        sandbox.state.faults.add("moveMessages", "status", status=400, after=1)
        with pytest.raises(PartlyApplied) as caught:
            move(api, ids=[message.id, other])
        assert caught.value.resume == {"ids": [other]}

    def test_rows_without_an_id_are_no_success(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        ids = ids_of(api, 3)
        sandbox.state.faults.add("moveMessages", "rewrite", set={"message_id": None})
        result = move(api, ids=ids)
        assert (result["succeeded"], result["unknown"]) == (0, 3)
        assert sorted(result["unaccounted"]) == sorted(ids)
        assert any("do not account for 3 messages" in warning for warning in result["warnings"])

    def test_unreadable_rows_count_as_a_lost_answer(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        ids = ids_of(api, 3)
        sandbox.state.faults.add("moveMessages", "rewrite", set={"success": "yes"})
        assert move(api, ids=ids)["succeeded"] == 3
        assert sent(sandbox) == [ids]

    def test_a_deadline_between_two_batches_leaves_the_rest_unsent(
        self, start_sandbox: Start, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("remediation.messages.batches.MOST_IDS", 100)
        sandbox = start_sandbox(messages=200, **SMOOTH)
        api = connect(sandbox)
        ids = any_ids(api, 150)
        sandbox.state.faults.add("moveMessages", "rate_limit", retry_after=40)
        with pytest.raises(PartlyApplied) as caught:
            move(api.with_deadline(Deadline(api.clock, 60)), ids=ids)
        assert caught.value.resume == {"ids": ids[100:]}


ANSWER_ROWS = st.fixed_dictionaries(
    {"success": st.booleans()},
    optional={
        "message_id": st.sampled_from(["x-1", "x-2", "<1@x>", "<2@x>", "", "\ud800", None]),
        "recipient": st.sampled_from(["a@corp.example", "b@corp.example", "", None]),
        "status": st.text(max_size=5),
    },
)


@given(rows=st.lists(ANSWER_ROWS | st.just({}) | st.none() | st.lists(st.none()), max_size=5))
def test_every_message_is_accounted_for_once_for_any_answer(rows: list[Any]) -> None:
    found = [{"id": "x-1", "message_id": "<1@x>", "client_recipients": ["a@corp.example"]}]
    ids = ["x-1", "x-2", "4Njp3P0STMz2c02Q-2026-11-20T10:00:00-3"]

    def service(request: httpx.Request) -> httpx.Response:
        if request.method == "GET" and request.url.path.endswith("/investigate"):
            return ok(found, result_info={"count": 1})
        if request.method == "GET":
            named = [one for one in found if request.url.path.endswith(str(one["id"]))]
            return ok(named[0]) if named else refused(404, message="Message not found")
        return httpx.Response(200, content=json.dumps(envelope(rows)))

    with connected(Scripted(*[service] * 20)) as api:
        try:
            result = move(api, ids=ids)
        except OutcomeUnknown as error:
            readable = (
                isinstance(row, dict) and "success" in row and row.get("message_id") != "\ud800" for row in rows
            )
            assert not all(readable)
            assert error.resume == {"ids": ids}
            return
    assert sum(result[count] for count in ("succeeded", "already", "failed", "unknown", "not_sent")) == len(ids)
    for one in ("x-1", "x-2"):
        own_rows = [row for row in rows if row.get("message_id") == one]
        if own_rows and not any(row["success"] for row in own_rows):
            assert one not in {row["id"] for row in result["results"] if row["success"]}
    if not any(row["success"] for row in rows):
        assert result["succeeded"] == 0
