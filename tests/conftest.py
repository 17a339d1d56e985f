"""Fixtures: a sandbox over real HTTP, and a connector to it with a fake clock."""

from __future__ import annotations

import gc
import itertools
import json
import logging
import os
import random
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from connectors import call_log
from connectors.connection import Connection
from connectors.email_security import EmailSecurity
from sandbox.server import RunningSandbox, start
from sandbox.settings import Settings
from tests.actions.incomplete import incomplete_actions
from tests.clock import FakeClock

pytest_plugins = [
    "tests.object_stores",
    "tests.sandbox_mail",
    "tests.secrets_watch",
    "tests.skips",
    "tests.slow",
    "tests.temporary_files",
]

EXAMPLE_ALERT = Path(__file__).parent.parent / "examples" / "alert.json"

# A search that finds the planted campaign; see examples/alert.json.
CAMPAIGN = {"sender": "billing@invoice-portal.example", "start": "2026-11-13T15:32:35Z", "detections_only": False}

PLAN_KEY = "a plan key of the tests, 32 characters or more"

# Hypothesis uses the same examples each time. HYPOTHESIS_PROFILE=explore tries more and new ones.
settings.register_profile("few", derandomize=True, database=None, deadline=None, max_examples=16)
settings.register_profile("exhaustive", settings.get_profile("few"), max_examples=40)
settings.register_profile("explore", deadline=None, print_blob=True)

# The pack refuses a policy that its group can write, so tests write files without that permission.
os.umask(0o022)

_NUMBERS = itertools.count()

# A setting of the machine that runs the tests must not reach them.
FOREIGN_SETTINGS = (
    *("CLOUDFLARE_", "CFES_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_"),
    *("AWS_", "GOOGLE_", "AZURE_"),
)


def pytest_configure(config: pytest.Config) -> None:
    usual = "exhaustive" if config.getoption("--exhaustive") else "few"
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", usual))


def pytest_sessionstart() -> None:
    """Exit with one message if an action lacks a field: its import would fail in every test module."""
    problems = incomplete_actions(EXAMPLE_ALERT.parents[1] / "actions")
    if problems:
        pytest.exit("; ".join(problems), returncode=1)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without garbage collection, and spare it the objects that live until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def _remove_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith(FOREIGN_SETTINGS):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _use_a_separate_state_directory(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    # The directory is created only if something is recorded.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / f"state-{next(_NUMBERS)}"))


@pytest.fixture(autouse=True)
def _reset_the_call_log() -> Iterator[None]:
    yield
    call_log.LOGGER.propagate = False
    call_log.LOGGER.handlers = [logging.NullHandler()]


@pytest.fixture
def alert() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(EXAMPLE_ALERT.read_text())
    return loaded


@pytest.fixture
def start_sandbox(request: pytest.FixtureRequest) -> Iterator[Callable[..., RunningSandbox]]:
    """Start sandboxes with a manual clock; stop them after the test.

    The module's CAMPAIGN_SIZE is the size of their campaigns, if it has one.
    """
    running: list[RunningSandbox] = []
    size = getattr(request.module, "CAMPAIGN_SIZE", 40)

    def started(**settings: Any) -> RunningSandbox:
        defaults = {"messages": 300, "alert": EXAMPLE_ALERT, "campaign_size": size, "manual_clock": True}
        sandbox = start(Settings(**{**defaults, **settings}))
        running.append(sandbox)
        return sandbox

    yield started
    for sandbox in running:
        sandbox.stop()


@pytest.fixture
def sandbox(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    return start_sandbox()


@pytest.fixture
def connect() -> Iterator[Callable[..., EmailSecurity]]:
    """Connect to a sandbox; sleeping advances its clock."""
    opened: list[EmailSecurity] = []

    def connected(sandbox: RunningSandbox, **settings: Any) -> EmailSecurity:
        values = {
            "account_id": sandbox.account_id,
            "api_token": sandbox.token,
            "base_url": sandbox.base_url,
            # Under a policy, plans must be sealed.
            **({"plan_key": PLAN_KEY} if "policy_file" in settings else {}),
            **settings,
        }
        clock = FakeClock(moved=sandbox.state.advance)
        api = EmailSecurity(Connection.checked(values), clock=clock, rng=random.Random(7))
        opened.append(api)
        return api

    yield connected
    for api in opened:
        api.close()


@pytest.fixture
def api(sandbox: RunningSandbox, connect: Callable[..., EmailSecurity]) -> EmailSecurity:
    return connect(sandbox)


@pytest.fixture
def environment(sandbox: RunningSandbox) -> dict[str, str]:
    """The environment variables that a process needs to reach the sandbox."""
    return {
        "CLOUDFLARE_API_TOKEN": sandbox.token,
        "CLOUDFLARE_ACCOUNT_ID": sandbox.account_id,
        "CLOUDFLARE_BASE_URL": sandbox.base_url,
    }
