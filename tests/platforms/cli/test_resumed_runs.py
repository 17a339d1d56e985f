"""A resumed run asks again before its first change, and needs an unedited record."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from actions.contract.action import Action
from core.errors import RateLimited
from playbooks.drivers.store.location import default_path
from sandbox.server import RunningSandbox
from tests.conftest import EXAMPLE_ALERT
from tests.platforms.cli.conftest import Cfes
from tests.platforms.cli.test_playbook_commands import COLOR_CODES, PURGE, only_for, run_id_of
from tests.playbooks.run_stores import execute
from tests.slow import some_of

RESUME = ("playbook", "run", "--resume", "case")
PLAN_KEY = "0123456789abcdef" * 4


@pytest.fixture
def purge(tmp_path: Path) -> str:
    path = tmp_path / "small-purge.yaml"
    path.write_text(PURGE)
    return str(path)


@pytest.fixture
def interrupted_run(connected: Cfes, purge: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a run that was interrupted during its create, before it made a job."""

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Action, "run", only_for("create-move-job", interrupt))
        ended = connected("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--directory", "case", "--yes")
    assert ended.code == 130
    return Path("case").absolute()


def jobs(sandbox: RunningSandbox) -> int:
    return len(sandbox.state.truth()["jobs"])


class TestConfirmationAfterResume:
    @pytest.mark.usefixtures("interrupted_run")
    def test_a_resumed_step_that_had_started_is_confirmed_with_a_warning(
        self, connected: Cfes, sandbox: RunningSandbox
    ) -> None:
        ended = connected(*RESUME, terminal=True, typed="n\n")
        screen = COLOR_CODES.sub("", ended.err)
        before, _, after = screen.partition("Continue? [y/N]")
        assert "Step 'create' (create-move-job) may have changed something." in before
        assert "billing@invoice-portal.example" in before
        assert (ended.code, jobs(sandbox)) == (7, 0), "it is not known what the killed process did"
        assert f"To resume: cfes playbook resume {run_id_of(ended)}" in " ".join(after.split())
        assert connected(*RESUME, terminal=True, typed="y\n").code == 0
        assert jobs(sandbox) == 1

    @pytest.mark.usefixtures("interrupted_run")
    def test_the_error_of_a_declined_step_reports_an_unknown_change(self, connected: Cfes) -> None:
        ended = connected(*RESUME, "--output", "json", terminal=True, typed="n\n")
        error = json.loads(ended.out)["error"]
        assert (error["type"], error["applied"]) == ("NotApproved", "unknown")

    @pytest.mark.usefixtures("interrupted_run")
    def test_yes_skips_the_question(self, connected: Cfes, sandbox: RunningSandbox) -> None:
        ended = connected(*RESUME, "--yes", terminal=True)
        assert (ended.code, jobs(sandbox), "Continue?" in ended.err) == (0, 1, False)

    @pytest.mark.usefixtures("interrupted_run")
    def test_a_resume_without_a_terminal_needs_yes(self, connected: Cfes, sandbox: RunningSandbox) -> None:
        ended = connected(*RESUME)
        assert (ended.code, jobs(sandbox)) == (2, 0)
        assert ended.error["help"].startswith("Nothing was run. To skip the question: cfes playbook resume ")
        assert ended.error["help"].endswith(" --yes")
        assert connected(*RESUME, "--yes").code == 0

    def test_a_failed_step_is_confirmed_again(
        self, connected: Cfes, purge: str, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def raise_rate_limited(*_: Any) -> Any:
            raise RateLimited("slow down")

        with monkeypatch.context() as patch:
            patch.setattr(Action, "run", only_for("create-move-job", raise_rate_limited))
            connected("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--directory", "case", "--yes")
        ended = connected(*RESUME, terminal=True, typed="n\n")
        assert "The run has changed nothing so far." in COLOR_CODES.sub("", ended.err)
        assert (ended.code, jobs(sandbox)) == (3, 0)

    def test_a_retried_step_is_confirmed_once_after_a_resume(
        self, connected: Cfes, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        retry_handler = "    on_error:\n      - {type: RateLimited, retry: {times: 2, after: 1}}\n"
        Path("retried.yaml").write_text(
            PURGE.replace(
                'key: "{{ inputs.alert.AlertID }}"\n', f'key: "{{{{ inputs.alert.AlertID }}}}"\n{retry_handler}'
            )
        )
        calls = 0
        run = Action.run

        def interrupt_then_fail(action: Any, params: Any, connector: Any = None) -> Any:
            nonlocal calls
            if action.id == "create-move-job":
                calls += 1
                if calls == 1:
                    raise KeyboardInterrupt
                if calls == 2:
                    raise RateLimited("slow down")
            return run(action, params, connector)

        monkeypatch.setattr(Action, "run", interrupt_then_fail)
        connected("playbook", "run", "retried.yaml", "-i", str(EXAMPLE_ALERT), "--directory", "case", "--yes")
        ended = connected(*RESUME, terminal=True, typed="y\nn\n")
        assert (ended.code, calls, jobs(sandbox)) == (0, 3, 1)
        assert ended.err.count("Continue?") == 1


class TestTrust:
    @pytest.mark.usefixtures("interrupted_run")
    @pytest.mark.parametrize(
        ("before", "after"),
        some_of(
            [
                ('"destination":"JunkEmail"', '"destination":"Inbox"'),
                ('"sender":"billing@invoice-portal.example"', '"query":"a"'),
                ('"From":"billing@invoice-portal.example"', '"From":"ceo@corp.example"'),
            ],
            1,
        ),
    )
    def test_an_edited_run_is_refused(self, connected: Cfes, sandbox: RunningSandbox, before: str, after: str) -> None:
        path = default_path(os.environ)
        ((state,),) = execute(path, "SELECT state FROM run")
        assert before in state
        execute(path, "UPDATE run SET state = ?", state.replace(before, after))
        for command in (RESUME, ("playbook", "resume", "case"), ("playbook", "resume", "--due")):
            ended = connected(*command, "--yes")
            assert (ended.code, ended.error["type"], jobs(sandbox)) == (2, "RunRecordRefused", 0)
            assert "was edited: its seal is invalid" in ended.error["message"]
            assert ended.error["help"].startswith("Nothing was run.")

    def test_a_run_directory_writable_by_others_is_refused(
        self, connected: Cfes, interrupted_run: Path, sandbox: RunningSandbox
    ) -> None:
        interrupted_run.chmod(0o777)
        ended = connected(*RESUME, "--yes")
        assert (ended.code, ended.error["type"], jobs(sandbox)) == (2, "RunRecordRefused", 0)
        assert f"chmod go-w {interrupted_run}" in ended.error["help"]
        interrupted_run.chmod(0o700)
        assert connected(*RESUME, "--yes").code == 0

    def test_a_replaced_or_removed_key_file_refuses_the_run(
        self, connected: Cfes, interrupted_run: Path, sandbox: RunningSandbox
    ) -> None:
        key = Path(os.environ["XDG_STATE_HOME"]) / "cfes" / "journal.key"
        original_key = key.read_text()
        for other in ("0" * 64 + "\n", None):
            key.unlink()
            if other is not None:
                key.write_text(other)
                key.chmod(0o600)
            ended = connected(*RESUME, "--yes")
            assert (ended.code, ended.error["type"], jobs(sandbox)) == (2, "RunRecordRefused", 0)
            assert "was sealed with another key" in ended.error["message"]
        key.write_text(original_key)
        assert connected(*RESUME, "--yes").code == 0
        assert interrupted_run.is_dir()

    def test_a_run_started_with_a_plan_key_is_resumed_only_with_it(
        self, connected: Cfes, purge: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CFES_PLAN_KEY", PLAN_KEY)
        assert connected("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--directory", "case", "--yes").code == 0
        monkeypatch.delenv("CFES_PLAN_KEY")
        assert connected(*RESUME).error["type"] == "RunRecordRefused"
        monkeypatch.setenv("CFES_PLAN_KEY", PLAN_KEY[::-1])
        error = connected(*RESUME).error
        assert error["type"] == "RunRecordRefused"
        assert PLAN_KEY not in str(error)
        monkeypatch.setenv("CFES_PLAN_KEY", PLAN_KEY)
        assert connected(*RESUME).code == 0

    def test_a_run_without_a_place_for_its_key_is_refused(
        self,
        connected: Cfes,
        purge: str,
        sandbox: RunningSandbox,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        run = ("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--directory", "case", "--yes")
        monkeypatch.setenv("CFES_STATE_DIR", "/dev/null/state")
        ended = connected(*run)
        assert (ended.code, ended.error["type"], jobs(sandbox)) == (2, "ConnectionSettingsError", 0)
        assert "Set CFES_STATE_DIR" in ended.error["help"]
        assert "set CFES_PLAN_KEY" in ended.error["help"]
        assert not Path("case").exists()
        monkeypatch.setenv("CFES_PLAN_KEY", PLAN_KEY)
        ended = connected(*run)
        assert (ended.code, ended.error["type"], jobs(sandbox)) == (2, "RunStoreUnusable", 0)
        assert "Set CFES_STATE to a file" in ended.error["help"]
        monkeypatch.setenv("CFES_STATE", str(tmp_path / "store" / "runs.db"))
        assert connected(*run).code == 0
