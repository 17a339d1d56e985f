"""The wheel installs one package, `cfes`, which takes precedence over folders in the working directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.secrets_watch import see_streams

ROOT = Path(__file__).parents[2]
NOT_IN_THE_WHEEL = ("benchmarks", "cfes", "supply_chain", "tests")
PACKAGES = sorted({path.parent.name for path in ROOT.glob("[a-z]*/__init__.py")} - {*NOT_IN_THE_WHEEL})
FILES = ("manifest.json", "docs/manifest.schema.json", "examples/alert.json", "examples/policy.yaml")

READING_PLAYBOOK = """
playbook: 1
id: look-at-jobs
title: Look at jobs
description: Lists jobs.
inputs:
  alert: {type: object, primary: true, required: [AlertID], description: The alert.}
steps:
  - id: list
    title: List jobs
    action: list-jobs
    with: {}
outputs: {}
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


def build(target: str, source: Path, folder: Path) -> Path:
    """Build a distribution without a network, and return its file."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    [built] = folder.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def builds() -> Iterator[Path]:
    """A folder that is not searched for tokens, because the sandbox's source contains its tokens."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def wheel(builds: Path) -> Path:
    """The wheel, built from the source distribution, as a release is."""
    with tarfile.open(build("sdist", ROOT, builds / "sdist")) as archive:
        archive.extractall(builds / "source", filter="data")
    [source] = (builds / "source").iterdir()
    return build("wheel", source, builds / "wheel")


@pytest.fixture(scope="module")
def environment_folder(wheel: Path, builds: Path) -> Path:
    """An environment with the wheel, and with the dependencies of the tests' environment."""
    folder = builds / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
    subprocess.run([*pip, *install, str(wheel)], check=True, capture_output=True, timeout=120)
    [packages] = folder.glob("lib/python3*/site-packages")
    # Python does not read .pth files in a folder that a .pth file adds: the checkout is not on the path.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.fixture
def decoys(tmp_path: Path) -> Path:
    """A working directory with a decoy folder for each package name of the pack."""
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise SystemExit('the {name} of the working directory')\n")
    return tmp_path


@pytest.fixture
def run_installed(environment_folder: Path, decoys: Path) -> Run:
    """Run a program of the environment in the working directory with the decoys."""

    def run(program: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "XDG_STATE_HOME")}
        ended = subprocess.run(
            [str(environment_folder / "bin" / program), *arguments],
            cwd=decoys,
            env={**kept, "HOME": str(decoys), "CFES_LOG": "off", **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        see_streams(program, ended.stdout, ended.stderr)
        return ended

    return run


def document(ended: subprocess.CompletedProcess[str]) -> Any:
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_installs_one_package(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in names_in(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"cfes"}
    assert "cfes/py.typed" in names_in(wheel)


def test_the_wheel_contains_every_file_of_the_packages(wheel: Path) -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    kept = {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}
    assert {f"cfes/top-level/{name}" for name in {*kept, *FILES}} <= names_in(wheel)


def test_an_editable_install_copies_nothing(tmp_path: Path) -> None:
    program = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=True, timeout=120)
    [built] = tmp_path.glob("*.whl")
    copied = [name for name in names_in(built) if ".dist-info/" not in name]
    with zipfile.ZipFile(built) as archive:
        assert [archive.read(name).decode().split() for name in copied] == [[str(ROOT)]]


def test_the_command_ignores_folders_of_the_same_names(run_installed: Run, tmp_path: Path) -> None:
    assert run_installed("python", "-m", "cfes", "--version").stdout.startswith("cfes ")
    playbooks = document(run_installed("cfes", "playbook", "list", "--output", "json"))
    assert "phish-campaign-purge" in json.dumps(playbooks)
    # The other files that it looks for, in one process.
    program = """
import sys, cfes
from platforms.cli.main import main
sys.exit(main(["manifest", "--check"]) or main(["policy", "init", "policy"]))
"""
    ended = run_installed("python", "-c", program)
    assert ended.returncode == 0, ended.stderr
    assert "policy: 1" in (tmp_path / "policy" / "policy.yaml").read_text()


def test_an_installed_action_runs_against_the_service(
    run_installed: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "params.json").write_text("{}")
    listed = document(run_installed("cfes", "run", "list-jobs", "--params", "params.json", **environment))
    program = "import cfes, json; print(json.dumps(cfes.run('list-jobs')))"
    assert document(run_installed("python", "-c", program, **environment)) == listed


def test_an_installed_report_finds_its_templates(run_installed: Run, tmp_path: Path) -> None:
    program = """
import cfes
from actions.contract import catalog
example = dict(catalog.find("render-report").example_params)
del example["rows"]
cfes.run("render-report", {**example, "destination": "report.html"})
"""
    ended = run_installed("python", "-c", program)
    assert ended.returncode == 0, ended.stderr
    assert "<html" in (tmp_path / "report.html").read_text()


def test_the_installed_demo_starts_its_own_sandbox(run_installed: Run, tmp_path: Path) -> None:
    (tmp_path / "look.yaml").write_text(READING_PLAYBOOK)
    ended = document(run_installed("cfes", "demo", "--playbook", "look.yaml", "--messages", "50", "--output", "json"))
    assert ended["status"] == "completed"


def test_each_module_of_an_installation_has_one_name(run_installed: Run) -> None:
    program = """
import importlib.util, cfes, actions.get_job, platforms.aws_lambda
from cfes.aws_lambda import handler
assert handler is platforms.aws_lambda.handler
for name in ("cfes.actions", "cfes.core", "cfes.platforms"):
    assert importlib.util.find_spec(name) is None, name
print(actions.get_job.__file__)
"""
    ended = run_installed("python", "-c", program)
    assert ended.returncode == 0, ended.stderr
    assert "/site-packages/cfes/top-level/actions/get_job.py" in ended.stdout


def test_a_conflicting_module_is_reported(run_installed: Run, tmp_path: Path) -> None:
    program = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    try:
        import cfes
    except ImportError as error:
        print(error)
    del sys.modules[name]
"""
    for name in PACKAGES:
        (tmp_path / name / "__init__.py").write_text("")
    ended = run_installed("python", "-c", program, *PACKAGES)
    assert ended.returncode == 0, ended.stderr
    for name, line in zip(PACKAGES, ended.stdout.splitlines(), strict=True):
        assert f"another one: {tmp_path}/{name}/__init__.py. Nothing was run. Run `cfes run` as a process" in line


def test_without_the_cli_extra_the_install_command_is_shown(
    run_installed: Run, environment_folder: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "without"
    missing.mkdir()
    (missing / "typer.py").write_text("raise ModuleNotFoundError(\"No module named 'typer'\", name='typer')\n")
    ended = run_installed("cfes", "list-jobs", PYTHONPATH=str(missing))
    assert ended.returncode == 2
    python = environment_folder / "bin" / "python"
    assert f"{python} -m pip install 'cloudflare-email-security-pack[cli]'" in ended.stderr
