"""An error is an exit code and a readable message, never a traceback."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from actions.contract.action import Action
from platforms.cli import main as entry
from tests.platforms.cli.conftest import Cfes

BAD = ("create-move-job", "--sender", "", "--start", "yesterday", "--max-messages", "many")


def test_problems_name_the_flag_as_well_as_the_pointer(cfes: Cfes) -> None:
    problems = {problem["pointer"]: problem for problem in cfes(*BAD).error["problems"]}
    assert problems["/search_params/sender"]["flag"] == "--sender"
    assert problems["/search_params/start"]["flag"] == "--start"
    assert problems["/max_messages"]["message"] == "not a number"
    assert problems["/destination"] == {"pointer": "/destination", "message": "is required", "flag": "--destination"}


def test_a_terminal_shows_an_error_block_with_the_next_step_on_stderr(cfes: Cfes) -> None:
    ended = cfes(*BAD, terminal=True)
    assert (ended.code, ended.out) == (2, "")
    assert "ParameterError: 4 problems" in ended.err
    assert "--sender: is empty" in ended.err
    for line in ("changed    nothing", "next       Correct the flags that are named and run it again.", "exit code  2"):
        assert line in _plain(ended.err)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("search-messages",), "a search flag, such as --sender, is required"),
        (("wait-for-job",), "--job-id is required"),
        (("wait-for-job", "--job-id", "1"), "--job-id: is not a valid UUID"),
        (("create-move-job", "--plan", "@none.json"), "--plan 'none.json' can't be read: No such file or directory"),
        (("playbook", "run", "phish-campaign-purge", "--set", "nonsense=1", "--plan-only"), "unknown input 'nonsense'"),
    ],
)
def test_a_terminal_names_a_flag_once(words: tuple[str, ...], line: str, cfes: Cfes) -> None:
    assert f"ParameterError: {line}\n" in _plain(cfes(*words, terminal=True).err)


def test_a_variable_is_named_without_a_pointer(cfes: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "")
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "sandbox-full-token")
    ended = cfes("list-jobs", terminal=True)
    assert "ConnectionSettingsError: CLOUDFLARE_ACCOUNT_ID: is not set\n" in _plain(ended.err)


def test_an_invalid_json_file_gives_no_advice_to_pass_a_file(cfes: Cfes, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("plan")
    message = cfes("create-move-job", "--plan", f"@{tmp_path / 'plan.json'}").error["message"]
    assert "is not valid JSON" in message
    assert "@FILE" not in message
    assert "write --plan @FILE" in cfes("create-move-job", "--plan", "plan.json").error["message"]


def test_a_pipe_gets_the_document_and_a_terminal_the_error_block(cfes: Cfes) -> None:
    ended = cfes(*BAD, err=True)
    assert ended.error["type"] == "ParameterError"
    assert "ParameterError: 4 problems" in ended.err


def test_missing_search_flags_are_named_together(cfes: Cfes) -> None:
    [problem] = cfes("search-messages").error["problems"]
    flag = "a search flag, such as --sender,"
    assert problem == {"pointer": "/search_params", "message": "is required", "flag": flag}


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e999", "true", "[1]", "", "five"])
def test_a_value_that_is_not_a_number_is_refused(text: str, cfes: Cfes) -> None:
    ended = cfes("wait-for-job", "--job-id", "7d9f3c1e-5b0a-4c55-9a57-0f6f3f0c9b1d", "--timeout-seconds", text)
    assert (ended.code, ended.error["problems"][0]["flag"]) == (2, "--timeout-seconds")


@pytest.mark.parametrize("text", ["{", "@", "@missing.json", "[NaN]", "[" * 100_000])
def test_a_value_that_is_not_json_is_refused(text: str, cfes: Cfes) -> None:
    ended = cfes("render-report", "--destination", "x", "--job", text)
    assert (ended.code, ended.error["problems"][0]["flag"]) == (2, "--job")


@pytest.mark.parametrize("document", ["", "[]", "{", '{"a": 1, "a": 2}', "\udcff", '{"search_params": 5}'])
def test_an_invalid_params_document_is_refused(document: str, cfes: Cfes) -> None:
    ended = cfes(
        "search-messages", "--sender", "a@b.example", "--params", "-", typed=document.encode(errors="surrogateescape")
    )
    assert ended.code == 2


def test_an_unreadable_params_file_is_named(cfes: Cfes) -> None:
    for name in ("missing.json", ".", "a\0b"):
        assert "--params" in cfes("get-job", "--params", name).error["message"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["creat-move-job"], "did you mean 'create-move-job'"),
        (["get-job", "--job"], "--job"),
        (["playbook", "rnu"], "rnu"),
        (["list-jobs", "surplus"], "surplus"),
        (["list-jobs", "--output", "xml"], "--output must be one of auto, json, table"),
        (["run"], "ACTION"),
    ],
)
def test_an_invalid_command_line_exits_2(arguments: list[str], expected: str, cfes: Cfes) -> None:
    ended = cfes(*arguments)
    assert ended.code == 2
    assert expected in ended.error["message"]


def test_an_unexpected_exception_is_an_internal_error_without_traceback(
    cfes: Cfes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_key_error(*_: object) -> None:
        raise KeyError("\x1b[31msecret")

    monkeypatch.setattr(Action, "run", raise_key_error)
    ended = cfes("list-jobs", terminal=True)
    assert ended.code == 1
    assert "InternalError: KeyError in" in ended.err
    assert "secret" not in ended.err
    assert "Traceback" not in ended.err


def test_a_closed_reader_is_no_error(cfes: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_broken_pipe(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(Action, "run", raise_broken_pipe)
    assert cfes("list-jobs").err == ""


def test_without_the_extra_the_command_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    for name in [name for name in sys.modules if name.startswith("platforms.cli.")]:
        if name not in ("platforms.cli.main", "platforms.cli.views.screen"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "typer", None)
    assert entry.main(["list-jobs"]) == 2
    assert "pip install -e '.[cli]'" in stderr.getvalue()


def _plain(text: str) -> str:
    import re  # noqa: PLC0415

    return re.sub(r"\x1b\[[0-9;]*m", "", text)
