"""The service over real HTTP on loopback, in a thread of this process, with a sandbox as the remote API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from platforms.callers.callers import Callers
from platforms.callers.records import Scope
from sandbox import server as sandbox_server
from sandbox.server import RunningSandbox
from sandbox.settings import Pace, Settings
from tests.conftest import EXAMPLE_ALERT
from tests.platforms.http.serving import RunningService, SharedService, start_service

EVERY: tuple[Scope, ...] = ("read", "write", "approve", "alerts")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state directory of the service."""
    return tmp_path / "state"


@pytest.fixture
def sandbox(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    """A sandbox whose jobs end within a second: the service has the clock of this machine."""
    return start_sandbox(
        manual_clock=False, pace=Pace(start_delay=0.1, discover_rate=2000, process_rate=1000, retry_delay=0.1)
    )


@pytest.fixture
def settings(environment: dict[str, str], state: Path) -> dict[str, str]:
    """The environment of the service."""
    return {**environment, "CFES_STATE_DIR": str(state), "CFES_LISTING_LAG_SECONDS": "0"}


@pytest.fixture
def token(state: Path) -> str:
    """The token of a caller with every scope."""
    return Callers(str(state)).create("ana@corp.example", EVERY, expires_at=None)


@pytest.fixture
def start(settings: dict[str, str]) -> Iterator[Callable[..., RunningService]]:
    """Start services; stop them after the test. Keywords are further settings."""
    running: list[RunningService] = []

    def started(**more: str) -> RunningService:
        service = start_service({**settings, **more})
        running.append(service)
        return service

    yield started
    for service in running:
        service.stop()


@pytest.fixture
def service(start: Callable[..., RunningService], token: str) -> RunningService:
    return start()


@pytest.fixture
def client(service: RunningService, token: str) -> Iterator[httpx.Client]:
    """A client with the token of `ana@corp.example`, who has every scope."""
    with service.client(token) as client:
        yield client


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedService]:
    """One service for the tests of a module, with its own sandbox and a caller with every scope."""
    state = tmp_path_factory.mktemp("service") / "state"
    pace = Pace(start_delay=0.1, discover_rate=2000, process_rate=1000, retry_delay=0.1)
    with sandbox_server.start(Settings(messages=300, alert=EXAMPLE_ALERT, campaign_size=40, pace=pace)) as sandbox:
        environment = {
            "CLOUDFLARE_API_TOKEN": sandbox.token,
            "CLOUDFLARE_ACCOUNT_ID": sandbox.account_id,
            "CLOUDFLARE_BASE_URL": sandbox.base_url,
            "CFES_STATE_DIR": str(state),
            "CFES_LISTING_LAG_SECONDS": "0",
            "CFES_HTTP_REQUESTS": "1000000",
        }
        token = Callers(str(state)).create("ana@corp.example", EVERY, expires_at=None)
        running = start_service(environment)
        with running.client(token) as client:
            yield SharedService(running, sandbox, client, state)
        running.stop()
