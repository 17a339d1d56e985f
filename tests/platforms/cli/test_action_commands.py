"""Every action is a command, its parameters are flags, its result is JSON in a pipe and a table on a terminal."""

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

JOB_ID = "7d9f3c1e-5b0a-4c55-9a57-0f6f3f0c9b1d"
FIND = ("--sender", CAMPAIGN["sender"], "--start", CAMPAIGN["start"], "--no-detections-only")
MOVE = ("create-move-job", *FIND, "--destination", "JunkEmail", "--idempotency-key", "case-1")


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The parameters that actions were run with; nothing is run."""
    seen: list[dict[str, Any]] = []

    def run(action: Action[Any, Any], params: dict[str, Any], _: object = None) -> dict[str, Any]:
        seen.append(params)
        return dict(action.example_result)

    monkeypatch.setattr(Action, "run", run)
    return seen


def test_the_index_names_the_actions_that_the_catalog_has() -> None:
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
def test_every_example_of_every_action_can_be_typed_as_flags(
    action_id: str, cfes: Cfes, taken: list[dict[str, Any]]
) -> None:
    action = catalog.find(action_id)
    flags: list[str] = []
    for name, value in {**action.example_params, **action.example_params.get("search_params", {})}.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            flags.append(option if value else f"--no-{option[2:]}")
        elif name != "search_params":
            flags += [option, value if isinstance(value, str) else json.dumps(value)]
    ended = cfes(action_id, *flags)
    assert (ended.code, taken) == (0, [action.example_params])
    assert ended.document == action.example_result


@pytest.mark.parametrize("action_id", catalog.available())
@pytest.mark.parametrize("columns", ["40", "100", "200"])
def test_every_example_result_shows_on_a_terminal_of_any_width(
    action_id: str, columns: str, cfes: Cfes, taken: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    yes = ["--yes"] if catalog.find(action_id).approval == "required" else []
    ended = cfes(action_id, *yes, terminal=True)
    assert ended.code == 0
    assert ended.out
    assert not ended.out.startswith("{")


def test_only_flags_that_are_given_become_parameters(cfes: Cfes, taken: list[dict[str, Any]]) -> None:
    cfes("create-move-job", "--sender", "a@b.example", "--max-messages", "500", "--no-allow-broad-search")
    assert taken == [{"search_params": {"sender": "a@b.example"}, "max_messages": 500, "allow_broad_search": False}]


def test_flags_go_over_the_document_of_params(cfes: Cfes, taken: list[dict[str, Any]], tmp_path: Path) -> None:
    base = {"search_params": {"sender": "a@b.example", "subject": "x"}, "destination": "Inbox"}
    (tmp_path / "base.json").write_text(json.dumps(base))
    cfes("create-move-job", "--params", "base.json", "--subject", "invoice")
    cfes("create-move-job", "--params", "-", "--destination", "JunkEmail", typed=json.dumps(base))
    assert taken == [
        {"search_params": {"sender": "a@b.example", "subject": "invoice"}, "destination": "Inbox"},
        {"search_params": {"sender": "a@b.example", "subject": "x"}, "destination": "JunkEmail"},
    ]


def test_objects_and_lists_are_json_text_or_a_file(cfes: Cfes, taken: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"status": "COMPLETED"}')
    cfes("render-report", "--destination", "r.html", "--job", "@job.json", "--warnings", '["one"]')
    assert taken == [{"destination": "r.html", "job": {"status": "COMPLETED"}, "warnings": ["one"]}]


@pytest.mark.parametrize(("typed", "meant"), [("a.gz", "a.gz"), ('["a", "b"]', ["a", "b"])])
def test_one_text_of_several_is_typed_as_it_is(
    typed: str, meant: object, cfes: Cfes, taken: list[dict[str, Any]]
) -> None:
    assert cfes("reconcile-job", "--job-id", JOB_ID, "--events", typed).code == 0
    assert taken == [{"job_id": JOB_ID, "events": meant}]


def test_ended_parameters_have_no_flag_and_are_taken_as_json(
    cfes: Cfes, taken: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert "expected-disposition" not in cfes("create-move-job", "--help").out
    assert cfes("create-move-job", "--expected-disposition", "SPAM").code == 2
    (tmp_path / "params.json").write_text('{"expected_disposition": "SPAM"}')
    assert cfes("create-move-job", "--params", str(tmp_path / "params.json")).code == 0
    assert taken == [{"expected_disposition": "SPAM"}]


def test_the_help_has_descriptions_choices_and_defaults(cfes: Cfes) -> None:
    text = " ".join(cfes("export-job-messages", "--help").out.split())
    assert "--format ndjson|csv|json|parquet How rows are written. [default: ndjson]" in text
    assert "--job-id TEXT The job's UUID. [required]" in text


def test_a_job_is_made_followed_and_exported_by_flags_alone(connected: Cfes, tmp_path: Path) -> None:
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


def test_a_wait_that_is_not_over_exits_6_where_the_status_is_asked_for(
    connected: Cfes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The create waits for nothing, so that the job still runs.
    monkeypatch.setenv("CFES_LISTING_LAG_SECONDS", "0")
    job_id = connected(*MOVE).document["job_id"]
    assert connected("wait-for-job", "--job-id", job_id, "--timeout-seconds", "0").code == 0
    assert connected("wait-for-job", "--job-id", job_id, "--timeout-seconds", "0", "--exit-status").code == 6


def test_a_guardrails_refusal_exits_3_and_the_apis_5(connected: Cfes) -> None:
    refused = connected(*MOVE, "--max-messages", "3")
    assert (refused.code, refused.error["type"]) == (3, "TooManyMessages")
    missing = connected("get-job", "--job-id", JOB_ID)
    assert (missing.code, missing.error["type"]) == (5, "NotFound")


def test_a_bad_token_exits_4(connected: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "sandbox-token-of-nobody")
    ended = connected("list-jobs")
    assert ended.code == 4
    assert "sandbox-token-of-nobody" not in ended.out + ended.err


def test_no_settings_at_all_exit_4_with_what_to_set(cfes: Cfes) -> None:
    ended = cfes("list-jobs", terminal=True)
    assert ended.code == 4
    assert "CLOUDFLARE_API_TOKEN" in ended.err


def test_run_speaks_the_process_protocol(connected: Cfes) -> None:
    found = connected("run", "search-messages", "--params", "-", typed=json.dumps({"search_params": CAMPAIGN}))
    assert found.code == 0
    assert found.document["count"] > 0
    bad = connected("run", "get_job", typed='{"job_id": 1}')
    assert (bad.code, bad.error["type"], bad.error["problems"][0]["pointer"]) == (2, "ParameterError", "/job_id")


def test_run_exits_with_the_verdict_where_it_is_asked_for(connected: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFES_LISTING_LAG_SECONDS", "0")
    job_id = connected(*MOVE).document["job_id"]
    look = json.dumps({"job_id": job_id, "timeout_seconds": 0})
    assert connected("run", "wait-for-job", typed=look).code == 0
    assert connected("run", "wait-for-job", "--exit-status", typed=look).code == 6
    assert connected("run", "list-jobs", "--exit-status", typed="{}").code == 2


def test_run_of_an_unknown_action_suggests_a_name(cfes: Cfes) -> None:
    ended = cfes("run", "wait-for-jb", typed="{}")
    assert ended.code == 2
    assert "did you mean 'wait-for-job'" in ended.error["message"]


def test_a_plan_that_cannot_be_read_is_the_only_problem(cfes: Cfes) -> None:
    bad = cfes("create-move-job", "--plan", "@missing.json")
    assert [problem["pointer"] for problem in bad.error["problems"]] == ["/plan"]
    both = cfes("create-move-job", "--plan", "@missing.json", "--max-messages", "0")
    assert [problem["pointer"] for problem in both.error["problems"]] == ["/plan", "/max_messages"]
