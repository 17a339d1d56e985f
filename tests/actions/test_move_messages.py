"""move-messages moves exactly the named messages, in batches, and reports no unproved success."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions import move_messages
from connectors.email_security import EmailSecurity
from core.errors import (
    PackError,
    ParameterError,
    PlanNeeded,
    ReadOnlyMode,
    TooManyMessages,
)
from sandbox.server import RunningSandbox
from tests.actions.named_messages import SMOOTH, any_ids, campaign, folders, ids_of, moved_by_job, sent

Connect = Callable[..., EmailSecurity]
Start = Callable[..., RunningSandbox]

ABSENT = "4AAAAAAAAAAAAAA-2026-11-20T15:00:00-00999999"
ROW_ID = "59f06be8-a933-4f8b-9c1a-94eb3b35a3c3"


@pytest.fixture
def sandbox(start_sandbox: Start) -> RunningSandbox:
    return start_sandbox(**SMOOTH)


def move(api: EmailSecurity, **params: Any) -> dict[str, Any]:
    return move_messages.run({"destination": "JunkEmail", **params}, api)


def row(**changes: Any) -> dict[str, Any]:
    return {
        "message_id": ROW_ID,
        "status": "COMPLETED",
        "action_type": "MOVE",
        "action_params": {"type": "MOVE", "destination": "JunkEmail", "client_recipient": "a@corp.example"},
        "message": {"id": ABSENT, "client_recipients": ["a@corp.example"]},
        **changes,
    }


def write_lines(path: Path, *rows: Any) -> str:
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in rows))
    return str(path)


class TestIds:
    def test_exactly_the_named_messages_are_moved(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        ids = ids_of(api, 7)
        result = move(api, ids=ids)
        assert folders(sandbox) == dict.fromkeys(ids, "JunkEmail")
        assert (result["succeeded"], result["failed"], result["unknown"], result["not_sent"]) == (7, 0, 0, 0)
        assert result["done"]
        assert {one["id"] for one in result["results"]} == set(ids)
        assert all(one["success"] and one["recipient"] for one in result["results"])

    def test_a_duplicate_id_is_sent_once_and_counted(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        ids = ids_of(api, 3)
        result = move(api, ids=[*ids, ids[0], ids[0]])
        assert sent(sandbox) == [ids]
        assert (result["messages"], result["duplicates"]) == (3, 2)

    def test_an_unknown_id_fails_and_the_others_are_moved(self, api: EmailSecurity) -> None:
        ids = ids_of(api, 2)
        result = move(api, ids=[*ids, ABSENT])
        assert (result["succeeded"], result["failed"]) == (2, 1)
        assert [one["status"] for one in result["results"] if one["id"] == ABSENT] == ["Message not found"]
        assert any("a search did not find" in warning for warning in result["warnings"])
        assert move_messages.ACTION.verdict is not None
        assert move_messages.ACTION.verdict(result) == 8

    def test_a_message_that_failed_for_one_recipient_has_failed(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        message = next(one for one in campaign(api) if one.copies > 1)
        sandbox.state.delivery.mailboxes[(message.client_recipients or [])[0]] = "gone"
        result = move(api, ids=[message.id])
        assert (result["succeeded"], result["failed"]) == (0, 1)
        assert sorted(one["success"] for one in result["results"]) == [False] + [True] * (message.copies - 1)

    def test_1010_messages_are_sent_in_two_batches(self, start_sandbox: Start, connect: Connect) -> None:
        sandbox = start_sandbox(messages=1100, **SMOOTH)
        api = connect(sandbox)
        ids = any_ids(api, 1010)
        result = move(api, ids=ids)
        assert [len(batch) for batch in sent(sandbox)] == [1000, 10]
        # Quarantined messages can't be moved.
        assert result["succeeded"] == len(folders(sandbox))
        assert result["succeeded"] + result["failed"] == 1010

    def test_a_long_result_is_truncated_but_keeps_counts_and_failures(
        self, start_sandbox: Start, connect: Connect
    ) -> None:
        sandbox = start_sandbox(messages=200, **SMOOTH)
        api = connect(sandbox)
        ids = any_ids(api, 170)
        result = move(api, ids=[*ids, ABSENT], max_result_bytes=20_000)
        assert len(json.dumps(result)) < 20_000
        assert result["succeeded"] + result["failed"] + result["unknown"] == result["messages"] == 171
        cut = result["truncated"]["results"]
        assert (len(result["results"]), cut["total"] >= 171) == (cut["kept"], True)
        # Failures come first and are kept first.
        success = [row["success"] is True for row in result["results"]]
        assert success == sorted(success)
        assert ABSENT in {row["id"] for row in result["results"]}
        complete = move(api, ids=[*ids, ABSENT], max_result_bytes=50_000_000, skip_done=True)
        assert complete["truncated"] == {}
        assert len(complete["results"]) >= 171

    def test_a_dry_run_returns_all_ids_or_none(self, start_sandbox: Start, connect: Connect) -> None:
        api = connect(start_sandbox(messages=450, **SMOOTH))
        ids = any_ids(api, 430)
        small = move(api, ids=ids, dry_run=True, max_result_bytes=20_000)
        assert (small["ids"], small["truncated"]["ids"]) == (None, {"kept": 0, "total": 430})
        complete = move(api, ids=ids, dry_run=True)
        assert (complete["plan_hash"], complete["ids"]) == (small["plan_hash"], sorted(ids))


class TestRepeating:
    def test_a_repeat_sends_nothing_and_counts_messages_already_in_place(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        ids = ids_of(api, 5)
        move(api, ids=ids[:3])
        result = move(api, ids=ids)
        assert (result["already"], result["succeeded"]) == (3, 2)
        assert sent(sandbox) == [ids[:3], ids[3:]]
        again = move(api, ids=ids)
        assert (again["already"], again["succeeded"], again["done"]) == (5, 0, True)
        assert len(sent(sandbox)) == 2

    def test_without_skip_done_everything_is_sent_again(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        ids = ids_of(api, 2)
        move(api, ids=ids)
        assert move(api, ids=ids, skip_done=False)["succeeded"] == 2
        assert sent(sandbox) == [ids, ids]

    def test_a_message_in_another_folder_is_moved(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        ids = ids_of(api, 2)
        move(api, ids=ids)
        assert move(api, ids=ids, destination="DeletedItems")["succeeded"] == 2
        assert folders(sandbox) == dict.fromkeys(ids, "DeletedItems")

    def test_a_dry_run_changes_nothing_and_returns_the_same_plan_hash(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        ids = ids_of(api, 4)
        dry = move(api, ids=ids, dry_run=True)
        assert sandbox.state.truth()["effects"] == []
        assert (dry["dry_run"], dry["done"], dry["messages"], dry["not_sent"]) == (True, False, 4, 4)
        assert dry["recipients"] >= 4
        assert dry["ids"] == sorted(ids)
        assert move(api, ids=list(reversed(ids)))["plan_hash"] == dry["plan_hash"]
        assert move(api, ids=ids, destination="DeletedItems", dry_run=True)["plan_hash"] != dry["plan_hash"]


class TestFromAnExport:
    def test_only_rows_with_the_given_statuses_are_moved(
        self, start_sandbox: Start, connect: Connect, tmp_path: Path
    ) -> None:
        sandbox = start_sandbox(permanent_failures=0.2, transient_failures=0.0)
        api = connect(sandbox)
        exported = moved_by_job(api, tmp_path / "rows.ndjson")
        failed = exported["counts_by_status"]["FAILED"]
        result = move(api, export=str(tmp_path / "rows.ndjson"), statuses=["FAILED"], dry_run=True)
        assert 0 < result["messages"] <= failed
        assert result["messages"] + result["duplicates"] == failed
        everything = move(api, export=str(tmp_path / "rows.ndjson"), destination="DeletedItems")
        assert everything["messages"] + everything["duplicates"] == exported["written"]

    def test_rows_without_a_message_are_counted_and_named(self, api: EmailSecurity, tmp_path: Path) -> None:
        one = ids_of(api, 1)[0]
        without = "0b1de6f4-7c1b-4f7c-8f0e-2f0c4f3f9a11"
        path = write_lines(
            tmp_path / "rows.ndjson",
            row(message={"id": one}),
            row(message_id=without, message=None),
            {"message_id": ROW_ID, "status": "SKIPPED"},
        )
        result = move(api, export=path)
        assert (result["succeeded"], result["without_id"]) == (1, 2)
        assert result["rows_without_id"] == [without, ROW_ID]
        assert any("2 rows have no investigate ID" in warning for warning in result["warnings"])

    @pytest.mark.parametrize("line", [
        "no json", "[1]", "null", "{", '{"message_id": "' + "x" * 70 + '", "status": "FAILED"}',
        json.dumps(row(message={"id": "../../etc/passwd"})), json.dumps(row(message={"id": "a\nb"})),
        json.dumps(row(message={"id": 7})), json.dumps(row(message=[1])), json.dumps(row(status=None)),
        json.dumps(row(action_params="MOVE")), json.dumps(row(message={"id": "\ud800"})),
        json.dumps(row(message={"id": ABSENT, "client_recipients": "a@corp.example"})), "[" * 100_000,
        json.dumps(row(message={"id": ABSENT, "from": {"$gt": ""}})), '{"a": ' + "9" * 5000 + "}",
    ])  # fmt: skip
    def test_a_file_with_an_invalid_row_is_refused(
        self, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path, line: str
    ) -> None:
        path = write_lines(tmp_path / "rows.ndjson", row(), line)
        with pytest.raises(ParameterError) as caught:
            move(api, export=path)
        assert caught.value.problems[0]["pointer"] == "/export"
        assert "2" in caught.value.message
        assert sandbox.state.truth()["calls"] == {}

    def test_an_unreadable_file_is_refused(self, api: EmailSecurity, tmp_path: Path) -> None:
        (tmp_path / "binary").write_bytes(b"\xff\xfe\x00" * 10)
        for path in ("/nowhere/rows.ndjson", str(tmp_path), "/dev/zero", "a\0b", str(tmp_path / "binary")):
            with pytest.raises(ParameterError):
                move(api, export=path)

    def test_a_line_over_the_length_limit_is_refused(
        self, api: EmailSecurity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("remediation.exports.files.line_file.LONGEST_LINE_BYTES", 1000)
        with pytest.raises(ParameterError, match="longer than 1000 bytes"):
            move(api, export=write_lines(tmp_path / "rows.ndjson", " " * 5000))

    def test_too_many_recipients_of_one_message_are_refused(
        self, api: EmailSecurity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("remediation.messages.selection.MOST_RECIPIENTS", 3)
        rows = [
            row(message={"id": ABSENT, "client_recipients": [f"{n}@a.example", f"{n}@b.example"]}) for n in range(2)
        ]
        with pytest.raises(ParameterError, match="more than 3 recipients of one message"):
            move(api, export=write_lines(tmp_path / "rows.ndjson", *rows))

    def test_too_many_messages_in_an_export_are_refused(
        self, api: EmailSecurity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("remediation.messages.selection.MOST_MESSAGES", 2)
        rows = [row(message={"id": f"x-{number}"}) for number in range(3)]
        with pytest.raises(ParameterError, match="more than 2 messages"):
            move(api, export=write_lines(tmp_path / "rows.ndjson", *rows))

    def test_an_empty_export_moves_nothing(self, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
        result = move(api, export=write_lines(tmp_path / "rows.ndjson"))
        assert (result["messages"], result["done"]) == (0, True)
        assert any("nothing to do" in warning for warning in result["warnings"])
        assert sandbox.state.truth()["effects"] == []


@pytest.mark.parametrize("params", [
    {}, {"ids": [ABSENT], "export": "x"}, {"ids": []}, {"ids": ["../x"]}, {"ids": ["a b"]}, {"ids": [""]}, {"ids": [7]},
    {"ids": ["x" * 300]}, {"ids": [ABSENT + "\n"]}, {"ids": [ABSENT], "statuses": ["FAILED"]}, {"ids": ABSENT},
    {"ids": [ABSENT], "destination": "Trash"}, {"ids": [ABSENT], "requested_by": "a b"}, {"export": ""},
    {"ids": [ABSENT], "max_messages": 0}, {"export": "x", "statuses": []}, {"export": "x", "statuses": ["GONE"]},
])  # fmt: skip
def test_bad_parameters_are_refused_and_nothing_is_sent(
    sandbox: RunningSandbox, api: EmailSecurity, params: dict[str, Any]
) -> None:
    with pytest.raises(ParameterError):
        move(api, **params)
    assert sandbox.state.truth()["calls"] == {}


class TestGuardrails:
    def refused(self, kind: type[PackError], sandbox: RunningSandbox, api: EmailSecurity, **params: Any) -> PackError:
        with pytest.raises(kind) as caught:
            move(api, **params)
        assert sandbox.state.truth()["effects"] == []
        assert caught.value.applied == "no"
        return caught.value

    def test_more_than_max_messages_are_refused(self, sandbox: RunningSandbox, api: EmailSecurity) -> None:
        self.refused(TooManyMessages, sandbox, api, ids=ids_of(api, 3), max_messages=2)

    def test_an_irreversible_destination_needs_allow_irreversible(
        self, sandbox: RunningSandbox, api: EmailSecurity
    ) -> None:
        purge = {"ids": ids_of(api, 1), "destination": "RecoverableItemsPurges"}
        error = self.refused(PlanNeeded, sandbox, api, **purge)
        assert "allow_irreversible" in error.help
        dry = move(api, **purge, dry_run=True)
        assert any("Microsoft 365" in warning for warning in dry["warnings"])
        assert move(api, **purge, allow_irreversible=True)["succeeded"] == 1

    def test_read_only_mode_allows_only_a_dry_run(self, sandbox: RunningSandbox, connect: Connect) -> None:
        api = connect(sandbox, read_only=True)
        ids = ids_of(api, 1)
        self.refused(ReadOnlyMode, sandbox, api, ids=ids)
        assert move(api, ids=ids, dry_run=True)["not_sent"] == 1

    def test_the_requester_of_the_environment_overrides_the_parameter(
        self, sandbox: RunningSandbox, connect: Connect
    ) -> None:
        api = connect(sandbox, requested_by="ana@corp.example")
        ids = ids_of(api, 1)
        self.refused(ParameterError, sandbox, api, ids=ids, requested_by="bob@corp.example")
        assert move(api, ids=ids)["requested_by"] == "ana@corp.example"
