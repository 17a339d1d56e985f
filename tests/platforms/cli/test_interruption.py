"""After Ctrl-C the command names the running job, and how to resume and cancel it."""

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
def test_an_interrupted_wait_names_the_resume_and_cancel_commands(cfes: Cfes, terminal: bool) -> None:
    ended = cfes("wait-for-job", "--job-id", JOB_ID, terminal=terminal)
    assert (ended.code, ended.out) == (130, "")
    assert "may still be running in Cloudflare" in ended.err
    assert f"cfes wait-for-job --job-id {JOB_ID}" in ended.err
    assert f"cfes cancel-job --job-id {JOB_ID}" in ended.err


def test_an_interrupted_export_names_its_destination(cfes: Cfes) -> None:
    ended = cfes("export-job-messages", "--job-id", JOB_ID, "--destination", "my rows.csv")
    assert f"cfes export-job-messages --job-id {JOB_ID} --destination 'my rows.csv'" in ended.err


def test_an_interrupted_read_reports_no_change(cfes: Cfes) -> None:
    ended = cfes("list-jobs")
    assert (ended.code, ended.err) == (130, "Interrupted. Nothing was changed.\n")


def test_an_interrupted_create_advises_a_check_or_the_same_key(cfes: Cfes) -> None:
    ended = cfes("create-move-job", "--sender", "a@b.example")
    assert "A change may have been made. Check before you run it again: cfes list-jobs" in ended.err
    ended = cfes("create-move-job", "--sender", "a@b.example", "--idempotency-key", "case-1")
    assert "You can safely run it again with the same --idempotency-key" in ended.err


def test_an_interrupted_run_command_names_the_cancel_command(cfes: Cfes) -> None:
    ended = cfes("run", "wait-for-job", typed=f'{{"job_id": "{JOB_ID}"}}')
    assert (ended.code, ended.out) == (130, "")
    assert f"cfes cancel-job --job-id {JOB_ID}" in ended.err


def test_the_resume_command_has_every_given_parameter(cfes: Cfes) -> None:
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
