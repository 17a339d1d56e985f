"""The example changes in CONTRIBUTING.md, an action and a playbook, work in a copy of the checkout."""

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
[SCENE] = re.findall(r'```python\n(    "count-jobs": .*\n)```', PAGE)
TESTS = [
    "tests/actions/test_count_jobs.py",
    "tests/actions/test_catalog.py",
    "tests/actions/test_cassettes.py",
    "tests/playbooks/test_shipped_playbooks.py",
]

# As `make record`, `make manifest`, `cfes playbook check`, `cfes playbook test` and `make test` do, in one process that
# loads the pack once.
EVERY_STEP = """
import sys
import pytest
from tests.cassettes import record
record.main(["count-jobs"])
from platforms.cli.main import main
from platforms.published import manifest, reference
manifest.MANIFEST.write_text(manifest.render())
manifest.SCHEMA.write_text(manifest.render_schema())
reference.write()
sys.exit(
    main(["playbook", "check", "count-jobs"])
    or main(["playbook", "test", "count-jobs"])
    or pytest.main(
        ["-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning", "-k", "count-jobs or count_jobs"]
        + sys.argv[1:]
    )
)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    copy = tmp_path / "checkout"
    # With the bytecode, which stays valid: the processes below would compile the whole pack.
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "*.egg-info", "dist", "cfes-runs"))
    for name, text in FILES:
        (copy / name).write_text(text, encoding="utf-8")
    scenes = copy / "tests" / "cassettes" / "scenes.py"
    before, start, after = scenes.read_text(encoding="utf-8").partition("SCENES: dict[str, Scene] = {\n")
    scenes.write_text(before + start + SCENE + after, encoding="utf-8")
    return copy


@pytest.mark.shows_tokens("the copy of the checkout contains the tokens of the tests")
def test_the_example_changes_pass_every_check(checkout: Path) -> None:
    assert [name for name, _ in FILES] == [
        *("actions/count_jobs.py", "tests/actions/test_count_jobs.py", "playbooks/count-jobs.yaml"),
        "playbooks/tests/count-jobs.test.yaml",
    ]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)

    done = run("-c", EVERY_STEP, *TESTS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert (checkout / "docs" / "reference" / "actions" / "count-jobs.md").is_file()
    linted = run("-m", "ruff", "check", *(name for name, _ in FILES if name.endswith(".py")))
    assert linted.returncode == 0, linted.stdout
