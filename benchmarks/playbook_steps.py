"""Measures what a playbook adds to its actions: the engine alone, and the local driver with its run store.

`python -m benchmarks.playbook_steps [--steps N] [--rounds N] [--directory PATH]`. The actions answer at once, with a
result of about 4 KB in several scripts. --directory: where the run store is; on a file system in memory, it costs less.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.summary import Line, at_most, say, table
from core.clock import SystemClock
from playbooks.drivers import local
from playbooks.drivers.drive import Hooks
from playbooks.drivers.run_store import RunStore
from playbooks.drivers.seal_key import SealKey
from playbooks.engine.commands import ActionSucceeded, Finished
from playbooks.engine.engine import advance, begin, next_commands
from playbooks.engine.state import ActionTraits
from playbooks.language.format import Playbook
from playbooks.language.loading import from_document

STEPS, ROUNDS = 25, 15
MOST_ENGINE_MS, MOST_LOCAL_MS = 0.3, 4.0
NOW = datetime(2026, 11, 20, 16, 0, tzinfo=UTC)
TRAITS = {"read": ActionTraits(effect="read"), "write": ActionTraits(effect="write")}
RESULT = {
    "count": 20,
    "messages": [{"id": f"4WtWkr6nlBz9sNH-{n}", "subject": "Überfällig, 請求書, فاتورة 😀"} for n in range(20)],
}


class Measured(NamedTuple):
    """Milliseconds for each action, one figure for each round. engine: processor time; the others: elapsed."""

    engine: list[float]
    reads: list[float]
    writes: list[float]


def playbook_of(action: str, steps: int) -> Playbook:
    """Return a playbook whose steps each read the step before."""
    made: list[dict[str, Any]] = [{"id": "s0", "action": action, "with": {"n": "{{ inputs.n }}"}}]
    for number in range(1, steps):
        params = {"n": f"{{{{ steps.s{number - 1}.count }}}}", "text": f"{{{{ inputs.n }}}} of {number}"}
        made.append({"id": f"s{number}", "action": action, "with": params})
    inputs = {"n": {"type": "integer", "description": "A number."}}
    return from_document({"playbook": 1, "id": "benchmark", "title": "B", "inputs": inputs, "steps": made})


def engine_alone(playbook: Playbook, rounds: int) -> list[float]:
    """Return the processor time of the engine for each action, in milliseconds."""
    found = []
    for _ in range(rounds):
        began, actions = time.process_time(), 0
        state = begin(playbook, {"n": 1}, run_id="r", now=NOW, directory="/d", traits=TRAITS)
        while not isinstance(next_commands(playbook, state)[()], Finished):
            state = advance(playbook, state, ActionSucceeded(RESULT), now=NOW)
            actions += 1
        found.append((time.process_time() - began) / actions * 1000)
    return found


def local_driver(playbook: Playbook, rounds: int, folder: Path) -> list[float]:
    """Return the elapsed time of a run with the local driver for each action, in milliseconds."""
    found = []
    hooks = Hooks(run_action=lambda *_: RESULT, clock=SystemClock())
    key = SealKey(b"a key of 16 bytes or more", "in the benchmark")
    with RunStore(folder / "store" / "runs.db", key, SystemClock()) as store:
        for number in range(rounds):
            run_id = f"{playbook.steps[0].id}-{number}"
            began = time.perf_counter()
            outcome = local.run(
                playbook,
                {"n": 1},
                store=store,
                run_id=run_id,
                directory=folder / run_id,
                hooks=hooks,
                traits=TRAITS,
            )
            if outcome.status != "completed":
                raise SystemExit("a run did not complete: the figures are invalid")
            found.append((time.perf_counter() - began) / len(playbook.steps) * 1000)
    return found


def measure(steps: int = STEPS, rounds: int = ROUNDS, directory: str | None = None) -> Measured:
    """Measure runs of playbooks with this number of actions."""
    reads, writes = playbook_of("read", steps), playbook_of("write", steps)
    with tempfile.TemporaryDirectory(dir=directory) as one, tempfile.TemporaryDirectory(dir=directory) as two:
        return Measured(
            engine_alone(reads, rounds),
            local_driver(reads, rounds, Path(one).resolve()),
            local_driver(writes, rounds, Path(two).resolve()),
        )


def figures_of(found: Sequence[float]) -> str:
    return f"{statistics.median(found):.2f}, {max(found):.2f}"


def rows_of(measured: Measured) -> Iterator[str]:
    yield f"| engine alone, processor time | {figures_of(measured.engine)} |"
    yield f"| local driver, an action that reads | {figures_of(measured.reads)} |"
    yield f"| local driver, an action that writes | {figures_of(measured.writes)} |"


def report(measured: Measured) -> str:
    return table("for each action | ms (median, greatest)", list(rows_of(measured)))


def line(measured: Measured) -> Line:
    engine, reads = statistics.median(measured.engine), statistics.median(measured.reads)
    writes = statistics.median(measured.writes)
    text = f"{engine:.2f} ms of processor time in the engine; in all {reads:.1f} ms a read, {writes:.1f} a write"
    goals = (
        at_most(MOST_ENGINE_MS, "ms of processor time in the engine", engine),
        at_most(MOST_LOCAL_MS, "ms for an action", reads, writes),
    )
    return Line("playbook steps", text, goals)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--directory")
    given = parser.parse_args()
    say(report(measure(given.steps, given.rounds, given.directory)))
