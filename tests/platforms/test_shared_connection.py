"""The connection that the threads of a service share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.errors import AuthenticationFailed
from platforms.shared_connection import SharedConnection

TOKEN = "CLOUDFLARE_API_TOKEN"


@pytest.fixture
def connection(environment: dict[str, str]) -> Iterator[SharedConnection]:
    connection = SharedConnection(environment)
    yield connection
    connection.close()


def test_refused_calls_close_no_connection_that_others_use(connection: SharedConnection) -> None:
    in_use = connection.for_requester("ana@corp.example")
    for _ in range(20):
        connection.for_requester("eve@corp.example")
        connection.renew()
    assert list(in_use.list_jobs()) == []


def test_a_replaced_token_is_used_after_a_refused_call(
    connection: SharedConnection, environment: dict[str, str]
) -> None:
    right = environment[TOKEN]
    environment[TOKEN] = "wrong" * 8
    with pytest.raises(AuthenticationFailed):
        list(connection.for_requester(None).list_jobs())
    environment[TOKEN] = right
    connection.renew()
    assert list(connection.for_requester(None).list_jobs()) == []


def test_a_token_that_is_missing_for_a_moment_ends_no_connection(
    connection: SharedConnection, environment: dict[str, str]
) -> None:
    in_use = connection.for_requester(None)
    del environment[TOKEN]
    connection.renew()
    assert list(in_use.list_jobs()) == list(connection.for_requester(None).list_jobs()) == []


def test_a_closed_connection_can_be_closed_again(connection: SharedConnection) -> None:
    connection.for_requester(None)
    connection.close()
    connection.close()
