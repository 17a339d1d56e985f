"""A preview of 20,000 and of 200,000 messages: seconds and peak memory of the process. Memory must not grow with them.

The messages are a whole tenant's mail, found by its own domain. `python -m benchmarks.preview [--sizes N ...]`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from sandbox.server import RunningSandbox, start
from sandbox.settings import Settings

ROOT = Path(__file__).parent.parent
LONGEST_SECONDS = 1800


class Measured(NamedTuple):
    """messages: as the plan counts them, a copy in each mailbox."""

    messages: int
    recipients: int
    seconds: float
    peak_mb: float


def measured(sandbox: RunningSandbox) -> Measured:
    """One preview as a process of its own."""
    params = {
        "action": "MOVE",
        "destination": "JunkEmail",
        "search_params": {"domain": sandbox.state.tenant.domain, "detections_only": False},
        "limit": 1_000_000,
    }
    environment = {
        **os.environ,
        "CLOUDFLARE_API_TOKEN": sandbox.token,
        "CLOUDFLARE_ACCOUNT_ID": sandbox.account_id,
        "CLOUDFLARE_BASE_URL": sandbox.base_url,
        "CFES_LOG": "off",
    }
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as result:
        given.write(json.dumps(params).encode())
        given.seek(0)
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "actions.preview_job"], stdin=given, stdout=result, env=environment, cwd=ROOT
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        result.seek(0)
        plan = json.loads(result.read())
    if process.returncode != 0:
        raise SystemExit(f"the preview failed: {plan}")
    # Linux counts in KiB.
    return Measured(plan["messages"], plan["recipients"], seconds, used.ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 200_000], help="messages in the tenant")
    sizes = parser.parse_args().sizes
    signal.alarm(LONGEST_SECONDS)
    print("| in the tenant | messages counted | recipients | seconds | peak MB |")  # noqa: T201 -- its result
    print("| --- | --- | --- | --- | --- |")  # noqa: T201
    for size in sizes:
        with start(Settings(messages=size, quota=1_000_000)) as sandbox:
            found = measured(sandbox)
        print(  # noqa: T201
            f"| {size:,} | {found.messages:,} | {found.recipients:,} | {found.seconds:.1f} | {found.peak_mb:.0f} |"
        )


if __name__ == "__main__":
    main()
