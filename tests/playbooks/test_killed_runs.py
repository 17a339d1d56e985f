"""A run that is killed with `kill -9` around any store write or HTTP call, and resumed, has each effect once.

The tests compare the sandbox's truth with that of the same run without a kill.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from actions.contract import catalog
from connectors.email_security import EmailSecurity
from playbooks.language.bundling import every_step
from playbooks.language.format import ActionStep, Playbook
from remediation.evidence.verification import verify
from sandbox.clock import iso
from sandbox.server import RunningSandbox
from tests.playbooks.example_runs import EXAMPLE_RUNS, SMALL
from tests.playbooks.killed_runs import PLAYBOOKS, RunningProcess, Started
from tests.slow import some_of

# The calls of a run change nothing except by these.
WRITES = ("createBulkJob", "cancelBulkJob", "deleteBulkJob", "moveMessages", "releaseMessages")


def changes_mail(playbook: Playbook) -> bool:
    actions = [catalog.find(step.action) for step in every_step(playbook) if isinstance(step, ActionStep)]
    return any(action.connection and action.effect != "read" for action in actions)


CHANGING = [playbook.id for playbook in PLAYBOOKS.values() if changes_mail(playbook)]


@dataclass
class World:
    """A sandbox, and one run against it."""

    sandbox: RunningSandbox
    started: Started

    def process(self, **stop: int) -> RunningProcess:
        """Begin the run, or go on with it, in a new process."""
        return RunningProcess(replace(self.started, now=iso(self.sandbox.clock.now())), **stop)

    def to_the_end(self, where: str) -> int:
        """Go on with the run until it has completed, and check its bundles. Return the number of points."""
        ended = self.process().ended()
        assert ended is not None and "outcome" in ended, f"{where}: {ended}"
        outcome = ended["outcome"]
        assert outcome["status"] == "completed", f"{where}: {outcome['error']}"
        # Each playbook with a bundle has this output. Those of its parts are checked by the part.
        assert outcome["outputs"].get("complete", True) is True, where
        assert all(verify(path).intact for path in self.bundles()), where
        return int(ended["points"])

    def bundles(self) -> list[Path]:
        return sorted(self.started.folder.glob("run/*.zip"))

    def effects(self) -> dict[str, Any]:
        """Return what happened to the mail, and the names of the evidence bundles."""
        truth = self.sandbox.state.truth()
        return {
            "jobs": [job["status"] for job in truth["jobs"]],
            "moved": sorted((change["id"], change["recipient"]) for change in truth["moved"]),
            "released": sorted((change["id"], change["recipient"]) for change in truth["released"]),
            "effects": sorted((effect["operation"], sorted(effect["touched"])) for effect in truth["effects"]),
            "writes": {name: truth["calls"][name] for name in WRITES if name in truth["calls"]},
            "bundles": [path.name for path in self.bundles()],
        }


MakeWorld = Callable[[str], World]


@pytest.fixture
def make_world(
    start_sandbox: Callable[..., RunningSandbox], connect: Callable[..., EmailSecurity], tmp_path: Path
) -> MakeWorld:
    numbers = iter(range(10_000))

    def make(playbook_id: str) -> World:
        example = EXAMPLE_RUNS[playbook_id]
        sandbox = start_sandbox(**{**SMALL, **example.settings})
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        connection = {
            "account_id": sandbox.account_id,
            "api_token": sandbox.token,
            "base_url": sandbox.base_url,
            "state_directory": str(folder / "state"),
        }
        with closing(connect(sandbox)) as api:
            inputs = example.inputs(sandbox, api, folder)
        clock_url = f"{sandbox.control_url}/clock"
        return World(sandbox, Started(playbook_id, inputs, connection, clock_url, "", folder))

    return make


def without_a_kill(playbook_id: str, make_world: MakeWorld) -> tuple[dict[str, Any], int]:
    """Return the effects of a run, and the number of its points."""
    world = make_world(playbook_id)
    points = world.to_the_end("without a kill")
    effects = world.effects()
    assert effects["effects"] != []
    assert effects["writes"].get("createBulkJob", 0) == len(effects["jobs"])
    return effects, points


def kill_and_resume(playbook_id: str, point: int, again: int | None, make_world: MakeWorld) -> dict[str, Any]:
    """Kill a run at a point, and its resume at another one if given. Return the effects once the run has completed."""
    world = make_world(playbook_id)
    assert world.process(kill_at=point).ended() is None
    if again is not None:
        world.process(kill_at=again).ended()
    world.to_the_end(f"killed at {point} and {again}")
    world.sandbox.stop()
    return world.effects()


def test_every_playbook_that_changes_mail_is_killed_in_these_tests() -> None:
    assert sorted(EXAMPLE_RUNS) == CHANGING


@pytest.mark.parametrize("playbook_id", CHANGING)
def test_a_run_killed_at_a_point_and_resumed_has_each_effect_once(playbook_id: str, make_world: MakeWorld) -> None:
    effects, points = without_a_kill(playbook_id, make_world)
    # Each playbook is killed at another point, and every second one twice.
    number = CHANGING.index(playbook_id) + 1
    point = points * number // (len(CHANGING) + 1)
    again = 7 if number % 2 == 0 else None
    assert kill_and_resume(playbook_id, point, again, make_world) == effects, (point, again)


@pytest.mark.exhaustive
@pytest.mark.parametrize("playbook_id", CHANGING)
@pytest.mark.parametrize("twice", [False, True])
def test_a_run_killed_at_any_point_and_resumed_has_each_effect_once(
    playbook_id: str, twice: bool, make_world: MakeWorld
) -> None:
    effects, points = without_a_kill(playbook_id, make_world)
    for point in range(0, points, 3 if twice else 1):
        again = point * 7 % points if twice else None
        assert kill_and_resume(playbook_id, point, again, make_world) == effects, (point, again)


@pytest.mark.parametrize("point", some_of([1, 12, 30], 1))
def test_a_run_that_another_process_has_is_refused_with_the_name_of_that_process(
    point: int, make_world: MakeWorld
) -> None:
    world = make_world("phish-campaign-purge")
    first = world.process(halt_at=point)
    assert first.has_halted()
    refused = world.process().ended()
    first.go_on()
    going_on = first.ended()
    assert refused is not None and refused["error"]["type"] == "RunInProgress"
    assert refused["error"]["message"].startswith(f"process {first.pid} on ")
    assert going_on is not None and going_on["outcome"]["status"] == "completed"
    assert world.effects()["writes"] == {"createBulkJob": 1}


def test_of_two_processes_that_begin_a_run_at_once_one_is_refused(make_world: MakeWorld) -> None:
    world = make_world("phish-campaign-purge")
    late = world.process(halt_at=0)
    assert late.has_halted()
    world.to_the_end("the other process")
    late.go_on()
    refused = late.ended()
    assert refused is not None and refused["error"]["type"] == "RunExists"
    assert world.effects()["writes"] == {"createBulkJob": 1}
