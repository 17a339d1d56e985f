"""The command that adds an extra, for each way to install the pack."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

import pytest

from core.installation import NAME, command_to_add


class Installed:
    """The metadata of an installation."""

    def __init__(self, installer: str | None) -> None:
        self._installer = installer

    def read_text(self, name: str) -> str | None:
        return self._installer if name == "INSTALLER" else None


@pytest.fixture(autouse=True)
def _installed_by_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    install_with(monkeypatch, "pip\n")


def install_with(monkeypatch: pytest.MonkeyPatch, installer: str | None) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda _: Installed(installer))


def add_command(folder: Path, extra: str = "cli") -> str:
    """Return the command that adds the extra to the environment `folder / "environment"`."""
    (folder / "environment").mkdir(exist_ok=True)
    return command_to_add(extra, root=folder / "environment", prefix=folder / "environment")


def test_pip_installs_into_its_own_environment(tmp_path: Path) -> None:
    assert add_command(tmp_path) == f"{sys.executable} -m pip install '{NAME}[cli]'"


@pytest.mark.parametrize("installer", [None, ""])
def test_an_unnamed_installer_counts_as_pip(installer: str | None, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        install_with(patch, installer)
        assert "-m pip install" in add_command(tmp_path)


def test_uv_installs_into_its_environment_or_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_with(monkeypatch, "uv")
    assert add_command(tmp_path, "sandbox") == f"uv pip install --python {sys.executable} '{NAME}[sandbox]'"
    (tmp_path / "uv.lock").write_text("")
    assert add_command(tmp_path, "sandbox") == f"uv add '{NAME}[sandbox]'"


def test_a_checkout_is_reinstalled_with_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    command = command_to_add("cli", root=tmp_path, prefix=tmp_path)
    assert command == f"cd {tmp_path} && {sys.executable} -m pip install -e '.[cli]'"
    install_with(monkeypatch, "uv")
    command = command_to_add("cli", root=tmp_path, prefix=tmp_path)
    assert command == f"cd {tmp_path} && uv pip install --python {sys.executable} -e '.[cli]'"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (NAME, f"{NAME}[cli]"),
        (f"{NAME}[sandbox]==0.1.0", f"{NAME}[cli,sandbox]==0.1.0"),
        ("/srv/my wheels/pack-0.1.0-py3-none-any.whl", "/srv/my wheels/pack-0.1.0-py3-none-any.whl[cli]"),
        ("/srv/pack.whl[cli, parquet]", "/srv/pack.whl[cli,parquet]"),
    ],
)
def test_pipx_reinstalls_the_same_source_with_the_extra(source: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "environment").mkdir()
    file = tmp_path / "environment" / "pipx_metadata.json"
    file.write_text(json.dumps({"main_package": {"package_or_url": source}}))
    assert add_command(tmp_path) == f"pipx install --force '{expected}'"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", f"{NAME}[cli]"),
        (', extras = ["sandbox"]', f"{NAME}[cli,sandbox]"),
        (', path = "/srv/pack.whl"', f"{NAME}[cli] @ file:///srv/pack.whl"),
        (', url = "https://example.com/pack.whl"', f"{NAME}[cli] @ https://example.com/pack.whl"),
    ],
)
def test_uv_tool_reinstalls_the_same_source_with_the_extra(source: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "environment").mkdir()
    file = tmp_path / "environment" / "uv-receipt.toml"
    file.write_text(f'[tool]\nrequirements = [{{ name = "rich" }}, {{ name = "{NAME}"{source} }}]\n')
    assert add_command(tmp_path) == f"uv tool install '{expected}'"


@pytest.mark.parametrize("damaged", ["", "{", "[]", '{"main_package": {"package_or_url": 1}}', "\N{SNOWMAN}"])
def test_a_damaged_record_still_names_the_installer(damaged: str, tmp_path: Path) -> None:
    (tmp_path / "environment").mkdir()
    for name, command in {"uv-receipt.toml": "uv tool install", "pipx_metadata.json": "pipx install --force"}.items():
        (tmp_path / "environment" / name).write_text(damaged, encoding="utf-8")
        assert add_command(tmp_path) == f"{command} '{NAME}[cli]'"
