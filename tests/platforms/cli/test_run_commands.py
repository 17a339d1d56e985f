"""`cfes playbook` for runs: runs, show, watch, resume, signal, cancel, and a second start with the same key."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions.contract.action import Action
from connectors.email_security import EmailSecurity
from platforms.playbook_session import ACCOUNT, open_store
from playbooks.drivers.store.location import default_path
from tests.clock import FakeClock
from tests.conftest import EXAMPLE_ALERT
from tests.platforms.cli.conftest import Cfes, CommandResult
from tests.platforms.cli.test_playbook_commands import COLOR_CODES, only_for, run_id_of
from tests.playbooks.run_stores import execute
from tests.slow import some_of

ASK = """\
playbook: 1
id: ask
title: Ask a person
key: "{{ inputs.case }}"
inputs:
  case: {type: string, primary: true}
  note: {type: string, default: none}
  alert: {type: object, default: {}}
  attempt: {type: integer, default: 1}
steps:
  - {id: begin, title: Begin, set: {note: "{{ inputs.note }}"}}
  - id: answer
    title: Ask for the answer
    pause: answer
    accepts: {type: string, enum: [go, stop]}
    about: {note: "{{ inputs.note }}", subject: "{{ inputs.alert.Subject | default(none) }}"}
    within: 3600
    otherwise: "Nobody answered for {{ inputs.case }}."
  - {id: allowed, title: Check the answer, check: "{{ steps.answer.value == 'go' }}", otherwise: The answer was no.}
outputs: {said: "{{ steps.answer.value }}"}
"""

LATER = """\
playbook: 1
id: later
title: Wait for a time
inputs: {}
steps:
  - {id: wait, title: Wait, sleep: 600}
  - {id: end, set: {done: true}}
outputs: {done: "{{ steps.end.done }}"}
"""

MOVE = """\
playbook: 1
id: move
title: Move the campaign
inputs: {}
steps:
  - id: move
    title: Create a job
    action: create-move-job
    with:
      destination: JunkEmail
      search_params: {sender: billing@invoice-portal.example, start: "2026-11-13T15:32:35Z"}
outputs: {job: "{{ steps.move.job_id }}"}
"""

READ = """\
playbook: 1
id: read
title: Count the jobs
inputs: {}
steps:
  - {id: count, title: Count the jobs, action: list-jobs}
outputs: {count: "{{ steps.count.count }}"}
"""

KEYED_READ = READ.replace("inputs: {}", 'key: "{{ inputs.case }}"\ninputs: {case: {type: string, default: case-1}}')


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The clock of the commands and of the run store."""
    fake = FakeClock()
    for module in ("platforms.playbook_session", "platforms.cli.playbook_run", "platforms.cli.commands.playbook_runs"):
        monkeypatch.setattr(f"{module}.SystemClock", lambda: fake)
    monkeypatch.setattr("connectors.email_security.SystemClock", lambda: fake)
    return fake


@pytest.fixture(autouse=True)
def _playbooks(cfes: Cfes, clock: FakeClock) -> None:
    """The playbooks of these tests, in the working directory."""
    for name, text in {"ask": ASK, "later": LATER, "read": READ}.items():
        Path(f"{name}.yaml").write_text(text)


@pytest.fixture
def ask(cfes: Cfes) -> Callable[..., CommandResult]:
    """A function that runs the playbook which asks for an answer."""

    def run(case: str = "case-1", *arguments: str, **streams: Any) -> CommandResult:
        return cfes("playbook", "run", "ask.yaml", "--set", f"case={case}", *arguments, **streams)

    return run


@pytest.fixture
def waiting(ask: Callable[..., CommandResult]) -> str:
    """The ID of a run that waits for its answer."""
    ended = ask()
    assert (ended.code, ended.document["status"]) == (6, "waiting")
    return str(ended.document["run_id"])


def screen_of(ended: CommandResult) -> str:
    """Return the text on both streams of a terminal, with single spaces."""
    return " ".join(COLOR_CODES.sub("", ended.out + ended.err).split())


