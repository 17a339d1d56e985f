"""The tick driver: each call takes the state of the call before, which passes through JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from core.errors import NotFound, OutcomeUnknown, RateLimited
from playbooks.drivers.seal_key import SealKey
from playbooks.drivers.tick import LARGEST_ANSWER_BYTES, advance_run, answer
from playbooks.drivers.tick_state import Run, open_run, seal_run
from playbooks.engine.commands import RunAction
from playbooks.engine.engine import begin
from playbooks.engine.signals import Signal
from playbooks.engine.state import ActionTraits
from playbooks.language.errors import StateRefused
from playbooks.language.format import Playbook
from playbooks.language.loading import from_document
from tests.clock import FakeClock
from tests.playbooks.conftest import KEY, Remote
from tests.playbooks.test_nested_runs import playbook_of

TRAITS = {
    "create": ActionTraits(effect="irreversible", keyed=True),
    "wait": ActionTraits(effect="write", resumable=True, repeatable=True),
    "read": ActionTraits(effect="read"),
    "tidy": ActionTraits(effect="write"),
}


class Folder:
    """Files in memory. The place of a file is its directory and name."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def put(self, directory: str, name: str, data: bytes) -> str:
        self.files[f"{directory}/{name}"] = data
        return f"{directory}/{name}"

    def get(self, place: str, size: int) -> bytes | None:
        return self.files[place][:size] if place in self.files else None


class Loop:
    """Call until the run is done, as a loop outside does. Each pause passes on the clock."""

    def __init__(self, playbook: Playbook, remote: Remote, clock: FakeClock | None = None, **inputs: Any) -> None:
        self.playbook = playbook
        self.remote = remote
        self.clock = clock or FakeClock()
        self.files = Folder()
        state = begin(playbook, inputs, run_id="r", directory="/d", traits=TRAITS, now=self.clock.now())
        self.run = Run(playbook.document(), playbook, state)
        self.sizes: list[int] = []
        self.seconds: list[int] = []

    def act(self, command: RunAction) -> dict[str, Any]:
        return self.remote(command.action, command.params)

    def call(self, **what: Any) -> dict[str, Any]:
        """Make one call, and keep its state for the next."""
        run, refused = advance_run(self.run, run_action=self.act, clock=self.clock, **what)
        found: dict[str, Any] = answer(run, refused, key=KEY, files=self.files, now=self.clock.now())
        text = json.dumps(found)
        self.sizes.append(len(text))
        found = json.loads(text)
        if found["run"] is not None:
            self.run = self.opened(found["run"]["state"])
        return found

    def opened(self, state: dict[str, Any], key: SealKey = KEY) -> Run:
        return open_run(state, key=key, files=self.files, find=from_document)

    def to_the_end(self, most: int = 200) -> dict[str, Any]:
        for _ in range(most):
            found = self.call()
            if found["next"] in ("done", "signal"):
                return found
            if found["next"] == "sleep":
                self.seconds.append(found["seconds"])
                self.clock.sleep(found["seconds"])
        raise AssertionError("the run does not end")


def test_each_call_runs_one_action_and_the_last_has_the_result(
    purge: Playbook, alert: dict[str, Any], remote: Callable[..., Remote]
) -> None:
    loop = Loop(purge, remote(), alert=alert, destination="Trash")
    counts = []
    while (found := loop.call())["next"] != "done":
        counts.append(len(loop.remote.calls))
        loop.clock.sleep(found["seconds"])
    assert counts == list(range(1, len(loop.remote.calls)))
    assert (found["result"]["status"], found["result"]["exit_code"], found["run"]) == ("completed", 0, None)
    assert found["result"]["outputs"]["discovered"] == 3
    assert [action for action, _ in loop.remote.calls].count("create-move-job") == 1


