"""What README.md and docs/ promise: commands that run, tables that are true, links that lead somewhere."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.errors import PackError
from platforms import reference
from platforms.manifest import ROOT
from playbooks import loading
from sandbox.server import RunningSandbox, start
from sandbox.settings import Settings

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
PAGES += [*sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]


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


def test_the_generated_tables_and_pages_are_what_the_code_says_now() -> None:
    assert reference.readme(README) == README, "run `make manifest`"
    exports = reference.EXPORTS_PAGE.read_text()
    assert reference.exports_page(exports) == exports, "run `make manifest`"
    assert reference.ACTIONS_PAGE.read_text() == reference.actions_page(), "run `make manifest`"


def test_a_readme_without_its_marks_is_noticed() -> None:
    with pytest.raises(ValueError, match="settings"):
        reference.readme(README.replace("<!-- generated: settings -->", ""))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(), re.MULTILINE))
        assert named <= targets, f"{page.name} names {named - targets}"


def test_every_make_target_explains_itself() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    assert phony == set(re.findall(r"^([a-z]+):.*## \S", makefile, re.MULTILINE))


def test_the_playbook_of_the_documentation_loads() -> None:
    [block] = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "playbooks.md").read_text(), re.DOTALL)
    assert loading.load(block).id == "look-first"


def test_every_exit_code_of_an_error_is_in_the_table() -> None:
    def codes(kind: type[PackError]) -> set[int]:
        return {kind.exit_code}.union(*(codes(child) for child in kind.__subclasses__()))

    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    assert codes(PackError) <= listed