class TestWaiting:
    def test_without_a_terminal_a_run_is_left_and_names_the_signal_and_the_next_commands(
        self, ask: Callable[..., CommandResult]
    ) -> None:
        ended = ask("case-1", "--set", "note=look at it")
        run_id = ended.document["run_id"]
        assert (ended.code, ended.document["status"], ended.document["resumable"]) == (6, "waiting", True)
        assert ended.document["waits_for"] == {
            "signal": "answer",
            "until": "2026-11-20T17:02:35Z",
            "accepts": {"type": "string", "enum": ["go", "stop"]},
            "count": 1,
            "received": 0,
            "about": {"note": "look at it", "subject": None},
        }
        assert ended.error["message"] == "the run waits for the signal answer until 2026-11-20T17:02:35Z"
        assert ended.error["applied"] == "no"
        assert f"cfes playbook signal {run_id} answer @FILE" in ended.error["help"]
        assert f"cfes playbook resume {run_id}" in ended.error["help"]

    def test_on_a_terminal_a_run_waits_until_the_signal_comes(
        self, ask: Callable[..., CommandResult], cfes: Cfes, clock: FakeClock
    ) -> None:
        def answer(_: float) -> None:
            if len(clock.slept) == 3:
                assert cfes("playbook", "signal", "ask-", "answer", '"go"').code == 0

        clock.moved = answer
        ended = ask(terminal=True)
        assert (ended.code, clock.slept) == (0, [1.0] * 3)
        assert "waiting for the signal answer until 2026-11-20T17:02:35Z" in screen_of(ended)
        assert f"cfes playbook signal {run_id_of(ended)} answer @FILE" in screen_of(ended)

    def test_on_a_terminal_a_pause_ends_at_its_time_limit(
        self, ask: Callable[..., CommandResult], clock: FakeClock
    ) -> None:
        ended = ask(terminal=True)
        assert (ended.code, sum(clock.slept)) == (3, 3600)
        assert "Nobody answered for case-1." in screen_of(ended)

    def test_ctrl_c_while_a_run_waits_leaves_it_and_names_the_resume_command(
        self, ask: Callable[..., CommandResult], cfes: Cfes, clock: FakeClock
    ) -> None:
        def interrupt(_: float) -> None:
            raise KeyboardInterrupt

        clock.moved = interrupt
        ended = ask(terminal=True)
        clock.moved = None
        assert ended.code == 130
        assert f"cfes playbook resume {run_id_of(ended)}" in screen_of(ended)
        assert cfes("playbook", "runs").document["runs"][0]["status"] == "waiting"


class TestRuns:
    def test_runs_are_listed_with_their_place(
        self, cfes: Cfes, waiting: str, ask: Callable[..., CommandResult]
    ) -> None:
        other = ask("case-2").document["run_id"]
        listed = cfes("playbook", "runs").document["runs"]
        assert [run["run_id"] for run in listed] == [other, waiting]
        found = listed[1]
        assert (found["status"], found["at_step"], found["waits_for"]) == ("waiting", "answer", "answer")
        assert (found["key"], found["playbook_id"], found["wake_at"]) == ("case-1", "ask", "2026-11-20T17:02:35Z")
        text = screen_of(cfes("playbook", "runs", terminal=True))
        assert waiting in text
        assert "waiting" in text

    def test_runs_are_filtered(self, cfes: Cfes, waiting: str) -> None:
        def ids(*arguments: str) -> list[str]:
            return [run["run_id"] for run in cfes("playbook", "runs", *arguments).document["runs"]]

        assert cfes("playbook", "signal", waiting, "answer", '"stop"').code == 0
        assert cfes("playbook", "resume", waiting).code == 3
        assert ids("--status", "waiting") == []
        assert ids("--status", "waiting", "--status", "refused") == [waiting]
        assert ids("--playbook", "ask", "--limit", "1") == [waiting]
        assert ids("--playbook", "later") == []
        refused = cfes("playbook", "runs", "--status", "done")
        assert (refused.code, refused.error["type"]) == (2, "ParameterError")
        assert "must be one of running, sleeping, waiting" in refused.error["message"]

    def test_an_empty_list_is_said_to_be_empty(self, cfes: Cfes) -> None:
        assert cfes("playbook", "runs").document == {"runs": []}
        assert "There are no runs." in screen_of(cfes("playbook", "runs", terminal=True))


