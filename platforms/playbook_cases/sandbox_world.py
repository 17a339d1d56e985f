"""The sandbox of one case: a server of this process on loopback, with a clock that moves only by the case's sleeps.

The sandbox shares no code with the pack and comes with an extra, so it is imported by name on first use.
"""

from __future__ import annotations

import importlib
import json
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from connectors.connection import Connection
from connectors.email_security import EmailSecurity
from core.errors import ParameterError, Problem
from core.json_values import Json, below, did_you_mean, shown
from core.validation_text import plain_message
from platforms.playbook_cases.format import Case, FaultSpec

# Settings that the case itself decides.
_OWN = {"pace", "host", "port", "account_id", "manual_clock", "mbox", "mbox_disposition", "quota", "window"}

# A fault that waits in real time has no place in a test with a simulated clock.
_REAL_TIME = {"delay"}

_PLAN_KEY = "the key of a test, which seals nothing that is used"

# The environment must not reach a test: it may hold a token, a policy, or a channel for notifications.
_FOREIGN = (
    *("CLOUDFLARE_", "CFES_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_"),
    *("AWS_", "GOOGLE_", "AZURE_"),
)


class SimulatedClock:
    """A clock that moves only by its own methods, and the sandbox's clock with it."""

    def __init__(self, start: datetime, account: Any) -> None:
        self._start = start
        self._account = account
        self._seconds = 0.0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        return self._seconds

    def sleep(self, seconds: float) -> None:
        self._seconds += seconds
        self._account.advance(seconds)


@dataclass(frozen=True)
class World:
    """A running sandbox, a connection to it, their clock, and a directory for the run's files."""

    account: Any
    api: EmailSecurity
    clock: SimulatedClock
    directory: Path

    def add_faults(self, faults: Sequence[FaultSpec]) -> list[Any]:
        """Add faults to the sandbox. Returns what `remove_faults` takes."""
        return [self.account.faults.add(**fault.fields()) for fault in faults]

    def remove_faults(self, faults: Sequence[Any]) -> list[bool]:
        """End these faults, also those that are not used up. Returns for each whether a call met it."""
        met = [self.account.faults.met(fault) > 0 for fault in faults]
        for fault in faults:
            self.account.faults.remove(fault)
        return met

    def truth(self) -> dict[str, Any]:
        """Return everything that happened in the sandbox."""
        found: dict[str, Any] = self.account.truth()
        return found


@contextmanager
def world(settings: Mapping[str, Json], case: Case, beside: Path, directory: Path) -> Iterator[World]:
    """Start a sandbox and connect to it. beside: the folder of the test file. directory: for the case's files.

    Raises: ParameterError if the sandbox can't be made from the settings.
    """
    server = importlib.import_module("sandbox.server")
    clocks = importlib.import_module("sandbox.clock")
    with _without_settings():
        try:
            made = importlib.import_module("sandbox.settings").Settings(**_settings(settings), manual_clock=True)
            running = server.start(made)
        except (ValueError, TypeError, OSError) as error:
            raise ParameterError(
                f"the sandbox can't start: {error}", help="Nothing was run. Correct `sandbox`."
            ) from None
        with running:
            clock = SimulatedClock(clocks.as_datetime(running.clock.now()), running.state)
            values = {**_connection(running, case, beside, directory), "state_directory": str(directory / "state")}
            api = EmailSecurity(Connection.checked(values), clock=clock, rng=random.Random(7))  # noqa: S311 -- no secret
            with api:
                yield World(running.state, api, clock, directory)


def _settings(given: Mapping[str, Json]) -> dict[str, Any]:
    pace = importlib.import_module("sandbox.settings").Pace
    settings = dict(given)
    if isinstance(settings.get("at"), str):
        settings["at"] = importlib.import_module("sandbox.clock").parse_instant(settings["at"])
    own = {field.name for field in fields(pace)}
    return {
        **{name: value for name, value in settings.items() if name not in own},
        "pace": pace(**{name: value for name, value in settings.items() if name in own}),
    }


def _connection(running: Any, case: Case, beside: Path, directory: Path) -> dict[str, Any]:
    tokens = {"full": running.token, "read": running.read_token, "revoked": running.revoked_token}
    values = {"account_id": running.account_id, "api_token": tokens[case.token], "base_url": running.base_url}
    if case.requested_by is not None:
        values["requested_by"] = case.requested_by
    if case.policy is None:
        return values
    if isinstance(case.policy, str):
        policy = beside / case.policy
    else:
        policy = directory / "policy.yaml"
        policy.write_text(json.dumps(case.policy), encoding="utf-8")
        policy.chmod(0o600)
    return {**values, "policy_file": str(policy), "plan_key": _PLAN_KEY}


@contextmanager
def _without_settings() -> Iterator[None]:
    """Take the settings of the pack and of cloud providers out of the environment during the block."""
    removed = {name: os.environ.pop(name) for name in list(os.environ) if name.upper().startswith(_FOREIGN)}
    try:
        yield
    finally:
        os.environ.update(removed)


def setting_problems(settings: Mapping[str, Json], pointer: str) -> Iterator[Problem]:
    """Yield the settings that a sandbox does not have, or that a case can't choose."""
    module = importlib.import_module("sandbox.settings")
    types = {**get_type_hints(module.Pace), **get_type_hints(module.Settings)}
    known = {name: kind for name, kind in types.items() if name not in _OWN}
    for name, value in settings.items():
        at = below(pointer, name)
        if name not in known:
            yield Problem(pointer=at, message=f"unknown setting {shown(name)}{did_you_mean(name, known, or_list=True)}")
        elif name == "alert":
            if not isinstance(value, dict | str | None):
                yield Problem(pointer=at, message="must be a map, the path of a file, or null")
        elif name != "at":
            try:
                TypeAdapter(known[name]).validate_python(value, strict=True)
            except ValidationError as error:
                yield Problem(pointer=at, message=plain_message(dict(error.errors(include_url=False)[0])))


def operation_problems(names: Iterable[str], pointer: str) -> Iterator[Problem]:
    """Yield the names that are no operation of the API."""
    known = importlib.import_module("sandbox.operations").OPERATION_IDS
    for name in names:
        if name not in known:
            yield Problem(
                pointer=below(pointer, name), message=f"unknown operation {shown(name)}{did_you_mean(name, known)}"
            )


def fault_problems(faults: Sequence[FaultSpec], pointer: str) -> Iterator[Problem]:
    """Yield the problems of faults, by the rules of the sandbox."""
    module = importlib.import_module("sandbox.faults")
    kinds = [kind for group in get_args(module.Kind) for kind in get_args(group)]
    for index, fault in enumerate(faults):
        at = below(pointer, index)
        if fault.kind in _REAL_TIME:
            yield Problem(pointer=below(at, "kind"), message=f"{fault.kind} waits in real time, and a test does not")
            continue
        if fault.kind not in kinds:
            message = f"unknown kind {shown(fault.kind)}{did_you_mean(fault.kind, kinds, or_list=True)}"
            yield Problem(pointer=below(at, "kind"), message=message)
            continue
        try:
            module.Fault.model_validate(fault.fields())
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                yield Problem(pointer=below(at, *detail["loc"]), message=plain_message(detail))
