"""What a page of the sandbox's message search takes: the first page of 1,000, and those that follow.

`python -m benchmarks.sandbox_search [--messages N] [--pages N]`: over HTTP, in one process with a client that does
nothing with the bytes. Processor time of both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

from connectors.wire import httpx
from sandbox.server import start
from sandbox.settings import Settings

MOST_MS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--messages", type=int, default=200_000, help="messages in the tenant")
    parser.add_argument("--pages", type=int, default=20, help="pages that are read")
    asked = parser.parse_args()
    used = []
    with start(Settings(messages=asked.messages, quota=1_000_000)) as sandbox:
        address = f"{sandbox.base_url}/accounts/{sandbox.account_id}/email-security/investigate"
        query = {"domain": sandbox.state.tenant.domain, "detections_only": "false", "per_page": "1000"}
        with httpx.Client(headers={"Authorization": f"Bearer {sandbox.token}"}, timeout=60) as client:
            for _ in range(asked.pages):
                began = time.process_time()
                body = client.get(address, params=query).content
                used.append((time.process_time() - began) * 1000)
                query["cursor"] = json.loads(body)["result_info"]["next"]
    sys.stdout.write("| messages in the tenant | first page, ms | each further page, ms | goal |\n")
    sys.stdout.write("| --- | --- | --- | --- |\n")
    further = statistics.median(used[1:])
    sys.stdout.write(f"| {asked.messages:,} | {used[0]:.0f} | {further:.0f} | at most {MOST_MS} |\n")


if __name__ == "__main__":
    main()
