"""CANCELLED rows may have been moved: restore-messages looks them up and reports those it can't determine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions import (
    cancel_job,
    create_move_job,
    export_job_messages,
    move_messages,
    restore_messages,
    wait_for_job,
)
from actions.restore_messages import restore_verdict
from actions.shapes.example_job import JOB_ID
from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob
from core.errors import NotRestorable
from sandbox.message import Sender
from sandbox.server import RunningSandbox
from sandbox.settings import Pace
from tests.actions.named_messages import SMOOTH, delivered, folders, sent

Start = Callable[..., RunningSandbox]
Connect = Callable[..., EmailSecurity]
SENDER = "in-flight@partner.example"
SLOW: dict[str, Any] = {"start_delay": 1.0, "discover_rate": 1000.0, "process_rate": 1.0}


def cancel_in_flight(
    start: Start, connect: Connect, path: Path, *, moved: float, recipients: tuple[str, ...] = (), **order: Any
) -> tuple[RunningSandbox, EmailSecurity, dict[str, Any]]:
    """Cancel a job of 8 rows with 4 in flight, and export its rows to `path`."""
    sandbox = start(pace=Pace(**SLOW, moved_in_flight=moved), **SMOOTH)
    api = connect(sandbox)
    copies = [recipients] if recipients else [(f"user{n}@corp.example",) for n in range(8)]
    for number, to in enumerate(copies):
        delivered(sandbox, *to, number=60 + number * 100, sender=Sender(SENDER))
    search = {"sender": SENDER, "start": "2026-11-13T15:32:35Z", "detections_only": False}
    params = {"search_params": search, "destination": "JunkEmail", "wait_follows": True, **order}
    job_id = create_move_job.run(params, api)["job_id"]
    sandbox.state.advance(2)
    cancel_result = cancel_job.run({"job_id": job_id}, api)
    sandbox.state.advance(60)
    export_job_messages.run({"job_id": job_id, "destination": str(path)}, api)
    return sandbox, api, cancel_result


def restore(api: EmailSecurity, path: Path, **params: Any) -> dict[str, Any]:
    return restore_messages.run({"export": str(path), "dry_run": False, "allow_malicious": True, **params}, api)


def test_only_messages_moved_in_flight_are_restored(start_sandbox: Start, connect: Connect, tmp_path: Path) -> None:
    sandbox, api, cancel_result = cancel_in_flight(start_sandbox, connect, tmp_path / "a.ndjson", moved=1.0)
    assert any("in progress when the job ended" in warning for warning in cancel_result["warnings"])
    moved = set(folders(sandbox))
    assert len(moved) == 4
    dry = restore(api, tmp_path / "a.ndjson", dry_run=True)
    assert (dry["cancelled_moved"], dry["messages"], dry["rows"], dry["rows_left_alone"]) == (4, 4, 0, 4)
    result = restore(api, tmp_path / "a.ndjson")
    assert (result["succeeded"], result["done"], result["cancelled_unknown"]) == (4, True, [])
    assert folders(sandbox) == dict.fromkeys(moved, "Inbox")
    assert restore_verdict(result) == 0


def test_without_moved_messages_nothing_is_restored_and_no_log_is_read(
    start_sandbox: Start, connect: Connect, tmp_path: Path
) -> None:
    sandbox, api, _ = cancel_in_flight(start_sandbox, connect, tmp_path / "a.ndjson", moved=0.0)
    result = restore(api, tmp_path / "a.ndjson")
    assert (result["messages"], result["cancelled_moved"], result["rows_left_alone"], sent(sandbox)) == (0, 0, 8, [])
    assert "listMessageActions" not in sandbox.state.truth()["calls"]


def test_a_message_without_a_usable_log_is_reported_and_not_moved(
    start_sandbox: Start, connect: Connect, tmp_path: Path
) -> None:
    sandbox, api, _ = cancel_in_flight(start_sandbox, connect, tmp_path / "a.ndjson", moved=1.0)
    sandbox.state.faults.add("listMessageActions", "empty_page", times=None)
    result = restore(api, tmp_path / "a.ndjson")
    assert sorted(result["cancelled_unknown"]) == sorted(folders(sandbox))
    assert (result["done"], sent(sandbox), restore_verdict(result)) == (False, [], 8)
    assert any("CANCELLED rows have 4 messages that may have been moved" in warning for warning in result["warnings"])


def test_a_message_in_several_mailboxes_is_reported_as_unknown(
    start_sandbox: Start, connect: Connect, tmp_path: Path
) -> None:
    many = tuple(f"user{n}@corp.example" for n in range(8))
    sandbox, api, _ = cancel_in_flight(start_sandbox, connect, tmp_path / "a.ndjson", moved=1.0, recipients=many)
    result = restore(api, tmp_path / "a.ndjson")
    assert (len(result["cancelled_unknown"]), result["messages"], sent(sandbox)) == (1, 0, [])


def test_messages_purged_in_flight_are_not_restored(start_sandbox: Start, connect: Connect, tmp_path: Path) -> None:
    purge: dict[str, Any] = {"destination": "RecoverableItemsPurges", "allow_irreversible": True}
    _, api, _ = cancel_in_flight(start_sandbox, connect, tmp_path / "a.ndjson", moved=1.0, **purge)
    with pytest.raises(NotRestorable, match="CANCELLED") as caught:
        restore(api, tmp_path / "a.ndjson")
    assert "an administrator can" in caught.value.help


def test_a_message_moved_again_after_the_job_is_not_restored(
    start_sandbox: Start, connect: Connect, tmp_path: Path
) -> None:
    sandbox, api, _ = cancel_in_flight(start_sandbox, connect, tmp_path / "a.ndjson", moved=1.0)
    ids = sorted(folders(sandbox))
    move_messages.run({"ids": ids, "destination": "DeletedItems"}, api)
    result = restore(api, tmp_path / "a.ndjson")
    assert (result["cancelled_moved"], result["cancelled_unknown"]) == (0, [])


def test_cancel_wait_export_and_bundle_warn_that_cancelled_messages_may_have_moved(
    start_sandbox: Start, connect: Connect, tmp_path: Path
) -> None:
    _, api, cancel_result = cancel_in_flight(start_sandbox, connect, tmp_path / "a.ndjson", moved=1.0)
    note = "8 messages were cancelled; some may still have been moved or released"
    params: dict[str, Any] = {"job_id": cancel_result["job_id"]}
    waited = wait_for_job.run(params, api)
    bundle = {**params, "evidence": "bundle", "destination": str(tmp_path / "bundle")}
    exported = export_job_messages.run({**bundle, "overwrite": True}, api)
    written = json.loads((tmp_path / "bundle" / "export.json").read_text())
    for result in (cancel_result, waited, exported, written):
        assert len([warning for warning in result["warnings"] if note in warning]) == 1
    assert "counts as cancelled" in (tmp_path / "bundle" / "report.md").read_text()
    completed = {**params, "status": "COMPLETED", "destination": str(tmp_path / "b.ndjson")}
    assert export_job_messages.run(completed, api)["warnings"] == []


def test_the_cancelled_note_of_a_job_depends_on_its_counter() -> None:
    counters = {"messages_pending": 0, "messages_successful": 0, "messages_failed": 0, "messages_skipped": 0}
    document = {"job_id": JOB_ID, "status": "CANCELLED", "total_messages_discovered": 9, **counters}
    assert BulkJob.read({**document, "messages_cancelled": 9}, "job").cancelled_note == (
        "9 messages were cancelled; some may still have been moved or released, if they were in progress when the job "
        "ended"
    )
    for none in ({"messages_cancelled": 0}, {}, {"messages_cancelled": None}):
        assert BulkJob.read({**document, **none}, "job").cancelled_note is None
