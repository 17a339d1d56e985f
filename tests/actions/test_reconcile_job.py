"""reconcile-job compares three sources about a job and names every message on which they disagree."""

from __future__ import annotations

import cProfile
import csv
import gzip
import hashlib
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actions import cancel_job, create_move_job, export_job_messages, get_job, reconcile_job, release_job, wait_for_job
from connectors.email_security import EmailSecurity
from core.errors import InlineTooLarge, ParameterError, UnexpectedAnswer
from remediation.reconciliation import comparison
from remediation.reconciliation.result import Disagreement
from sandbox.server import RunningSandbox
from tests.actions.test_export import Listing, finished_job
from tests.conftest import CAMPAIGN
from tests.connectors.scripted import JOB_ID, PSEUDONYM_KEY, Scripted, connected, job, ok
from tests.exhaustive import exhaustive_unless
from tests.plain_http import PLAIN

Connect = Callable[..., EmailSecurity]
RowChange = Callable[[list[dict[str, Any]]], object]


class Evidence:
    """A folder with the document of a job, its rows and its events, which a test can change."""

    def __init__(self, folder: Path, document: dict[str, Any], rows: list[Any], events: list[Any]) -> None:
        self.folder, self.job, self.rows, self.events = folder, document, rows, events

    def write(self, name: str, records: list[Any]) -> str:
        path = self.folder / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return str(path)

    def params(self, **more: Any) -> dict[str, Any]:
        return {
            "job_id": self.job["job_id"],
            "job": self.job,
            "rows": self.write("rows.ndjson", self.rows),
            "events": [self.write("events.ndjson", self.events)],
            **more,
        }

    def reconcile(self, **more: Any) -> dict[str, Any]:
        return reconcile_job.run(self.params(**more))


def row(number: int, status: str = "COMPLETED", **changes: Any) -> dict[str, Any]:
    return {
        "message_id": f"row-{number}",
        "status": status,
        "action_type": "MOVE",
        "action_params": {"type": "MOVE", "destination": "JunkEmail", "client_recipient": f"user{number}@corp.example"},
        "postfix_id": f"4postfix{number}",
        "email_message_id": f"<id-{number}@phish.example>",
        **changes,
    }


def event(number: int, *, success: bool = True, **changes: Any) -> dict[str, Any]:
    return {
        "MessageID": f"<id-{number}@phish.example>",
        "Recipient": f"user{number}@corp.example",
        "Operation": "move",
        "Success": success,
        "Status": "OK" if success else "Mailbox not found",
        "Destination": "JunkEmail",
        "RequestedAt": "2026-11-20T16:02:35Z",
        "CompletedAt": "2026-11-20T16:02:40Z",
        "RequestedBy": "soar@corp.example",
        **changes,
    }


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    """A job of three moved messages on which all sources agree."""
    document = job(status="COMPLETED", completed_at="2026-11-20T16:03:00Z", total_messages_discovered=3,
                   messages_successful=3)  # fmt: skip
    return Evidence(tmp_path, document, [row(n) for n in range(3)], [event(n) for n in range(3)])


def kinds(result: dict[str, Any]) -> list[tuple[str, str | None]]:
    return sorted((one["kind"], one["message_id"]) for one in result["disagreements"])


# Over real HTTP


def write_events(sandbox: RunningSandbox, path: Path, **query: str) -> str:
    """Write the Logpush events delivered so far to `path` and return the path."""
    answer = httpx.get(f"{sandbox.control_url}/post_delivery_events", params=query, verify=PLAIN)
    path.write_bytes(answer.content)
    return str(path)


