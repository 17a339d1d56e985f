"""Ctrl-C says what goes on without us, how to come back to it and how to stop it."""

from __future__ import annotations

import json
import shlex

import pytest

from actions.contract.action import Action
from tests.platforms.cli.conftest import Cfes

JOB_ID = "7d9f3c1e-5b0a-4c55-9a57-0f6f3f0c9b1d"


@pytest.fixture(autouse=True)
def _interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Action, "run", interrupt)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_wait(cfes: Cfes, terminal: bool) -> None:
    ended = cfes("wait-for-job", "--job-id", JOB_ID, terminal=terminal)
    assert (ended.code, ended.out) == (130, "")
    assert "may still be running in Cloudflare" in ended.err
    assert f"cfes wait-for-job --job-id {JOB_ID}" in ended.err
    assert f"cfes cancel-job --job-id {JOB_ID}" in ended.err


def test_an_export_comes_back_to_its_file(cfes: Cfes) -> None:
    ended = cfes("export-job-messages", "--job-id", JOB_ID, "--destination", "my rows.csv")
    assert f"cfes export-job-messages --job-id {JOB_ID} --destination 'my rows.csv'" in ended.err


def test_a_read_changed_nothing(cfes: Cfes) -> None:
    ended = cfes("list-jobs")
    assert (ended.code, ended.err) == (130, "Interrupted. Nothing was changed.\n")


def test_a_change_is_not_known_and_safe_to_repeat_with_its_key(cfes: Cfes) -> None:
    ended = cfes("create-move-job", "--sender", "a@b.example")
    assert "A change may have been made. Check before you run it again: cfes list-jobs" in ended.err
    ended = cfes("create-move-job", "--sender", "a@b.example", "--idempotency-key", "case-1")
    assert "You can safely run it again with the same --idempotency-key" in ended.err


def test_an_action_run_as_json(cfes: Cfes) -> None:
    ended = cfes("run", "wait-for-job", typed=f'{{"job_id": "{JOB_ID}"}}')
    assert (ended.code, ended.out) == (130, "")
    assert f"cfes cancel-job --job-id {JOB_ID}" in ended.err


def test_the_command_to_come_back_has_every_parameter_that_was_given(cfes: Cfes) -> None:
    params = json.dumps({"job_id": JOB_ID, "format": "ndjson", "resume": {"n": 1}})
    ended = cfes(
        *("export-job-messages", "--params", "-", "--format", "csv"),
        *("--status", "FAILED", "--destination", "my rows.csv"),
        typed=params,
    )
    [line] = [line for line in ended.err.splitlines() if "resume:" in line]
    given = shlex.split(line.partition("resume: ")[2])
    assert given[:2] == ["cfes", "export-job-messages"]
    assert dict(zip(given[2::2], given[3::2], strict=True)) == {
        "--job-id": JOB_ID,
        "--format": "csv",
        "--status": "FAILED",
        "--destination": "my rows.csv",
        "--resume": '{"n": 1}',
    }