def test_a_pause_is_whole_seconds_and_never_ends_too_early(
    purge: Playbook, alert: dict[str, Any], remote: Callable[..., Remote]
) -> None:
    waiting = {"done": False, "next_poll_seconds": 2.2, "resume": {}, "progress": {}}
    loop = Loop(purge, remote(wait_for_job=[waiting]), alert=alert)
    while (found := loop.call())["next"] == "again":
        pass
    assert (found["next"], found["seconds"]) == ("sleep", 3)
    calls = len(loop.remote.calls)
    loop.clock.sleep(2)
    assert (loop.call()["seconds"], len(loop.remote.calls)) == (1, calls)
    loop.clock.sleep(1)
    loop.call()
    assert len(loop.remote.calls) == calls + 1


def test_a_clock_that_was_set_back_does_not_make_a_pause_longer() -> None:
    loop = Loop(playbook_of("steps: [{sleep: 60}]"), Remote({}))
    loop.clock.set_forward(hours=-5)
    assert loop.call()["seconds"] == 60


def test_an_error_of_an_action_is_part_of_the_run() -> None:
    playbook = playbook_of("steps: [{id: a, action: read}]")
    loop = Loop(playbook, Remote({"read": [RateLimited("slow", retry_after_seconds=7), {"n": 1}]}))
    found = loop.call()
    assert (found["next"], found["seconds"]) == ("sleep", 7)
    assert loop.to_the_end()["result"]["status"] == "completed"


def test_a_failed_run_can_be_called_again_and_repeats_its_action() -> None:
    playbook = playbook_of("steps: [{id: a, action: tidy}, {id: b, action: read}]")
    loop = Loop(playbook, Remote({"tidy": [{}], "read": [NotFound("no such job"), {}]}))
    failed = loop.to_the_end()
    assert (failed["result"]["status"], failed["result"]["resumable"]) == ("failed", True)
    assert loop.to_the_end()["result"]["status"] == "completed"
    assert [action for action, _ in loop.remote.calls] == ["tidy", "read", "read"]


def test_a_repeated_call_repeats_the_action_with_the_same_parameters(
    purge: Playbook, alert: dict[str, Any], remote: Callable[..., Remote]
) -> None:
    loop = Loop(purge, remote(), alert=alert)
    while not any(action == "create-move-job" for action, _ in loop.remote.calls):
        before = loop.run
        loop.call()
    loop.run = before
    loop.call(repeated=True)
    first, second = loop.remote.of("create-move-job")
    assert first == second
    assert loop.to_the_end()["result"]["status"] == "completed"


@pytest.mark.parametrize(("action", "applied", "code"), [("tidy", "unknown", 7), ("read", "no", 3)])
def test_a_change_that_a_lost_call_may_have_made_is_in_the_result(action: str, applied: str, code: int) -> None:
    playbook = playbook_of(f"steps: [{{id: a, action: {action}}}, {{check: false, otherwise: 'No.'}}]")
    loop = Loop(playbook, Remote({action: [{"changed": False}]}))
    end = loop.call(repeated=True)["result"]
    assert (end["status"], end["error"]["applied"], end["exit_code"]) == ("refused", applied, code)


def test_cancelling_after_a_lost_call_reports_the_change_that_it_may_have_made() -> None:
    loop = Loop(playbook_of("steps: [{id: a, action: tidy}]"), Remote({}))
    end = loop.call(repeated=True, cancel="enough")["result"]
    assert (end["status"], end["error"]["applied"], end["exit_code"]) == ("cancelled", "unknown", 7)


def test_the_doubt_belongs_to_the_action_of_the_repeated_call_only() -> None:
    playbook = playbook_of("steps: [{sleep: 5}, {id: a, action: tidy}, {id: b, action: tidy}]")
    loop = Loop(playbook, Remote({"tidy": [{"changed": False}, OutcomeUnknown("lost")]}))
    loop.clock.sleep(loop.call()["seconds"])
    loop.call(repeated=True)
    records = loop.run.state.steps
    assert (records["a"].doubt is not None, records["b"].doubt) == (True, None)


PAUSE = """\
steps:
  - {id: ask, pause: approval, within: 600, count: 2, about: {n: 1}, accepts: {type: object, required: [by]}, otherwise: "Nobody."}
outputs: {by: "{{ steps.ask.value.by }}"}
"""  # noqa: E501 -- one step


