"""Runs programs and servers as separate processes, and measures programs from start to exit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.connectors.scripted import PSEUDONYM_KEY

ROOT = Path(__file__).parent.parent
CERTIFICATE = ROOT / "tests" / "connectors" / "loopback_tls" / "certificate.pem"
KEY = CERTIFICATE.with_name("test_only_key.pem")
ACCOUNT = "0123456789abcdef0123456789abcdef"


class Run(NamedTuple):
    """The figures of a process. status: its exit code. processor: user and system time in seconds."""

    status: int
    seconds: float
    processor: float
    peak_mb: float


def connection(base_url: str, account: str = ACCOUNT) -> dict[str, str]:
    """Return the environment variables for a server of the benchmarks."""
    return {
        "CLOUDFLARE_API_TOKEN": "of-no-use-elsewhere",
        "CLOUDFLARE_ACCOUNT_ID": account,
        "CLOUDFLARE_BASE_URL": base_url,
        "CFES_PSEUDONYM_KEY": PSEUDONYM_KEY,
        # Used for https only.
        "SSL_CERT_FILE": str(CERTIFICATE),
    }


def run(
    command: list[str], given: Mapping[str, object], settings: Mapping[str, str], *, checkout: Path = ROOT
) -> tuple[Run, bytes]:
    """Run Python with these arguments and JSON as standard input. Return its figures and its standard output."""
    # A new state directory for each run: with a shared count of calls, a run would have to wait.
    with tempfile.TemporaryDirectory() as state, tempfile.NamedTemporaryFile() as measured:
        # pyarrow imports pandas (36 MB) if it is installed. The tests install it, the pack does not require it.
        (Path(state) / "pandas.py").write_text("raise ImportError\n")
        usage = [sys.executable, "-S", str(ROOT / "benchmarks" / "resource_usage.py"), measured.name]
        done = subprocess.run(  # noqa: S603 -- this repo's own programs
            [*usage, sys.executable, *command],
            input=json.dumps(given).encode(),
            stdout=subprocess.PIPE,
            env={
                "PATH": os.environ["PATH"],
                "CFES_LOG": "off",
                "CFES_STATE_DIR": state,
                "PYTHONPATH": state,
                **settings,
            },
            cwd=checkout,
            check=True,
        )
        return Run(**json.loads(measured.read())), done.stdout


@contextmanager
def server(module: str, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `python -m MODULE ARGUMENTS`, and yield its first line. At the end of the block, close its standard input."""
    with subprocess.Popen(  # noqa: S603 -- as above
        [sys.executable, "-m", module, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield (process.stdout.readline() if process.stdout else "").strip(), process
