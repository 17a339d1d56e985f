"""The worker's side of the pack: connections of its threads, and limits on the time of one call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from actions.contract import catalog
from actions.contract.streams import kept_streams
from connectors.email_security import EmailSecurity
from core.errors import AuthenticationFailed, ParameterError
from platforms.temporal_worker import WorkerActions, bounded
from sandbox import access
from sandbox.server import RunningSandbox
from tests.conftest import CAMPAIGN


class Opened:
    """Opens connections to a sandbox, each with its own token, and counts those that are open."""

    def __init__(self, connect: Callable[..., EmailSecurity], sandbox: RunningSandbox) -> None:
        self._connect = connect
        self._sandbox = sandbox
        self.tokens: list[str] = []
        self.number = 0
        self.open = 0

    @contextmanager
    def __call__(self) -> Iterator[EmailSecurity]:
        self.number += 1
        self.open += 1
        token = self.tokens.pop(0) if self.tokens else self._sandbox.token
        yield self._connect(self._sandbox, api_token=token)
        self.open -= 1


@pytest.fixture
def opened(connect: Callable[..., EmailSecurity], sandbox: RunningSandbox) -> Opened:
    return Opened(connect, sandbox)


def test_a_thread_keeps_its_connection_and_shares_it_with_no_other(opened: Opened) -> None:
    with WorkerActions(opened) as run_action:
        for _ in range(2):
            run_action("list-jobs", {})
        assert opened.number == 1
        other = threading.Thread(target=run_action, args=("list-jobs", {}))
        other.start()
        other.join()
        assert (opened.number, opened.open) == (2, 2)
    assert opened.open == 0


def test_a_refused_token_is_read_again(opened: Opened) -> None:
    opened.tokens = [access.REVOKED]
    with WorkerActions(opened) as run_action:
        with pytest.raises(AuthenticationFailed):
            run_action("list-jobs", {})
        assert opened.open == 0
        assert run_action("list-jobs", {})["jobs"] == []


def test_a_worker_keeps_no_record_of_every_job_that_it_made(opened: Opened) -> None:
    with WorkerActions(opened) as run_action, kept_streams() as ledger:
        run_action("create-move-job", {"destination": "JunkEmail", "search_params": CAMPAIGN})
    assert ledger.jobs == []


def test_an_unknown_action_is_an_error_of_the_pack(opened: Opened) -> None:
    with WorkerActions(opened) as run_action, pytest.raises(ParameterError, match="unknown action"):
        run_action("os-system", {})


@pytest.mark.parametrize(
    ("action", "params", "added"),
    [
        ("wait-for-job", {}, {"timeout_seconds": 60}),
        ("wait-for-job", {"timeout_seconds": 5}, {}),
        ("wait-for-job", {"timeout_seconds": 3600}, {"timeout_seconds": 60}),
        ("export-job-messages", {"destination": "s3://bucket/rows.csv"}, {"time_budget_seconds": 1800}),
        ("export-job-messages", {"destination": "/runs/rows.csv"}, {}),
        ("search-messages", {}, {}),
    ],
)
def test_a_call_that_can_be_continued_on_another_worker_is_short(
    action: str, params: dict[str, Any], added: dict[str, Any]
) -> None:
    assert bounded(catalog.find(action), params) == {**params, **added}
