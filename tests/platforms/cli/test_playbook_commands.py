"""`cfes playbook`: the progress of steps, the final table or document, and the exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from actions.contract.action import Action
from core.errors import OutcomeUnknown, RateLimited
from platforms.cli import step_approval as approval
from playbooks import library
from sandbox.server import RunningSandbox
from tests.clock import FakeClock
from tests.conftest import EXAMPLE_ALERT
from tests.platforms.cli.conftest import Cfes, CommandResult

# One step of every kind, with the real actions.
PURGE = """\
playbook: 1
id: small-purge
title: Move what a sender left
inputs:
  alert:
    type: object
    primary: true
    required: [From, AlertID]
    properties: {From: {type: string}}
  max_messages: {type: integer, default: 1000}
  destination: {type: string, enum: [JunkEmail, Inbox], default: JunkEmail}
steps:
  - {id: window, set: {start: "2026-11-13T15:32:35Z"}}
  - id: find
    title: Find what the sender left
    action: search-messages
    with:
      search_params: {sender: "{{ inputs.alert.From }}", start: "{{ steps.window.start }}", detections_only: false}
  - id: cap
    title: Not too many
    check: "{{ steps.find.count <= inputs.max_messages }}"
    otherwise: "{{ steps.find.count }} are more than {{ inputs.max_messages }}"
  - id: nothing
    finish: "{{ steps.find.count == 0 }}"
    message: "{{ inputs.alert.From }} left nothing"
  - id: create
    title: Create the job
    action: create-move-job
    with:
      search_params: {sender: "{{ inputs.alert.From }}", start: "{{ steps.window.start }}", detections_only: false}
      destination: "{{ inputs.destination }}"
      idempotency_key: "{{ inputs.alert.AlertID }}"
  - id: wait
    title: Wait for the job
    action: wait-for-job
    with: {job_id: "{{ steps.create.job_id }}"}
  - id: rows
    title: Export the rows
    action: export-job-messages
    with: {job_id: "{{ steps.create.job_id }}", destination: "{{ run.directory }}/rows.ndjson"}
outputs:
  outcome: "{{ steps.wait.outcome }}"
  job_id: "{{ steps.create.job_id }}"
  rows: "{{ steps.rows.written }}"
  files: "{{ steps.rows.files }}"
"""

COLOR_CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture
def purge(tmp_path: Path) -> str:
    path = tmp_path / "small-purge.yaml"
    path.write_text(PURGE)
    return str(path)


def run_id_of(ended: CommandResult) -> str:
    """Return the run's ID, which the command showed when the run began."""
    found = re.search(r"\bRun (\S+-\S+)", COLOR_CODES.sub("", ended.err))
    assert found is not None
    return found[1]


def test_a_run_in_a_pipe_writes_a_line_per_step_and_a_document(connected: Cfes, purge: str, tmp_path: Path) -> None:
    ended = connected("playbook", "run", purge, "--input", str(EXAMPLE_ALERT), "--yes")
    assert ended.code == 0
    assert ended.document["status"] == "completed"
    assert ended.document["error"] is None
    assert set(ended.document) >= {"status", "outputs", "run_id", "directory", "error"}
    assert re.fullmatch(r"small-purge-\d{8}T\d{6}Z-[0-9a-f]{6}", ended.document["run_id"])
    assert ended.document["directory"] == str(tmp_path / "cfes-runs" / ended.document["run_id"])
    assert Path(ended.document["outputs"]["files"][0]["path"]).is_file()
    assert ended.err.splitlines()[1:3] == [
        f"Run {ended.document['run_id']}",
        f"  follow: cfes playbook watch {ended.document['run_id']}",
    ]
    steps = [line.split("  ")[0] for line in ended.err.splitlines()[3:]]
    assert steps == [
        "✓ Find what the sender left",
        "✓ Not too many",
        "✓ Create the job",
        "✓ Wait for the job",
        "✓ Export the rows",
    ]


def test_a_run_on_a_terminal_ends_with_a_table_of_outputs(connected: Cfes, purge: str) -> None:
    ended = connected("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--directory", "case", "--yes", terminal=True)
    assert ended.code == 0
    shown = dict(line.split(maxsplit=1) for line in COLOR_CODES.sub("", ended.out).splitlines() if line)
    assert shown["rows"].strip().isdigit()
    assert shown["files"].startswith("rows.ndjson (")
    assert shown["directory"].strip() == "case"
    assert shown["time"].strip().endswith(" s")
    assert "✓ Wait for the job" in COLOR_CODES.sub("", ended.err)


