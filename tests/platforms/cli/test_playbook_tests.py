"""`cfes playbook test` shows each case, exits 8 if one fails, and needs neither credentials nor a terminal."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from platforms.cli.commands.playbook_test import shipped
from playbooks import library
from tests.platforms.cli.conftest import Cfes

COLOR_CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")

PLAYBOOK = """\
playbook: 1
id: small
title: Wait
inputs: {seconds: {type: integer, default: 86400}}
steps: [{sleep: "{{ inputs.seconds }}"}, {check: "{{ inputs.seconds > 0 }}", otherwise: Nothing to wait for.}]
"""
TESTS = """\
test: 1
playbook: small.yaml
sandbox: {messages: 0}
cases:
  - {name: It waits a day, expect: {status: completed}}
  - name: It does not wait
    inputs: {seconds: 0}
    expect:
      status: completed
"""

MANY_CASES = ("campaign-by-content", "late-copy-sweep")


@pytest.fixture
def small(cfes: Cfes, tmp_path: Path) -> Cfes:
    (tmp_path / "small.yaml").write_text(PLAYBOOK)
    (tmp_path / "small.test.yaml").write_text(TESTS)
    return cfes


# tests/playbooks runs the exhaustive ones too.
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.exhaustive) if name in MANY_CASES else name for name in shipped()]
)
def test_the_cases_of_a_shipped_playbook_pass(cfes: Cfes, name: str) -> None:
    ended = cfes("playbook", "test", name)
    failed = [case for file in ended.document["files"] for case in file["cases"] if not case["passed"]]
    assert (ended.code, failed) == (0, [])
    assert ended.document["passed"] > 1


def test_every_shipped_playbook_has_cases() -> None:
    """A playbook that others run is covered by their cases."""
    available = library.available()
    parts = {part for playbook in available for part in playbook.parts}
    assert set(shipped()) >= {playbook.id for playbook in available} - parts


@pytest.mark.parametrize("name", ["small.test.yaml", "./small.yaml", "small.yaml"])
def test_a_failed_case_names_its_line_and_exits_8(small: Cfes, name: str) -> None:
    ended = small("playbook", "test", name)
    assert (ended.code, ended.document["passed"], ended.document["failed"]) == (8, 1, 1)
    [_, failed] = ended.document["files"][0]["cases"]
    assert (failed["name"], failed["passed"], failed["status"]) == ("It does not wait", False, "refused")
    assert failed["differences"] == [
        {"pointer": "/cases/1/expect/status", "message": "status is 'refused', not 'completed'", "line": 9}
    ]


def test_a_person_sees_one_line_for_each_case(small: Cfes) -> None:
    ended = small("playbook", "test", "small.test.yaml", terminal=True)
    assert ended.code == 8
    assert COLOR_CODES.sub("", ended.out).splitlines() == [
        "small (small.test.yaml)",
        "✓ It waits a day",
        "✗ It does not wait",
        "    line 9: status is 'refused', not 'completed'",
        "    the run ended with CheckRefused: Nothing to wait for.",
        "2 cases: 1 passed, 1 failed",
    ]


def test_cases_are_chosen_by_name(small: Cfes) -> None:
    assert small("playbook", "test", "small.test.yaml", "--case", "WAITS").document["failed"] == 0
    ended = small("playbook", "test", "small.test.yaml", "--case", "nothing")
    assert (ended.code, ended.error["message"]) == (2, "no case has the text of --case in its name")


@pytest.mark.parametrize("name", ["absent", "absent.test.yaml", "absent.yaml"])
def test_a_test_file_that_does_not_exist_exits_2(cfes: Cfes, name: str) -> None:
    ended = cfes("playbook", "test", name)
    assert (ended.code, ended.error["type"]) == (2, "PlaybookNotFound")


def test_a_playbook_without_a_test_file_is_named(small: Cfes) -> None:
    Path("small.test.yaml").unlink()
    ended = small("playbook", "test", "small.yaml")
    assert (ended.code, ended.error["message"]) == (2, "small.yaml is a playbook, and no test file is beside it")
    assert "small.test.yaml" in ended.error["help"]


def test_a_test_file_is_not_checked_as_a_playbook(small: Cfes) -> None:
    ended = small("playbook", "check", "small.test.yaml")
    assert ended.code == 2
    assert "a test file is run with cfes playbook test FILE" in ended.error["message"]


def test_a_broken_test_file_exits_2_with_the_line(small: Cfes) -> None:
    Path("small.test.yaml").write_text(TESTS.replace("status: completed\n", "statsu: completed\n"))
    ended = small("playbook", "test", "small.test.yaml")
    assert ended.code == 2
    assert ended.error["problems"] == [
        {"pointer": "/cases/1/expect/statsu", "message": "line 9: unknown key 'statsu'; did you mean 'status'?"}
    ]


def test_a_missing_extra_is_named(small: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    ended = small("playbook", "test", "small.test.yaml")
    assert (ended.code, ended.error["type"]) == (2, "ExtraMissing")
