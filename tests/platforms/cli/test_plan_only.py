"""`cfes playbook run --plan-only` shows and saves the plan of a playbook, and changes nothing."""

from __future__ import annotations

import json
import re
import shlex
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest

from actions.contract.action import Action
from platforms.cli import step_approval as approval
from remediation.guardrails.plans.plan import read_plan
from sandbox.server import RunningSandbox
from tests.conftest import CAMPAIGN, EXAMPLE_ALERT
from tests.platforms.cli.conftest import Cfes, CommandResult
from tests.platforms.cli.test_confirmation import COLOR_CODES
from tests.platforms.cli.test_display import ESCAPE, HOSTILE
from tests.platforms.cli.test_playbook_commands import PURGE, only_for
from tests.platforms.cli.test_unattended_runs import READING
from tests.slow import some_of

RUN = ("playbook", "run", "phish-campaign-purge", "-i", str(EXAMPLE_ALERT))
PLAN = (*RUN, "--plan-only")

POLICY = """\
policy: 1
approval_needed: [{approvals: 1}]
approvers:
  - name: bob
    public_key: |
      -----BEGIN PUBLIC KEY-----
      MCowBQYDK2VwAyEACPXmpRqKcwLFhocF1aewCXalzc1jsKZ7N2cz1dYk6cE=
      -----END PUBLIC KEY-----
"""

DELETING = """\
playbook: 1
id: deleting
title: Delete a job
inputs: {job: {type: string}}
steps:
  - {id: drop, action: delete-job, with: {job_id: "{{ inputs.job }}"}}
"""


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(approval, "TERMINAL", str(tmp_path / "no-such-terminal"))


