"""Puts the pack's packages and files into the wheel's one package, `cfes`. An editable install uses the checkout."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# A hyphen: no import statement can name it, so no module gets a second name (see cfes/__init__.py).
FOLDER = "cfes/top-level"

PACKAGES = ("actions", "connectors", "core", "platforms", "playbooks", "remediation", "sandbox")
FILES = ("manifest.json", "docs/manifest.schema.json", "examples")


class OnePackage(BuildHookInterface[Any]):
    """Adds the folders beside `cfes/` in the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add it to the wheel. version: "editable" for an install that copies nothing."""
        if version == "standard":
            build_data["force_include"].update({name: f"{FOLDER}/{name}" for name in (*PACKAGES, *FILES)})
