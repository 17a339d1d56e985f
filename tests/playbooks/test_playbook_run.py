"""The local driver runs a playbook to every kind of end, and its journal survives whatever kills it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from core.clock import Clock
from core.errors import NotFound, OutcomeUnknown, ParameterError, RateLimited
from playbooks.drivers.journal import NEW_NAME, Entry, Journal
from playbooks.drivers.local import Observer, Outcome, Upcoming, resume, run
from playbooks.engine.engine import RunAction, Sleep
from playbooks.language.errors import (
    DirectoryUnusable,
    JournalRefused,
    JournalUnwritable,
    RunInProgress,
    RunMoved,
    StateRefused,
)
from playbooks.language.format import Playbook, Step
from tests.playbooks.conftest import KEY

Build = Callable[..., Any]


class Log(Observer):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def step_started(self, step: Step, command: RunAction, record: Mapping[str, Any], *, again: bool) -> None:  # noqa: ARG002 -- the interface
        self.lines.append(f"start {step.id} {record['attempts']}{' again' if again else ''}")

    def step_ended(self, step: Step, record: Mapping[str, Any]) -> None:
        self.lines.append(f"end {step.id} {record['status']}")

    def step_skipped(self, step: Step, record: Mapping[str, Any]) -> None:  # noqa: ARG002 -- the interface
        self.lines.append(f"skip {step.id}")

    def sleeping(self, step: Step, command: Sleep, record: Mapping[str, Any]) -> None:  # noqa: ARG002 -- the interface
        self.lines.append(f"sleep {step.id} {command.seconds:g} {command.why}")

    def finished(self, outcome: Outcome) -> None:
        self.lines.append(f"finished {outcome.status}")


class Killed(BaseException):
    """What no driver catches."""


@pytest.fixture
def go(purge: Playbook, alert: dict[str, Any], clock: Clock, tmp_path: Path) -> Callable[..., Outcome]:
    def start(run_action: Any, observer: Observer | None = None, **inputs: Any) -> Outcome:
        return run(
            purge,
            {"alert": alert, **inputs},
            run_action=run_action,
            clock=clock,
            key=KEY,
            run_id="run-1",
            directory=tmp_path / "run",
            observer=observer,
        )

    return start


def test_a_run_goes_through_every_step_in_order(go: Build, remote: Build, clock: Any, tmp_path: Path) -> None:
    side, log = remote(), Log()
    outcome = go(side, log)
    assert (outcome.status, outcome.exit_code, outcome.error) == ("completed", 0, None)
    assert outcome.outputs == {"discovered": 3, "rows": 3, "subject": "Overdue {{ 7*7 }}"}
    assert log.lines == [
        "end window succeeded",
        "start find 1",
        "end find succeeded",
        "end within-cap succeeded",
        "end nothing succeeded",
        "start create 1",
        "end create succeeded",
        "start wait 1",
        "sleep wait 5 repeat",
        "start wait 2",
        "start wait 3",
        "end wait succeeded",
        "skip tidy",
        "start rows 1",
        "end rows succeeded",
        "end all-moved succeeded",
        "finished completed",
    ]
    assert clock.slept == [5]
    assert side.of("search-messages") == [
        {
            "search_params": {
                "sender": "billing@shop.example",
                "subject": "Overdue {{ 7*7 }}",
                "start": "2026-11-13T15:32:35Z",
                "detections_only": False,
            },
            "limit": 101,
        }
    ]
    assert [params.get("resume") for params in side.of("wait-for-job")] == [None, {"n": 1}, {"n": 2}]
    assert "resume" not in side.of("wait-for-job")[0]
    assert side.of("export-job-messages")[0]["destination"].startswith(f"{tmp_path}/run/A_1_2-")
    assert json.dumps(outcome.document())


def test_a_check_refuses_before_anything_is_changed(go: Build, remote: Build) -> None:
    side = remote()
    outcome = go(side, max_messages=2)
    assert (outcome.status, outcome.exit_code) == ("refused", 3)
    assert outcome.message == "The search finds 3 messages, more than 2."
    assert outcome.error["type"] == "CheckRefused"
    assert outcome.error["applied"] == "no"
    assert side.of("create-move-job") == []
    assert outcome.outputs == {"discovered": None, "rows": None, "subject": "Overdue {{ 7*7 }}"}


def test_a_finish_step_ends_the_run_early_and_well(go: Build, remote: Build) -> None:
    outcome = go(remote(search_messages=[{"count": 0}]))
    assert (outcome.status, outcome.exit_code) == ("completed", 0)
    assert outcome.message == "billing@shop.example left nothing."
    assert outcome.outputs["discovered"] is None


def test_a_closing_check_makes_the_run_incomplete_with_its_outputs(go: Build, remote: Build) -> None:
    done = {"done": True, "progress": {"discovered": 3, "failed": 1}}
    outcome = go(remote(wait_for_job=[done]))
    assert (outcome.status, outcome.exit_code, outcome.message) == ("incomplete", 8, "1 messages were not moved.")
    assert outcome.outputs["discovered"] == 3


def test_a_failed_action_fails_the_run_with_its_error_and_exit_code(go: Build, remote: Build) -> None:
    outcome = go(remote(create_move_job=[OutcomeUnknown("lost")]))
    assert (outcome.status, outcome.exit_code) == ("failed", 7)
    assert outcome.error["type"] == "OutcomeUnknown"
    assert outcome.error["applied"] == "unknown"


def test_a_handler_retries_after_the_time_the_error_names(go: Build, remote: Build, clock: Any) -> None:
    limited = [RateLimited("slow down", retry_after_seconds=77), RateLimited("slow down"), {"job_id": "job-1"}]
    side = remote(create_move_job=limited)
    outcome = go(side)
    assert outcome.status == "completed"
    assert clock.slept[:2] == [77, 30]
    assert len({json.dumps(params) for params in side.of("create-move-job")}) == 1


def test_retries_end(go: Build, remote: Build) -> None:
    side = remote(create_move_job=[RateLimited("slow down")])
    outcome = go(side)
    assert (outcome.status, outcome.exit_code) == ("failed", 6)
    assert len(side.of("create-move-job")) == 3


def test_a_failed_step_may_be_gone_over(go: Build, remote: Build) -> None:
    outcome = go(remote(export_job_messages=[NotFound("gone")]))
    assert outcome.status == "completed"
    assert outcome.outputs["rows"] is None
    assert outcome.steps["rows"]["error"]["type"] == "NotFound"


def test_a_step_that_is_never_done_fails_at_its_limit(go: Build, remote: Build) -> None:
    side = remote(wait_for_job=[{"done": False, "next_poll_seconds": 1, "resume": None}])
    outcome = go(side)
    assert (outcome.status, outcome.exit_code, outcome.error["type"]) == ("failed", 6, "RepeatLimitReached")
    assert len(side.of("wait-for-job")) == 5


@pytest.mark.parametrize("bad", [{"count": float("nan")}, {1: 2}, {"x": object()}, ["list"], None])
def test_a_result_that_is_not_a_json_object_is_a_defect_of_the_action(go: Build, bad: Any) -> None:
    outcome = go(lambda *_: bad)
    assert (outcome.status, outcome.exit_code, outcome.error["type"]) == ("failed", 1, "InternalError")


def test_the_journal_is_for_its_owner_alone(go: Build, remote: Build, tmp_path: Path) -> None:
    go(remote())
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "run" / "journal.json").stat().st_mode) == 0o600
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["journal.json", "journal.lock"]


def test_a_second_run_in_the_same_directory_is_refused(go: Build, remote: Build) -> None:
    go(remote())
    side = remote()
    with pytest.raises(JournalRefused, match="already has a run"):
        go(side)
    assert side.calls == []


def test_bad_inputs_leave_no_directory(go: Build, remote: Build, tmp_path: Path) -> None:
    with pytest.raises(ParameterError) as caught:
        go(remote(), destination="Inbox", max_messages=0, mx=1)
    assert [p["pointer"] for p in caught.value.problems] == ["/mx", "/destination", "/max_messages"]
    assert not (tmp_path / "run").exists()


def test_resuming_an_ended_run_gives_its_outcome_and_does_nothing(
    go: Build, remote: Build, clock: Any, tmp_path: Path
) -> None:
    before = go(remote())
    side = remote()
    assert resume(tmp_path / "run", run_action=side, clock=clock, key=KEY) == before
    assert side.calls == []


@pytest.mark.parametrize("at", range(6))
def test_a_run_killed_within_any_action_resumes_with_the_same_parameters(
    go: Build, remote: Build, clock: Any, tmp_path: Path, at: int
) -> None:
    whole = run_elsewhere(go, remote, tmp_path)
    side, log = remote(), Log()

    def dies(action: str, params: dict[str, Any]) -> Any:
        if len(side.calls) == at:
            seen.append((action, params))
            raise Killed
        return side(action, params)

    seen: list[tuple[str, dict[str, Any]]] = []
    with pytest.raises(Killed):
        go(dies)
    outcome = resume(tmp_path / "run", run_action=side, clock=clock, key=KEY, observer=log)
    assert outcome.outputs == whole
    assert log.lines[0].endswith("again")
    assert side.calls[at] == seen[0]
    assert len(side.calls) == 6


@pytest.mark.parametrize("at", range(15))
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_killed_around_any_write_of_the_journal_can_be_resumed(
    go: Build, remote: Build, clock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, when: str
) -> None:
    whole = run_elsewhere(go, remote, tmp_path)
    side = remote()
    write, written = Journal.write, 0

    def dies(self: Journal, entry: Entry) -> None:
        nonlocal written
        written += 1
        if written == at + 1 and when == "before":
            raise Killed
        write(self, entry)
        if written == at + 1:
            raise Killed

    monkeypatch.setattr(Journal, "write", dies)
    try:
        outcome = go(side)
    except Killed:
        monkeypatch.setattr(Journal, "write", write)
        unwritten = at == 0 and when == "before"
        outcome = go(side) if unwritten else resume(tmp_path / "run", run_action=side, clock=clock, key=KEY)
    assert outcome.outputs == whole
    assert len({json.dumps(params) for params in side.of("create-move-job")}) == 1


def run_elsewhere(go: Build, remote: Build, tmp_path: Path) -> Any:
    """The outputs of a run that nothing disturbs."""
    outcome = go(remote())
    (tmp_path / "run").rename(tmp_path / "undisturbed")
    return outcome.outputs


def test_an_interrupted_sleep_is_slept_to_its_end_only(go: Build, remote: Build, clock: Any, tmp_path: Path) -> None:
    side = remote()
    sleep = clock.sleep

    def interrupted(seconds: float) -> None:
        sleep(2)
        raise KeyboardInterrupt

    clock.sleep = interrupted
    with pytest.raises(KeyboardInterrupt):
        go(side)
    clock.sleep = sleep
    assert resume(tmp_path / "run", run_action=side, clock=clock, key=KEY).status == "completed"
    assert clock.slept == [2, 3]


PROGRAM = """
import sys, os
from pathlib import Path
from core.clock import SystemClock
from playbooks.drivers.journal_key import JournalKey
from playbooks.language.loading import load
from playbooks.drivers.local import run

