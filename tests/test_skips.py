"""A skipped test, on a developer's machine and in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = """
import pytest
from tests.skips import NOT_IN_CI

def test_one():
    pytest.skip("no browser here")

@pytest.mark.skip(reason="not today")
def test_another():
    pass

@pytest.mark.xfail(reason="known")
def test_expected():
    raise AssertionError

@pytest.mark.skipif(True, reason=f"{NOT_IN_CI}too large")
def test_meant():
    raise AssertionError
"""


def run(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "none.ini").write_text("[pytest]\n")
    (tmp_path / "test_skipping.py").write_text(TESTS)
    (tmp_path / "test_module.py").write_text("import pytest\n\npytest.importorskip('no_such_module')\n")
    inherited = {name: value for name, value in os.environ.items() if name != "CI" and "PYTEST" not in name}
    plugins = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}
    options = ["-p", "tests.skips", "-p", "no:cacheprovider", "-c", "none.ini", "--continue-on-collection-errors"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, "."],
        cwd=tmp_path,
        env={**inherited, **plugins, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_skip_is_not_a_failure_outside_ci(tmp_path: Path) -> None:
    ended = run(tmp_path)
    assert ended.returncode == 0
    assert "4 skipped, 1 xfailed" in ended.stdout


def test_a_skip_is_a_failure_in_ci_and_shows_its_reason(tmp_path: Path) -> None:
    ended = run(tmp_path, CI="true")
    assert ended.returncode == 1
    # A skip that is not meant for CI stays one.
    assert "1 failed, 1 skipped, 1 xfailed, 2 errors" in ended.stdout.splitlines()[-1]
    assert "no browser here\nIn CI a skip is a failure" in ended.stdout
    assert "not today\nIn CI a skip is a failure" in ended.stdout
    assert "could not import 'no_such_module'" in ended.stdout
