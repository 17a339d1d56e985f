"""The worked first changes of CONTRIBUTING.md: an action and a playbook, made in a copy of the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = re.findall(r"[Ss]ave (?:it|this) as `([^`]+)`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL)
TESTS = [
    "tests/actions/test_count_jobs.py",
    "tests/actions/test_catalog.py",
    "tests/playbooks/test_shipped_playbooks.py",
]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "dist", "cfes-runs"))
    for name, text in FILES:
        (copy / name).write_text(text, encoding="utf-8")
    return copy


@pytest.mark.shows_tokens("the copy of the checkout holds the tests' own tokens")
def test_the_worked_changes_pass_every_check(checkout: Path) -> None:
    assert [name for name, _ in FILES] == [
        *("actions/count_jobs.py", "tests/actions/test_count_jobs.py", "playbooks/count-jobs.yaml")
    ]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)

    for module in ("platforms.published.manifest", "platforms.published.reference"):
        assert run("-m", module).returncode == 0
    assert (checkout / "docs" / "reference" / "actions" / "count-jobs.md").is_file()
    checked = run("-m", "platforms.cli", "playbook", "check", "count-jobs")
    assert checked.returncode == 0, checked.stdout
    tested = run("-m", "pytest", "-p", "no:cacheprovider", "-k", "count or no_finding", *TESTS)
    assert tested.returncode == 0, tested.stdout
    linted = run("-m", "ruff", "check", *(name for name, _ in FILES if name.endswith(".py")))
    assert linted.returncode == 0, linted.stdout
