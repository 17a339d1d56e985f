"""What README.md and docs/ promise: commands that run, tables that are true, links that lead somewhere."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.errors import PackError
from core.instants import format_instant
from platforms.published.manifest import ROOT
from playbooks import library
from playbooks.language import loading
from playbooks.language.format import ActionStep, CheckStep
from sandbox.clock import SECOND
from sandbox.server import RunningSandbox, start
from sandbox.settings import Settings

README = (ROOT / "README.md").read_text()
ERRORS = (ROOT / "docs" / "reference" / "errors.md").read_text()


def chain(language: str) -> str:
    """The block that README.md marks as run by this test."""
    [block] = re.findall(rf"<!-- run by tests/test_readme.py -->\n```{language}\n(.*?)```", README, re.DOTALL)
    return str(block)


@pytest.fixture
def lively() -> Iterator[RunningSandbox]:
    """A sandbox in real time whose jobs are quick."""
    from sandbox.job_life import Pace  # noqa: PLC0415

    pace = Pace(start_delay=0.1, discover_rate=2000, process_rate=2000, retry_delay=0.1)
    settings = Settings(messages=100, alert=ROOT / "examples" / "alert.json", campaign_size=20, pace=pace)
    with start(settings) as sandbox:
        yield sandbox


def run(command: list[str], sandbox: RunningSandbox, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as someone would who has activated the environment, in the pack's folder."""
    binaries = folder / "bin"
    binaries.mkdir()
    for name, module in (("cfes", "-m platforms.cli"), ("python3", "")):
        script = binaries / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    environment = {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "CLOUDFLARE_API_TOKEN": sandbox.token,
        "CLOUDFLARE_ACCOUNT_ID": sandbox.account_id,
        "CLOUDFLARE_BASE_URL": sandbox.base_url,
        "CFES_LOG": "off",
    }
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_sample_run_has_every_step_of_the_playbook() -> None:
    shown = re.findall(r"^✓ (.*?)(?:  .*)?$", README, re.MULTILINE)
    steps = library.find("phish-campaign-purge").steps
    assert shown == [step.title for step in steps if isinstance(step, ActionStep | CheckStep)]


ADD_BOB = """{
    echo 'approval_needed: [{more_than_messages: 0, approvals: 1}]'
    printf 'approvers:\\n  - name: bob\\n    public_key: |\\n'
    sed 's/^/      /' bob.pub
} >> ~/cfes/policy.yaml
"""


def test_the_steps_of_the_policy_page_end_in_an_approved_run(tmp_path: Path) -> None:
    from sandbox.job_life import Pace  # noqa: PLC0415

    page = (ROOT / "docs" / "reference" / "policy.md").read_text()
    section = page.split("## Set up a policy, a key and an approver")[1].split("\n## ")[0]
    _connection, make, keys, check, plan, sign, act = re.findall(r"   ```sh\n(.*?)   ```", section, re.DOTALL)
    # Approvals have the time of this machine, so the alert and the sandbox have it too.
    now = datetime.now(UTC)
    alert = json.loads((ROOT / "examples" / "alert.json").read_text())
    alert["Timestamp"] = format_instant(now - timedelta(hours=1))
    (tmp_path / "alert.json").write_text(json.dumps(alert))
    pace = Pace(start_delay=0.1, discover_rate=2000, process_rate=2000, retry_delay=0.1)
    # Nobody sits at a terminal: --yes answers for alice and for bob.
    by_bob = f"unset CFES_PLAN_KEY_FILE CFES_REQUESTED_BY; {sign.strip().replace('cfes approve', 'cfes approve --yes')}"
    settings = Settings(messages=100, alert=alert, campaign_size=20, pace=pace, at=int(now.timestamp() * SECOND))
    script = [
        f"{make}",
        f"{{ {keys} }} > bob.pub || exit 21",
        ADD_BOB,
        f"{check.strip()} || exit 22",
        f"{plan.strip()}; test $? = 3 || exit 23",
        f"( CLOUDFLARE_API_TOKEN={RunningSandbox.read_token}; {by_bob} ) || exit 24",
        f"{act.strip().replace('playbook run', 'playbook run --yes')} > done.json || exit 25",
    ]
    with start(settings) as sandbox:
        ended = run(["bash", "-c", "\n".join(script)], sandbox, tmp_path)
    assert ended.returncode == 0, ended.stderr
    done = json.loads((tmp_path / "done.json").read_text())
    assert (done["status"], done["outputs"]["complete"]) == ("completed", True)


def test_the_chain_in_a_shell_runs_as_it_stands(lively: RunningSandbox, tmp_path: Path) -> None:
    ended = run(["sh", "-euc", chain("sh")], lively, tmp_path)
    assert ended.returncode == 0, ended.stderr
    outcome, over, complete = ended.stdout.split()
    assert outcome in ("succeeded", "partial")
    assert (over, complete) == ("True", "True")
    assert len((tmp_path / "case-42.csv").read_text().splitlines()) > 20


def test_the_chain_in_python_runs_as_it_stands(lively: RunningSandbox, tmp_path: Path) -> None:
    ended = run([sys.executable, "-c", chain("python")], lively, tmp_path)
    assert ended.returncode == 0, ended.stderr
    outcome, rows, complete = ended.stdout.split()
    assert outcome in ("succeeded", "partial")
    assert (int(rows) >= 20, complete) == (True, "True")


def test_every_make_target_explains_itself() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    assert phony == set(re.findall(r"^([a-z]+):.*## \S", makefile, re.MULTILINE))


def test_the_playbook_of_the_documentation_loads() -> None:
    [block] = re.findall(
        r"```yaml\n(.*?)```", (ROOT / "docs" / "reference" / "playbook-language.md").read_text(), re.DOTALL
    )
    assert loading.load(block).id == "look-first"


def test_every_exit_code_of_an_error_is_in_the_table() -> None:
    def codes(kind: type[PackError]) -> set[int]:
        return {kind.exit_code}.union(*(codes(child) for child in kind.__subclasses__()))

    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", ERRORS, re.MULTILINE)}
    assert codes(PackError) <= listed
