"""The Dockerfile and .dockerignore. No test builds the image: that needs Docker and a network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hatch_build import FILES, PACKAGES
from supply_chain.hashed_requirements import HASHED

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
TEXT = DOCKERFILE.read_text()
AWK = shutil.which("awk") or "awk"
EXTRAS = ("approval", "cli", "http", "mcp", "objectstore", "otel")


def test_hadolint_has_no_finding_and_no_rule_is_ignored() -> None:
    assert "hadolint ignore" not in TEXT
    hadolint = Path(sys.executable).with_name("hadolint")
    ended = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "")


def test_the_image_has_what_its_extras_need_each_with_a_hash() -> None:
    script = re.search(r"awk '(.*?)' ", TEXT)
    assert script is not None
    kept = subprocess.run([AWK, script[1], HASHED], capture_output=True, text=True, check=True).stdout
    pins = re.findall(r"^([\w.-]+)==", kept, re.MULTILINE)
    assert all("--hash=sha256:" in block for block in re.split(r"\n(?=\w)", kept))
    needed = packages_of("cloudflare-email-security-pack", EXTRAS)
    assert needed <= {canonicalize_name(pin) for pin in pins}
    assert not {"pyarrow", "temporalio", "fastapi"} & set(pins)


def packages_of(package: str, extras: tuple[str, ...] = ("",)) -> set[str]:
    """Return the packages that an installed package and its extras need on Linux, with those that they need."""
    found: set[str] = set()
    left = [(package, extra) for extra in ("", *extras)]
    seen = set(left)
    while left:
        name, extra = left.pop()
        for text in requires(name) or ():
            wanted = Requirement(text)
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
                continue
            found.add(canonicalize_name(wanted.name))
            new = {(wanted.name, each) for each in ("", *wanted.extras)} - seen
            seen |= new
            left += new
    return found


def test_the_build_context_has_what_the_wheel_is_built_from_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    build = {"LICENSE", "README.md", "cfes", "constraints.txt", "hatch_build.py", "pyproject.toml"}
    assert allowed == {*PACKAGES, *FILES, *build, "requirements-hashed.txt"}
    assert [name for name in allowed if not (ROOT / name).exists()] == []


def test_the_image_runs_as_a_user_without_rights_and_holds_no_secret() -> None:
    stages = TEXT.split("\nFROM ")
    assert len(stages) == 3
    assert re.findall(r"^USER (.+)$", stages[-1], re.MULTILINE) == ["10096:10096"]
    set_there = " ".join(re.findall(r"^(?:ENV|ARG) (?:.*\\\n)*.*$", TEXT, re.MULTILINE))
    assert not re.search(r"TOKEN|SECRET|PASSWORD|_KEY", set_there)
    # Shell forms would not pass on SIGTERM.
    for name in ("ENTRYPOINT", "CMD"):
        [command] = re.findall(rf"^{name} (.+)$", TEXT, re.MULTILINE)
        assert isinstance(json.loads(command), list)
