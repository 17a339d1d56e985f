"""The exact versions in constraints.txt, and the names that pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
PYPROJECT = ROOT / "pyproject.toml"

# The extras of pyproject.toml that an installation can need. The others are for work on the pack.
RUNTIME_EXTRAS = ("approval", "cli", "objectstore", "parquet", "sandbox", "socks")
DEVELOPMENT_EXTRAS = ("browser", "lint", "test")

_PIN = re.compile(r"==(?P<version>[A-Za-z0-9.!+_-]+)")


def read_pins(text: str) -> dict[str, str]:
    """Return the version of each package that a constraints file pins, by canonical name, sorted.

    Raises ValueError that names the line which is not one exact pin, or pins a package again.
    """
    pins: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            wanted = Requirement(line)
        except InvalidRequirement as error:
            raise ValueError(f"line {number} is not a requirement: {line!r}") from error
        pin = _PIN.fullmatch(str(wanted.specifier))
        if pin is None or wanted.url or wanted.marker or wanted.extras:
            raise ValueError(f"line {number} is not of the form name==version: {line!r}")
        name = canonicalize_name(wanted.name)
        if name in pins:
            raise ValueError(f"line {number} pins {name} again")
        pins[name] = pin["version"]
    return dict(sorted(pins.items()))


def read_direct_dependencies(text: str) -> dict[str, set[str]]:
    """Return the names that a pyproject.toml asks for, and for each what asks: "", "build" or the name of an extra."""
    document = tomllib.loads(text)
    project = document["project"]
    groups: dict[str, list[str]] = {
        "": project.get("dependencies", []),
        "build": document.get("build-system", {}).get("requires", []),
        **project.get("optional-dependencies", {}),
    }
    asked: dict[str, set[str]] = {}
    for group, requirements in groups.items():
        for requirement in requirements:
            asked.setdefault(canonicalize_name(Requirement(requirement).name), set()).add(group)
    return asked
