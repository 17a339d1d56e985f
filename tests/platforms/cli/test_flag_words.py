"""Errors and help of a command name flags; `python -m actions.X` and `cfes run` keep the JSON names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from actions.contract import catalog
from actions.contract.action import Action
from core.errors import ANOTHER_JOB, ApprovalRefused, IdempotencyConflict, PackError, PlanNeeded, TooManyMessages
from platforms.cli.inputs import input_values
from platforms.cli.inputs.flag_words import in_flags
from platforms.cli.inputs.flags import flags_of
from playbooks import library
from tests.conftest import CAMPAIGN, EXAMPLE_ALERT
from tests.platforms.cli.conftest import Cfes
from tests.platforms.cli.test_playbook_commands import PURGE

CREATE = flags_of(catalog.find("create-move-job").params)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pass it as `plan`", "pass it as --plan @plan.json"),
        ("pass the result in `approvals`.", "pass the result in --approvals @approvals.json."),
        ("raise max_messages if", "raise --max-messages if"),
        ("Or set allow_irreversible to true.", "Or add --allow-irreversible."),
        ("Set allow_broad_search to true", "Add --allow-broad-search"),
        ("with the `plan` object of the result", "with the `plan` object of the result"),
        ("set `wait_follows` to false", "add --no-wait-follows"),
        ("use another idempotency_key if", "use another --idempotency-key if"),
        (f"use {ANOTHER_JOB}.", "use another --idempotency-key or a new plan."),
        ("raise `limit` to count", "raise `limit` to count"),
        ("`start` is not given", "--start is not given"),
        ("to search_params, with", "to the search flags, with"),
        ("search_params.exact_subject is", "--exact-subject is"),
        ("`comment: none` is", "`--comment none` is"),
        # Not a parameter, or already a flag.
        ("GET .../bulk/{plan_hash}/{idempotency_key}", "GET .../bulk/{plan_hash}/{idempotency_key}"),
        ("the plan's numbers and plan_hash", "the plan's numbers and plan_hash"),
        ("--set max_messages=10", "--set max_messages=10"),
        ("/search_params/sender", "/search_params/sender"),
    ],
)
def test_a_parameter_is_named_by_its_flag(text: str, expected: str) -> None:
    assert in_flags(text, CREATE) == expected


@pytest.mark.parametrize(
    "error",
    [
        TooManyMessages("the search finds 443 messages, and max_messages is 10"),
        PlanNeeded("a plan is needed", help="Pass it as `plan`. Or set allow_irreversible to true."),
        ApprovalRefused("approvals are missing"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refusal_names_flags_only_on_the_command_line(
    error: PackError, cfes: Cfes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(Action, "run", refuse)
    json_names = re.compile(r"`(?:plan|approvals)`|(?<!--set )\b(?:max_messages|allow_irreversible)\b")
    for streams in ({}, {"terminal": True}):
        ended = cfes("create-move-job", **streams)
        assert not json_names.search(ended.out + ended.err)
        assert "--" in ended.out + ended.err
    kept = cfes("run", "create-move-job", typed="{}").error
    assert (kept["message"], kept["help"]) == (error.message, error.help)


@pytest.mark.parametrize("playbook", ["phish-campaign-purge", "false-positive-release"])
def test_a_playbook_error_advises_a_higher_attempt(playbook: str) -> None:
    flags = input_values.flags_of(library.find(playbook))
    assert in_flags(IdempotencyConflict("x").help, flags).endswith("use a higher --set attempt=NUMBER.")
    assert in_flags("max_messages is 10", flags) == "--set max_messages is 10"


@pytest.mark.parametrize("action", catalog.available().values(), ids=lambda action: action.id)
def test_help_texts_name_flags(action: Action[Any, Any], cfes: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = cfes(action.id, "--help").out
    names = {flag.name for flag in flags_of(action.params) if "_" in flag.name}
    # Excludes choices of other flags and placeholders in paths.
    words = set(re.findall(r"(?<![-\w/.`{])[a-z]+(?:_[a-z]+)+(?![\w=(.])", shown))
    assert not names & words


def test_warnings_name_flags_only_on_a_terminal(connected: Cfes) -> None:
    search = ("search-messages", "--sender", str(CAMPAIGN["sender"]), "--limit", "1")
    screen = connected(*search, terminal=True).err
    for expected in ("raise --limit to count", "--detections-only is not given", "--start is not given"):
        assert expected in " ".join(screen.split())
    assert any("detections_only" in warning for warning in connected(*search).document["warnings"])


@pytest.mark.parametrize(("typed", "number"), [("1000", 1000), ("1e3", 1000), ("1000.0", 1000)])
def test_the_text_of_a_flag_becomes_an_integer(typed: str, number: int) -> None:
    [flag] = [one for one in CREATE if one.name == "max_messages"]
    assert (flag.value(typed), type(flag.value(typed))) == (number, int)


def test_set_values_are_converted_and_a_refusal_is_shown_once(connected: Cfes, tmp_path: Path) -> None:
    (tmp_path / "purge.yaml").write_text(PURGE)
    run = ("playbook", "run", "purge.yaml", "-i", str(EXAMPLE_ALERT), "--yes")
    ended = connected(*run, "--set", "max_messages=10", terminal=True)
    assert ended.code == 3
    # The refusal is shown once, not also at the end and in a table.
    assert (ended.out + ended.err).count("are more than 10") == 1
    assert "CheckRefused" in ended.err
    # The line `changed` reports it, and the text of the check is the next step.
    assert "Nothing was changed" not in ended.err
    assert "next" not in ended.err
    assert connected(*run, "--set", "max_messages=1000").code == 0
    refused = connected(*run, "--set", "max_messages=many", terminal=True)
    assert refused.code == 2
    assert "--set max_messages: " in re.sub(r"\x1b\[[0-9;]*m", "", refused.err).replace("\n", " ")
    assert refused.err.count("must be JSON of type") == 1
