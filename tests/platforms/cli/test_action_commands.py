"""Every action is a command with flags; its result is JSON in a pipe and a table on a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from actions.contract import catalog
from actions.contract.action import Action
from connectors.objects.search import SearchParams
from platforms.cli.command_list import entries
from platforms.cli.commands import action as action_command
from tests.conftest import CAMPAIGN
from tests.platforms.cli.conftest import Cfes
from tests.slow import some_of

JOB_ID = "7d9f3c1e-5b0a-4c55-9a57-0f6f3f0c9b1d"
FIND = ("--sender", CAMPAIGN["sender"], "--start", CAMPAIGN["start"], "--no-detections-only")
MOVE = ("create-move-job", *FIND, "--destination", "JunkEmail", "--idempotency-key", "case-1")


@pytest.fixture
def action_calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The parameters of the action calls; no action is run."""
    seen: list[dict[str, Any]] = []

    def run(action: Action[Any, Any], params: dict[str, Any], _: object = None) -> dict[str, Any]:
        seen.append(params)
        return dict(action.example_result)

    monkeypatch.setattr(Action, "run", run)
    return seen


def test_the_command_index_lists_the_actions_of_the_catalog() -> None:
    assert catalog.titles() == {name: action.title for name, action in catalog.available().items()}
    assert set(catalog.titles()) <= set(entries())


@pytest.mark.parametrize("action_id", catalog.available())
def test_every_parameter_of_every_action_is_a_flag(action_id: str) -> None:
    action = catalog.find(action_id)
    expected = set()
    for name in action.params.model_fields:
        nested = SearchParams.model_fields if name == "search_params" else None
        expected |= {f"--{part.replace('_', '-')}" for part in nested or [name]}
    command: Any = get_command(action_command.app(action_id))
    options = [option for param in command.params for option in param.opts]
    assert expected <= set(options)
    assert len(options) == len(set(options)), "a parameter has the name of one of the command's own flags"


@pytest.mark.parametrize("action_id", catalog.available())
def test_every_example_can_be_written_as_flags(action_id: str, cfes: Cfes, action_calls: list[dict[str, Any]]) -> None:
    action = catalog.find(action_id)
    flags: list[str] = []
    for name, value in {**action.example_params, **action.example_params.get("search_params", {})}.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            flags.append(option if value else f"--no-{option[2:]}")
        elif name != "search_params":
            flags += [option, value if isinstance(value, str) else json.dumps(value)]
    ended = cfes(action_id, *flags)
    assert (ended.code, action_calls) == (0, [action.example_params])
    assert ended.document == action.example_result


