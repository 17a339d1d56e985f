"""The local driver runs a playbook to every kind of end, and a run survives a kill at any point."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.clock import Clock
from core.errors import NotFound, OutcomeUnknown, PackError, ParameterError, RateLimited
from playbooks.drivers import local
from playbooks.drivers.drive import Hooks, Observer, Upcoming
from playbooks.drivers.outcome import Outcome
from playbooks.drivers.run_store import RunStore
from playbooks.drivers.store.held_run import HeldRun
from playbooks.engine.commands import RunAction, Sleep
from playbooks.engine.history import Reached
from playbooks.engine.state import ActionTraits
from playbooks.language.errors import (
    DirectoryUnusable,
    RunExists,
    RunInProgress,
    RunMoved,
    RunRecordUnwritable,
    StateRefused,
)
from playbooks.language.format import Playbook
from playbooks.language.loading import load
from tests.clock import FakeClock
from tests.playbooks.conftest import KEY
from tests.playbooks.driving import resume, run, store_beside, store_of
from tests.playbooks.run_stores import new_run, without_room

Build = Callable[..., Any]


class Log(Observer):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def step_started(self, at: Reached, command: RunAction, *, again: bool) -> None:  # noqa: ARG002 -- the interface
        self.lines.append(f"start {at.path} {at.record.attempts}{' again' if again else ''}")

    def step_ended(self, at: Reached) -> None:
        self.lines.append(f"end {at.path} {at.record.status}")

    def sleeping(self, at: Reached, command: Sleep) -> None:
        self.lines.append(f"sleep {at.path} {command.seconds:g} {command.why}")

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
        "end tidy skipped",
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
    log = Log()
    outcome = run_purge(actions, log)
    assert outcome.status == "completed"
    assert [line for line in log.lines if line.startswith("sleep create")] == [
        "sleep create 77 retry",
        "sleep create 30 retry",
    ]
    assert sum(clock.slept) == 77 + 30 + 5
    assert max(clock.slept) <= 30, "the run looks for a cancellation meanwhile"
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


def test_the_directory_and_the_run_store_are_private_to_their_owner(
    run_purge: Build, remote: Build, tmp_path: Path
) -> None:
    run_purge(remote())
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    assert stat.S_IMODE(store_of(tmp_path / "run").stat().st_mode) == 0o600
    assert list((tmp_path / "run").iterdir()) == []


def test_a_second_run_with_the_same_id_is_refused(run_purge: Build, remote: Build) -> None:
    run_purge(remote())
    actions = remote()
    with pytest.raises(RunExists, match="'run-1' already exists: completed"):
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


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_killed_at_any_write_of_the_run_store_can_be_resumed(
    purge: Playbook, alert: dict[str, Any], remote: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def purge_in(directory: Path, actions: Any) -> Outcome:
        return run(purge, {"alert": alert}, run_action=actions, clock=FakeClock(), directory=directory)

    with monkeypatch.context() as patch:
        writes = kill_at_write(patch, 0, when)
        undisturbed = purge_in(tmp_path / "undisturbed", remote())
    assert len(writes) == 14
    for number in range(1, len(writes) + 1):
        directory, actions = tmp_path / f"run-{number}", remote()
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_at_write(patch, number, when)
            purge_in(directory, actions)
        if number == 1 and when == "before":
            outcome = purge_in(directory, actions)
        else:
            outcome = resume(directory, run_action=actions, clock=FakeClock())
        assert outcome.outputs == {**undisturbed.outputs}, number
        assert len({json.dumps(params) for params in actions.of("create-move-job")}) == 1


def kill_at_write(patch: pytest.MonkeyPatch, number: int, when: str) -> list[str]:
    """Kill the run before or after one of its writes. Return the list that gets an entry for each write."""
    writes: list[str] = []

    def killing(write: Any) -> Any:
        def write_or_die(*args: Any, **given: Any) -> Any:
            writes.append(write.__name__)
            if len(writes) == number and when == "before":
                raise Killed
            written = write(*args, **given)
            if len(writes) == number:
                if isinstance(written, HeldRun):
                    written.release()  # as the end of the process does
                raise Killed
            return written

        return write_or_die

    patch.setattr(RunStore, "create", killing(RunStore.create))
    patch.setattr(HeldRun, "write", killing(HeldRun.write))
    return writes


def run_elsewhere(run_purge: Build, remote: Build, tmp_path: Path) -> Any:
    """Return the outputs of an undisturbed run."""
    outcome = run_purge(remote())
    for name in ("run", "run-store"):
        (tmp_path / name).rename(tmp_path / f"undisturbed-{name}")
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


@pytest.mark.parametrize("back", [{"hours": -1}, {"days": -400}])
def test_a_clock_that_is_set_back_during_a_sleep_does_not_make_the_sleep_longer(
    remote: Build, clock: Any, tmp_path: Path, back: dict[str, int]
) -> None:
    sleeping = load("playbook: 1\nid: later\ntitle: Later\nsteps: [{sleep: 100}]")
    clock.moved = lambda _: clock.set_forward(**back) if len(clock.slept) == 1 else None
    assert run(sleeping, {}, run_action=remote(), clock=clock, directory=tmp_path / "run").status == "completed"
    assert sum(clock.slept) == 100


PROGRAM = """
import sys, os
from pathlib import Path
from core.clock import SystemClock
from playbooks.drivers.seal_key import SealKey
from playbooks.language.loading import load
from tests.playbooks.driving import run

