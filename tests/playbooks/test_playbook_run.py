"""The local driver runs a playbook to every kind of end, and its journal survives a kill at any point."""

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
from playbooks.engine.commands import RunAction, Sleep
from playbooks.engine.state import ActionTraits
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
    """An exception that no driver catches."""


@pytest.fixture
def run_purge(purge: Playbook, alert: dict[str, Any], clock: Clock, tmp_path: Path) -> Callable[..., Outcome]:
    def run_it(run_action: Any, observer: Observer | None = None, **inputs: Any) -> Outcome:
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

    return run_it


def test_a_run_executes_every_step_in_order(run_purge: Build, remote: Build, clock: Any, tmp_path: Path) -> None:
    actions, log = remote(), Log()
    outcome = run_purge(actions, log)
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
    assert actions.of("search-messages") == [
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
    assert [params.get("resume") for params in actions.of("wait-for-job")] == [None, {"n": 1}, {"n": 2}]
    assert "resume" not in actions.of("wait-for-job")[0]
    assert actions.of("export-job-messages")[0]["destination"].startswith(f"{tmp_path}/run/A_1_2-")
    assert json.dumps(outcome.document())


def test_a_check_refuses_before_anything_is_changed(run_purge: Build, remote: Build) -> None:
    actions = remote()
    outcome = run_purge(actions, max_messages=2)
    assert (outcome.status, outcome.exit_code) == ("refused", 3)
    assert outcome.message == "The search finds 3 messages, more than 2."
    assert outcome.error["type"] == "CheckRefused"
    assert outcome.error["applied"] == "no"
    assert actions.of("create-move-job") == []
    assert outcome.outputs == {"discovered": None, "rows": None, "subject": "Overdue {{ 7*7 }}"}


def test_a_finish_step_ends_the_run_as_completed(run_purge: Build, remote: Build) -> None:
    outcome = run_purge(remote(search_messages=[{"count": 0}]))
    assert (outcome.status, outcome.exit_code) == ("completed", 0)
    assert outcome.message == "billing@shop.example left nothing."
    assert outcome.outputs["discovered"] is None


def test_a_final_check_makes_the_run_incomplete_with_outputs(run_purge: Build, remote: Build) -> None:
    done = {"done": True, "progress": {"discovered": 3, "failed": 1}}
    outcome = run_purge(remote(wait_for_job=[done]))
    assert (outcome.status, outcome.exit_code, outcome.message) == ("incomplete", 8, "1 messages were not moved.")
    assert outcome.outputs["discovered"] == 3


def test_a_failed_action_fails_the_run_with_its_error_and_exit_code(run_purge: Build, remote: Build) -> None:
    outcome = run_purge(remote(create_move_job=[OutcomeUnknown("lost")]))
    assert (outcome.status, outcome.exit_code) == ("failed", 7)
    assert outcome.error["type"] == "OutcomeUnknown"
    assert outcome.error["applied"] == "unknown"


def test_a_handler_retries_after_the_retry_after_of_the_error(run_purge: Build, remote: Build, clock: Any) -> None:
    answers = [RateLimited("slow down", retry_after_seconds=77), RateLimited("slow down"), {"job_id": "job-1"}]
    actions = remote(create_move_job=answers)
    outcome = run_purge(actions)
    assert outcome.status == "completed"
    assert clock.slept[:2] == [77, 30]
    assert len({json.dumps(params) for params in actions.of("create-move-job")}) == 1


def test_the_number_of_retries_is_limited(run_purge: Build, remote: Build) -> None:
    actions = remote(create_move_job=[RateLimited("slow down")])
    outcome = run_purge(actions)
    assert (outcome.status, outcome.exit_code) == ("failed", 6)
    assert len(actions.of("create-move-job")) == 3


def test_a_run_can_continue_after_a_failed_step(run_purge: Build, remote: Build) -> None:
    outcome = run_purge(remote(export_job_messages=[NotFound("gone")]))
    assert outcome.status == "completed"
    assert outcome.outputs["rows"] is None
    assert outcome.steps["rows"]["error"]["type"] == "NotFound"


def test_a_repeated_step_fails_at_its_limit(run_purge: Build, remote: Build) -> None:
    actions = remote(wait_for_job=[{"done": False, "next_poll_seconds": 1, "resume": None}])
    outcome = run_purge(actions)
    assert (outcome.status, outcome.exit_code, outcome.error["type"]) == ("failed", 6, "RepeatLimitReached")
    assert len(actions.of("wait-for-job")) == 5


@pytest.mark.parametrize("bad", [{"count": float("nan")}, {1: 2}, {"x": object()}, ["list"], None])
def test_a_result_that_is_not_a_json_object_is_an_internal_error(run_purge: Build, bad: Any) -> None:
    outcome = run_purge(lambda *_: bad)
    assert (outcome.status, outcome.exit_code, outcome.error["type"]) == ("failed", 1, "InternalError")


def test_the_journal_is_private_to_its_owner(run_purge: Build, remote: Build, tmp_path: Path) -> None:
    run_purge(remote())
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "run" / "journal.json").stat().st_mode) == 0o600
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["journal.json", "journal.lock"]


