"""Events that Logpush pushed become files that reconcile-job reads."""

from __future__ import annotations

import gzip
import json
import os
import stat
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from platforms.alerts.events import DAYS_KEPT, MERGED_AT, EventFiles
from platforms.alerts.inbox import EVENTS, Batch, Inbox
from remediation.reconciliation.post_delivery_events import events_of
from tests.clock import FakeClock


class Pushed:
    """An inbox and its event files, with a clock."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.folder = folder / "events"
        self.inbox = Inbox(folder / "inbox", self.clock)
        self.files = EventFiles(self.folder, self.clock)
        self.number = 0

    def batch(self, *lines: bytes) -> Batch:
        with self.inbox.begin(EVENTS) as writer:
            writer.write(b"\n".join(lines or (self.event(),)))
            batch = writer.finish().batch
        assert batch is not None
        return batch

    def push(self, *lines: bytes) -> None:
        batch = self.batch(*lines)
        self.files.store(batch)
        self.inbox.remove(batch)

    def event(self, **changes: Any) -> bytes:
        self.number += 1
        event = {"Operation": "move", "Success": True, "MessageID": f"<{self.number}@x>", "RequestedAt": 1732116755}
        return json.dumps({**event, **changes}).encode()

    def ids(self, paths: Iterable[Path] | None = None) -> list[str | None]:
        found = self.files.files() if paths is None else paths
        return [event.email_message_id for path in found for event in events_of(str(path), "/events") if event]


@pytest.fixture
def pushed(tmp_path: Path) -> Pushed:
    return Pushed(tmp_path)


def test_the_events_of_a_batch_are_a_file_that_reconcile_job_reads(pushed: Pushed) -> None:
    pushed.push(pushed.event(), b"", pushed.event(CompletedAt="2026-11-20T15:32:35.123456789Z"))
    [path] = pushed.files.files()
    assert pushed.ids() == ["<1@x>", "<2@x>"]
    assert path.parent.name == "2026-11-20"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_batch_that_is_stored_again_makes_no_second_file(pushed: Pushed) -> None:
    batch = pushed.batch()
    for _ in range(2):
        pushed.files.store(batch)
    assert pushed.ids() == ["<1@x>"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{}", "missing required field"),
        (b'{"Operation":"move","Success":"yes"}', "Expected `bool`"),
        (b'{"Operation":"move","Success":true,"RequestedAt":"soon"}', "RequestedAt is not a valid time"),
        (b'{"Operation":"move","Success":true,"Subject":"\xff"}', "not UTF-8"),
    ],
)
def test_a_record_that_would_make_the_file_unreadable_is_left_out_and_reported(
    pushed: Pushed, line: bytes, reason: str
) -> None:
    kept = pushed.files.store(pushed.batch(pushed.event(), line, pushed.event()))
    assert kept.read == 3
    [(number, refusal)] = kept.refused
    assert number == 2
    assert reason in refusal.reason
    assert pushed.ids() == ["<1@x>", "<2@x>"]


def test_an_odd_subject_is_no_reason_to_leave_an_event_out(pushed: Pushed) -> None:
    pushed.push(b'{"Operation":"move","Success":true,"MessageID":"<1@x>","Subject":"\\ud800 x{a}"}')
    assert pushed.ids() == ["<1@x>"]


def test_files_since_a_time_leave_out_what_came_before(pushed: Pushed) -> None:
    pushed.push()
    pushed.clock.advance(3600)
    since = pushed.clock.now()
    pushed.push()
    assert pushed.ids(pushed.files.files(since)) == ["<2@x>"]
    assert pushed.ids(pushed.files.files(since - timedelta(hours=1))) == ["<1@x>", "<2@x>"]
    assert pushed.files.files(since + timedelta(days=1)) == []


def test_the_number_of_files_stays_small_and_no_event_is_lost(pushed: Pushed) -> None:
    expected = []
    for _ in range(4):
        for _ in range(MERGED_AT * 2 + 10):
            pushed.push()
            expected.append(f"<{pushed.number}@x>")
        pushed.clock.set_forward(days=1)
    pushed.push()
    found = pushed.files.files()
    assert len(found) == 5
    assert sorted(pushed.ids(found), key=str) == sorted([*expected, f"<{pushed.number}@x>"])


def test_merged_files_of_a_busy_day_are_merged_again(pushed: Pushed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platforms.alerts.events.MERGED_AT", 3)
    for _ in range(40):
        pushed.push()
        assert len(pushed.files.files()) <= 6
        assert len(pushed.ids()) == pushed.number


def test_a_batch_that_comes_late_into_a_merged_time_is_kept(pushed: Pushed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platforms.alerts.events.MERGED_AT", 3)
    pushed.push()
    late = pushed.batch()
    pushed.push()
    pushed.push()
    pushed.files.store(late)
    assert sorted(pushed.ids(), key=str) == ["<1@x>", "<2@x>", "<3@x>", "<4@x>"]


def test_parts_of_a_merged_file_stay_for_an_hour(pushed: Pushed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platforms.alerts.events.MERGED_AT", 3)
    pushed.push()
    pushed.push()
    parts = pushed.files.files()
    pushed.push()
    assert all(part.exists() for part in parts)
    [merged] = pushed.files.files()
    for path in pushed.folder.rglob("*"):
        os.utime(path, (pushed.clock.now().timestamp(),) * 2)
    pushed.clock.set_forward(minutes=61)
    pushed.push()
    assert not any(part.exists() for part in parts)
    assert merged in pushed.files.files()
    assert len(pushed.ids()) == 4


def test_old_days_are_removed(pushed: Pushed) -> None:
    pushed.push()
    pushed.clock.set_forward(days=DAYS_KEPT)
    pushed.push()
    assert pushed.ids() == ["<1@x>", "<2@x>"]
    pushed.clock.set_forward(days=1)
    pushed.push()
    assert pushed.ids() == ["<2@x>", "<3@x>"]


def test_a_kill_while_files_are_merged_loses_no_event(pushed: Pushed, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed.push()
    pushed.push()
    day = pushed.files.files()[0].parent
    # The list of parts is written first; the merged file is then missing.
    (day / f"{1:020d}-{2:020d}-2.ndjson.gz.parts").write_text("\n".join(path.name for path in pushed.files.files()))
    assert pushed.ids() == ["<1@x>", "<2@x>"]
    monkeypatch.setattr("platforms.alerts.events.MERGED_AT", 3)
    pushed.push()
    assert pushed.ids() == ["<1@x>", "<2@x>", "<3@x>"]


def test_a_file_is_gzip_that_other_programs_read(pushed: Pushed) -> None:
    pushed.push()
    [path] = pushed.files.files()
    assert json.loads(gzip.decompress(path.read_bytes()))["MessageID"] == "<1@x>"