@pytest.fixture(autouse=True)
def scratch(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of temporary directories, which must be empty afterwards."""
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def changes(sandbox: RunningSandbox) -> Any:
    truth = sandbox.state.truth()
    return truth["jobs"], truth["effects"]


def screen_text(ended: CommandResult) -> str:
    return " ".join(COLOR_CODES.sub("", ended.err).split())


def test_a_saved_plan_can_be_run_unchanged(
    connected: Cfes, sandbox: RunningSandbox, tmp_path: Path, scratch: Path
) -> None:
    ended = connected(*PLAN, "--out", "plan.json")
    assert ended.code == 0
    plan = json.loads(Path("plan.json").read_text())
    assert stat.S_IMODE(Path("plan.json").stat().st_mode) == 0o600
    assert ended.document == {
        "status": "planned",
        "step": "job/create",
        "action": "create-job",
        "plan_hash": plan["plan_hash"],
        "messages": plan["messages"],
        "plan_file": "plan.json",
    }
    assert "Stopped before step 'job/create' (create-job). Nothing was changed." in ended.err
    assert "--set plan=@plan.json" in ended.err
    assert changes(sandbox) == ([], [])
    assert list(scratch.iterdir()) == []
    assert not (tmp_path / "cfes-runs").exists()
    done = connected(*RUN, "--yes", "--set", "plan=@plan.json")
    assert (done.code, done.document["outputs"]["plan_hash"]) == (0, plan["plan_hash"])
    assert done.document["outputs"]["previewed"] == plan["messages"]


@pytest.mark.parametrize(("name", "given"), [("my plan.json", "'plan=@my plan.json'"), ("@p.json", "plan=@./@p.json")])
def test_the_hint_can_be_pasted_into_a_shell(connected: Cfes, name: str, given: str) -> None:
    ended = connected(*PLAN, "--out", name)
    assert f"--set {given}\n" in ended.err
    words = shlex.split(f"--set {given}")
    assert connected(*RUN, "--plan-only", *words).document == json.loads(Path(name).read_text())


def test_standard_output_in_a_pipe_is_the_plan(connected: Cfes) -> None:
    ended = connected(*PLAN)
    assert ended.code == 0
    assert read_plan(ended.document).messages == ended.document["messages"]


def test_a_terminal_shows_the_preview_without_a_question(connected: Cfes, sandbox: RunningSandbox) -> None:
    ended = connected(*PLAN, terminal=True, typed="y\n")
    shown = COLOR_CODES.sub("", ended.out)
    assert ended.code == 0
    plan = connected(*PLAN).document
    for text in (str(CAMPAIGN["sender"]), plan["sample"][0]["subject"][:20], "recipient domain", "MALICIOUS"):
        assert text in shown
    assert f"Move {plan['messages']} messages of {plan['recipients']} recipients to Junk Email; can be undone" in shown
    assert "add --out FILE" in screen_text(ended)
    assert "Continue?" not in ended.err + ended.out
    assert changes(sandbox) == ([], [])


def test_out_dash_writes_the_plan_to_a_terminal(connected: Cfes) -> None:
    out = COLOR_CODES.sub("", connected(*PLAN, "--out", "-", terminal=True).out)
    assert read_plan(json.loads(out[out.index("\n{") :])).action == "MOVE"


def test_hostile_subjects_are_escaped(connected: Cfes, sandbox: RunningSandbox) -> None:
    for message in sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"])):
        message.subject = HOSTILE
    ended = connected(*PLAN, "--out", "plan.json", terminal=True)
    for text in (ended.out, ended.err.replace("\r", "")):
        assert not ESCAPE.search(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text))
        assert not set("\x07\u202e") & set(text)
    assert Path("plan.json").read_text().isascii()


@pytest.mark.parametrize("kind", some_of(["file", "link", "folder", "no such folder", "no path"], 0, 1))
def test_an_unusable_out_file_is_refused_before_anything_is_run(
    connected: Cfes, sandbox: RunningSandbox, kind: str
) -> None:
    name = {"no such folder": "nowhere/plan.json", "no path": "a\0b"}.get(kind, "plan.json")
    if kind == "file":
        Path(name).write_text("mine")
    elif kind == "link":
        Path(name).symlink_to("elsewhere")
    elif kind == "folder":
        Path(name).mkdir()
    before = sandbox.state.truth()["calls"]
    ended = connected(*PLAN, "--out", name)
    assert (ended.code, ended.error["applied"]) == (2, "no")
    assert "--out" in ended.error["message"]
    assert sandbox.state.truth()["calls"] == before
    assert not Path("elsewhere").exists()
    assert kind != "file" or Path(name).read_text() == "mine"


def test_a_file_created_during_the_run_is_not_overwritten(connected: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Action.run

    def write_file_first(action: Any, params: Any, connector: Any = None) -> Any:
        Path("plan.json").write_text("mine")
        return run(action, params, connector)

    monkeypatch.setattr(Action, "run", write_file_first)
    ended = connected(*PLAN, "--out", "plan.json")
    assert (ended.code, Path("plan.json").read_text()) == (2, "mine")


def test_a_playbook_that_is_refused_earlier_keeps_its_status_and_saves_the_plan(
    connected: Cfes, sandbox: RunningSandbox, scratch: Path
) -> None:
    ended = connected(*PLAN, "--out", "plan.json", "--set", "max_messages=1")
    assert (ended.code, ended.document["status"], ended.document["plan_file"]) == (3, "refused", "plan.json")
    assert ended.document["error"]["type"] == "CheckRefused"
    assert not {"directory", "resumable"} & set(ended.document)
    assert "--resume" not in ended.out + ended.err
    assert read_plan(json.loads(Path("plan.json").read_text())).action == "MOVE"
    alone = connected(*PLAN, "--set", "max_messages=1")
    assert (alone.code, alone.document["plan"]["action"]) == (3, "MOVE")
    assert (changes(sandbox), list(scratch.iterdir())) == (([], []), [])


def test_a_playbook_that_finds_nothing_makes_no_plan(connected: Cfes) -> None:
    alert = json.dumps({"AlertID": "1", "From": "nobody@nowhere.example"})
    Path("purge.yaml").write_text(PURGE)
    ended = connected("playbook", "run", "purge.yaml", "-i", "-", "--plan-only", "--out", "plan.json", typed=alert)
    assert (ended.code, ended.document["plan_file"]) == (0, None)
    assert "No plan was made" in ended.err
    assert not Path("plan.json").exists()


def test_an_earlier_failed_step_gives_its_exit_code_and_no_resume_command(
    connected: Cfes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_rate_limited(*_: object) -> None:
        from core.errors import RateLimited  # noqa: PLC0415

        raise RateLimited("slow down")

    Path("purge.yaml").write_text(PURGE)
    monkeypatch.setattr(Action, "run", only_for("search-messages", raise_rate_limited))
    ended = connected("playbook", "run", "purge.yaml", "-i", str(EXAMPLE_ALERT), "--plan-only")
    assert (ended.code, ended.document["plan"]) == (6, None)
    assert "resume" not in ended.out + ended.err


def test_a_step_without_a_plan_is_planned_by_its_own_search(connected: Cfes, sandbox: RunningSandbox) -> None:
    Path("purge.yaml").write_text(PURGE)
    ended = connected("playbook", "run", "purge.yaml", "-i", str(EXAMPLE_ALERT), "--plan-only", "--out", "plan.json")
    assert ended.code == 0
    assert "--set plan=" not in ended.err, "this playbook takes no plan"
    made = connected("create-move-job", "--plan", "@plan.json")
    assert (made.code, made.document["plan_hash"]) == (0, ended.document["plan_hash"])


def test_on_error_does_not_continue_after_the_planned_step(connected: Cfes, sandbox: RunningSandbox) -> None:
    continue_on_error = "    on_error: [{type: '*', do: continue}]\n  - id: wait\n"
    Path("purge.yaml").write_text(PURGE.replace("  - id: wait\n", continue_on_error, 1))
    ended = connected("playbook", "run", "purge.yaml", "-i", str(EXAMPLE_ALERT), "--plan-only", "--out", "plan.json")
    assert (ended.code, ended.document["step"], changes(sandbox)) == (0, "create", ([], []))


def test_a_read_only_playbook_has_nothing_to_plan(connected: Cfes, sandbox: RunningSandbox) -> None:
    Path("reading.yaml").write_text(READING)
    before = sandbox.state.truth()["calls"]
    ended = connected("playbook", "run", "reading.yaml", "-i", str(EXAMPLE_ALERT), "--plan-only")
    assert (ended.code, ended.error["type"]) == (2, "NothingToPlan")
    assert "Run it without --plan-only" in ended.error["help"]
    assert sandbox.state.truth()["calls"] == before


def test_a_step_without_a_plan_parameter_is_shown_and_refused(connected: Cfes, sandbox: RunningSandbox) -> None:
    Path("purge.yaml").write_text(PURGE)
    job = connected("playbook", "run", "purge.yaml", "-i", str(EXAMPLE_ALERT), "-y").document["outputs"]["job_id"]
    Path("deleting.yaml").write_text(DELETING)
    deleting = ("playbook", "run", "deleting.yaml", "--set", f"job={job}", "--plan-only")
    ended = connected(*deleting)
    assert (ended.code, ended.error["type"]) == (3, "NoPlan")
    assert "can't be undone" in COLOR_CODES.sub("", connected(*deleting, terminal=True).out)
    assert connected("list-jobs").document["count"] == 1


def test_an_edited_plan_is_refused(connected: Cfes) -> None:
    plan = connected(*PLAN).document
    Path("edited.json").write_text(json.dumps({**plan, "messages": 6}))
    ended = connected(*PLAN, "--set", "plan=@edited.json")
    assert (ended.code, ended.error["type"]) == (3, "PlanRefused")
    Path("plan.json").write_text(json.dumps(plan))
    again = connected(*PLAN, "--set", "plan=@plan.json")
    assert (again.code, again.document) == (0, plan)


@pytest.mark.parametrize(
    "given",
    [("--resume", "case", "--plan-only"), (*PLAN, "--directory", "case"), (*RUN, "--out", "plan.json")],
)
def test_conflicting_options_are_refused(connected: Cfes, given: tuple[str, ...]) -> None:
    arguments = given if given[0] == "playbook" else ("playbook", "run", *given)
    ended = connected(*arguments)
    assert (ended.code, not Path("case").exists()) == (2, True)


def test_ctrl_c_leaves_no_files(connected: Cfes, monkeypatch: pytest.MonkeyPatch, scratch: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Action, "run", only_for("preview-job", interrupt))
    ended = connected(*PLAN)
    assert (ended.code, list(scratch.iterdir())) == (130, [])
    assert "Nothing was changed, and there is no run to resume." in ended.err


def test_a_plan_that_needs_approval_is_saved_for_the_approver(
    connected: Cfes, monkeypatch: pytest.MonkeyPatch, sandbox: RunningSandbox
) -> None:
    policy = Path("policy.yaml")
    policy.write_text(POLICY)
    policy.chmod(0o600)
    monkeypatch.setenv("CFES_POLICY", str(policy.absolute()))
    monkeypatch.setenv("CFES_REQUESTED_BY", "ana@corp.example")
    monkeypatch.setenv("CFES_PLAN_KEY", "0123456789abcdef" * 4)
    ended = connected(*PLAN, "--out", "plan.json")
    assert (ended.code, ended.document["status"], ended.document["plan_file"]) == (0, "planned", "plan.json")
    assert json.loads(Path("plan.json").read_text())["approvals_needed"] == 1
    assert changes(sandbox) == ([], [])
