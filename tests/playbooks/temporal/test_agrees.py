"""Temporal does what the reference interpreter says of random playbooks; see tests/playbooks/test_drivers_agree.py."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from playbooks.drivers.temporal.client import Runs
from playbooks.drivers.temporal.messages import Pace
from playbooks.engine.commands import Finished
from playbooks.engine.engine import next_commands
from playbooks.engine.signals import awaited_signals
from tests.playbooks.random_playbooks import (
    TRAITS,
    Actions,
    Description,
    descriptions,
    is_concurrent,
    playbook_of,
    require_equal,
)
from tests.playbooks.temporal.servers import Fleet, wait_until

NOW = datetime(2026, 11, 20, 16, 0, tzinfo=UTC)

# How long a second of the descriptions is, in seconds.
SECOND = 0.02

# With a short pause of 0, the workflow makes each poll. Otherwise the activity makes the polls that are due soon.
SHORT_PAUSES = (0.0, 15.0)


class Fleetwide:
    """The actions of a worker: those of the run that is active."""

    def __init__(self) -> None:
        self.actions = Actions()

    def __call__(self, action: str, params: dict[str, Any]) -> dict[str, Any]:
        return self.actions(action, params)


def answer_pauses(fleet: Fleet, run_id: str) -> None:
    """Send each signal that a run waits for, unless nobody answers it, until the run has ended."""

    def has_ended() -> bool:
        playbook, state = fleet.call(fleet.runs.opened(run_id))
        commands = next_commands(playbook, state)
        for path, awaited in awaited_signals(commands).items():
            if awaited.name == "yes":
                fleet.call(fleet.runs.signal(run_id, path, None))
        return isinstance(commands.get(()), Finished)

    wait_until(has_ended)


@pytest.mark.parametrize("examples", [4, pytest.param(100, marks=pytest.mark.exhaustive)])
def test_a_run_on_temporal_does_what_the_reference_says(examples: int, fleet: Fleet) -> None:
    worker, numbers = Fleetwide(), itertools.count()

    @settings(deadline=None, max_examples=examples, suppress_health_check=[HealthCheck.too_slow])
    @given(description=descriptions(), n=st.integers(0, 3), short_pause=st.sampled_from(SHORT_PAUSES))
    def check(description: Description, n: int, short_pause: float) -> None:
        # More retries than the engine makes would end a run whose parts are active at the same time.
        worker.actions = Actions(SECOND, most_failures=3 if is_concurrent(description) else None)
        run_id = f"{fleet.settings.task_queue}-{next(numbers)}"
        playbook = playbook_of(description, SECOND)
        runs = Runs(fleet.client, fleet.settings, Pace(short_pause=short_pause))
        assert fleet.call(runs.start(playbook, {"n": n}, run_id=run_id, traits=TRAITS, now=NOW))
        answer_pauses(fleet, run_id)
        ended = fleet.call(runs.outcome(run_id))
        require_equal(description, n, ended["status"], ended["outputs"], worker.actions)
        fleet.replay(run_id)

    with fleet.worker(worker):
        check()