@pytest.mark.parametrize("action_id", catalog.available())
@pytest.mark.parametrize("columns", some_of(["40", "100", "200"], 0))
def test_every_example_result_is_shown_at_any_terminal_width(
    action_id: str, columns: str, cfes: Cfes, action_calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    yes = ["--yes"] if catalog.find(action_id).approval == "required" else []
    ended = cfes(action_id, *yes, terminal=True)
    assert ended.code == 0
    assert ended.out
    assert not ended.out.startswith("{")


def test_only_given_flags_become_parameters(cfes: Cfes, action_calls: list[dict[str, Any]]) -> None:
    cfes("create-move-job", "--sender", "a@b.example", "--max-messages", "500", "--no-allow-broad-search")
    assert action_calls == [
        {"search_params": {"sender": "a@b.example"}, "max_messages": 500, "allow_broad_search": False}
    ]


def test_flags_override_the_params_document(cfes: Cfes, action_calls: list[dict[str, Any]], tmp_path: Path) -> None:
    base = {"search_params": {"sender": "a@b.example", "subject": "x"}, "destination": "Inbox"}
    (tmp_path / "base.json").write_text(json.dumps(base))
    cfes("create-move-job", "--params", "base.json", "--subject", "invoice")
    cfes("create-move-job", "--params", "-", "--destination", "JunkEmail", typed=json.dumps(base))
    assert action_calls == [
        {"search_params": {"sender": "a@b.example", "subject": "invoice"}, "destination": "Inbox"},
        {"search_params": {"sender": "a@b.example", "subject": "x"}, "destination": "JunkEmail"},
    ]


def test_objects_and_lists_are_read_from_json_text_or_a_file(
    cfes: Cfes, action_calls: list[dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "job.json").write_text('{"status": "COMPLETED"}')
    cfes("render-report", "--destination", "r.html", "--job", "@job.json", "--warnings", '["one"]')
    assert action_calls == [{"destination": "r.html", "job": {"status": "COMPLETED"}, "warnings": ["one"]}]


@pytest.mark.parametrize(("typed", "expected"), [("a.gz", "a.gz"), ('["a", "b"]', ["a", "b"])])
def test_a_single_text_of_a_list_needs_no_json(
    typed: str, expected: object, cfes: Cfes, action_calls: list[dict[str, Any]]
) -> None:
    assert cfes("reconcile-job", "--job-id", JOB_ID, "--events", typed).code == 0
    assert action_calls == [{"job_id": JOB_ID, "events": expected}]


def test_ended_parameters_have_no_flag_but_are_accepted_as_json(
    cfes: Cfes, action_calls: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert "expected-disposition" not in cfes("create-move-job", "--help").out
    assert cfes("create-move-job", "--expected-disposition", "SPAM").code == 2
    (tmp_path / "params.json").write_text('{"expected_disposition": "SPAM"}')
    assert cfes("create-move-job", "--params", str(tmp_path / "params.json")).code == 0
    assert action_calls == [{"expected_disposition": "SPAM"}]


def test_the_help_shows_descriptions_choices_and_defaults(cfes: Cfes) -> None:
    text = " ".join(cfes("export-job-messages", "--help").out.split())
    assert "--format ndjson|csv|json|parquet How rows are written. [default: ndjson]" in text
    assert "--job-id TEXT The job's UUID. [required]" in text


def test_a_job_is_created_followed_and_exported_with_flags(connected: Cfes, tmp_path: Path) -> None:
    made = connected(*MOVE, "--max-messages", "500").document
    assert made["created"] is True
    job = ("--job-id", made["job_id"])
    waited = connected("wait-for-job", *job, "--exit-status")
    assert waited.document["done"] is True
    assert waited.code == (0 if waited.document["outcome"] == "succeeded" else 8)
    exported = connected("export-job-messages", *job, "--format", "csv", "--destination", str(tmp_path / "rows.csv"))
    assert exported.document["complete"] is True
    assert (tmp_path / "rows.csv").stat().st_size > 0
    assert connected(*MOVE).document["created"] is False


def test_exit_status_returns_6_for_a_job_that_has_not_ended(connected: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
    # The create does not wait, so the job still runs.
    monkeypatch.setenv("CFES_LISTING_LAG_SECONDS", "0")
    job_id = connected(*MOVE).document["job_id"]
    assert connected("wait-for-job", "--job-id", job_id, "--timeout-seconds", "0").code == 0
    assert connected("wait-for-job", "--job-id", job_id, "--timeout-seconds", "0", "--exit-status").code == 6


def test_a_guardrail_refusal_exits_3_and_an_api_refusal_exits_5(connected: Cfes) -> None:
    refused = connected(*MOVE, "--max-messages", "3")
    assert (refused.code, refused.error["type"]) == (3, "TooManyMessages")
    missing = connected("get-job", "--job-id", JOB_ID)
    assert (missing.code, missing.error["type"]) == (5, "NotFound")


def test_a_bad_token_exits_4(connected: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "sandbox-token-of-nobody")
    ended = connected("list-jobs")
    assert ended.code == 4
    assert "sandbox-token-of-nobody" not in ended.out + ended.err


def test_missing_settings_exit_4_and_name_the_setting(cfes: Cfes) -> None:
    ended = cfes("list-jobs", terminal=True)
    assert ended.code == 4
    assert "CLOUDFLARE_API_TOKEN" in ended.err


def test_run_uses_the_process_protocol(connected: Cfes) -> None:
    found = connected("run", "search-messages", "--params", "-", typed=json.dumps({"search_params": CAMPAIGN}))
    assert found.code == 0
    assert found.document["count"] > 0
    bad = connected("run", "get_job", typed='{"job_id": 1}')
    assert (bad.code, bad.error["type"], bad.error["problems"][0]["pointer"]) == (2, "ParameterError", "/job_id")


def test_run_with_exit_status_exits_with_the_verdict(connected: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFES_LISTING_LAG_SECONDS", "0")
    job_id = connected(*MOVE).document["job_id"]
    poll = json.dumps({"job_id": job_id, "timeout_seconds": 0})
    assert connected("run", "wait-for-job", typed=poll).code == 0
    assert connected("run", "wait-for-job", "--exit-status", typed=poll).code == 6
    assert connected("run", "list-jobs", "--exit-status", typed="{}").code == 2


def test_run_of_an_unknown_action_suggests_a_name(cfes: Cfes) -> None:
    ended = cfes("run", "wait-for-jb", typed="{}")
    assert ended.code == 2
    assert "did you mean 'wait-for-job'" in ended.error["message"]


def test_an_unreadable_plan_is_reported_without_a_missing_parameter(cfes: Cfes) -> None:
    bad = cfes("create-move-job", "--plan", "@missing.json")
    assert [problem["pointer"] for problem in bad.error["problems"]] == ["/plan"]
    both = cfes("create-move-job", "--plan", "@missing.json", "--max-messages", "0")
    assert [problem["pointer"] for problem in both.error["problems"]] == ["/plan", "/max_messages"]
