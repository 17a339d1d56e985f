"""Fixtures: one Temporal server for all tests of a process, and a fleet for each test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.playbooks.temporal.servers import Fleet, TemporalServer

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def temporal_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    folder = tmp_path_factory.mktemp("temporal")
    server = TemporalServer(folder, folder / "server.log")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def make_fleet(temporal_server: TemporalServer) -> Iterator[Callable[..., Fleet]]:
    fleets: list[Fleet] = []

    def make(files: str = "", server: TemporalServer = temporal_server) -> Fleet:
        fleets.append(Fleet(server, f"queue-{next(_NUMBERS)}", files))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.close()


@pytest.fixture
def fleet(make_fleet: Callable[..., Fleet]) -> Fleet:
    return make_fleet()
