"""`cfes worker` before it reaches a server. tests/playbooks/temporal tests it with one."""

from __future__ import annotations

import socket
import sys

import pytest

from sandbox.access import FULL_ACCESS
from sandbox.settings import ACCOUNT_ID
from tests.platforms.cli.conftest import Cfes


def test_a_worker_without_the_extra_names_the_command_that_adds_it(cfes: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "temporalio", None)
    ended = cfes("worker")
    assert (ended.code, ended.error["type"]) == (2, "ExtraMissing")
    assert "[temporal]" in ended.error["help"]


def test_a_worker_without_a_server_names_its_address_and_the_setting(
    cfes: Cfes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("CFES_TEMPORAL_ADDRESS", address)
        monkeypatch.setenv("CLOUDFLARE_API_TOKEN", FULL_ACCESS)
        monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", ACCOUNT_ID)
        ended = cfes("worker")
    assert (ended.code, ended.error["type"], ended.error["applied"]) == (6, "TemporalUnavailable", "no")
    assert address in ended.error["message"]
    assert "CFES_TEMPORAL_ADDRESS" in ended.error["help"]


def test_a_worker_with_an_invalid_setting_is_refused(cfes: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFES_TEMPORAL_TASK_QUEUE", "a b")
    ended = cfes("worker")
    assert (ended.code, ended.error["type"]) == (2, "ConnectionSettingsError")


def test_a_worker_without_credentials_for_its_actions_is_refused(cfes: Cfes) -> None:
    ended = cfes("worker")
    assert (ended.code, ended.error["type"]) == (4, "AuthenticationFailed")
