"""Journals of runs as the version before the run store wrote them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from playbooks.drivers.seal_key import SealKey
from playbooks.engine.commands import ActionSucceeded, Finished, RunAction
from playbooks.engine.engine import advance, begin, next_commands
from playbooks.language.format import Playbook
from tests.clock import FakeClock


def write_journal(
    directory: Path,
    playbook: Playbook,
    inputs: Mapping[str, Any],
    run_action: Callable[[str, dict[str, Any]], dict[str, Any]],
    key: SealKey,
    *,
    killed_at: str,
    run_id: str = "run-1",
) -> dict[str, Any]:
    """Write the journal of a run that was killed in an action, and return its document."""
    now = FakeClock().now()
    state = begin(playbook, inputs, run_id=run_id, now=now, directory=str(directory))
    while True:
        command = next_commands(playbook, state).get(())
        assert isinstance(command, RunAction), "the run ended before the action"
        assert not isinstance(command, Finished)
        if command.action == killed_at:
            break
        result = run_action(command.action, command.params)
        state = advance(playbook, state, ActionSucceeded(result), now=now)
    directory.mkdir(mode=0o700)
    in_flight = {"step_id": command.step_id, "since": "2026-11-20T16:02:35Z"}
    document = {"journal": 2, "playbook": playbook.document(), "state": state.document(), "in_flight": in_flight}
    return store_journal(directory, document, key)


def store_journal(directory: Path, document: Mapping[str, Any], key: SealKey) -> dict[str, Any]:
    """Seal a journal and write it to its directory. Return the document with its seal."""
    content = {**{name: value for name, value in document.items() if name != "seal"}, "key": key.id}
    sealed = {**content, "seal": key.seal(content)}
    path = directory / "journal.json"
    path.write_text(json.dumps(sealed))
    path.chmod(0o600)
    return sealed
