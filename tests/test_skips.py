"""A skipped test, on a developer's machine and in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

def test_one():
    pytest.skip("no browser here")

@pytest.mark.skip(reason="not today")
def test_another():
    pass

@pytest.mark.xfail(reason="known")
def test_expected():
    raise AssertionError
"""


def run(tmp_path: Path, tests: str = TESTS, **environment: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "test_skipping.py").write_text(tests)
    inherited = {name: value for name, value in os.environ.items() if name != "CI" and "PYTEST" not in name}
    here = str(Path(__file__).parent.parent)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.skips", "-p", "no:cacheprovider", "-c", "none.ini", "."],
        cwd=tmp_path,
        env={**inherited, "PYTHONPATH": here, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(autouse=True)
def _settings_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "none.ini").write_text("[pytest]\n")


def test_a_skip_is_no_failure_elsewhere(tmp_path: Path) -> None:
    ended = run(tmp_path)
    assert ended.returncode == 0
    assert "2 skipped, 1 xfailed" in ended.stdout


def test_a_skip_that_is_meant_for_ci_stays_one(tmp_path: Path) -> None:
    meant = """
import pytest
from tests.skips import NOT_IN_CI

@pytest.mark.skipif(True, reason=f"{NOT_IN_CI}too large")
def test_one():
    raise AssertionError
"""
    ended = run(tmp_path, meant, CI="true")
    assert (ended.returncode, "1 skipped" in ended.stdout) == (0, True)


def test_a_skip_is_a_failure_in_ci_and_says_what_was_missing(tmp_path: Path) -> None:
    ended = run(tmp_path, CI="true")
    assert ended.returncode == 1
    assert "skipped" not in ended.stdout.splitlines()[-1]
    assert "no browser here\nIn CI a skip is a failure" in ended.stdout
    assert "not today\nIn CI a skip is a failure" in ended.stdout


def test_a_skipped_module_is_a_failure_in_ci_too(tmp_path: Path) -> None:
    (tmp_path / "test_module.py").write_text("import pytest\n\npytest.importorskip('no_such_module')\n")
    ended = run(tmp_path, CI="true")
    assert ended.returncode != 0
    assert "could not import 'no_such_module'" in ended.stdout