def test_an_alert_is_read_as_ndjson_from_standard_input(connected: Cfes, purge: str) -> None:
    line = json.dumps(json.loads(EXAMPLE_ALERT.read_text())) + "\n\n"
    assert connected("playbook", "run", purge, "--input", "-", "--yes", typed=line).code == 0


def test_several_alerts_are_refused_and_nothing_is_run(cfes: Cfes, purge: str, tmp_path: Path) -> None:
    lines = '{"AlertID": "1"}\n{"AlertID": "2"}\n'
    ended = cfes("playbook", "run", purge, "--input", "-", typed=lines)
    assert ended.code == 2
    assert "has 2 records, and a run takes one" in ended.error["message"]
    assert not (tmp_path / "cfes-runs").exists()


def test_invalid_inputs_name_their_flag(connected: Cfes, purge: str, tmp_path: Path) -> None:
    ended = connected("playbook", "run", purge, "--set", "destination=Trash")
    flags = {problem["pointer"]: problem["flag"] for problem in ended.error["problems"]}
    assert flags == {"/alert": "--input", "/destination": "--set destination"}
    assert connected("playbook", "run", purge, "--set", "max_message=1").code == 2
    assert connected("playbook", "run", purge, "--set", "max_messages").code == 2
    assert connected("playbook", "run", purge, "-i", "-", typed='{"AlertID": "1", "From": 5}').code == 2
    assert not (tmp_path / "cfes-runs").exists()


def test_a_refusing_check_exits_3_and_changes_nothing(connected: Cfes, purge: str, sandbox: RunningSandbox) -> None:
    given = ("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--set", "max_messages=1", "--yes")
    ended = connected(*given)
    assert (ended.code, ended.document["status"]) == (3, "refused")
    assert ended.document["error"]["type"] == "CheckRefused"
    assert "✗ Not too many" in ended.err
    assert connected("list-jobs").document["count"] == 0
    assert "CheckRefused" in COLOR_CODES.sub("", connected(*given, terminal=True).err)


