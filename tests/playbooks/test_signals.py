"""The names of signals: in full with the steps above the pause, or short where only one pause waits for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from core.errors import ParameterError
from playbooks.drivers import local, tick
from playbooks.drivers.drive import Hooks
from playbooks.drivers.outcome import Outcome, progress_of
from playbooks.drivers.tick_state import Run
from playbooks.engine.commands import AwaitSignal, Place, Sleep
from playbooks.engine.engine import begin
from playbooks.engine.signals import Signal, awaited_signals, find_awaited
from playbooks.language.format import Playbook
from tests.clock import FakeClock
from tests.playbooks import driving
from tests.playbooks.conftest import KEY
from tests.playbooks.test_nested_runs import playbook_of
from tests.playbooks.test_tick import Folder

UNTIL = "2026-11-20T17:00:00Z"


def pause(name: str, step_id: str = "ask") -> AwaitSignal:
    return AwaitSignal(name, step_id, 60.0, UNTIL, None, 1, (), {})


COMMANDS: Mapping[Place, AwaitSignal | Sleep] = {
    ("sweeps[0]", "job"): pause("approval"),
    ("sweeps[1]", "job"): pause("approval"),
    ("sweeps[2]",): pause("go"),
    ("sweeps[3]",): Sleep(5.0, "wait", UNTIL, "sleep"),
}


def test_a_signal_has_the_steps_above_its_pause_in_its_name() -> None:
    assert list(awaited_signals(COMMANDS)) == ["sweeps[0]/job/approval", "sweeps[1]/job/approval", "sweeps[2]/go"]


@pytest.mark.parametrize(
    ("name", "place"),
    [("go", ("sweeps[2]",)), ("sweeps[2]/go", ("sweeps[2]",)), ("sweeps[1]/job/approval", ("sweeps[1]", "job"))],
)
def test_a_pause_is_found_by_its_full_name_and_by_a_short_name_that_no_other_pause_has(name: str, place: Place) -> None:
    assert find_awaited(COMMANDS, name) == (place, COMMANDS[place])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "approval",
            "several pauses wait for the signal 'approval': name one of sweeps[0]/job/approval, sweeps[1]/job/approval",
        ),
        (
            "sweeps[2]/og",
            "the run does not wait for the signal 'sweeps[2]/og'; did you mean 'sweeps[2]/go'? "
            "It waits for sweeps[0]/job/approval, sweeps[1]/job/approval, sweeps[2]/go",
        ),
        ("job/approval", "the run does not wait for the signal 'job/approval'"),
        ("ask", "the run does not wait for the signal 'ask'"),
    ],
)
def test_a_name_of_several_pauses_or_of_none_is_refused_with_the_names(name: str, message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        find_awaited(COMMANDS, name)
    assert caught.value.message.startswith(message)
    assert caught.value.help.startswith("Nothing was sent.")


def test_a_run_that_waits_for_nothing_reports_so() -> None:
    with pytest.raises(ParameterError, match="It waits for no signal"):
        find_awaited({}, "go")


PARENT = "steps: [{id: job, playbook: child}]\n"
CHILD = "steps: [{id: ask, pause: approval, within: 600, otherwise: 'No.', about: {n: 1}}]\n"


@pytest.fixture
def nested() -> Playbook:
    return playbook_of(PARENT, child=CHILD)


def locally(playbook: Playbook, directory: Path) -> tuple[Outcome, Outcome]:
    """Return the outcome of a run that waits, and of the run after the signal `approval`."""
    clock = FakeClock()
    with driving.store_beside(directory, clock) as store:
        waiting = driving.run(playbook, {}, run_action=_no_action, clock=clock, directory=directory)
        store.send_signal("run-1", "approval", True, None)
        return waiting, local.resume("run-1", store=store, hooks=Hooks(run_action=_no_action, clock=clock))


def _no_action(action: str, params: dict[str, Any]) -> dict[str, Any]:
    raise AssertionError(f"no step runs {action} with {params}")


def test_the_command_that_answers_a_run_of_for_each_is_quoted_for_a_shell(tmp_path: Path) -> None:
    each = 'steps: [{id: jobs, playbook: child, for_each: [1], with: {n: "{{ item }}"}}]\n'
    child = f"inputs: {{n: {{type: integer, description: N.}}}}\n{CHILD}"
    waiting = driving.run(
        playbook_of(each, child=child), {}, run_action=_no_action, clock=FakeClock(), directory=tmp_path / "run"
    )
    assert waiting.error is not None
    assert "cfes playbook signal run-1 'jobs[0]/approval' @FILE" in waiting.error["help"]


def test_every_driver_describes_a_pause_in_the_same_way_and_takes_the_short_name(
    nested: Playbook, tmp_path: Path
) -> None:
    clock = FakeClock()
    waiting, ended = locally(nested, tmp_path / "run")
    assert waiting.waits_for is not None
    assert (waiting.waits_for["signal"], ended.status) == ("job/approval", "completed")

    state = begin(nested, {}, run_id="r", directory="/d", traits={}, now=clock.now())
    run = Run("root", nested, state)
    found = tick.answer(run, [], key=KEY, files=Folder(), now=clock.now())
    assert found["waits_for"] == [waiting.waits_for]
    run, refused = tick.advance_run(run, run_action=vars, clock=clock, signals=[Signal("approval", True)])
    assert (refused, tick.answer(run, [], key=KEY, files=Folder(), now=clock.now())["next"]) == ([], "done")

    assert progress_of(nested, state).waits_for == "job/approval"
