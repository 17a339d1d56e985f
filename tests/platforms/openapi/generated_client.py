"""A client that openapi-python-client generates from an OpenAPI document, in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PACKAGE = "cfes_client"
CLIENT = Path(os.environ.get("CLIENT") or Path(__file__).parents[3] / ".venv-client")
CONFIG = {"package_name_override": PACKAGE, "post_hooks": [], "content_type_overrides": {}}


@dataclass(frozen=True)
class GeneratedClient:
    """The folder with the package. output: what the generator printed."""

    folder: Path
    output: str

    def run(self, program: str, *arguments: str) -> str:
        """Run a program that imports the package, and return its standard output."""
        return run_in_client([str(CLIENT / "bin" / "python"), "-c", program, *arguments], self.folder).stdout


def generate_client(document: Mapping[str, Any], folder: Path) -> GeneratedClient:
    """Generate a client. The test is skipped without the generator."""
    generator = CLIENT / "bin" / "openapi-python-client"
    if not generator.is_file():
        pytest.skip("openapi-python-client is not installed: `make test` sets up .venv-client")
    (folder / "openapi.json").write_text(json.dumps(document))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    command = [str(generator), "generate", "--path", "openapi.json", "--config", "config.json", "--meta", "none"]
    done = run_in_client([*command, "--output-path", PACKAGE], folder)
    return GeneratedClient(folder, done.stdout + done.stderr)


def run_in_client(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done