class TestShow:
    def test_a_waiting_run_shows_its_steps_and_the_next_commands(self, cfes: Cfes, waiting: str) -> None:
        shown = cfes("playbook", "show", waiting).document
        assert [(step["path"], step["status"]) for step in shown["steps"]] == [
            ("begin", "succeeded"),
            ("answer", "running"),
        ]
        assert (shown["driven"], shown["changes"], shown["exit_code"]) == (False, [], None)
        assert shown["waits_for"]["signal"] == "answer"
        text = screen_of(cfes("playbook", "show", waiting, terminal=True))
        assert "The run has changed nothing so far." in text
        assert "The run waits for the signal answer until 2026-11-20T17:02:35Z." in text
        assert f"cfes playbook signal {waiting} answer @FILE" in text
        assert f"cfes playbook resume {waiting}" in text

    def test_an_ended_run_shows_its_end(self, cfes: Cfes, waiting: str) -> None:
        cfes("playbook", "signal", waiting, "answer", '"stop"')
        cfes("playbook", "resume", waiting)
        shown = cfes("playbook", "show", waiting).document
        assert (shown["status"], shown["exit_code"], shown["error"]["type"]) == ("refused", 3, "CheckRefused")
        assert shown["outputs"] == {"said": "stop"}
        assert "The answer was no." in screen_of(cfes("playbook", "show", waiting, terminal=True))

    def test_a_run_is_found_by_the_beginning_of_its_id_and_by_its_directory(
        self, cfes: Cfes, waiting: str, ask: Callable[..., CommandResult], tmp_path: Path
    ) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "cfes-runs")
        for name in (waiting[:8], f"cfes-runs/{waiting}", f"./cfes-runs/../cfes-runs/{waiting}/", f"link/{waiting}"):
            assert cfes("playbook", "show", name).document["run_id"] == waiting, name
        ask("case-2")
        assert "several runs have an ID that begins with 'ask-'" in cfes("playbook", "show", "ask-").error["message"]

    @pytest.mark.usefixtures("waiting")
    def test_an_unknown_name_is_neither_a_playbook_nor_a_run(self, cfes: Cfes) -> None:
        for name in ("aks-1", "nowhere/at-all", "x" * 10_000, "a\0b", "../" * 100, "' OR 1=1 --", "%", "\x1b[2J"):
            ended = cfes("playbook", "show", name)
            assert (ended.code, ended.error["type"], ended.error["applied"]) == (2, "PlaybookNotFound", "no"), name
            assert "As a run: there is no run " in ended.error["message"], name

    def test_an_edited_run_is_not_shown_as_if_it_had_ended(
        self, cfes: Cfes, waiting: str, ask: Callable[..., CommandResult]
    ) -> None:
        ended = '{"status":"completed","exit_code":0,"outputs":{"said":"go"},"error":null,"message":null}'
        path = default_path(os.environ)
        execute(path, "UPDATE run SET status = 'completed', state = json_set(state, '$.pending', json(?))", ended)
        for given in (("show", waiting), ("watch", waiting), ("resume", waiting), ("signal", waiting, "answer", "1")):
            refused = cfes("playbook", *given)
            assert (refused.code, refused.error["type"]) == (2, "RunRecordRefused"), given
        refused = ask()
        assert (refused.code, refused.error["type"]) == (2, "RunRecordRefused")
        assert "its seal is invalid" in refused.error["message"]


class TestInterrupted:
    """A run whose process was killed in an action."""

    @pytest.fixture
    def interrupted(self, connected: Cfes, monkeypatch: pytest.MonkeyPatch) -> str:
        def interrupt(*_: Any) -> Any:
            raise KeyboardInterrupt

        Path("move.yaml").write_text(MOVE)
        with monkeypatch.context() as patch:
            patch.setattr(Action, "run", only_for("create-move-job", interrupt))
            assert connected("playbook", "run", "move.yaml", "--yes").code == 130
        return str(connected("playbook", "runs").document["runs"][0]["run_id"])

    def test_it_is_shown_with_what_it_may_have_changed(self, connected: Cfes, interrupted: str) -> None:
        shown = connected("playbook", "show", interrupted).document
        assert (shown["status"], shown["exit_code"], shown["error"]["type"]) == ("running", None, "RunInterrupted")
        assert (shown["error"]["applied"], shown["changes"][0]["step"]) == ("unknown", "move")
        text = screen_of(connected("playbook", "show", interrupted, terminal=True))
        assert "interrupted in step move: no process runs it" in text
        assert "step 'move' (create-move-job) may have changed something" in text
        assert f"cfes playbook resume {interrupted}" in text

    def test_a_process_that_has_it_is_not_called_interrupted(self, connected: Cfes, interrupted: str) -> None:
        with open_store() as store, store.hold(interrupted):
            shown = connected("playbook", "show", interrupted).document
        assert (shown["status"], shown["driven"], shown["error"]) == ("running", True, None)

    def test_watch_ends_and_names_the_next_command(self, connected: Cfes, interrupted: str) -> None:
        ended = connected("playbook", "watch", interrupted)
        assert (ended.code, ended.document["status"]) == (6, "running")
        assert ended.document["error"]["message"] == "the run was interrupted in step 'move', and no process runs it"
        assert f"cfes playbook resume {interrupted}" in ended.document["error"]["help"]