def test_a_pause_waits_for_its_signals() -> None:
    loop = Loop(playbook_of(PAUSE), Remote({}))
    found = loop.call()
    assert (found["next"], found["seconds"]) == ("signal", 600)
    [pause] = found["waits_for"]
    assert (pause["signal"], pause["count"], pause["received"]) == ("approval", 2, 0)
    assert (pause["about"], pause["accepts"]["required"]) == ({"n": 1}, ["by"])
    found = loop.call(signals=[Signal("approval", {"by": "ann"})])
    assert (found["next"], found["waits_for"][0]["received"]) == ("signal", 1)
    found = loop.call(signals=[Signal("approval", {"by": "bob"})])
    assert (found["next"], found["result"]["outputs"]) == ("done", {"by": "bob"})


def test_a_pause_ends_with_its_time_and_then_takes_no_signal() -> None:
    loop = Loop(playbook_of(PAUSE), Remote({}))
    loop.clock.sleep(loop.call()["seconds"])
    found = loop.call(signals=[Signal("approval", {"by": "ann"})])
    assert (found["result"]["status"], found["result"]["message"]) == ("refused", "Nobody.")
    [refused] = found["refused_signals"]
    assert refused["message"] == "the run does not wait for the signal 'approval'. It waits for no signal"


def test_a_refused_signal_is_reported_and_the_pause_stays() -> None:
    loop = Loop(playbook_of(PAUSE), Remote({}))
    found = loop.call(signals=[Signal("approval", {}), Signal("aproval", {"by": "ann"})])
    assert (found["next"], found["waits_for"][0]["received"]) == ("signal", 0)
    wrong, unknown = found["refused_signals"]
    assert (wrong["message"], wrong["problems"][0]["pointer"]) == ("the pause does not accept its value", "/by")
    message = "the run does not wait for the signal 'aproval'; did you mean 'approval'? It waits for approval"
    assert unknown == {"name": "aproval", "message": message, "problems": []}


EACH = 'steps: [{id: each, playbook: child, for_each: [1, 2], at_most: 2, with: {n: "{{ item }}"}}]\n'


def test_a_signal_for_several_pauses_must_name_one() -> None:
    child = "inputs: {n: {type: integer, description: N.}}\nsteps: [{id: ask, pause: go, within: 60, otherwise: 'No.'}]"
    loop = Loop(playbook_of(EACH, child=child), Remote({}))
    found = loop.call(signals=[Signal("go", None)])
    assert found["refused_signals"][0]["message"] == (
        "several pauses wait for the signal 'go': name one of each[0]/go, each[1]/go"
    )
    loop.call(signals=[Signal("each[1]/go", None)])
    assert loop.call(signals=[Signal("go", None)])["result"]["status"] == "completed"


def test_while_another_action_waits_a_pause_is_no_reason_to_stop_polling() -> None:
    child = """\
inputs: {n: {type: integer, description: N.}}
steps: [{when: "{{ inputs.n == 1 }}", pause: go, within: 600, otherwise: 'No.'}, {id: w, action: wait}]
"""
    waiting = {"done": False, "next_poll_seconds": 4, "resume": {}}
    loop = Loop(playbook_of(EACH, child=child), Remote({"wait": [waiting, {"done": True}]}))
    found = loop.call()
    assert (found["next"], found["seconds"], found["waits_for"][0]["signal"]) == ("sleep", 4, "each[0]/go")


def test_a_cancelled_run_ends_before_its_next_action() -> None:
    loop = Loop(playbook_of("steps: [{id: a, action: tidy}, {id: b, action: tidy}]"), Remote({"tidy": [{}]}))
    loop.call()
    result = loop.call(cancel="a mistake")["result"]
    assert (result["status"], result["message"], len(loop.remote.calls)) == ("cancelled", "a mistake", 1)


def test_a_run_that_has_failed_is_not_resumed_to_cancel_it() -> None:
    loop = Loop(playbook_of("steps: [{id: a, action: tidy}]"), Remote({"tidy": [NotFound("no such job")]}))
    loop.to_the_end()
    result = loop.call(cancel="a mistake")["result"]
    assert (result["status"], len(loop.remote.calls)) == ("failed", 1)


