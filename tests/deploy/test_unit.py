"""The unit of systemd: systemd itself checks it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "cfes-serve.service"

ANALYZE = shutil.which("systemd-analyze")

# Of 100: 0 is the strictest.
MOST_EXPOSURE = 15


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a program that exists on this machine."""
    if ANALYZE is None:
        pytest.skip("not in CI: systemd-analyze is not installed")
    text, changed = re.subn(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text())
    assert changed == 1
    copy = tmp_path / UNIT.name
    copy.write_text(text)
    return copy


def analyze(*arguments: str) -> tuple[int, str]:
    assert ANALYZE is not None
    ended = subprocess.run([ANALYZE, "--no-pager", *arguments], capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stdout + ended.stderr


def test_systemd_reads_the_unit_without_a_warning(unit: Path) -> None:
    assert analyze("verify", str(unit)) == (0, "")


def test_the_unit_is_hardened(unit: Path) -> None:
    code, report = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSURE}", str(unit))
    assert code == 0, report


def test_secrets_are_credentials_and_no_variable_has_one() -> None:
    settings = re.findall(r"^Environment=([A-Z_]+)=(.+)$", UNIT.read_text(), re.MULTILINE)
    credentials = re.findall(r"^LoadCredential=(\w+):", UNIT.read_text(), re.MULTILINE)
    assert [value for name, value in settings if name.endswith("_FILE")] == [f"%d/{name}" for name in credentials]
    assert not [name for name, _ in settings if name.endswith(("_TOKEN", "_KEY", "_SECRET"))]


def test_the_unit_and_the_list_of_users_name_the_same_user() -> None:
    [user] = re.findall(r"^User=(\w+)$", UNIT.read_text(), re.MULTILINE)
    assert f"\nu {user} " in (DEPLOY / "cfes.sysusers.conf").read_text()