def test_a_second_run_in_the_same_directory_is_refused(run_purge: Build, remote: Build) -> None:
    run_purge(remote())
    actions = remote()
    with pytest.raises(JournalRefused, match="already has a run"):
        run_purge(actions)
    assert actions.calls == []


def test_bad_inputs_leave_no_directory(run_purge: Build, remote: Build, tmp_path: Path) -> None:
    with pytest.raises(ParameterError) as caught:
        run_purge(remote(), destination="Inbox", max_messages=0, mx=1)
    assert [p["pointer"] for p in caught.value.problems] == ["/mx", "/destination", "/max_messages"]
    assert not (tmp_path / "run").exists()


def test_resuming_an_ended_run_returns_its_outcome_and_runs_nothing(
    run_purge: Build, remote: Build, clock: Any, tmp_path: Path
) -> None:
    before = run_purge(remote())
    actions = remote()
    assert resume(tmp_path / "run", run_action=actions, clock=clock, key=KEY) == before
    assert actions.calls == []


@pytest.mark.parametrize("at", range(6))
def test_a_run_killed_in_any_action_resumes_with_the_same_parameters(
    run_purge: Build, remote: Build, clock: Any, tmp_path: Path, at: int
) -> None:
    expected_outputs = run_elsewhere(run_purge, remote, tmp_path)
    actions, log = remote(), Log()

    def kill_at(action: str, params: dict[str, Any]) -> Any:
        if len(actions.calls) == at:
            seen.append((action, params))
            raise Killed
        return actions(action, params)

    seen: list[tuple[str, dict[str, Any]]] = []
    with pytest.raises(Killed):
        run_purge(kill_at)
    outcome = resume(tmp_path / "run", run_action=actions, clock=clock, key=KEY, observer=log)
    assert outcome.outputs == expected_outputs
    assert log.lines[0].endswith("again")
    assert actions.calls[at] == seen[0]
    assert len(actions.calls) == 6


@pytest.mark.parametrize("at", range(15))
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_killed_at_any_journal_write_can_be_resumed(
    run_purge: Build, remote: Build, clock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, when: str
) -> None:
    expected_outputs = run_elsewhere(run_purge, remote, tmp_path)
    actions = remote()
    write, written = Journal.write, 0

    def kill_at(self: Journal, entry: Entry) -> None:
        nonlocal written
        written += 1
        if written == at + 1 and when == "before":
            raise Killed
        write(self, entry)
        if written == at + 1:
            raise Killed

    monkeypatch.setattr(Journal, "write", kill_at)
    try:
        outcome = run_purge(actions)
    except Killed:
        monkeypatch.setattr(Journal, "write", write)
        nothing_written = at == 0 and when == "before"
        outcome = (
            run_purge(actions)
            if nothing_written
            else resume(tmp_path / "run", run_action=actions, clock=clock, key=KEY)
        )
    assert outcome.outputs == expected_outputs
    assert len({json.dumps(params) for params in actions.of("create-move-job")}) == 1


def run_elsewhere(run_purge: Build, remote: Build, tmp_path: Path) -> Any:
    """Return the outputs of an undisturbed run."""
    outcome = run_purge(remote())
    (tmp_path / "run").rename(tmp_path / "undisturbed")
    return outcome.outputs