def run_action(action, params):
    if action == "stop-here":
        print("here", flush=True)
        sys.stdin.read()
    return {"n": params["n"]}

key = SealKey(b"k" * 32, "of the tests")
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

    with pytest.raises(RunInProgress, match=f"^process {other_process.pid} on .* has the run 'r'$"):
        resume(tmp_path / "run", run_action=run_action, clock=clock, key=KEY)
    other_process.send_signal(signal.SIGKILL)
    other_process.wait()
    outcome = resume(tmp_path / "run", run_action=run_action, clock=clock, key=KEY)
    assert outcome.outputs == {"n": 8}
    assert calls == [("stop-here", {"n": 8})]


def test_a_run_whose_playbook_has_an_unknown_version_is_refused(remote: Build, clock: Any, tmp_path: Path) -> None:
    with store_beside(tmp_path / "run", clock) as store:
        store.create(new_run("run-1", playbook={"playbook": 2}, directory=str(tmp_path / "run"))).release()
    with pytest.raises(StateRefused, match="this version can't read the run's playbook"):
        resume(tmp_path / "run", run_action=remote(), clock=clock)


@pytest.mark.parametrize("state", ["", "[1]", "[" * 100_000, "{}", '{"run": 1}'])
def test_a_state_that_this_version_cannot_read_is_refused(
    purge: Playbook, remote: Build, clock: Any, tmp_path: Path, state: str
) -> None:
    with store_beside(tmp_path / "run", clock) as store:
        store.create(
            new_run("run-1", playbook=purge.document(), directory=str(tmp_path / "run"), state=state)
        ).release()
    with pytest.raises(StateRefused):
        resume(tmp_path / "run", run_action=remote(), clock=clock)