class TestWatch:
    def test_a_run_that_no_process_has_is_shown_as_it_is(self, cfes: Cfes, waiting: str) -> None:
        ended = cfes("playbook", "watch", waiting)
        assert (ended.code, ended.document["status"]) == (6, "waiting")

    def test_the_steps_of_another_process_are_shown_until_the_run_has_ended(
        self, cfes: Cfes, waiting: str, clock: FakeClock
    ) -> None:
        with open_store() as store:
            held = store.hold(waiting)

            def finish(_: float) -> None:
                clock.moved = None
                held.release()
                cfes("playbook", "signal", waiting, "answer", '"go"')
                assert cfes("playbook", "resume", waiting).code == 0

            clock.moved = finish
            ended = cfes("playbook", "watch", waiting, terminal=True)
        assert ended.code == 0
        assert "✓ Ask for the answer" in screen_of(ended)
        assert "✓ Check the answer" in screen_of(ended)


class TestResume:
    def test_a_run_without_its_signal_still_waits(self, cfes: Cfes, waiting: str) -> None:
        ended = cfes("playbook", "resume", waiting)
        assert (ended.code, ended.document["status"]) == (6, "waiting")

    def test_a_run_goes_on_after_its_signal(self, cfes: Cfes, waiting: str) -> None:
        sent = cfes("playbook", "signal", waiting, "answer", '"go"')
        assert sent.document == {"run_id": waiting, "signal": "answer", "sent_at": "2026-11-20T16:02:35Z"}
        assert f"cfes playbook resume {waiting}" in sent.err
        ended = cfes("playbook", "resume", waiting)
        assert (ended.code, ended.document["outputs"]) == (0, {"said": "go"})
        again = cfes("playbook", "resume", waiting)
        assert (again.code, again.document["outputs"]) == (0, {"said": "go"})
        shown = screen_of(cfes("playbook", "resume", waiting, terminal=True))
        assert f"This run has already ended, so nothing was run: {waiting} (completed)." in shown
        assert "playbook watch" not in shown

    def test_resume_needs_a_run_or_due(self, cfes: Cfes, waiting: str) -> None:
        for given, wrong in (((), "RUN or --due is missing"), ((waiting, "--due"), "give RUN or --due, not both")):
            ended = cfes("playbook", "resume", *given)
            assert (ended.code, ended.error["message"]) == (2, wrong)

    def test_a_run_of_another_process_is_cancelled_by_that_process(self, cfes: Cfes, waiting: str) -> None:
        with open_store() as store, store.hold(waiting):
            ended = cfes("playbook", "cancel", waiting)
            assert ended.document == {"run_id": waiting, "status": "cancelling", "applied": None, "job_id": None}