def test_a_failed_step_sets_the_exit_code(
    connected: Cfes, purge: str, environment: dict[str, str], sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", sandbox.read_token)
    ended = connected("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--yes")
    assert (ended.code, ended.document["status"]) == (4, "failed")
    assert ended.document["error"]["type"] == "PermissionDenied"
    assert "✗ Create the job" in ended.err


def test_missing_credentials_are_reported_before_a_run_exists(cfes: Cfes, purge: str, tmp_path: Path) -> None:
    ended = cfes("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--yes")
    assert (ended.code, ended.error["type"]) == (4, "AuthenticationFailed")
    assert not (tmp_path / "cfes-runs").exists()


def test_a_finish_step_shows_its_message_and_exits_0(connected: Cfes, purge: str) -> None:
    alert = json.dumps({"AlertID": "1", "From": "nobody@nowhere.example"})
    ended = connected("playbook", "run", purge, "-i", "-", "--exit-status", "--yes", typed=alert)
    assert (ended.code, ended.document["message"]) == (0, "nobody@nowhere.example left nothing")


def test_exit_status_exits_8_if_some_messages_failed(connected: Cfes, purge: str, sandbox: RunningSandbox) -> None:
    ended = connected("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--yes", "--exit-status")
    assert ended.code == (0 if ended.document["outputs"]["outcome"] == "succeeded" else 8)
    text = PURGE.replace('"{{ steps.wait.outcome }}"', "partial")
    Path("partial.yaml").write_text(text)
    assert connected("playbook", "run", "partial.yaml", "-i", str(EXAMPLE_ALERT), "--yes").code == 0
    assert connected("playbook", "run", "./partial.yaml", "-i", str(EXAMPLE_ALERT), "--yes", "--exit-status").code == 8


def test_a_declined_change_leaves_a_run_to_resume(connected: Cfes, purge: str) -> None:
    run = ("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--directory", "my case")
    ended = connected(*run, terminal=True, typed="n\n")
    screen = COLOR_CODES.sub("", ended.err)
    assert ended.code == 3
    assert "Step create: Create a bulk job that moves messages to a folder" in screen
    assert re.search(r"Move \d+ messages of \d+ recipients to Junk Email; can be undone\. Continue\? \[y/N\]", screen)
    assert "irreversible" not in screen
    assert "billing@invoice-portal.example" in screen
    assert "NotApproved" in screen
    assert f"To resume: cfes playbook resume {run_id_of(ended)}" in " ".join(screen.split())
    assert connected("list-jobs").document["count"] == 0
    resumed = connected("playbook", "run", "--resume", "my case", terminal=True, typed="yes\n")
    assert resumed.code == 0
    assert connected("list-jobs").document["count"] == 1


@pytest.mark.parametrize("answer", ["n\n", KeyboardInterrupt])
def test_a_question_without_a_yes_records_no_change(
    connected: Cfes, purge: str, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    def typed_answer() -> str:
        if isinstance(answer, str):
            return answer
        raise answer

    run = ("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--directory", "case")
    with monkeypatch.context() as patch:
        patch.setattr(approval, "typed_answer", typed_answer)
        ended = connected(*run, terminal=True)
    assert ended.code == (3 if isinstance(answer, str) else 130)
    assert "A job may exist" not in ended.err
    assert run_id_of(ended)
    resumed = connected("playbook", "run", "--resume", "case", "--yes")
    assert "was interrupted and runs again" not in resumed.err
    assert resumed.code == 0


RETRY_HANDLER = """    on_error:
      - {type: [OutcomeUnknown, RateLimited], retry: {times: 1, after: 1}}
"""


def test_a_retried_step_is_confirmed_once(connected: Cfes, purge: str, sandbox: RunningSandbox) -> None:
    Path("retried.yaml").write_text(
        PURGE.replace('key: "{{ inputs.alert.AlertID }}"\n', f'key: "{{{{ inputs.alert.AlertID }}}}"\n{RETRY_HANDLER}')
    )
    run = Action.run
    calls = 0

    def lose_first_answer(action: Any, params: Any, connector: Any = None) -> Any:
        nonlocal calls
        result = run(action, params, connector)
        calls += action.id == "create-move-job"
        if action.id == "create-move-job" and calls == 1:
            raise OutcomeUnknown("the answer was lost")
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Action, "run", lose_first_answer)
        ended = connected(
            *("playbook", "run", "retried.yaml", "-i", str(EXAMPLE_ALERT), "--directory", "case"),
            terminal=True,
            typed="y\nn\n",
        )
    assert (ended.code, calls) == (0, 2)
    assert ended.err.count("Continue?") == 1


def only_for(action_id: str, replacement: Any) -> Any:
    run = Action.run

    def run_or_replace(action: Any, params: Any, connector: Any = None) -> Any:
        return replacement(params) if action.id == action_id else run(action, params, connector)

    return run_or_replace


def test_a_decline_after_a_change_exits_7(connected: Cfes, purge: str) -> None:
    Path("two.yaml").write_text(
        PURGE.replace(
            "outputs:\n",
            "  - {id: drop, action: delete-job, with: {job_id: '{{ steps.create.job_id }}'}}\noutputs:\n",
        )
    )
    run = ("playbook", "run", "two.yaml", "-i", str(EXAMPLE_ALERT))
    ended = connected(*run, "--output", "json", terminal=True, typed="y\nn\n")
    [job] = connected("list-jobs").document["jobs"]
    screen = COLOR_CODES.sub("", ended.err)
    assert ended.code == 7
    error = json.loads(ended.out)["error"]
    assert (error["type"], error["applied"], error["job_id"]) == ("NotApproved", "yes", job["job_id"])
    assert "Continue?" in screen


@pytest.mark.parametrize("terminal", ["out", "err"])
def test_the_question_is_asked_if_one_output_is_a_terminal(connected: Cfes, purge: str, terminal: str) -> None:
    run = ("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--directory", "case")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(approval, "typed_answer", lambda: "no")
        patch.setattr(approval, "can_answer", lambda: True)
        ended = connected(*run, **{terminal: True})
    assert ended.code == 3
    assert "Continue?" in (ended.out if terminal == "out" else ended.err)
    assert connected("list-jobs").document["count"] == 0


def test_end_of_input_at_the_question_changes_nothing(connected: Cfes, purge: str) -> None:
    ended = connected("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), terminal=True, typed="")
    assert (ended.code, "NotApproved" in ended.err) == (3, True)
    assert connected("list-jobs").document["count"] == 0


def test_a_failure_after_the_create_names_the_job_and_can_be_resumed(
    connected: Cfes, purge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_rate_limited(*_: Any) -> Any:
        raise RateLimited("slow down")

    run = ("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--directory", "case", "--yes")
    with monkeypatch.context() as patch:
        patch.setattr(Action, "run", only_for("wait-for-job", raise_rate_limited))
        ended = connected(*run)
        again = connected("playbook", "run", "--resume", "case", terminal=True)
    [job] = connected("list-jobs").document["jobs"]
    error = ended.document["error"]
    assert (ended.code, error["type"], error["applied"], error["job_id"]) == (7, "RateLimited", "yes", job["job_id"])
    assert error["help"].endswith(
        "Fix the cause. A resumed run keeps its inputs: to change one, begin a new run. To resume: "
        f"cfes playbook resume {run_id_of(ended)}"
    )
    assert "yes, in step create (create-move-job)" in COLOR_CODES.sub("", again.err)
    assert connected("playbook", "run", "--resume", "case").document["status"] == "completed"


def test_ctrl_c_after_a_resume_names_the_job_and_the_cancel_command(
    connected: Cfes, purge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    # The create does not wait, so the job still runs.
    monkeypatch.setenv("CFES_LISTING_LAG_SECONDS", "0")
    monkeypatch.setattr(Action, "run", only_for("wait-for-job", raise_interrupt))
    connected("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--directory", "case", "--yes")
    ended = connected("playbook", "run", "--resume", "case")
    [job] = connected("list-jobs").document["jobs"]
    assert f"Job {job['job_id']} is still running in Cloudflare." in ended.err
    assert f"cancel: cfes cancel-job --job-id {job['job_id']}" in ended.err


def test_an_ended_run_is_shown_again_without_credentials(
    connected: Cfes, purge: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = connected("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--directory", "case", "--yes")
    for name in ("CLOUDFLARE_API_TOKEN", "CLOUDFLARE_ACCOUNT_ID"):
        monkeypatch.delenv(name)
    clock.advance(3600)
    again = connected("playbook", "run", "--resume", "case")
    assert (again.code, again.document) == (0, first.document)
    assert first.document["seconds"] == pytest.approx(sum(clock.slept), abs=0.1)


def test_an_unfinished_run_needs_credentials_before_the_next_step(
    connected: Cfes, purge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--directory", "case", terminal=True, typed="n\n")
    with monkeypatch.context() as patch:
        patch.delenv("CLOUDFLARE_API_TOKEN")
        ended = connected("playbook", "run", "--resume", "case", "--yes")
    assert (ended.code, ended.error["type"]) == (4, "AuthenticationFailed")
    assert connected("playbook", "run", "--resume", "case", "--yes").document["status"] == "completed"


@pytest.mark.parametrize(
    ("arguments", "pointer", "expected"),
    [
        (("--set", 'alert={"From": "a@b.example"}'), "/alert", "given more than once, by --input and --set"),
        (("--set", "max_messages=5", "--set", "max_messages=6"), "/max_messages", "given more than once, by --set"),
        (("--set", 'alert={"From": "a", "From": "b"}'), "/alert", "the key 'From' appears twice in one object"),
    ],
)
def test_an_input_given_twice_is_refused(
    connected: Cfes, purge: str, arguments: tuple[str, ...], pointer: str, expected: str, tmp_path: Path
) -> None:
    document = () if "twice" in expected else ("--input", str(EXAMPLE_ALERT))
    ended = connected("playbook", "run", purge, *document, *arguments)
    [problem] = ended.error["problems"]
    assert (ended.code, problem["pointer"], problem["message"]) == (2, pointer, expected)
    assert not (tmp_path / "cfes-runs").exists()


def test_a_directory_that_is_a_file_exits_2(connected: Cfes, purge: str) -> None:
    Path("case").write_text("a file")
    ended = connected("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--directory", "case", "--yes")
    assert (ended.code, ended.error["type"], ended.error["retryable"]) == (2, "DirectoryUnusable", False)


def test_yes_skips_the_question(connected: Cfes, purge: str) -> None:
    for terminal in (True, False):
        ended = connected("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--yes", terminal=terminal)
        assert ended.code == 0
        assert "Continue?" not in ended.err


def test_ctrl_c_names_the_running_job_and_the_resume_and_cancel_commands(
    connected: Cfes, purge: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("CFES_LISTING_LAG_SECONDS", "0")
    with monkeypatch.context() as patch:
        patch.setattr(clock, "sleep", interrupt)
        ended = connected("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--directory", "case", "--yes")
    [job] = connected("list-jobs").document["jobs"]
    assert (ended.code, ended.out) == (130, "")
    assert f"Interrupted in step wait. Job {job['job_id']} is still running in Cloudflare." in ended.err
    assert f"resume: cfes playbook resume {run_id_of(ended)}" in ended.err
    assert f"cancel: cfes cancel-job --job-id {job['job_id']}" in ended.err
    resumed = connected("playbook", "run", "--resume", "case")
    assert resumed.code == 0
    assert resumed.document["outputs"]["job_id"] == job["job_id"]
    assert "the step was interrupted and runs again, which is safe" in resumed.err
    again = connected("playbook", "run", "--resume", "case")
    assert again.document["outputs"] == resumed.document["outputs"]


def test_resume_accepts_no_playbook_and_needs_a_run(connected: Cfes, purge: str) -> None:
    assert connected("playbook", "run", purge, "--resume", "case").code == 2
    assert connected("playbook", "run", "--resume", "nowhere").error["type"] == "RunNotFound"
    assert connected("playbook", "run", "--resume", "./nowhere").error["type"] == "RunNotFound"
    assert "no playbook is given" in connected("playbook", "run").error["message"]


def test_a_playbook_with_errors_is_not_run(connected: Cfes, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(PURGE.replace("sender:", "sendr:"))
    ended = connected("playbook", "run", "bad.yaml", "-i", str(EXAMPLE_ALERT))
    assert (ended.code, ended.error["type"]) == (2, "PlaybookInvalid")
    assert not (tmp_path / "cfes-runs").exists()


def test_list_shows_the_shipped_playbooks(cfes: Cfes) -> None:
    shipped = [playbook.id for playbook in library.available()]
    assert [found["id"] for found in cfes("playbook", "list").document["playbooks"]] == shipped
    assert all(name in cfes("playbook", "list", terminal=True).out for name in shipped)


def test_show_prints_inputs_steps_and_outputs(cfes: Cfes, purge: str) -> None:
    shown = cfes("playbook", "show", purge).document
    assert (shown["playbook"]["id"], set(shown["inputs"])) == ("small-purge", set(shown["playbook"]["inputs"]))
    assert shown["mermaid"] == cfes("playbook", "show", purge, "--mermaid", terminal=True).out
    text = COLOR_CODES.sub("", cfes("playbook", "show", purge, terminal=True).out)
    for line in ("Inputs", "object, given by --input, required", "Steps", "runs create-move-job", "Outputs"):
        assert line in text


def test_check_exits_2_with_every_problem_and_its_pointer(cfes: Cfes, purge: str) -> None:
    assert cfes("playbook", "check", purge).code == 0
    Path("bad.yaml").write_text(PURGE.replace("sender:", "sendr:").replace("action: wait-for-job", "action: wait"))
    ended = cfes("playbook", "check", "bad.yaml")
    assert ended.code == 2
    pointers = [problem["pointer"] for problem in ended.error["problems"]]
    assert "/steps/1/with/search_params/sendr" in pointers
    assert "/steps/5/action" in pointers
    shown = COLOR_CODES.sub("", cfes("playbook", "check", "bad.yaml", terminal=True).out)
    assert "✗ bad.yaml" in shown
    assert "error /steps/5/action line " in shown


def test_check_passes_for_all_shipped_playbooks(cfes: Cfes) -> None:
    ended = cfes("playbook", "check")
    assert ended.code == 0
    assert len(ended.document["playbooks"]) == len(library.available())


@pytest.mark.parametrize("command", ["run", "show", "check"])
def test_an_unknown_playbook_is_reported(command: str, cfes: Cfes) -> None:
    for name in ("phish-campaing-purge", "missing.yaml", "./missing"):
        ended = cfes("playbook", command, name)
        assert (ended.code, ended.error["type"]) == (2, "PlaybookNotFound")


def test_a_plan_in_the_outputs_is_shown_as_one_line(cfes: Cfes, tmp_path: Path) -> None:
    (tmp_path / "gives.yaml").write_text(
        "playbook: 1\nid: gives\ntitle: Give a plan\n"
        "steps:\n  - {id: made, set: {plan: {plan_hash: abc, sample: [1, 2]}}}\n"
        "outputs: {to_approve: '{{ steps.made.plan }}'}\n"
    )
    ended = cfes("playbook", "run", "gives.yaml", "--output", "table")
    assert re.search(r"^to_approve +plan abc\. Use --output json to see all of it", ended.out, re.MULTILINE)
    assert "sample" not in ended.out
