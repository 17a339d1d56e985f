"""Runs on a Temporal server: start, list, show, signal, cancel. Needs the extra `temporal`."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from core.json_values import Json
from platforms.playbook_checks import require_sound
from platforms.playbook_session import traits
from platforms.temporal_extra import require_temporal
from playbooks.drivers.store.records import RunSummary
from playbooks.engine.engine import run_key
from playbooks.engine.state import RunState
from playbooks.language.format import Playbook

if TYPE_CHECKING:
    from playbooks.drivers.temporal.client import Runs
    from playbooks.drivers.temporal.messages import RemoteCaller

T = TypeVar("T")


@dataclass(frozen=True)
class Starter:
    """Who starts a run from a service. run_id: the ID of a run whose playbook has no key; None: a new one."""

    caller: RemoteCaller
    run_id: str | None = None


def start(
    playbook: Playbook,
    inputs: Mapping[str, Json],
    environment: Mapping[str, str] | None = None,
    starter: Starter | None = None,
) -> dict[str, Json]:
    """Start a run and return `run_id`, and `started`: false if a run with this key is running or has completed.

    environment: with the settings; by default the process's environment, as in every function here. starter: None for
    a person with access to the workers' machines.
    Raises: ParameterError, PlaybookInvalid, and as every function here ExtraMissing, ConnectionSettingsError,
    TemporalUnavailable and AuthenticationFailed.
    """
    require_temporal()
    from playbooks.drivers.temporal.client import run_id_of  # noqa: PLC0415 -- the extra

    require_sound(playbook)
    now = datetime.now(UTC)
    run_id = run_id_of(playbook, inputs, f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}")
    if starter is not None and starter.run_id is not None and run_key(playbook, inputs) is None:
        run_id = starter.run_id
    caller = None if starter is None else starter.caller
    started = _call(
        lambda runs: runs.start(playbook, inputs, run_id=run_id, traits=traits(), now=now, caller=caller), environment
    )
    return {"run_id": run_id, "started": started}


def runs(limit: int = 100, environment: Mapping[str, str] | None = None) -> list[RunSummary]:
    """Return the newest runs."""
    return _call(lambda runs: runs.list(limit), environment)


def find(run_id: str, environment: Mapping[str, str] | None = None) -> RunSummary:
    """Return a run. Raises: RunNotFound."""
    return _call(lambda runs: runs.find(run_id), environment)


def opened(run_id: str, environment: Mapping[str, str] | None = None) -> tuple[Playbook, RunState]:
    """Return a run's playbook and its state. Raises: RunNotFound; RunEnded if the server ended it without a state."""
    return _call(lambda runs: runs.opened(run_id), environment)


def signal(run_id: str, name: str, value: Json, environment: Mapping[str, str] | None = None) -> None:
    """Send a signal. Raises: RunNotFound, RunEnded, and ParameterError if the run does not take it."""
    _call(lambda runs: runs.signal(run_id, name, value), environment)


def cancel(run_id: str, reason: str, environment: Mapping[str, str] | None = None) -> None:
    """Ask a run to end after the action that it runs. Raises: RunNotFound, RunEnded."""
    _call(lambda runs: runs.cancel(run_id, reason), environment)


def _call(do: Callable[[Runs], Awaitable[T]], environment: Mapping[str, str] | None) -> T:
    """Connect, and return what `do` returns for the runs of the server."""
    require_temporal()
    from playbooks.drivers.temporal.client import Runs  # noqa: PLC0415 -- the extra
    from playbooks.drivers.temporal.connection import connect  # noqa: PLC0415 -- the extra
    from playbooks.drivers.temporal.settings import TemporalSettings  # noqa: PLC0415 -- the extra

    settings = TemporalSettings.from_environment(os.environ if environment is None else environment)

    async def called() -> T:
        return await do(Runs(await connect(settings), settings))

    return asyncio.run(called())
