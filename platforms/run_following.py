"""Follow a run that another process drives, and report its steps."""

from __future__ import annotations

from core.clock import Clock
from playbooks.drivers import local
from playbooks.drivers.drive import Observer
from playbooks.drivers.outcome import Outcome, outcome_of
from playbooks.drivers.run_store import RunStore
from playbooks.engine.history import steps_reached
from playbooks.engine.state import End
from playbooks.language.errors import RunInProgress

# Between two reads of the run, in seconds.
INTERVAL = 1.0


def follow(store: RunStore, run_id: str, clock: Clock, observer: Observer) -> Outcome | None:
    """Report each step of a run that ends from now on. Return how the run ended, or None once no process runs it.

    Raises: RunNotFound, StateRefused, RunRecordRefused.
    """
    playbook, state = local.opened(store.read(run_id))
    ended = {at.path: at.record.started for at in steps_reached(playbook, state) if at.record.status != "running"}
    while True:
        for at in steps_reached(playbook, state):
            if at.record.status != "running" and ended.get(at.path) != at.record.started:
                ended[at.path] = at.record.started
                observer.step_ended(at)
        if isinstance(state.pending, End):
            return outcome_of(playbook, state)
        if not is_driven(store, run_id):
            return None
        clock.sleep(INTERVAL)
        playbook, state = local.opened(store.read(run_id))


def is_driven(store: RunStore, run_id: str) -> bool:
    """Return whether a process has the run. Raises: RunNotFound, RunRecordRefused."""
    try:
        store.hold(run_id).release()
    except RunInProgress:
        return True
    return False
