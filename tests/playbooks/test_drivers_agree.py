"""Every driver does what the reference interpreter says: the same end, the same results, each effect once and in order.

Where several sub-playbooks are active at a time, the order of their effects is not compared.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from playbooks.drivers import tick
from playbooks.drivers.drive import Observer, Patience
from playbooks.drivers.run_store import RunStore
from playbooks.drivers.tick_state import Run
from playbooks.engine.commands import AwaitSignal, Finished
from playbooks.engine.engine import begin, next_commands
from playbooks.engine.history import Reached
from playbooks.engine.signals import Signal, awaited_signals
from playbooks.language.format import Playbook
from tests.clock import FakeClock
from tests.playbooks import driving
from tests.playbooks.random_playbooks import (
    TRAITS,
    Actions,
    Description,
    descriptions,
    playbook_of,
    require_equal,
)
from tests.slow import some_of

each_number = pytest.mark.parametrize("examples", some_of([20, 200], 0))


def check(examples: int, agrees: Callable[[Description, int], None]) -> None:
    """Call a function with this number of descriptions."""
    given(description=descriptions(), n=st.integers(0, 3))(
        settings(deadline=None, max_examples=examples, suppress_health_check=[HealthCheck.too_slow])(agrees)
    )()


class Answering(Observer):
    """Sends each signal that a run waits for, unless nobody answers it."""

    def __init__(self, store: RunStore) -> None:
        self.store = store

    def waiting(self, at: Reached, command: AwaitSignal) -> None:
        if command.name == "yes":
            for number in range(command.count):
                path = "/".join((*at.place, command.name))
                self.store.send_signal("run-1", path, number, "a test")


@each_number
def test_the_local_driver_does_what_the_reference_says(examples: int) -> None:
    check(examples, local_agrees)


def local_agrees(description: Description, n: int) -> None:
    actions, clock = Actions(), FakeClock()
    with TemporaryDirectory() as folder:
        directory = Path(folder) / "run"
        with driving.store_beside(directory, clock) as store:
            outcome = driving.run(
                playbook_of(description),
                {"n": n},
                run_action=actions,
                clock=clock,
                directory=directory,
                observer=Answering(store),
                patience=Patience(signals=True),
                traits=TRAITS,
            )
    require_equal(description, n, outcome.status, outcome.outputs, actions)


@each_number
def test_the_tick_driver_does_what_the_reference_says(examples: int) -> None:
    check(examples, tick_agrees)


def tick_agrees(description: Description, n: int) -> None:
    actions, clock = Actions(), FakeClock()
    playbook: Playbook = playbook_of(description)
    state = begin(playbook, {"n": n}, run_id="r", directory="/d", traits=TRAITS, now=clock.now())
    run = Run("root", playbook, state)
    for _ in range(500):
        commands = next_commands(playbook, run.state)
        if () in commands and isinstance(commands[()], Finished):
            break
        signals = [Signal(name, 1) for name, each in awaited_signals(commands).items() if each.name == "yes"]
        run, refused = tick.advance_run(
            run, run_action=lambda command: actions(command.action, command.params), clock=clock, signals=signals
        )
        assert refused == []
        clock.sleep(1)
    end = next_commands(playbook, run.state)[()]
    assert isinstance(end, Finished)
    require_equal(description, n, end.status, end.outputs, actions)