@pytest.mark.parametrize(
    "change", [{"content": "{}"}, {"key": "0" * 16}, {"tick": True}, {"tick": 2}, {"seal": "0" * 64}, {"more": 1}]
)
def test_an_edited_state_is_refused(change: dict[str, Any]) -> None:
    loop = Loop(playbook_of("steps: [{id: a, action: tidy}]"), Remote({"tidy": [{}]}))
    with pytest.raises(StateRefused, match="seal") as caught:
        loop.opened({**seal_run(loop.run, KEY), **change})
    assert caught.value.help.startswith("Nothing was run.")


@pytest.mark.parametrize("state", [{}, {"tick": 1}, {"seal": 5, "key": []}, {"tick": 1, "content": 1e400, "seal": "x"}])
def test_a_document_that_is_no_state_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises(StateRefused):
        Loop(playbook_of("steps: [{id: a, action: tidy}]"), Remote({})).opened(state)


def test_a_state_of_another_key_names_the_setting() -> None:
    loop = Loop(playbook_of("steps: [{id: a, action: tidy}]"), Remote({}))
    with pytest.raises(StateRefused, match="sealed with another key") as caught:
        loop.opened(seal_run(loop.run, KEY), SealKey(b"x" * 32, "in another function"))
    assert "CFES_PLAN_KEY" in caught.value.help


def test_numbers_written_in_another_form_do_not_change_the_state() -> None:
    loop = Loop(playbook_of("steps: [{id: a, action: read}, {sleep: 60}]"), Remote({"read": [{"percent": 100.0}]}))
    loop.call()
    state = json.loads(json.dumps(seal_run(loop.run, KEY)), parse_float=lambda text: int(float(text)))
    assert loop.opened(state) == loop.run


LARGE = "x" * LARGEST_ANSWER_BYTES


def test_a_large_state_moves_to_a_file_of_the_run() -> None:
    playbook = playbook_of("steps: [{id: a, action: read}, {sleep: 9}]\noutputs: {n: '{{ steps.a.text | length }}'}")
    loop = Loop(playbook, Remote({"read": [{"text": LARGE}]}))
    loop.call()
    [name] = loop.files.files
    assert name.startswith("/d/state-")
    assert max(loop.sizes) < 2000
    assert loop.to_the_end()["result"]["outputs"] == {"n": len(LARGE)}


@pytest.mark.parametrize(("change", "message"), [(b"", "does not exist"), (b"other", "was edited")])
def test_a_file_of_a_state_that_is_missing_or_edited_is_refused(change: bytes, message: str) -> None:
    loop = Loop(playbook_of("steps: [{id: a, action: read}, {sleep: 9}]"), Remote({"read": [{"text": LARGE}]}))
    run, _ = advance_run(loop.run, run_action=loop.act, clock=loop.clock)
    found = answer(run, [], key=KEY, files=loop.files, now=loop.clock.now())
    [name] = loop.files.files
    loop.files.files[name] = loop.files.files[name][:-5] + change
    if not change:
        loop.files.files.clear()
    with pytest.raises(StateRefused, match=message):
        loop.opened(found["run"]["state"])


def test_large_outputs_and_a_large_pause_move_to_files() -> None:
    pause = "{pause: go, within: 60, otherwise: 'No.', about: {text: '{{ steps.a.text }}'}}"
    playbook = playbook_of(f"steps: [{{id: a, action: read}}, {pause}]\noutputs: {{t: '{{{{ steps.a.text }}}}'}}")
    loop = Loop(playbook, Remote({"read": [{"text": LARGE}]}))
    about = loop.call()["waits_for"][0]["about"]["moved"]
    assert json.loads(loop.files.files[about["place"]]) == {"text": LARGE}
    result = loop.call(signals=[Signal("go", None)])["result"]
    assert (result["status"], result["outputs"]) == ("completed", {})
    assert json.loads(loop.files.files[result["moved"]["place"]])["outputs"] == {"t": LARGE}
    assert max(loop.sizes) < 3000
