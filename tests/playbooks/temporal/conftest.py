"""Fixtures: one Temporal server for all tests of a process, and a fleet for each test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.playbooks.temporal.servers import Fleet, TemporalServer

_NUMBERS = itertools.count()


# An idle server takes a twentieth of a processor, so it ends with the tests of this folder.
@pytest.fixture(scope="package")
def temporal_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    folder = tmp_path_factory.mktemp("temporal")
    server = TemporalServer(folder, folder / "server.log", in_memory=True)
    server.start()
    yield server
    server.kill()


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