@pytest.mark.parametrize("timestamps", ["rfc3339", "unix", "unixnano"])
@pytest.mark.parametrize("from_file", exhaustive_unless({True}, [True, False]))
def test_the_sources_of_a_job_agree(
    timestamps: str, from_file: bool, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    job_id = finished_job(api)
    params: dict[str, Any] = {
        "job_id": job_id,
        "events": [write_events(sandbox, tmp_path / "events", timestamps=timestamps)],
    }
    if from_file:
        params["rows"] = str(tmp_path / "rows")
        export_job_messages.run({"job_id": job_id, "destination": params["rows"]}, api)
    result = reconcile_job.run(params, api)
    assert (result["agrees"], result["disagreements"], result["warnings"]) == (True, [], [])
    counters = result["counters"]
    assert result["rows"]["number"] == counters["total_messages_discovered"]
    assert result["events"]["succeeded"] == counters["messages_successful"] == result["rows"]["by_status"]["COMPLETED"]
    assert result["events"]["failed"] == counters["messages_failed"] > 0
    assert reconcile_job.ACTION.verdict is not None
    assert reconcile_job.ACTION.verdict(result) == 0


def test_the_sources_of_a_release_agree(sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
    search = {"sender": "statements@partner-bank.example", "start": "2026-11-01T00:00:00Z"}
    job_id = release_job.run({"search_params": search}, api)["job_id"]
    wait_for_job.run({"job_id": job_id}, api)
    result = reconcile_job.run({"job_id": job_id, "events": [write_events(sandbox, tmp_path / "events")]}, api)
    assert result["agrees"]
    assert result["events"]["succeeded"] > 0


def test_the_sources_of_a_cancelled_job_agree(sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
    job_id = create_move_job.run({"search_params": CAMPAIGN, "destination": "JunkEmail"}, api)["job_id"]
    api.clock.sleep(1.4)
    cancel_job.run({"job_id": job_id}, api)
    result = reconcile_job.run({"job_id": job_id, "events": [write_events(sandbox, tmp_path / "events")]}, api)
    assert result["agrees"]
    assert result["counters"]["messages_cancelled"] > 0


def test_events_of_other_jobs_and_manual_moves_are_ignored(
    start_sandbox: Callable[..., RunningSandbox], connect: Connect, tmp_path: Path
) -> None:
    sandbox = start_sandbox(messages=2000)
    api = connect(sandbox)
    own, other = finished_job(api), {**CAMPAIGN, "sender": "corp.example"}
    api.clock.sleep(7200)
    other_id = create_move_job.run({"search_params": other, "destination": "DeletedItems"}, api)["job_id"]
    wait_for_job.run({"job_id": other_id, "timeout_seconds": 80_000}, api)
    events = write_events(sandbox, tmp_path / "events")
    result = reconcile_job.run({"job_id": own, "events": [events]}, api)
    assert result["agrees"]
    assert result["events"]["other_time"] > 100
    assert result["events"]["read"] == sum(
        result["events"][part] for part in ("succeeded", "failed", "other_time")
    )  # fmt: skip
    # A wider margin still excludes these events: they name another folder.
    wide = reconcile_job.run({"job_id": own, "events": [events], "margin_seconds": 80_000}, api)
    assert wide["agrees"]
    assert wide["events"]["other_destination"] > 100


def test_each_message_with_a_lost_event_is_named(sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
    job_id = finished_job(api)
    path = Path(write_events(sandbox, tmp_path / "events"))
    records = [json.loads(line) for line in path.read_text().splitlines()]
    lost = [record for record in records if record["Success"]][:5]
    path.write_text("".join(json.dumps(record) + "\n" for record in records if record not in lost))
    result = reconcile_job.run({"job_id": job_id, "events": [str(path)]}, api)
    named = {(one["email_message_id"], one["recipient"]) for one in result["disagreements"]}
    assert named == {(record["MessageID"], record["Recipient"]) for record in lost}
    assert (result["agrees"], result["contradictions"], result["without_event"]) == (False, 0, 5)


def test_rows_that_shift_between_pages_are_read_again(
    start_sandbox: Callable[..., RunningSandbox], connect: Connect, tmp_path: Path
) -> None:
    sandbox = start_sandbox(messages=0, campaign_size=1020)
    api = connect(sandbox)
    job_id = finished_job(api)
    sandbox.state.faults.add("listBulkJobMessages", "shift_rows", by=-7, times=1)
    result = reconcile_job.run({"job_id": job_id, "events": [write_events(sandbox, tmp_path / "events")]}, api)
    assert result["agrees"]
    assert result["rows"]["number"] > 1000


# Kinds of disagreement


def test_matching_sources_agree(evidence: Evidence) -> None:
    result = evidence.reconcile()
    assert (result["agrees"], result["contradictions"], result["without_event"], result["by_kind"]) == (True, 0, 0, {})


@pytest.mark.parametrize(
    ("kind", "row_changes", "event_changes"),
    [
        ("completed_without_event", {}, None),
        ("completed_event_failed", {}, {"Success": False, "Status": "Mailbox not found"}),
        ("destination_differs", {}, {"Destination": "DeletedItems"}),
        ("destination_differs", {}, {"Destination": "", "Folder": "Deleted Items"}),
        ("failed_event_succeeded", {"status": "FAILED"}, {}),
        ("untouched_event_succeeded", {"status": "SKIPPED"}, {}),
        ("cancelled_event_succeeded", {"status": "CANCELLED"}, {}),
        ("untouched_event_succeeded", {"status": "SOMETHING_NEW"}, {}),
        ("row_without_name", {"email_message_id": None, "postfix_id": None}, None),
        ("row_without_name", {"action_params": {"type": "MOVE"}}, None),
    ],
)
def test_each_kind_of_disagreement_is_named(
    kind: str, row_changes: dict[str, Any], event_changes: dict[str, Any] | None, evidence: Evidence
) -> None:
    evidence.rows[1].update(row_changes)
    evidence.events[1:2] = [] if event_changes is None else [{**evidence.events[1], **event_changes}]
    status = evidence.rows[1]["status"]
    counter = {"FAILED": "messages_failed", "SKIPPED": "messages_skipped", "CANCELLED": "messages_cancelled",
               "SOMETHING_NEW": "messages_pending"}.get(status)  # fmt: skip
    if counter:
        evidence.job.update({"messages_successful": 2, counter: 1})
    result = evidence.reconcile()
    assert kinds(result) == [(kind, "row-1")]
    [one] = result["disagreements"]
    no_event = kind in ("completed_without_event", "row_without_name")
    in_flight = kind == "cancelled_event_succeeded"
    assert one["contradiction"] is not (no_event or in_flight)
    assert (result["without_event"], result["moved_in_flight"]) == (int(no_event), int(in_flight))
    assert result["contradictions"] == 1 - no_event - in_flight
    assert one["row_status"] == status
    assert one["event"] == ("no event" if no_event else "failed" if kind == "completed_event_failed" else "succeeded")
    assert reconcile_job.ACTION.verdict is not None
    assert result["agrees"] is in_flight
    assert reconcile_job.ACTION.verdict(result) == (0 if in_flight else 8)


def test_a_failed_row_without_an_event_agrees(evidence: Evidence) -> None:
    evidence.rows[0]["status"] = "FAILED"
    del evidence.events[0]
    evidence.job.update(messages_successful=2, messages_failed=1)
    assert evidence.reconcile()["agrees"]


def test_an_event_without_a_row_is_named(evidence: Evidence) -> None:
    evidence.events.append(event(9))
    [one] = evidence.reconcile()["disagreements"]
    assert (one["kind"], one["email_message_id"], one["recipient"], one["message_id"]) == (
        "event_without_row", "<id-9@phish.example>", "user9@corp.example", None)  # fmt: skip
    assert one["event_at"] == "2026-11-20T16:02:40Z"


@pytest.mark.parametrize(
    ("changes", "counted"),
    [
        ({"Destination": "DeletedItems"}, "other_destination"),
        ({"RequestedBy": "analyst@corp.example"}, "other_requester"),
        ({"Operation": "quarantineRelease"}, "other_operation"),
        ({"Operation": "submission"}, "other_operation"),
        ({"CompletedAt": "2026-11-20T15:50:00Z", "RequestedAt": "2026-11-20T15:50:00Z"}, "other_time"),
        ({"CompletedAt": "2026-11-20T17:50:00Z", "RequestedAt": "2026-11-20T17:49:00Z"}, "other_time"),
        ({"Recipient": ""}, "without_name"),
        ({"MessageID": None}, "without_name"),
    ],
)
def test_events_that_do_not_belong_to_the_job_are_ignored_and_counted(
    changes: dict[str, Any], counted: str, evidence: Evidence
) -> None:
    evidence.events.append(event(9, **changes))
    result = evidence.reconcile()
    assert result["agrees"]
    assert result["events"][counted] == 1


def test_counters_that_differ_from_the_rows_are_named(evidence: Evidence) -> None:
    evidence.job.update(total_messages_discovered=5, messages_successful=4, messages_failed=1)
    result = evidence.reconcile()
    found = {one["counter"]: (one["counted"], one["rows"]) for one in result["disagreements"]}
    assert found == {"total_messages_discovered": (5, 3), "messages_successful": (4, 3), "messages_failed": (1, 0)}
    assert result["by_kind"] == {"counter_differs": 3}


def test_missing_newer_counters_are_accepted(evidence: Evidence) -> None:
    del evidence.job["messages_skipped"], evidence.job["messages_cancelled"]
    assert evidence.reconcile()["agrees"]


# Matching of rows and events


@pytest.mark.parametrize(
    "changes",
    [
        {"MessageID": "id-1@phish.example"},
        {"MessageID": "  <ID-1@Phish.Example>\t"},
        {"MessageID": "<id-1@\r\n phish.example>"},
        {"Recipient": "<User1@CORP.example>"},
        {"MessageID": "", "PostfixID": "4postfix1"},
        {"Destination": "Junk Email"},
        {"Destination": None, "Folder": None},
        {"Operation": "MOVE"},
        {"RequestedAt": None},
        {"CompletedAt": None},
        {"CompletedAt": 1795190560},
        {"CompletedAt": 1795190560000},
        {"CompletedAt": 1795190560000000},
        {"CompletedAt": 1795190560000000000},
        {"CompletedAt": "1795190560"},
        {"CompletedAt": 1795190560.25},
        {"CompletedAt": "2026-11-20T17:02:40.123456789+01:00"},
        {"CompletedAt": "", "RequestedAt": ""},
        {"Unknown": {"deep": [1]}, "Subject": "\ud800"},
    ],
)
def test_an_event_matches_its_row_in_any_spelling(changes: dict[str, Any], evidence: Evidence) -> None:
    evidence.events[1].update(changes)
    result = evidence.reconcile()
    assert result["agrees"], result["disagreements"]
    assert result["events"]["succeeded"] == 3


def test_a_row_without_a_message_id_is_matched_by_its_postfix_id(evidence: Evidence) -> None:
    evidence.rows[1]["email_message_id"] = None
    evidence.events[1]["PostfixID"] = "4postfix1"
    assert evidence.reconcile()["agrees"]


def test_a_nested_message_id_is_used_if_the_row_has_none(evidence: Evidence) -> None:
    evidence.rows[1].update(email_message_id=None, postfix_id=None, message={"message_id": "<id-1@phish.example>"})
    assert evidence.reconcile()["agrees"]


def test_recipients_of_one_message_are_compared_separately(evidence: Evidence) -> None:
    for number, one in enumerate(evidence.rows):
        one["email_message_id"] = evidence.events[number]["MessageID"] = "<one@phish.example>"
    evidence.events[2]["Success"] = False
    assert kinds(evidence.reconcile()) == [("completed_event_failed", "row-2")]


def test_a_failed_attempt_beside_a_successful_one_agrees(evidence: Evidence) -> None:
    evidence.events.insert(0, event(1, success=False, CompletedAt="2026-11-20T16:02:36Z"))
    evidence.events.append(event(1, success=False, CompletedAt="2026-11-20T16:02:50Z"))
    result = evidence.reconcile()
    assert result["agrees"]
    assert (result["events"]["succeeded"], result["events"]["failed"]) == (3, 2)


def test_a_duplicate_event_counts_once(evidence: Evidence) -> None:
    first = evidence.write("first.ndjson", evidence.events)
    second = evidence.write("second.ndjson", [*evidence.events[1:], event(9), event(9)])
    result = reconcile_job.run({**evidence.params(), "events": [first, second]})
    assert result["by_kind"] == {"event_without_row": 1}
    assert (result["events"]["succeeded"], result["events"]["duplicates"], result["events"]["read"]) == (4, 3, 7)


def test_a_duplicate_row_counts_once(evidence: Evidence) -> None:
    evidence.rows.append(evidence.rows[0])
    result = evidence.reconcile()
    assert (result["agrees"], result["rows"]["number"], result["rows"]["duplicates"]) == (True, 3, 1)


@pytest.mark.parametrize("with_postfix_ids", [True, False])
def test_each_message_with_a_shared_message_id_and_recipient_needs_a_success(
    with_postfix_ids: bool, evidence: Evidence
) -> None:
    recipient = evidence.rows[0]["action_params"]["client_recipient"]
    for number, (one, one_event) in enumerate(zip(evidence.rows, evidence.events, strict=True)):
        one["email_message_id"] = one_event["MessageID"] = "<one@phish.example>"
        one["action_params"]["client_recipient"] = one_event["Recipient"] = recipient
        one_event["CompletedAt"] = f"2026-11-20T16:02:4{number}Z"
        if with_postfix_ids:
            one_event["PostfixID"] = f"4postfix{number}"
    assert evidence.reconcile()["agrees"]
    del evidence.events[1]
    result = evidence.reconcile()
    assert result["by_kind"] == {"completed_without_event": 1}
    if with_postfix_ids:
        assert kinds(result) == [("completed_without_event", "row-1")]


def test_an_event_with_another_postfix_id_belongs_to_another_message(evidence: Evidence) -> None:
    # The sender chooses the Message-ID, so two mails can have the same one.
    evidence.events[1]["PostfixID"] = "4other"
    result = evidence.reconcile()
    assert kinds(result) == [("completed_without_event", "row-1"), ("event_without_row", None)]
    evidence.rows[1]["status"] = "SKIPPED"
    evidence.job.update(messages_successful=2, messages_skipped=1)
    assert kinds(evidence.reconcile()) == [("event_without_row", None)]
    evidence.events[1]["RequestedBy"] = "analyst@corp.example"
    assert evidence.reconcile()["agrees"]


@pytest.mark.parametrize("number", [4, 5])
def test_postfix_ids_that_match_no_row_are_ignored(number: int, evidence: Evidence) -> None:
    evidence.rows = [row(n) for n in range(number)]
    evidence.events = [event(n, PostfixID=f"delivery-{n}") for n in range(number)]
    evidence.job.update(total_messages_discovered=number, messages_successful=number)
    result = evidence.reconcile()
    if number < 5:
        assert result["by_kind"] == {"completed_without_event": 4, "event_without_row": 4}
        return
    assert result["agrees"]
    [warning] = result["warnings"]
    assert "no row has the PostfixID of 5 events" in warning
    # One PostfixID matches, so the other events belong to other messages.
    evidence.events[0]["PostfixID"] = "4postfix0"
    assert evidence.reconcile()["by_kind"] == {"completed_without_event": 4, "event_without_row": 4}


def test_an_event_of_an_unknown_postfix_id_matches_no_row_of_its_message_id(evidence: Evidence) -> None:
    evidence.rows[1].update(email_message_id=evidence.rows[0]["email_message_id"])
    evidence.rows[1]["action_params"]["client_recipient"] = evidence.rows[0]["action_params"]["client_recipient"]
    evidence.events[1:2] = [event(0, PostfixID=f"4else{n}", CompletedAt=1795190560 + n) for n in range(2)]
    evidence.events[0]["PostfixID"] = "4postfix0"
    result = evidence.reconcile()
    assert result["by_kind"] == {"completed_without_event": 1, "event_without_row": 2}
    assert ("completed_without_event", "row-1") in kinds(result)


def test_a_postfix_id_takes_precedence_over_a_message_id(evidence: Evidence) -> None:
    # The event belongs to row 1, although it has the Message-ID of row 0.
    evidence.rows[1].update(email_message_id=None)
    evidence.rows[1]["action_params"]["client_recipient"] = evidence.rows[0]["action_params"]["client_recipient"]
    evidence.events[:2] = [event(0, PostfixID="4postfix1")]
    assert kinds(evidence.reconcile()) == [("completed_without_event", "row-0")]


def test_each_row_of_one_message_needs_a_success(evidence: Evidence) -> None:
    evidence.rows[1].update({**row(0), "message_id": "row-1"})
    evidence.events[:2] = [event(0, PostfixID="4postfix0")]
    assert evidence.reconcile()["by_kind"] == {"completed_without_event": 1}


def test_a_row_without_a_postfix_id_matches_the_events_of_one_message(evidence: Evidence) -> None:
    evidence.rows[0]["postfix_id"] = None
    evidence.events[:1] = [
        event(0, PostfixID="4a", success=False),
        event(0, PostfixID="4b", success=False),
        event(0, PostfixID="4b", CompletedAt="2026-11-20T16:02:50Z"),
        event(0, PostfixID="4c", CompletedAt="2026-11-20T16:02:51Z"),
    ]
    result = evidence.reconcile()
    # 4b belongs to the row. 4a (failed) and 4c (succeeded) belong to other messages.
    assert result["by_kind"] == {"event_without_row": 2}


def test_completed_rows_are_matched_before_failed_rows(evidence: Evidence) -> None:
    recipient = evidence.rows[0]["action_params"]["client_recipient"]
    for number, status in enumerate(("FAILED", "COMPLETED")):
        evidence.rows[number].update(email_message_id="<one@phish.example>", postfix_id=None, status=status)
        evidence.rows[number]["action_params"]["client_recipient"] = recipient
    evidence.job.update(messages_successful=2, messages_failed=1)
    one = {"MessageID": "<one@phish.example>", "Recipient": recipient}
    evidence.events[:2] = [{**event(0, success=False), **one}, {**event(0), **one}]
    assert evidence.reconcile()["agrees"]
    evidence.events.append({**event(0), **one, "CompletedAt": "2026-11-20T16:02:59Z"})
    assert kinds(evidence.reconcile()) == [("failed_event_succeeded", "row-0")]


@pytest.mark.parametrize("status", ["FAILED", "SKIPPED"])
@pytest.mark.parametrize(
    ("changes", "counted"),
    [
        ({"RequestedBy": "analyst@corp.example"}, "other_requester"),
        ({"Destination": "DeletedItems"}, "other_destination"),
    ],
)
def test_a_change_by_another_requester_does_not_contradict_an_unsuccessful_row(
    changes: dict[str, Any], counted: str, status: str, evidence: Evidence
) -> None:
    evidence.rows[1]["status"] = status
    evidence.job.update({"messages_successful": 2, f"messages_{status.lower()}": 1})
    evidence.events[1].update(changes)
    result = evidence.reconcile()
    assert (result["agrees"], result["events"][counted], result["events"]["succeeded"]) == (True, 1, 2)


def test_a_message_moved_only_by_another_requester_is_warned_about(evidence: Evidence) -> None:
    evidence.events[1]["RequestedBy"] = "analyst@corp.example"
    result = evidence.reconcile()
    assert result["agrees"]
    assert any("1 COMPLETED message has only events that another requester" in w for w in result["warnings"])
    evidence.events[1]["RequestedBy"] = "SOAR@corp.example "
    assert evidence.reconcile()["warnings"] == []


def test_every_requester_counts_if_no_successful_event_names_one(evidence: Evidence) -> None:
    for one_event in evidence.events:
        one_event["RequestedBy"] = None
    evidence.events.append(event(9))
    result = evidence.reconcile()
    assert (result["by_kind"], result["events"]["other_requester"]) == ({"event_without_row": 1}, 0)
    assert result["disagreements"][0]["event_requested_by"] == "soar@corp.example"


@pytest.mark.parametrize("changes", [{"MessageID": "<>"}, {"MessageID": " ", "PostfixID": " "}, {"Recipient": " "}])
def test_an_empty_identifier_counts_as_missing(changes: dict[str, Any], evidence: Evidence) -> None:
    evidence.events.append(event(9, **changes))
    result = evidence.reconcile()
    assert (result["agrees"], result["events"]["without_name"]) == (True, 1)


def test_a_blank_message_id_does_not_hide_the_nested_one(evidence: Evidence) -> None:
    evidence.rows[1].update(email_message_id=" ", postfix_id="", message={"message_id": "<id-1@phish.example>"})
    assert evidence.reconcile()["agrees"]


@pytest.mark.parametrize("name", ["MessageID", "PostfixID"])
def test_an_event_of_a_row_without_a_recipient_matches_that_row(name: str, evidence: Evidence) -> None:
    evidence.rows[1]["action_params"] = {"type": "MOVE", "destination": "JunkEmail"}
    evidence.events[1].update({"MessageID": None, name: {"MessageID": "<id-1@phish.example>"}.get(name, "4postfix1")})
    assert kinds(evidence.reconcile()) == [("row_without_name", "row-1")]


def test_attempts_of_a_message_without_a_row_are_one_disagreement(evidence: Evidence) -> None:
    evidence.events += [event(9, CompletedAt="2026-11-20T16:02:50Z"), event(9, success=False)]
    [one] = evidence.reconcile()["disagreements"]
    assert (one["kind"], one["event"], one["event_at"]) == ("event_without_row", "succeeded", "2026-11-20T16:02:50Z")


def test_events_with_different_request_times_are_not_duplicates(evidence: Evidence) -> None:
    for number in range(2):
        evidence.rows[number].update(email_message_id="<one@phish.example>", postfix_id=None)
        evidence.rows[number]["action_params"]["client_recipient"] = "user0@corp.example"
        requested_at = f"2026-11-20T16:02:3{number}Z"
        evidence.events[number] = event(0, MessageID="<one@phish.example>", RequestedAt=requested_at)
    result = evidence.reconcile()
    assert (result["agrees"], result["events"]["duplicates"]) == (True, 0)


@pytest.mark.parametrize("order", [1, -1])
def test_contradictory_duplicate_rows_are_warned_about(order: int, evidence: Evidence) -> None:
    evidence.rows[:1] = [evidence.rows[0], {**evidence.rows[0], "status": "FAILED"}][::order]
    result = evidence.reconcile()
    assert (result["rows"]["duplicates"], result["rows"]["changed"]) == (1, 1)
    assert any("1 row came again with other content" in warning for warning in result["warnings"])


@pytest.mark.parametrize(
    ("address", "recipient"), [("josé@corp.example", "jose\u0301@corp.example"), ("A@corp.example", "a@CORP.example")]
)
def test_two_spellings_of_an_address_match(address: str, recipient: str, evidence: Evidence) -> None:
    evidence.rows[1]["action_params"]["client_recipient"] = address
    evidence.events[1]["Recipient"] = recipient
    assert evidence.reconcile()["agrees"]


@pytest.mark.parametrize(("name", "other"), [("strasse", "straße"), ("4Abc", "4aBC")])
def test_different_identifiers_do_not_match(name: str, other: str, evidence: Evidence) -> None:
    if name.startswith("4"):
        evidence.rows[1]["postfix_id"], evidence.events[1]["PostfixID"] = name, other
    else:
        evidence.rows[1]["action_params"]["client_recipient"] = f"{name}@corp.example"
        evidence.events[1]["Recipient"] = f"{other}@corp.example"
    assert evidence.reconcile()["by_kind"] == {"completed_without_event": 1, "event_without_row": 1}


def test_a_mail_bomb_with_one_message_id_takes_linear_time(evidence: Evidence) -> None:
    def calls(number: int) -> int:
        evidence.rows = [row(0, message_id=f"row-{n}", postfix_id=f"4p{n}") for n in range(number)]
        evidence.events = [event(0, CompletedAt=1795190560_000_000 + n) for n in range(number)]
        evidence.job.update(total_messages_discovered=number, messages_successful=number)
        params, profile = evidence.params(), cProfile.Profile()
        assert profile.runcall(reconcile_job.run, params)["agrees"]
        return sum(entry.callcount for entry in profile.getstats())

    # If each row were compared with each event, four times the messages would need 16 times the calls.
    assert calls(800) < 6 * calls(200)


# Missing and late events


def test_a_missing_event_is_reported_with_the_time_range_of_the_files(evidence: Evidence) -> None:
    del evidence.events[2]
    [warning] = evidence.reconcile()["warnings"]
    assert "Logpush delivers late" in warning
    assert "2026-11-20T16:02:40Z" in warning
    assert "2026-11-20T16:03:00Z" in warning


def test_files_of_another_time_are_warned_about(evidence: Evidence) -> None:
    evidence.events = []
    result = evidence.reconcile()
    assert result["by_kind"] == {"completed_without_event": 3}
    assert any("of its account and its time" in warning for warning in result["warnings"])


@pytest.mark.parametrize(
    ("changes", "one_event"),
    [
        ({"completed_at": None}, "completed_at is not a valid time"),
        ({"completed_at": "garbage"}, "completed_at is not a valid time"),
        ({"created_at": "garbage"}, "created_at is not a valid time"),
        ({"action_params": None, "action_type": "MOVE"}, "names no folder"),
    ],
)
def test_a_job_without_valid_times_or_folder_is_warned_about(
    changes: dict[str, Any], one_event: str, evidence: Evidence
) -> None:
    evidence.job.update(changes)
    assert any(one_event in warning for warning in evidence.reconcile()["warnings"])


def test_a_running_job_is_warned_about(evidence: Evidence) -> None:
    evidence.job.update(status="PROCESSING", completed_at=None)
    assert any("has not ended" in warning for warning in evidence.reconcile()["warnings"])


def test_a_job_that_ends_while_its_rows_are_read_is_warned_about(evidence: Evidence) -> None:
    running = {**evidence.job, "status": "PROCESSING", "completed_at": None, "messages_pending": 1}
    requested_at = Scripted(ok(running), ok(evidence.rows), ok([]), ok(evidence.job))
    given = {name: value for name, value in evidence.params().items() if name not in ("job", "rows")}
    result = reconcile_job.run(given, connected(requested_at))
    assert result["warnings"] == [
        "the job was PROCESSING when its rows were read: differences may be rows that changed since"
    ]


# The list of disagreements


@pytest.mark.parametrize("row_format", ["ndjson", "csv"])
def test_the_file_has_every_disagreement_and_the_right_hash(row_format: str, evidence: Evidence) -> None:
    evidence.rows[0]["email_message_id"] = "=HYPERLINK(1)\u202e\r\n"
    evidence.events = []
    path = evidence.folder / "differences"
    result = evidence.reconcile(destination=str(path), format=row_format)
    [file] = result["files"]
    assert (file["sha256"], file["bytes"]) == (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
    assert (result["disagreements"], file["rows"], result["without_event"]) == (None, 3, 3)
    text = path.read_bytes().decode()
    if row_format == "ndjson":
        read = [json.loads(line) for line in text.splitlines()]
        assert read[0].keys() == {field.name for field in fields(Disagreement)}
    else:
        read = list(csv.DictReader(text.splitlines(keepends=True)))
        assert text.startswith('"kind","contradiction",')
        assert "\n=HYPERLINK" not in text
        assert ",=HYPERLINK" not in text
    assert text.isascii()
    assert {one["message_id"] for one in read} == {"row-0", "row-1", "row-2"}
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_inline_list_over_its_limit_is_refused_with_the_counts(evidence: Evidence) -> None:
    evidence.events = []
    size = len(json.dumps(evidence.reconcile()["disagreements"]))
    with pytest.raises(InlineTooLarge, match=r"3 disagreements \(3 completed_without_event\)"):
        evidence.reconcile(inline_limit_bytes=size - 1)
    assert len(evidence.reconcile(inline_limit_bytes=size)["disagreements"]) == 3


def test_an_existing_file_is_replaced_only_with_overwrite(evidence: Evidence) -> None:
    path = evidence.folder / "differences"
    path.write_text("old")
    with pytest.raises(ParameterError, match="may be evidence"):
        evidence.reconcile(destination=str(path))
    assert path.read_text() == "old"
    evidence.reconcile(destination=str(path), overwrite=True)
    assert path.read_text() == ""


@pytest.mark.parametrize("read", ["rows", "events"])
def test_an_input_file_is_never_replaced(read: str, evidence: Evidence) -> None:
    path = evidence.params()[read]
    path = path if isinstance(path, str) else path[0]
    before = Path(path).read_bytes()
    with pytest.raises(ParameterError, match="is one of the files to compare"):
        evidence.reconcile(destination=path, overwrite=True)
    assert Path(path).read_bytes() == before


def test_a_refusal_leaves_no_file(evidence: Evidence) -> None:
    evidence.events.append({"Operation": 5})
    with pytest.raises(ParameterError):
        evidence.reconcile(destination=str(evidence.folder / "differences"))
    assert not list(evidence.folder.glob("differences*"))


# Input files


def problem_with(line: bytes, evidence: Evidence, parameter: str) -> str:
    """Return the problem reported for a file with this second line."""
    params = evidence.params()
    path = Path(params["rows"] if parameter == "rows" else params["events"][0])
    first, *others = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + line + b"\n" + b"".join(others))
    with pytest.raises(ParameterError) as caught:
        reconcile_job.run(params)
    [problem] = caught.value.problems
    assert problem["pointer"] == ("/rows" if parameter == "rows" else "/events/0")
    return problem["message"]


@pytest.mark.parametrize("parameter", ["rows", "events"])
@pytest.mark.parametrize(
    "line",
    [
        b"no json",
        b'{"a": NaN}',
        b'{"Operation": "move", "Success": true, "a": NaN}',
        b"[1]",
        b'"text"',
        b"null",
        b"\xff\xfe",
        b'{"Subject": "\xff", "Operation": "move", "Success": true, "message_id": "x", "status": "x"}',
        b'{"a":' * 100_000,
        b"[" * 100_000,
        b'{"message_id": "x", "status": 5}',
        b'{"message_id": "x", "status": "x", "action_params": []}',
        b'{"Operation": "move"}',
        b'{"Operation": "move", "Success": "yes"}',
        b'{"Operation": "move", "Success": true, "MessageID": 7}',
        b'{"message_id": "\x00',
    ],
    ids=lambda line: line[:30],
)
def test_an_invalid_line_is_reported_with_its_number(line: bytes, parameter: str, evidence: Evidence) -> None:
    message = problem_with(line, evidence, parameter)
    assert message.startswith("line 2")
    assert len(message) < 300


@pytest.mark.parametrize("name", ["RequestedAt", "CompletedAt"])
@pytest.mark.parametrize(
    "value", ["yesterday", "2026-13-01T00:00:00Z", -5, 0, 10**30, "9" * 400, "2026-11-20T16:02:40"]
)
def test_an_invalid_time_is_reported_with_its_line(name: str, value: Any, evidence: Evidence) -> None:
    line = json.dumps(event(1, **{name: value})).encode()
    assert "line 2" in problem_with(line, evidence, "events")


def test_a_line_over_the_length_limit_is_refused(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remediation.exports.files.line_file.LONGEST_LINE_BYTES", 1000)
    assert "line 2 is longer than 1000 bytes" in problem_with(b'{"x": "' + b"x" * 5000 + b'"}', evidence, "events")


def test_rows_of_another_type_of_job_are_refused(evidence: Evidence) -> None:
    assert "is of a 'RELEASE' job" in problem_with(json.dumps(row(8, action_type="RELEASE")).encode(), evidence, "rows")


def test_a_message_id_that_looks_like_a_pseudonym_is_accepted(evidence: Evidence) -> None:
    write = "<m-0123456789abcdef0123@message-id.invalid>"
    evidence.rows[1]["email_message_id"] = evidence.events[1]["MessageID"] = write
    assert evidence.reconcile()["agrees"]


@pytest.mark.parametrize("status", ["", "x" * 65, "COMPLETED\n"])
def test_an_invalid_status_is_reported(status: str, evidence: Evidence) -> None:
    assert "unknown status" in problem_with(json.dumps(row(8, status)).encode(), evidence, "rows")


@pytest.mark.parametrize(
    "name", exhaustive_unless({"MessageID"}, ["MessageID", "Destination", "RequestedBy", "Status"])
)
def test_long_texts_do_not_fill_the_memory(name: str, evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "BATCH_LETTERS", 200_000)
    evidence.events += [{**event(n), name: f"{n}" + "x" * 40_000} for n in range(10, 110)]
    params = evidence.params(destination=str(evidence.folder / "list"))
    evidence.events = []
    tracemalloc.start()
    try:
        reconcile_job.run(params)
        # Less than the total size of the texts.
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_pseudonymized_rows_are_refused(sandbox: RunningSandbox, connect: Connect, tmp_path: Path) -> None:
    api = connect(sandbox, pseudonym_key=PSEUDONYM_KEY)
    job_id, rows = finished_job(api), str(tmp_path / "rows")
    export_job_messages.run({"job_id": job_id, "destination": rows, "pseudonymize": True}, api)
    with pytest.raises(ParameterError, match="has pseudonyms"):
        reconcile_job.run({"job_id": job_id, "rows": rows, "events": [rows]}, api)


@pytest.mark.parametrize("parameter", ["rows", "events"])
def test_a_gzip_file_from_logpush_is_read(parameter: str, evidence: Evidence) -> None:
    params = evidence.params()
    path = Path(params["rows"] if parameter == "rows" else params["events"][0])
    # Two gzip members, like two concatenated batches.
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(gzip.compress(lines[0]) + gzip.compress(b"".join(lines[1:])))
    assert reconcile_job.run(params)["agrees"]


@pytest.mark.parametrize("cut", [5, 12, -12, -3])
def test_a_truncated_gzip_file_is_refused(cut: int, evidence: Evidence) -> None:
    params = evidence.params()
    path = Path(params["events"][0])
    path.write_bytes(gzip.compress(path.read_bytes())[:cut])
    with pytest.raises(ParameterError, match=r"/events/0: .* can't be read"):
        reconcile_job.run(params)


def test_a_damaged_gzip_file_is_refused(evidence: Evidence) -> None:
    params = evidence.params()
    path = Path(params["events"][0])
    data = bytearray(gzip.compress(path.read_bytes()))
    for place in range(15, 40):
        data[place] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ParameterError, match="/events/0"):
        reconcile_job.run(params)


@pytest.mark.parametrize("path", ["/nowhere/x", "/", "/dev/zero", "a\0b"])
def test_an_unreadable_file_is_refused(path: str, evidence: Evidence) -> None:
    for parameter in ({"rows": path}, {"events": [path]}):
        with pytest.raises(ParameterError, match="can't be read"):
            reconcile_job.run({**evidence.params(), **parameter})


def test_one_events_file_needs_no_list(evidence: Evidence) -> None:
    params = evidence.params()
    assert reconcile_job.run({**params, "events": params["events"][0]})["agrees"]


@pytest.mark.parametrize("events", [[], "", [""], None, {}, [5]])
def test_missing_events_files_are_refused(events: Any, evidence: Evidence) -> None:
    with pytest.raises(ParameterError, match="/events"):
        reconcile_job.run({**evidence.params(), "events": events})


def test_an_empty_events_file_leaves_rows_without_event(evidence: Evidence) -> None:
    evidence.events = []
    assert evidence.reconcile()["without_event"] == 3


# The job


@pytest.mark.parametrize(
    "document",
    [{}, {"job_id": JOB_ID}, job(job_id="8d9f3c1e-5b0a-4c55-9a57-0f6f3f0c9b1d"), job(total_messages_discovered="many")],
)
def test_an_invalid_or_different_job_document_is_refused(document: dict[str, Any], evidence: Evidence) -> None:
    with pytest.raises(ParameterError, match="/job"):
        evidence.reconcile(job=document)


def test_a_job_with_an_unknown_action_is_refused(evidence: Evidence) -> None:
    evidence.job["action_type"] = "TRANSLATE"
    with pytest.raises(ParameterError, match="neither a MOVE nor a RELEASE"):
        evidence.reconcile()


def test_a_job_document_and_rows_need_no_call_and_no_token(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    job_id, rows = finished_job(api), str(tmp_path / "rows")
    export_job_messages.run({"job_id": job_id, "destination": rows}, api)
    document = get_job.run({"job_id": job_id}, api)["job"]
    events = write_events(sandbox, tmp_path / "events")
    calls = dict(sandbox.state.calls)
    # No connection is passed and the environment has none.
    result = reconcile_job.run({"job_id": job_id, "job": document, "rows": rows, "events": [events]})
    assert result["agrees"]
    assert dict(sandbox.state.calls) == calls


def test_invalid_rows_from_the_api_are_an_unexpected_answer(evidence: Evidence) -> None:
    listed = [{**row(1), "action_params": {"client_recipient": 5}}]
    listing = Listing(1, lambda number: listed if number == 1 else [])
    with pytest.raises(UnexpectedAnswer, match="a message of the job"):
        reconcile_job.run({"job_id": JOB_ID, "events": evidence.params()["events"]}, connected(listing))


def test_memory_does_not_grow_with_rows_and_events(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "BATCH", 250)

    def peak(number: int) -> int:
        evidence.rows = [row(n) for n in range(number)]
        evidence.events = [event(n) for n in range(number)]
        evidence.job.update(total_messages_discovered=number, messages_successful=number)
        params = evidence.params()
        evidence.rows, evidence.events = [], []
        tracemalloc.start()
        try:
            assert reconcile_job.run(params)["agrees"]
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)
    assert peak(2500) < 1.5 * peak(1250)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.just({"a": []}),
)


@given(data=st.data())
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
def test_any_value_in_any_field_gives_a_result_or_a_line_number(data: st.DataObject, tmp_path_factory: Any) -> None:
    document = job(status="COMPLETED", completed_at="2026-11-20T16:03:00Z", total_messages_discovered=2,
                   messages_successful=2)  # fmt: skip
    evidence = Evidence(tmp_path_factory.mktemp("any"), document, [row(0), row(1)], [event(0), event(1)])
    records = data.draw(st.sampled_from([evidence.rows, evidence.events]))
    name = data.draw(st.sampled_from(sorted(records[1])))
    records[1][name] = data.draw(VALUES)
    try:
        result = evidence.reconcile()
    except ParameterError as error:
        assert "line 2" in error.message
        return
    assert result["agrees"] is (result["disagreements"] == [])
    json.dumps(result)


@given(data=st.data())
@settings(suppress_health_check=list(HealthCheck))
def test_the_order_of_rows_and_events_does_not_matter(data: st.DataObject, tmp_path_factory: Any) -> None:
    statuses = st.sampled_from(["COMPLETED", "FAILED", "SKIPPED"])
    rows = [row(number, data.draw(statuses)) for number in range(5)]
    events = [
        event(data.draw(st.integers(0, 6)), success=data.draw(st.booleans()), CompletedAt=1795190560 + number)
        for number in range(data.draw(st.integers(0, 8)))
    ]
    document = job(status="COMPLETED", completed_at="2026-11-20T16:03:00Z", total_messages_discovered=5)
    evidence = Evidence(tmp_path_factory.mktemp("order"), document, rows, events)
    first = evidence.reconcile()
    evidence.rows, evidence.events = data.draw(st.permutations(rows)), data.draw(st.permutations(events))
    second = evidence.reconcile()
    assert kinds(first) == kinds(second)
    assert first["events"] == second["events"]
    # A row without a disagreement has an event.
    named = {one["message_id"] for one in first["disagreements"]}
    succeeded = {one_event["Recipient"] for one_event in events if one_event["Success"]}
    for one in rows:
        has_event = one["action_params"]["client_recipient"] in succeeded
        assert (one["message_id"] in named) == ((one["status"] == "COMPLETED") != has_event)


def test_only_the_test_record_of_logpush_is_ignored_with_a_warning(evidence: Evidence) -> None:
    plain = evidence.reconcile()
    tests, events = evidence.folder / "test.txt.gz", evidence.params()["events"]
    tests.write_bytes(gzip.compress(b'{"content":"tests"}'))
    result = evidence.reconcile(events=[*events, str(tests)])
    assert (result["events"]["test_records"], plain["events"]["test_records"]) == (1, 0)
    assert {**result["events"], "test_records": 0} == plain["events"]
    assert "Logpush's own test records were ignored: 1" in result["warnings"]
    for other in (b'{"content":"test"}', b'{"content":"tests","Operation":"move"}', b'["tests"]', b"test"):
        tests.write_bytes(other)
        with pytest.raises(ParameterError):
            evidence.reconcile(events=[*events, str(tests)])