def test_an_interrupted_sleep_continues_for_the_remaining_time(
    run_purge: Build, remote: Build, clock: Any, tmp_path: Path
) -> None:
    actions = remote()
    sleep = clock.sleep

    def sleep_and_interrupt(seconds: float) -> None:
        sleep(2)
        raise KeyboardInterrupt

    clock.sleep = sleep_and_interrupt
    with pytest.raises(KeyboardInterrupt):
        run_purge(actions)
    clock.sleep = sleep
    assert resume(tmp_path / "run", run_action=actions, clock=clock, key=KEY).status == "completed"
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
    """A process that hangs in the second action."""
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


def test_another_process_resumes_the_run_after_a_kill(other_process: Any, tmp_path: Path, clock: Any) -> None:
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
    ("damage", "message"),
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
    run_purge: Build, remote: Build, clock: Any, tmp_path: Path, damage: Callable[[str], str], message: str
) -> None:
    run_purge(remote())
    path = tmp_path / "run" / "journal.json"
    path.write_text(damage(path.read_text()))
    actions = remote()
    with pytest.raises(JournalRefused, match=message):
        resume(tmp_path / "run", run_action=actions, clock=clock, key=KEY)
    assert actions.calls == []


def test_a_journal_with_an_unknown_playbook_version_is_refused(
    run_purge: Build, remote: Build, clock: Any, tmp_path: Path
) -> None:
    run_purge(remote())
    with Journal(tmp_path / "run", KEY, create=False) as journal:
        entry = journal.read()
        journal.write(Entry({**entry.playbook, "playbook": 2}, entry.state))
    with pytest.raises(StateRefused, match="this version can't read the journal"):
        resume(tmp_path / "run", run_action=remote(), clock=clock, key=KEY)


def test_an_unusable_directory_is_a_permanent_parameter_error(
    run_purge: Build, remote: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").write_text("a file")
    actions = remote()
    with pytest.raises(DirectoryUnusable, match="can't be used: File exists") as caught:
        run_purge(actions)
    assert (caught.value.exit_code, caught.value.retryable, caught.value.applied, actions.calls) == (2, False, "no", [])
    (tmp_path / "run").unlink()

    def refused(*_: Any, **__: Any) -> int:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(DirectoryUnusable, match="Permission denied"):
        run_purge(actions)


def test_a_directory_that_is_not_a_path_is_refused(purge: Playbook, alert: dict[str, Any], clock: Any) -> None:
    with pytest.raises(DirectoryUnusable, match="is not a path"):
        run(purge, {"alert": alert}, run_action=dict, clock=clock, key=KEY, run_id="r", directory=Path("a\0b"))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["moved", "copied"])
def test_a_moved_or_copied_run_is_refused_with_both_paths(
    run_purge: Build, remote: Build, clock: Any, tmp_path: Path, kind: str
) -> None:
    run_purge(remote(create_move_job=[NotFound("gone")]))
    if kind == "moved":
        (tmp_path / "run").rename(tmp_path / "else")
    else:
        shutil.copytree(tmp_path / "run", tmp_path / "else")
    actions = remote()
    with pytest.raises(RunMoved) as caught:
        resume(tmp_path / "else", run_action=actions, clock=clock, key=KEY)
    assert (caught.value.exit_code, actions.calls) == (2, [])
    assert f"began in '{tmp_path}/run'" in caught.value.message
    assert f"is now in '{tmp_path}/else'" in caught.value.message


def test_the_run_directory_can_be_named_by_another_path(
    run_purge: Build, remote: Build, clock: Any, tmp_path: Path
) -> None:
    run_purge(remote())
    (tmp_path / "above").symlink_to(tmp_path)
    for path in (tmp_path / "above" / "run", tmp_path / "run" / ".." / "run"):
        assert resume(path, run_action=remote(), clock=clock, key=KEY).status == "completed"


def test_a_resumed_run_retries_the_failed_step(run_purge: Build, remote: Build, clock: Any, tmp_path: Path) -> None:
    failed = run_purge(remote(wait_for_job=[RateLimited("slow down")]))
    assert (failed.status, failed.resumable) == ("failed", True)
    actions, log = remote(), Log()
    outcome = resume(tmp_path / "run", run_action=actions, clock=clock, key=KEY, observer=log)
    assert (outcome.status, outcome.resumable) == ("completed", False)
    assert [action for action, _ in actions.calls] == ["wait-for-job"] * 3 + ["export-job-messages"]
    assert log.lines[0] == "start wait 1"


