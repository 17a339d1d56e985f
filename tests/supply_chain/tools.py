"""Run modules in the environment of the supply chain tools, which `make test` sets up."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PYTHON = Path(os.environ.get("SUPPLY_PYTHON") or ROOT / ".venv-supply" / "bin" / "python")

# Nothing listens on port 9 of loopback.
UNREACHABLE = "http://127.0.0.1:9"


def run_tool(
    module: str, *arguments: str, given: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a module in the tools' environment, without access beyond loopback. given: standard input."""
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing: `make test` sets it up")
    of_this_machine = ("_PROXY", "SOURCE_DATE_EPOCH", "PIP_AUDIT_VULNERABILITY_SERVICE", "PIP_AUDIT_OSV_URL")
    inherited = {name: value for name, value in os.environ.items() if not name.upper().endswith(of_this_machine)}
    closed = {"HTTP_PROXY": UNREACHABLE, "HTTPS_PROXY": UNREACHABLE, "NO_PROXY": "127.0.0.1"}
    return subprocess.run(
        [str(PYTHON), "-m", module, *arguments],
        cwd=ROOT,
        env={**inherited, **closed, **environment},
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