def test_an_unusable_directory_is_a_permanent_parameter_error(
    run_purge: Build, remote: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").write_text("a file")
    actions = remote()
    with pytest.raises(DirectoryUnusable, match="can't be used: File exists") as caught:
        run_purge(actions)
    assert (caught.value.exit_code, caught.value.retryable, caught.value.applied, actions.calls) == (2, False, "no", [])


@pytest.mark.parametrize(("reason", "exit_code"), [(errno.EACCES, 2), (errno.EROFS, 2), (errno.ENOSPC, 6)])
def test_a_directory_that_cannot_be_made_is_an_error_before_any_action(
    run_purge: Build, remote: Build, monkeypatch: pytest.MonkeyPatch, reason: int, exit_code: int
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(reason, os.strerror(reason), str(path))

    monkeypatch.setattr("playbooks.drivers.run_directory.make_run_directory", refuse)
    actions = remote()
    with pytest.raises(PackError, match=f"can't be used: {os.strerror(reason)}") as caught:
        run_purge(actions)
    assert (caught.value.exit_code, caught.value.retryable, actions.calls) == (exit_code, exit_code == 6, [])
    assert caught.value.help.startswith("Nothing was run.")


def test_a_directory_that_is_not_a_path_is_refused(
    purge: Playbook, alert: dict[str, Any], clock: Any, remote: Build, tmp_path: Path
) -> None:
    with store_beside(tmp_path / "run", clock) as store, pytest.raises(DirectoryUnusable, match="is not a path"):
        local.run(
            purge, {"alert": alert}, store=store, run_id="r", directory=Path("a\0b"), hooks=Hooks(remote(), clock)
        )


def test_a_run_whose_directory_was_moved_is_refused_until_it_is_moved_back(
    run_purge: Build, remote: Build, clock: Any, tmp_path: Path
) -> None:
    run_purge(remote(create_move_job=[NotFound("gone")]))
    (tmp_path / "run").rename(tmp_path / "else")
    actions = remote()
    with pytest.raises(RunMoved, match=f"the run's directory '{tmp_path}/run' is missing") as caught:
        resume(tmp_path / "run", run_action=actions, clock=clock)
    assert (caught.value.exit_code, actions.calls) == (2, [])
    assert "Move the directory back" in caught.value.help
    (tmp_path / "else").rename(tmp_path / "run")
    assert resume(tmp_path / "run", run_action=actions, clock=clock).status == "completed"


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
    with store_beside(tmp_path / "run", clock) as store:
        assert store.read("r").in_flight == []
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
            self.results = {at.path: at.record.result for at in reached}

    recorder = ResumeRecorder()
    resume(tmp_path / "run", run_action=remote(), clock=clock, key=KEY, observer=recorder)
    assert recorder.results["create"] == {"job_id": "job-1", "status": "PENDING"}


@pytest.mark.parametrize(("at", "exit_code", "applied"), [(1, 6, "no"), (3, 7, "unknown")])
def test_a_full_disk_is_an_error_that_reports_whether_an_action_ran(
    run_purge: Build, remote: Build, clock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int,
    exit_code: int, applied: str,
) -> None:  # fmt: skip
    actions = remote()
    with monkeypatch.context() as patch, pytest.raises(PackError, match=r"disk I/O error|disk is full") as caught:
        fill_disk_at(patch, lambda number, _: number == at)
        run_purge(actions)
    assert (caught.value.exit_code, caught.value.applied) == (exit_code, applied)
    if at > 1:
        assert resume(tmp_path / "run", run_action=actions, clock=clock).status == "completed"
    else:
        assert run_purge(actions).status == "completed"


def fill_disk_at(patch: pytest.MonkeyPatch, is_full: Callable[[int, Any], bool]) -> None:
    """Let writes of the run store fail. is_full: takes the number of the write, and the actions that have begun."""
    writes = 0

    def filling(write: Any) -> Any:
        def write_or_fail(*args: Any, **given: Any) -> Any:
            nonlocal writes
            writes += 1
            begun = args[3] if len(args) > 3 else ()
            if not is_full(writes, [each["step_id"] for each in begun]):
                return write(*args, **given)
            error = without_room(lambda: write(*args, **given))
            assert error is not None
            raise error

        return write_or_fail

    patch.setattr(RunStore, "create", filling(RunStore.create))
    patch.setattr(HeldRun, "write", filling(HeldRun.write))


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
        ("create begins", False),
        ("create has ended", True),
        ("tidy begins", True),
        ("tidy has ended", True),
    ],
)
def test_a_full_disk_reports_the_changes_and_the_job(
    purge: Playbook,
    alert: dict[str, Any],
    remote: Build,
    clock: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: str,
    changed: bool,
) -> None:
    step, _, when = at.partition(" ")
    begun_before: list[str] = []

    def is_full(_: int, begun: list[str]) -> bool:
        ends = step in begun_before and not begun
        begun_before[:] = begun
        return step in begun if when == "begins" else ends

    actions = remote()
    with monkeypatch.context() as patch, pytest.raises(RunRecordUnwritable) as caught:
        fill_disk_at(patch, is_full)
        run(
            purge, {"alert": alert, "destination": "Trash"}, run_action=actions, clock=clock,
            directory=tmp_path / "run", traits=TRAITS,
        )  # fmt: skip
    error = caught.value
    assert (error.exit_code, error.applied, error.job_id) == ((7, "yes", "job-1") if changed else (6, "no", None))
    assert error.help.startswith("Step 'create' (create-move-job) is done, job job-1" if changed else "Nothing was ch")
    assert "resume the run" in error.help
    assert resume(tmp_path / "run", run_action=actions, clock=clock).status == "completed"


def test_a_full_disk_after_a_killed_step_reports_an_unknown_change(
    purge: Playbook, alert: dict[str, Any], remote: Build, clock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"clock": clock, "key": KEY}
    with pytest.raises(Killed):
        run(
            purge, {"alert": alert}, run_action=remote(create_move_job=[Killed()]), run_id="run-1",
            directory=tmp_path / "run", traits=TRAITS, **given,
        )  # fmt: skip
    with monkeypatch.context() as patch, pytest.raises(RunRecordUnwritable) as caught:
        fill_disk_at(patch, lambda *_: True)
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
