"""Reads the exact versions in constraints.txt, and the requirements in pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
PYPROJECT = ROOT / "pyproject.toml"

# The extras in pyproject.toml for installations. The others are for development.
RUNTIME_EXTRAS = ("approval", "cli", "http", "mcp", "objectstore", "otel", "parquet", "sandbox", "socks", "temporal")
DEVELOPMENT_EXTRAS = ("browser", "lint", "test")

_PIN = re.compile(r"==(?P<version>[A-Za-z0-9.!+_-]+)")


def read_pins(text: str) -> dict[str, str]:
    """Return the pinned version of each package in a constraints file, by canonical name, sorted.

    Raises ValueError that names a line that is not an exact pin, or pins a package twice.
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
    """Return the packages that a pyproject.toml requires, each with its groups: "", "build" or names of extras."""
    document = tomllib.loads(text)
    project = document["project"]
    groups: dict[str, list[str]] = {
        "": project.get("dependencies", []),
        "build": document.get("build-system", {}).get("requires", []),
        **project.get("optional-dependencies", {}),
    }
    required: dict[str, set[str]] = {}
    for group, requirements in groups.items():
        for requirement in requirements:
            required.setdefault(canonicalize_name(Requirement(requirement).name), set()).add(group)
    return required