def test_a_step_retried_on_resume_keeps_its_unknown_outcome(
    run_purge: Build, remote: Build, clock: Any, tmp_path: Path
) -> None:
    run_purge(remote(create_move_job=[OutcomeUnknown("lost")]))
    outcome = resume(tmp_path / "run", run_action=remote(create_move_job=[NotFound("no such")]), clock=clock, key=KEY)
    assert (outcome.exit_code, outcome.error and outcome.error["applied"]) == (7, "unknown")
    assert outcome.error
    assert "the next attempt ended in NotFound: no such" in outcome.error["message"]


@pytest.mark.parametrize("max_messages", [2, 3])
def test_a_refused_or_incomplete_run_is_not_run_again(
    run_purge: Build, remote: Build, clock: Any, tmp_path: Path, max_messages: int
) -> None:
    done = {"done": True, "progress": {"discovered": 3, "failed": 1}}
    before = run_purge(remote(wait_for_job=[done]), max_messages=max_messages)
    assert before.status == ("refused" if max_messages == 2 else "incomplete")
    actions = remote()
    assert resume(tmp_path / "run", run_action=actions, clock=clock, key=KEY) == before
    assert actions.calls == []


def test_an_error_raised_before_an_action_leaves_the_run_before_that_action(
    run_purge: Build, purge: Playbook, alert: dict[str, Any], remote: Build, clock: Any, tmp_path: Path
) -> None:
    seen: list[tuple[str, bool]] = []
    actions, log = remote(), Log()

    def stop_before_create(upcoming: Upcoming) -> None:
        seen.append((upcoming.command.step_id, upcoming.begun))
        if upcoming.command.step_id == "create":
            raise NotFound("not now")

    given: dict[str, Any] = {"run_action": actions, "clock": clock, "key": KEY}
    with pytest.raises(NotFound):
        run(
            purge,
            {"alert": alert},
            run_id="r",
            directory=tmp_path / "run",
            observer=log,
            before_action=stop_before_create,
            **given,
        )
    with Journal(tmp_path / "run", KEY, create=False) as journal:
        assert journal.read().in_flight is None
    assert "start create 1" not in log.lines
    with pytest.raises(NotFound):
        resume(tmp_path / "run", before_action=stop_before_create, **given)
    assert seen == [("find", False), ("create", False), ("create", False)]
    assert resume(tmp_path / "run", observer=log, **given).status == "completed"
    assert not any(line.endswith("again") for line in log.lines)


def test_an_action_that_had_started_is_reported_as_begun(
    run_purge: Build, remote: Build, clock: Any, tmp_path: Path
) -> None:
    def kill_at(action: str, params: dict[str, Any]) -> Any:
        if action == "create-move-job":
            raise Killed
        return remote()(action, params)

    with pytest.raises(Killed):
        run_purge(kill_at)
    seen: list[tuple[str, bool]] = []
    answers = [RateLimited("slow down"), {"job_id": "job-1"}]
    resume(
        tmp_path / "run",
        run_action=remote(create_move_job=answers),
        clock=clock,
        key=KEY,
        before_action=lambda upcoming: seen.append((upcoming.command.step_id, upcoming.begun)),
    )
    assert seen[:3] == [("create", True), ("create", True), ("wait", False)]


def test_a_resumed_run_reports_its_earlier_steps(run_purge: Build, remote: Build, clock: Any, tmp_path: Path) -> None:
    run_purge(remote(wait_for_job=[RateLimited("slow down")]))

    class ResumeRecorder(Observer):
        def resumed(self, reached: Any) -> None:
            self.results = {step.id: record["result"] for step, record in reached}

    recorder = ResumeRecorder()
    resume(tmp_path / "run", run_action=remote(), clock=clock, key=KEY, observer=recorder)
    assert recorder.results["create"] == {"job_id": "job-1", "status": "PENDING"}