def run_action(action, params):
    if action == "stop-here":
        print("here", flush=True)
        sys.stdin.read()
    return {"n": params["n"]}

key = JournalKey(b"k" * 32, "of the tests")
given = {"clock": SystemClock(), "key": key, "run_id": "r", "directory": Path(sys.argv[2])}
run(load(sys.argv[1]), {"n": 7}, run_action=run_action, **given)
"""

TWO_STEPS = """\
playbook: 1
id: two
title: Two steps
inputs: {n: {type: integer, description: A number.}}
steps:
  - {id: one, action: first, with: {n: "{{ inputs.n }}"}}
  - {id: two, action: stop-here, with: {n: "{{ steps.one.n + 1 }}"}}
outputs: {n: "{{ steps.two.n }}"}
"""


@pytest.fixture
def other_process(tmp_path: Path) -> Any:
    """A process that hangs within the second action."""
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), TWO_STEPS, str(tmp_path / "run")],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == b"here\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_after_a_real_kill_9_another_process_resumes_the_run(other_process: Any, tmp_path: Path, clock: Any) -> None:
    calls: list[tuple[str, Any]] = []

    def run_action(action: str, params: dict[str, Any]) -> dict[str, Any]:
        calls.append((action, params))
        return params

    with pytest.raises(RunInProgress, match="another process uses the run"):
        resume(tmp_path / "run", run_action=run_action, clock=clock, key=KEY)
    other_process.send_signal(signal.SIGKILL)
    other_process.wait()
    outcome = resume(tmp_path / "run", run_action=run_action, clock=clock, key=KEY)
    assert outcome.outputs == {"n": 8}
    assert calls == [("stop-here", {"n": 8})]


def test_a_missing_run_is_reported(tmp_path: Path, clock: Any, remote: Build) -> None:
    with pytest.raises(JournalRefused, match="there is no run to resume"):
        resume(tmp_path, run_action=remote(), clock=clock, key=KEY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text.replace("JunkEmail", "Trash"), "damaged or was edited"),
        (lambda text: text[:-40], "it is not a JSON document"),
        (lambda _: "", "it is not a JSON document"),
        (lambda _: "[" * 100_000, "it is not a JSON document"),
        (lambda _: "[1]", "another version"),
        (lambda text: text.replace('"journal": 2', '"journal": 3'), "another version"),
        (lambda text: text.replace('"journal": 2', '"journal": true'), "another version"),
        (lambda text: text.replace('"journal": 2', '"journal": 1'), "an older version of this program"),
        (lambda _: '{"journal": 2}', "damaged or was edited"),
        (lambda _: '{"journal": 2, "x": NaN}', "damaged or was edited"),
    ],
)
def test_a_damaged_or_edited_journal_is_refused(
    go: Build, remote: Build, clock: Any, tmp_path: Path, damage: Callable[[str], str], said: str
) -> None:
    go(remote())
    path = tmp_path / "run" / "journal.json"
    path.write_text(damage(path.read_text()))
    side = remote()
    with pytest.raises(JournalRefused, match=said):
        resume(tmp_path / "run", run_action=side, clock=clock, key=KEY)
    assert side.calls == []


def test_a_journal_whose_playbook_this_version_does_not_know_is_refused(
    go: Build, remote: Build, clock: Any, tmp_path: Path
) -> None:
    go(remote())
    with Journal(tmp_path / "run", KEY, create=False) as journal:
        entry = journal.read()
        journal.write(Entry({**entry.playbook, "playbook": 2}, entry.state))
    with pytest.raises(StateRefused, match="this version can't read the journal"):
        resume(tmp_path / "run", run_action=remote(), clock=clock, key=KEY)


def test_a_directory_that_cannot_be_used_is_a_wrong_parameter_and_not_temporary(
    go: Build, remote: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").write_text("a file")
    side = remote()
    with pytest.raises(DirectoryUnusable, match="can't be used: File exists") as caught:
        go(side)
    assert (caught.value.exit_code, caught.value.retryable, caught.value.applied, side.calls) == (2, False, "no", [])
    (tmp_path / "run").unlink()

    def refused(*_: Any, **__: Any) -> int:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(DirectoryUnusable, match="Permission denied"):
        go(side)


def test_a_directory_that_is_not_a_path_is_refused(purge: Playbook, alert: dict[str, Any], clock: Any) -> None:
    with pytest.raises(DirectoryUnusable, match="is not a path"):
        run(purge, {"alert": alert}, run_action=dict, clock=clock, key=KEY, run_id="r", directory=Path("a\0b"))  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_run_whose_directory_is_another_is_refused_with_both_places(
    go: Build, remote: Build, clock: Any, tmp_path: Path, how: str
) -> None:
    go(remote(create_move_job=[NotFound("gone")]))
    if how == "moved":
        (tmp_path / "run").rename(tmp_path / "else")
    else:
        shutil.copytree(tmp_path / "run", tmp_path / "else")
    side = remote()
    with pytest.raises(RunMoved) as caught:
        resume(tmp_path / "else", run_action=side, clock=clock, key=KEY)
    assert (caught.value.exit_code, side.calls) == (2, [])
    assert f"began in '{tmp_path}/run'" in caught.value.message
    assert f"is now in '{tmp_path}/else'" in caught.value.message


def test_the_same_directory_by_another_path_is_no_other_one(
    go: Build, remote: Build, clock: Any, tmp_path: Path
) -> None:
    go(remote())
    (tmp_path / "above").symlink_to(tmp_path)
    for path in (tmp_path / "above" / "run", tmp_path / "run" / ".." / "run"):
        assert resume(path, run_action=remote(), clock=clock, key=KEY).status == "completed"


def test_a_failed_run_tries_the_failed_step_again_on_resume(
    go: Build, remote: Build, clock: Any, tmp_path: Path
) -> None:
    failed = go(remote(wait_for_job=[RateLimited("slow down")]))
    assert (failed.status, failed.resumable) == ("failed", True)
    side, log = remote(), Log()
    outcome = resume(tmp_path / "run", run_action=side, clock=clock, key=KEY, observer=log)
    assert (outcome.status, outcome.resumable) == ("completed", False)
    assert [action for action, _ in side.calls] == ["wait-for-job"] * 3 + ["export-job-messages"]
    assert log.lines[0] == "start wait 1"


def test_a_step_tried_again_on_resume_keeps_what_is_not_known_of_it(
    go: Build, remote: Build, clock: Any, tmp_path: Path
) -> None:
    go(remote(create_move_job=[OutcomeUnknown("lost")]))
    outcome = resume(tmp_path / "run", run_action=remote(create_move_job=[NotFound("no such")]), clock=clock, key=KEY)
    assert (outcome.exit_code, outcome.error and outcome.error["applied"]) == (7, "unknown")
    assert outcome.error
    assert "the next attempt ended in NotFound: no such" in outcome.error["message"]


@pytest.mark.parametrize("max_messages", [2, 3])
def test_a_run_that_ended_otherwise_is_not_tried_again(
    go: Build, remote: Build, clock: Any, tmp_path: Path, max_messages: int
) -> None:
    done = {"done": True, "progress": {"discovered": 3, "failed": 1}}
    before = go(remote(wait_for_job=[done]), max_messages=max_messages)
    assert before.status == ("refused" if max_messages == 2 else "incomplete")
    side = remote()
    assert resume(tmp_path / "run", run_action=side, clock=clock, key=KEY) == before
    assert side.calls == []


def test_what_is_raised_before_an_action_leaves_the_run_before_it_and_no_trace_of_it(
    go: Build, purge: Playbook, alert: dict[str, Any], remote: Build, clock: Any, tmp_path: Path
) -> None:
    seen: list[tuple[str, bool]] = []
    side, log = remote(), Log()

    def stops(upcoming: Upcoming) -> None:
        seen.append((upcoming.command.step_id, upcoming.begun))
        if upcoming.command.step_id == "create":
            raise NotFound("not now")

    given: dict[str, Any] = {"run_action": side, "clock": clock, "key": KEY}
    with pytest.raises(NotFound):
        run(purge, {"alert": alert}, run_id="r", directory=tmp_path / "run", observer=log, before_action=stops, **given)
    with Journal(tmp_path / "run", KEY, create=False) as journal:
        assert journal.read().in_flight is None
    assert "start create 1" not in log.lines
    with pytest.raises(NotFound):
        resume(tmp_path / "run", before_action=stops, **given)
    assert seen == [("find", False), ("create", False), ("create", False)]
    assert resume(tmp_path / "run", observer=log, **given).status == "completed"
    assert not any(line.endswith("again") for line in log.lines)


def test_an_action_that_had_begun_is_reported_as_begun(go: Build, remote: Build, clock: Any, tmp_path: Path) -> None:
    def dies(action: str, params: dict[str, Any]) -> Any:
        if action == "create-move-job":
            raise Killed
        return remote()(action, params)

    with pytest.raises(Killed):
        go(dies)
    seen: list[tuple[str, bool]] = []
    limited = [RateLimited("slow down"), {"job_id": "job-1"}]
    resume(
        tmp_path / "run",
        run_action=remote(create_move_job=limited),
        clock=clock,
        key=KEY,
        before_action=lambda upcoming: seen.append((upcoming.command.step_id, upcoming.begun)),
    )
    assert seen[:3] == [("create", True), ("create", True), ("wait", False)]


def test_a_resumed_run_reports_the_steps_that_were_reached(
    go: Build, remote: Build, clock: Any, tmp_path: Path
) -> None:
    go(remote(wait_for_job=[RateLimited("slow down")]))

    class Shown(Observer):
        def resumed(self, reached: Any) -> None:
            self.results = {step.id: record["result"] for step, record in reached}

    shown = Shown()
    resume(tmp_path / "run", run_action=remote(), clock=clock, key=KEY, observer=shown)
    assert shown.results["create"] == {"job_id": "job-1", "status": "PENDING"}


@pytest.mark.parametrize(("at", "exit_code", "applied"), [(1, 6, "no"), (3, 7, "unknown")])
def test_a_full_disk_is_a_typed_error_that_reports_whether_an_action_ran(
    go: Build,
    remote: Build,
    clock: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
    exit_code: int,
    applied: str,
) -> None:
    fsync, synced = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal synced
        synced += 1
        # Two a write: the file and its directory.
        if synced == 2 * at - 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    side = remote()
    with pytest.raises(JournalUnwritable, match="No space left on device") as caught:
        go(side)
    assert (caught.value.exit_code, caught.value.applied) == (exit_code, applied)
    monkeypatch.setattr(os, "fsync", fsync)
    assert not (tmp_path / "run" / NEW_NAME).exists()
    if at > 1:
        assert resume(tmp_path / "run", run_action=side, clock=clock, key=KEY).status == "completed"
    else:
        assert go(side).status == "completed"


EFFECTS = {
    "search-messages": "read",
    "wait-for-job": "read",
    "export-job-messages": "read",
    "create-move-job": "write",
    "tidy": "write",
}


@pytest.mark.parametrize(
    ("at", "changed"),
    [
        ("find begins", False),
        ("find has ended", False),
        ("create begins", False),
        ("create has ended", True),
        ("wait begins", True),
        ("wait has ended", True),
    ],
)
@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EFBIG])
def test_a_journal_that_grows_too_large_reports_the_changes_and_names_the_job(
    purge: Playbook,
    alert: dict[str, Any],
    remote: Build,
    clock: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: str,
    changed: bool,
    reason: int,
) -> None:
    step, _, when = at.partition(" ")
    write = Journal.write

    def full(journal: Journal, entry: Entry) -> None:
        record = entry.state["steps"].get(step)
        begins = entry.in_flight is not None and entry.in_flight["step_id"] == step
        if begins if when == "begins" else (record is not None and entry.in_flight is None and record["repeats"]):
            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", _raising(OSError(reason, os.strerror(reason))))
                write(journal, entry)
        write(journal, entry)

    def go() -> Outcome:
        return run(
            purge, {"alert": alert}, run_action=side, clock=clock, key=KEY, run_id="run-1",
            directory=tmp_path / "run", effects=EFFECTS,
        )  # fmt: skip

    side = remote()
    monkeypatch.setattr(Journal, "write", full)
    with pytest.raises(JournalUnwritable) as caught:
        go()
    error = caught.value
    assert (error.exit_code, error.applied, error.job_id) == ((7, "yes", "job-1") if changed else (6, "no", None))
    assert error.help.startswith("Step 'create' (create-move-job) is done, job job-1." if changed else "Nothing was ch")
    assert "resume the run" in error.help
    monkeypatch.setattr(Journal, "write", write)
    assert resume(tmp_path / "run", run_action=side, clock=clock, key=KEY).status == "completed"


def test_a_journal_that_cant_be_written_before_a_step_begun_by_a_killed_process_promises_nothing(
    purge: Playbook, alert: dict[str, Any], remote: Build, clock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"clock": clock, "key": KEY}
    with pytest.raises(Killed):
        run(
            purge, {"alert": alert}, run_action=remote(create_move_job=[Killed()]), run_id="run-1",
            directory=tmp_path / "run", effects=EFFECTS, **given,
        )  # fmt: skip
    with monkeypatch.context() as patch, pytest.raises(JournalUnwritable) as caught:
        patch.setattr(os, "fsync", _raising(OSError(errno.ENOSPC, "No space left on device")))
        resume(tmp_path / "run", run_action=remote(), **given)
    assert (caught.value.exit_code, caught.value.applied) == (7, "unknown")
    assert "Step 'create' (create-move-job) may have changed something." in caught.value.help


def _raising(error: Exception) -> Callable[[int], None]:
    def fails(_: int) -> None:
        raise error

    return fails
