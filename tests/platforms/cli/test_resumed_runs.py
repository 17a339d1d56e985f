"""`cfes playbook run --resume`: asked again before the first change, and only from a journal that can be trusted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions.contract.action import Action
from core.errors import RateLimited
from sandbox.server import RunningSandbox
from tests.conftest import EXAMPLE_ALERT
from tests.platforms.cli.conftest import Cfes
from tests.platforms.cli.test_playbook_commands import COLOUR, PURGE, only_for

RESUME = ("playbook", "run", "--resume", "case")
PLAN_KEY = "0123456789abcdef" * 4


@pytest.fixture
def purge(tmp_path: Path) -> str:
    path = tmp_path / "small-purge.yaml"
    path.write_text(PURGE)
    return str(path)


@pytest.fixture
def interrupted(connected: Cfes, purge: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a run that was killed within its create: it may have made a job, and has not."""

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Action, "run", only_for("create-move-job", interrupt))
        ended = connected("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--directory", "case", "--yes")
    assert ended.code == 130
    return Path("case").absolute()


def jobs(sandbox: RunningSandbox) -> int:
    return len(sandbox.state.truth()["jobs"])


class TestAskedAgain:
    @pytest.mark.usefixtures("interrupted")
    def test_a_step_that_had_begun_is_asked_about_with_what_it_may_have_done(
        self, connected: Cfes, sandbox: RunningSandbox
    ) -> None:
        ended = connected(*RESUME, terminal=True, typed="n\n")
        said = COLOUR.sub("", ended.err)
        before, _, after = said.partition("Continue? [y/N]")
        assert "Step 'create' (create-move-job) may have changed something." in before
        assert "billing@invoice-portal.example" in before
        assert (ended.code, jobs(sandbox)) == (7, 0), "it is not known what the killed process did"
        assert "To resume: cfes playbook run --resume case" in after
        assert connected(*RESUME, terminal=True, typed="y\n").code == 0
        assert jobs(sandbox) == 1

    @pytest.mark.usefixtures("interrupted")
    def test_the_error_of_a_declined_step_reports_an_unknown_change(self, connected: Cfes) -> None:
        ended = connected(*RESUME, "--output", "json", terminal=True, typed="n\n")
        error = json.loads(ended.out)["error"]
        assert (error["type"], error["applied"]) == ("NotApproved", "unknown")

    @pytest.mark.usefixtures("interrupted")
    def test_yes_is_not_asked(self, connected: Cfes, sandbox: RunningSandbox) -> None:
        ended = connected(*RESUME, "--yes", terminal=True)
        assert (ended.code, jobs(sandbox), "Continue?" in ended.err) == (0, 1, False)

    @pytest.mark.usefixtures("interrupted")
    def test_without_a_terminal_it_needs_yes(self, connected: Cfes, sandbox: RunningSandbox) -> None:
        ended = connected(*RESUME)
        assert (ended.code, jobs(sandbox)) == (2, 0)
        assert "--yes" in ended.error["help"]
        assert connected(*RESUME, "--yes").code == 0

    def test_a_step_that_failed_is_asked_about_again(
        self, connected: Cfes, purge: str, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def limited(*_: Any) -> Any:
            raise RateLimited("slow down")

        with monkeypatch.context() as patch:
            patch.setattr(Action, "run", only_for("create-move-job", limited))
            connected("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--directory", "case", "--yes")
        ended = connected(*RESUME, terminal=True, typed="n\n")
        assert "It has changed nothing so far." in COLOUR.sub("", ended.err)
        assert (ended.code, jobs(sandbox)) == (3, 0)

    def test_only_the_first_step_is_asked_about_twice(
        self, connected: Cfes, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        retried = "    on_error:\n      - {type: RateLimited, retry: {times: 2, after: 1}}\n"
        Path("retried.yaml").write_text(
            PURGE.replace('key: "{{ inputs.alert.AlertID }}"\n', f'key: "{{{{ inputs.alert.AlertID }}}}"\n{retried}')
        )
        calls = 0
        run = Action.run

        def fails_twice(action: Any, params: Any, connector: Any = None) -> Any:
            nonlocal calls
            if action.id == "create-move-job":
                calls += 1
                if calls == 1:
                    raise KeyboardInterrupt
                if calls == 2:
                    raise RateLimited("slow down")
            return run(action, params, connector)

        monkeypatch.setattr(Action, "run", fails_twice)
        connected("playbook", "run", "retried.yaml", "-i", str(EXAMPLE_ALERT), "--directory", "case", "--yes")
        ended = connected(*RESUME, terminal=True, typed="y\nn\n")
        assert (ended.code, calls, jobs(sandbox)) == (0, 3, 1)
        assert ended.err.count("Continue?") == 1


def edit(journal: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(journal.read_text())
    change(document)
    journal.write_text(json.dumps(document))


def _destination(document: dict[str, Any]) -> None:
    document["state"]["pending"]["params"]["destination"] = "Inbox"


def _everybody(document: dict[str, Any]) -> None:
    document["state"]["pending"]["params"]["search_params"] = {"query": "a"}


def _inputs(document: dict[str, Any]) -> None:
    document["state"]["inputs"]["alert"]["From"] = "ceo@corp.example"


def _playbook(document: dict[str, Any]) -> None:
    document["playbook"]["steps"][4]["with"]["destination"] = "Inbox"


def _in_flight(document: dict[str, Any]) -> None:
    document["in_flight"] = None


class TestTrust:
    @pytest.mark.parametrize("change", [_destination, _everybody, _inputs, _playbook, _in_flight])
    def test_an_edited_journal_moves_nothing(
        self, connected: Cfes, interrupted: Path, sandbox: RunningSandbox, change: Callable[[dict[str, Any]], None]
    ) -> None:
        edit(interrupted / "journal.json", change)
        ended = connected(*RESUME, "--yes")
        assert (ended.code, ended.error["type"], jobs(sandbox)) == (2, "JournalRefused", 0)
        assert "was edited: its seal is invalid" in ended.error["message"]
        assert ended.error["help"].startswith("Nothing was run.")

    def test_a_directory_that_others_can_write_to_moves_nothing(
        self, connected: Cfes, interrupted: Path, sandbox: RunningSandbox
    ) -> None:
        interrupted.chmod(0o777)
        ended = connected(*RESUME, "--yes")
        assert (ended.code, ended.error["type"], jobs(sandbox)) == (2, "JournalRefused", 0)
        assert f"chmod go-w {interrupted}" in ended.error["help"]
        interrupted.chmod(0o700)
        assert connected(*RESUME, "--yes").code == 0

    def test_a_key_file_that_was_replaced_or_removed_refuses_the_run(
        self, connected: Cfes, interrupted: Path, sandbox: RunningSandbox
    ) -> None:
        key = Path(os.environ["XDG_STATE_HOME"]) / "cfes" / "journal.key"
        kept = key.read_text()
        for other in ("0" * 64 + "\n", None):
            key.unlink()
            if other is not None:
                key.write_text(other)
                key.chmod(0o600)
            ended = connected(*RESUME, "--yes")
            assert (ended.code, ended.error["type"], jobs(sandbox)) == (2, "JournalRefused", 0)
            assert "was sealed with another key" in ended.error["message"]
        key.write_text(kept)
        assert connected(*RESUME, "--yes").code == 0
        assert interrupted.is_dir()

    def test_a_run_that_began_with_a_plan_key_is_resumed_with_it_alone(
        self, connected: Cfes, purge: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CFES_PLAN_KEY", PLAN_KEY)
        assert connected("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--directory", "case", "--yes").code == 0
        monkeypatch.delenv("CFES_PLAN_KEY")
        assert connected(*RESUME).error["type"] == "JournalRefused"
        monkeypatch.setenv("CFES_PLAN_KEY", PLAN_KEY[::-1])
        error = connected(*RESUME).error
        assert error["type"] == "JournalRefused"
        assert PLAN_KEY not in str(error)
        monkeypatch.setenv("CFES_PLAN_KEY", PLAN_KEY)
        assert connected(*RESUME).code == 0

    def test_no_run_begins_without_a_place_for_its_key(
        self, connected: Cfes, purge: str, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = ("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--directory", "case", "--yes")
        monkeypatch.setenv("CFES_STATE_DIR", "/dev/null/state")
        ended = connected(*run)
        assert (ended.code, ended.error["type"], jobs(sandbox)) == (2, "ConnectionSettingsError", 0)
        assert "Set CFES_STATE_DIR" in ended.error["help"]
        assert "set CFES_PLAN_KEY" in ended.error["help"]
        assert not Path("case").exists()
        monkeypatch.setenv("CFES_PLAN_KEY", PLAN_KEY)
        assert connected(*run).code == 0