@pytest.mark.parametrize(("at", "exit_code", "applied"), [(1, 6, "no"), (3, 7, "unknown")])
def test_a_full_disk_is_an_error_that_reports_whether_an_action_ran(
    run_purge: Build,
    remote: Build,
    clock: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
    exit_code: int,
    applied: str,
) -> None:
    fsync, synced = os.fsync, 0

    def disk_full(descriptor: int) -> None:
        nonlocal synced
        synced += 1
        # Two calls per write: the file and its directory.
        if synced == 2 * at - 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", disk_full)
    actions = remote()
    with pytest.raises(JournalUnwritable, match="No space left on device") as caught:
        run_purge(actions)
    assert (caught.value.exit_code, caught.value.applied) == (exit_code, applied)
    monkeypatch.setattr(os, "fsync", fsync)
    assert not (tmp_path / "run" / NEW_NAME).exists()
    if at > 1:
        assert resume(tmp_path / "run", run_action=actions, clock=clock, key=KEY).status == "completed"
    else:
        assert run_purge(actions).status == "completed"


TRAITS = {
    "search-messages": ActionTraits(effect="read"),
    "wait-for-job": ActionTraits(effect="read"),
    "export-job-messages": ActionTraits(effect="read"),
    "create-move-job": ActionTraits(effect="write"),
    "tidy": ActionTraits(effect="write"),
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
def test_an_unwritable_journal_reports_the_changes_and_the_job(
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

    def disk_full(journal: Journal, entry: Entry) -> None:
        record = entry.state["steps"].get(step)
        begins = entry.in_flight is not None and entry.in_flight["step_id"] == step
        if begins if when == "begins" else (record is not None and entry.in_flight is None and record["repeats"]):
            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", _raising(OSError(reason, os.strerror(reason))))
                write(journal, entry)
        write(journal, entry)

    def run_purge() -> Outcome:
        return run(
            purge, {"alert": alert}, run_action=actions, clock=clock, key=KEY, run_id="run-1",
            directory=tmp_path / "run", traits=TRAITS,
        )  # fmt: skip

    actions = remote()
    monkeypatch.setattr(Journal, "write", disk_full)
    with pytest.raises(JournalUnwritable) as caught:
        run_purge()
    error = caught.value
    assert (error.exit_code, error.applied, error.job_id) == ((7, "yes", "job-1") if changed else (6, "no", None))
    assert error.help.startswith("Step 'create' (create-move-job) is done, job job-1." if changed else "Nothing was ch")
    assert "resume the run" in error.help
    monkeypatch.setattr(Journal, "write", write)
    assert resume(tmp_path / "run", run_action=actions, clock=clock, key=KEY).status == "completed"


def test_an_unwritable_journal_after_a_killed_step_reports_an_unknown_change(
    purge: Playbook, alert: dict[str, Any], remote: Build, clock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"clock": clock, "key": KEY}
    with pytest.raises(Killed):
        run(
            purge, {"alert": alert}, run_action=remote(create_move_job=[Killed()]), run_id="run-1",
            directory=tmp_path / "run", traits=TRAITS, **given,
        )  # fmt: skip
    with monkeypatch.context() as patch, pytest.raises(JournalUnwritable) as caught:
        patch.setattr(os, "fsync", _raising(OSError(errno.ENOSPC, "No space left on device")))
        resume(tmp_path / "run", run_action=remote(), **given)
    assert (caught.value.exit_code, caught.value.applied) == (7, "unknown")
    assert "Step 'create' (create-move-job) may have changed something." in caught.value.help


def test_a_killed_create_whose_job_is_reused_counts_as_a_possible_change(
    purge: Playbook, alert: dict[str, Any], remote: Build, clock: Any, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"clock": clock, "key": KEY}
    with pytest.raises(Killed):
        run(
            purge, {"alert": alert}, run_action=remote(create_move_job=[Killed()]), run_id="run-1",
            directory=tmp_path / "run", traits=TRAITS, **given,
        )  # fmt: skip
    reused = {"job_id": "job-1", "created": False, "status": "PENDING", "duplicates": [], "warnings": []}
    later = remote(create_move_job=[reused], wait_for_job=[ParameterError("the wait has a bad parameter")])
    outcome = resume(tmp_path / "run", run_action=later, **given)
    assert (outcome.status, outcome.exit_code) == ("failed", 7)
    assert outcome.error is not None
    assert (outcome.error["applied"], outcome.error["job_id"]) == ("unknown", "job-1")
    assert "Step 'create' (create-move-job) may have changed something, job job-1" in outcome.error["help"]


def _raising(error: Exception) -> Callable[[int], None]:
    def raise_error(_: int) -> None:
        raise error

    return raise_error