class TestOtherAccount:
    """A run store can hold the runs of several accounts."""

    @pytest.fixture
    def elsewhere(self, ask: Callable[..., CommandResult], cfes: Cfes, monkeypatch: pytest.MonkeyPatch) -> str:
        """The ID of a run that can go on, of another account than that of the settings."""
        monkeypatch.setenv(ACCOUNT, "aa11")
        run_id = str(ask().document["run_id"])
        cfes("playbook", "signal", run_id, "answer", '"go"')
        monkeypatch.setenv(ACCOUNT, "bb22")
        return run_id

    def test_a_run_is_resumed_with_its_own_account_only(
        self, cfes: Cfes, elsewhere: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refused = cfes("playbook", "resume", elsewhere)
        assert (refused.code, refused.error["type"], refused.error["applied"]) == (2, "RunOfOtherAccount", "no")
        assert "belongs to the account 'aa11', and the settings name the account 'bb22'" in refused.error["message"]
        monkeypatch.setenv(ACCOUNT, "AA11")
        assert cfes("playbook", "resume", elsewhere).document["status"] == "completed"

    def test_runs_of_other_accounts_are_not_due(
        self, cfes: Cfes, elsewhere: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ended = cfes("playbook", "resume", "--due")
        assert (ended.code, ended.out) == (0, "")
        monkeypatch.setenv(ACCOUNT, "aa11")
        assert cfes("playbook", "resume", "--due").document["run_id"] == elsewhere


class TestDue:
    def due(self, cfes: Cfes) -> list[str]:
        """Resume the runs that are due. Return the statuses of their ends."""
        ended = cfes("playbook", "resume", "--due")
        return [json.loads(line)["status"] for line in ended.out.splitlines()]

    @pytest.mark.usefixtures("waiting")
    def test_nothing_is_due_before_its_time(self, cfes: Cfes) -> None:
        ended = cfes("playbook", "resume", "--due")
        assert (ended.code, ended.out) == (0, "")
        assert "0 runs resumed." in ended.err

    def test_a_sleep_that_is_over_is_due(self, cfes: Cfes, clock: FakeClock) -> None:
        def interrupt(_: float) -> None:
            raise KeyboardInterrupt

        clock.moved = interrupt
        assert cfes("playbook", "run", "later.yaml").code == 130
        clock.moved = None
        assert self.due(cfes) == []
        clock.advance(600)
        assert self.due(cfes) == ["completed"]
        assert self.due(cfes) == []

    def test_a_sleep_that_was_cancelled_before_its_process_was_killed_is_due(
        self, cfes: Cfes, clock: FakeClock
    ) -> None:
        def cancel_and_interrupt(_: float) -> None:
            clock.moved = None
            assert cfes("playbook", "cancel", "later-").document["status"] == "cancelling"
            raise KeyboardInterrupt

        clock.moved = cancel_and_interrupt
        assert cfes("playbook", "run", "later.yaml").code == 130
        assert self.due(cfes) == ["cancelled"]

    def test_a_signal_that_came_is_due(self, cfes: Cfes, waiting: str) -> None:
        cfes("playbook", "signal", waiting, "answer", '"go"')
        assert self.due(cfes) == ["completed"]

    @pytest.mark.usefixtures("waiting")
    def test_a_pause_that_timed_out_is_due(self, cfes: Cfes, clock: FakeClock) -> None:
        clock.advance(3600)
        ended = cfes("playbook", "resume", "--due")
        assert (ended.code, ended.document["status"]) == (3, "refused")
        assert "Nobody answered for case-1." in ended.document["message"]

    def test_a_run_whose_process_was_killed_is_due(
        self, cfes: Cfes, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(*_: Any) -> Any:
            raise KeyboardInterrupt

        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with monkeypatch.context() as patch:
            patch.setattr(Action, "run", only_for("list-jobs", interrupt))
            assert cfes("playbook", "run", "read.yaml").code == 130
        assert self.due(cfes) == ["completed"]

    def test_a_run_that_another_process_has_is_left_alone(self, cfes: Cfes, waiting: str) -> None:
        cfes("playbook", "signal", waiting, "answer", '"go"')
        with open_store() as store, store.hold(waiting):
            assert self.due(cfes) == []
        assert self.due(cfes) == ["completed"]

    def test_one_run_with_a_damaged_id_does_not_stop_the_others(
        self, cfes: Cfes, waiting: str, ask: Callable[..., CommandResult]
    ) -> None:
        other = ask("case-2").document["run_id"]
        cfes("playbook", "signal", waiting, "answer", '"go"')
        execute(default_path(os.environ), "UPDATE run SET run_id = '../x' WHERE run_id = ?", other)
        ended = cfes("playbook", "resume", "--due")
        documents = [json.loads(line) for line in ended.out.splitlines()]
        assert ended.code == 2
        assert [each.get("status") or each["error"]["type"] for each in documents] == ["RunNotFound", "completed"]

    def test_one_damaged_run_does_not_stop_the_others(
        self, cfes: Cfes, waiting: str, ask: Callable[..., CommandResult]
    ) -> None:
        other = ask("case-2").document["run_id"]
        for run_id in (waiting, other):
            cfes("playbook", "signal", run_id, "answer", '"go"')
        execute(default_path(os.environ), "UPDATE run SET state = '{}' WHERE run_id = ?", other)
        ended = cfes("playbook", "resume", "--due")
        documents = [json.loads(line) for line in ended.out.splitlines()]
        assert ended.code == 2
        assert [document.get("status") or document["error"]["type"] for document in documents] == [
            "RunRecordRefused",
            "completed",
        ]


class TestSignal:
    @pytest.mark.parametrize("command", ["signal", "watch", "cancel", "resume"])
    def test_an_unknown_run_is_reported_with_a_similar_one(self, cfes: Cfes, waiting: str, command: str) -> None:
        name = waiting[:-1] + "-"
        ended = cfes("playbook", command, name, *(["answer"] if command == "signal" else []))
        assert (ended.code, ended.error["type"], ended.error["applied"]) == (2, "RunNotFound", "no")
        assert f"did you mean '{waiting}'" in ended.error["message"]

    def test_a_wrong_name_is_refused_with_a_suggestion(self, cfes: Cfes, waiting: str) -> None:
        ended = cfes("playbook", "signal", waiting, "anwser", '"go"')
        assert (ended.code, ended.error["type"]) == (2, "ParameterError")
        assert "did you mean 'answer'" in ended.error["message"]
        assert "It waits for answer" in ended.error["message"]
        assert ended.error["help"].startswith("Nothing was sent.")
        with open_store() as store:
            assert store.signals(waiting) == []

    def test_a_second_answer_to_one_question_is_refused(self, cfes: Cfes, waiting: str) -> None:
        """The run would take it as the answer of a later question with the same name."""
        assert cfes("playbook", "signal", waiting, "answer", '"go"').code == 0
        ended = cfes("playbook", "signal", waiting, "answer", '"stop"')
        assert (ended.code, ended.error["type"], ended.error["applied"]) == (2, "ParameterError", "no")
        assert "has been sent before" in ended.error["message"]
        assert f"Nothing was sent. Continue the run: cfes playbook resume {waiting}" in ended.error["help"]
        with open_store() as store:
            assert [signal.value for signal in store.signals(waiting)] == ["go"]

    @pytest.mark.parametrize("value", ['"perhaps"', "true", '{"go": true}', '["go"]', "", "1"])
    def test_a_value_that_the_pause_does_not_accept_is_refused(self, cfes: Cfes, waiting: str, value: str) -> None:
        ended = cfes("playbook", "signal", waiting, "answer", value)
        assert (ended.code, ended.error["type"]) == (2, "ParameterError")
        assert "does not accept this value for the signal answer" in ended.error["message"]
        assert ended.error["problems"]
        with open_store() as store:
            assert store.signals(waiting) == []

    def test_a_value_is_read_from_a_file_from_standard_input_or_as_text(
        self, cfes: Cfes, ask: Callable[..., CommandResult]
    ) -> None:
        Path("answer.json").write_text('"go"\n')
        Path("answer.txt").write_text("go\n")
        for number, (value, typed) in enumerate(
            [("@answer.json", ""), ("@answer.txt", ""), ("@-", '"go"'), ("go", ""), ('"go"', "")]
        ):
            run_id = ask(f"case-{number}").document["run_id"]
            assert cfes("playbook", "signal", run_id, "answer", value, typed=typed).code == 0, value
            assert cfes("playbook", "resume", run_id).document["outputs"] == {"said": "go"}
        ended = cfes("playbook", "signal", ask("case-9").document["run_id"], "answer", "@missing")
        assert (ended.code, ended.error["type"]) == (2, "ParameterError")

    def test_an_ended_run_takes_no_signal(self, cfes: Cfes, waiting: str) -> None:
        cfes("playbook", "signal", waiting, "answer", '"stop"')
        cfes("playbook", "resume", waiting)
        ended = cfes("playbook", "signal", waiting, "answer", '"go"')
        assert ended.code == 2
        assert "does not wait for the signal 'answer'" in ended.error["message"]

    def test_a_second_answer_is_not_taken(self, cfes: Cfes, waiting: str) -> None:
        cfes("playbook", "signal", waiting, "answer", '"stop"')
        cfes("playbook", "signal", waiting, "answer", '"go"')
        assert cfes("playbook", "resume", waiting).document["message"] == "The answer was no."

    def test_the_sender_is_recorded(self, cfes: Cfes, waiting: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CFES_REQUESTED_BY", "dana@corp.example")
        cfes("playbook", "signal", waiting, "answer", '"go"')
        with open_store() as store:
            assert [signal.sent_by for signal in store.signals(waiting)] == ["dana@corp.example"]


class TestCancel:
    def test_a_run_that_no_process_has_ends_at_once(self, cfes: Cfes, waiting: str) -> None:
        ended = cfes("playbook", "cancel", waiting, "--reason", "a false alarm")
        assert ended.code == 0
        assert ended.document == {"run_id": waiting, "status": "cancelled", "applied": "no", "job_id": None}
        assert f"The run {waiting} was cancelled. Nothing was changed." in ended.err
        shown = cfes("playbook", "show", waiting).document
        assert (shown["status"], shown["exit_code"], shown["error"]["type"]) == ("cancelled", 3, "RunCancelled")
        assert "a false alarm" in shown["error"]["message"]

    def test_a_run_that_a_process_has_ends_before_its_next_step(
        self, ask: Callable[..., CommandResult], cfes: Cfes, clock: FakeClock
    ) -> None:
        def cancel(_: float) -> None:
            clock.moved = None
            ended = cfes("playbook", "cancel", "ask-", "--reason", "a false alarm")
            assert (ended.code, ended.document["status"]) == (0, "cancelling")
            assert "ends before its next step" in ended.err

        clock.moved = cancel
        ended = ask(terminal=True)
        assert ended.code == 3
        assert "a false alarm" in screen_of(ended)
        assert cfes("playbook", "runs").document["runs"][0]["status"] == "cancelled"

    def test_an_ended_run_is_not_cancelled(self, cfes: Cfes, waiting: str) -> None:
        cfes("playbook", "cancel", waiting)
        ended = cfes("playbook", "cancel", waiting)
        assert (ended.code, ended.error["type"]) == (3, "RunEnded")
        assert ended.error["message"] == f"the run {waiting} has already ended: cancelled"
        assert ended.error["help"] == f"Nothing was changed. To see it: cfes playbook show {waiting}"


class TestSameKey:
    def test_a_second_start_continues_the_run(
        self, ask: Callable[..., CommandResult], cfes: Cfes, waiting: str
    ) -> None:
        cfes("playbook", "signal", waiting, "answer", '"go"')
        ended = ask()
        assert (ended.code, ended.document["run_id"], ended.document["status"]) == (0, waiting, "completed")
        assert f"A run for this key has begun before: {waiting}. This command continues it." in ended.err
        assert len(cfes("playbook", "runs").document["runs"]) == 1

    def test_a_second_start_follows_the_run_of_another_process(
        self, ask: Callable[..., CommandResult], cfes: Cfes, waiting: str, clock: FakeClock
    ) -> None:
        with open_store() as store:
            held = store.hold(waiting)

            def finish(_: float) -> None:
                clock.moved = None
                held.release()
                cfes("playbook", "signal", waiting, "answer", '"go"')
                cfes("playbook", "resume", waiting)

            clock.moved = finish
            ended = ask()
        assert (ended.code, ended.document["outputs"]) == (0, {"said": "go"})
        assert f"has the run '{waiting}'. This command follows the run." in ended.err

    def test_a_second_start_takes_the_run_over_from_a_process_that_ends(
        self, ask: Callable[..., CommandResult], cfes: Cfes, waiting: str, clock: FakeClock
    ) -> None:
        cfes("playbook", "signal", waiting, "answer", '"go"')
        with open_store() as store:
            held = store.hold(waiting)
            clock.moved = lambda _: held.release()
            ended = ask()
        assert (ended.code, ended.document["outputs"]) == (0, {"said": "go"})

    def test_a_start_at_the_same_time_continues_the_run_that_another_process_began(
        self, connected: Cfes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path("count.yaml").write_text(KEYED_READ)
        connect = EmailSecurity.from_environment
        ended: list[CommandResult] = []

        def begin_another(environment: Any) -> Any:
            monkeypatch.setattr(EmailSecurity, "from_environment", connect)
            ended.append(connected("playbook", "run", "count.yaml"))
            return connect(environment)

        monkeypatch.setattr(EmailSecurity, "from_environment", begin_another)
        second = connected("playbook", "run", "count.yaml")
        assert (second.code, second.document["run_id"]) == (0, ended[0].document["run_id"])
        assert "This run has already ended, so nothing was run" in second.err

    def test_a_second_start_reports_a_completed_run(
        self, ask: Callable[..., CommandResult], cfes: Cfes, waiting: str
    ) -> None:
        cfes("playbook", "signal", waiting, "answer", '"go"')
        cfes("playbook", "resume", waiting)
        ended = ask()
        assert (ended.code, ended.document["run_id"], ended.document["outputs"]) == (0, waiting, {"said": "go"})
        assert f"This run has already ended, so nothing was run: {waiting} (completed)." in ended.err
        assert "To begin another run for it, add --set attempt=2." in ended.err

    def test_a_second_start_with_other_inputs_is_refused(self, ask: Callable[..., CommandResult], waiting: str) -> None:
        ended = ask("case-1", "--set", "note=another")
        assert (ended.code, ended.error["type"], ended.error["applied"]) == (3, "CheckRefused", "no")
        assert ended.error["message"] == f"the run {waiting} has the same key, but began with another value of note"
        assert f"cfes playbook show {waiting}" in ended.error["help"]
        assert "--set attempt=2" in ended.error["help"]

    @pytest.mark.parametrize("end", ["refused", "cancelled"])
    def test_a_run_that_ended_before_it_did_anything_is_begun_anew(
        self, ask: Callable[..., CommandResult], cfes: Cfes, waiting: str, end: str
    ) -> None:
        if end == "refused":
            cfes("playbook", "signal", waiting, "answer", '"stop"')
            cfes("playbook", "resume", waiting)
        else:
            cfes("playbook", "cancel", waiting)
        ended = ask("case-1", "--set", "note=another")
        assert (ended.code, ended.document["run_id"]) == (6, f"{waiting}-2")
        assert [run["status"] for run in cfes("playbook", "runs").document["runs"]] == ["waiting", end]

    def test_another_account_has_another_run(
        self, ask: Callable[..., CommandResult], waiting: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "0123456789abcdef0123456789abcdef")
        assert ask().document["run_id"] != waiting

    def test_a_new_run_needs_a_directory_of_its_own(self, ask: Callable[..., CommandResult], tmp_path: Path) -> None:
        first = ask("case-1", "--directory", "case").document["run_id"]
        for directory in ("case", "./case/", str(tmp_path / "case")):
            ended = ask("case-2", "--directory", directory)
            assert (ended.code, ended.error["type"]) == (2, "DirectoryUnusable")
            assert f"already has the files of the run {first}" in ended.error["message"]
            assert f"cfes playbook resume {first}" in ended.error["help"]
        assert ask("case-1", "--directory", "case").document["run_id"] == first


HOSTILE = [
    "{{ 7*7 }}{% for x in [] %}",
    "../../../../tmp/escaped",
    "\x1b[2J\x1b]0;title\x07\u202egnp.exe\r\nfake line",
    "'; DROP TABLE run; --",
    "\u0000\u0007",
    "x" * 10_000,
]


class TestHostileTexts:
    @pytest.mark.parametrize("text", some_of(HOSTILE, 0, 1, 2), ids=range(len(HOSTILE)))
    def test_a_hostile_text_is_only_data(self, cfes: Cfes, tmp_path: Path, text: str) -> None:
        alert = dict.fromkeys(json.loads(EXAMPLE_ALERT.read_text()), text)
        Path("alert.json").write_text(json.dumps(alert))
        Path("case.json").write_bytes(text[:500].encode())
        Path("note.json").write_bytes(text.encode())
        given = ("playbook", "run", "ask.yaml", *(f"--set={name}=@{name}.json" for name in ("case", "note", "alert")))
        before = {path.name for path in tmp_path.iterdir()}
        ended = cfes(*given)
        assert ended.code == 6, ended
        run_id = ended.document["run_id"]
        assert re.fullmatch("ask-[0-9a-f]{16}", run_id)
        assert ended.document["waits_for"]["about"]["note"] == text
        inputs = cfes("playbook", "show", run_id).document["inputs"]
        assert inputs == {"case": text[:500], "note": text, "alert": alert, "attempt": 1}
        assert len(cfes("playbook", "runs").document["runs"]) == 1
        for command in (("runs",), ("show", run_id), ("watch", run_id)):
            for arguments in (command, (*command, "--output", "table")):
                shown = cfes("playbook", *arguments, terminal=True)
                plain = COLOR_CODES.sub("", shown.out + shown.err)
                assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202e]", plain), (arguments, plain)
                assert "\x1b[2J" not in shown.out + shown.err
                assert not [line for line in plain.splitlines() if line.startswith("fake line")]
        reason = text.replace("\0", "")
        ending: list[tuple[str, ...]] = [("cancel", run_id, "--reason", reason), ("show", run_id), ("watch", run_id)]
        for given in ending:
            shown = cfes("playbook", *given, terminal=True)
            plain = COLOR_CODES.sub("", shown.out + shown.err)
            assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202e]", plain)
            assert not [line for line in plain.splitlines() if line.startswith("fake line")]
        assert {path.name for path in tmp_path.iterdir()} - before == {"cfes-runs"}
        assert [path.name for path in (tmp_path / "cfes-runs").iterdir()] == [run_id]
