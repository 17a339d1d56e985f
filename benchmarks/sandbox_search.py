"""What a page of the sandbox's message search takes: the first page of 1,000, and those that follow.

`python -m benchmarks.sandbox_search [--messages N] [--pages N]`: over HTTP, in one process with a client that does
nothing with the bytes. Processor time of both. Then the first page of a search with each kind of parameter: its size is
1, so that the time is that of finding the messages.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import Any

from connectors.http.client import httpx
from sandbox.correspondence import HELD_SENDER
from sandbox.search import Criteria, find
from sandbox.server import start
from sandbox.settings import Settings
from sandbox.tenant import Tenant

MOST_MS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--messages", type=int, default=200_000, help="messages in the tenant")
    parser.add_argument("--pages", type=int, default=20, help="pages that are read")
    asked = parser.parse_args()
    with start(Settings(messages=asked.messages, quota=1_000_000)) as sandbox:
        address = f"{sandbox.base_url}/accounts/{sandbox.account_id}/email-security/investigate"
        with httpx.Client(headers={"Authorization": f"Bearer {sandbox.token}"}, timeout=60) as client:
            # The client's own first call loads its modules.
            client.get(f"{sandbox.base_url}/user/tokens/verify")
            tenant = sandbox.state.tenant
            used = pages(client, address, {"domain": tenant.domain, "per_page": "1000"}, asked.pages)
            sys.stdout.write("| messages in the tenant | first page, ms | each further page, ms | goal |\n")
            sys.stdout.write("| --- | --- | --- | --- |\n")
            further = statistics.median(used[1:])
            sys.stdout.write(f"| {asked.messages:,} | {used[0]:.0f} | {further:.0f} | at most {MOST_MS} |\n\n")
            sys.stdout.write("| search | messages found | first message, ms | again, ms |\n| --- | --- | --- | --- |\n")
            for query in searches(tenant):
                first, again = pages(client, address, query | {"per_page": "1"}, 2, follow=False)
                found = find(tenant, Criteria(detections_only=False, **query), sandbox.state.clock.now())
                name = " ".join(f"{name}={value}" for name, value in query.items()) or "(none)"
                sys.stdout.write(f"| {name} | {len(found):,} | {first:.0f} | {again:.0f} |\n")


def pages(client: httpx.Client, address: str, query: dict[str, str], count: int, *, follow: bool = True) -> list[float]:
    """The milliseconds of so many pages, or of the first one again and again."""
    used, asked = [], query | {"detections_only": "false"}
    for _ in range(count):
        began = time.process_time()
        body = client.get(address, params=asked).raise_for_status().content
        used.append((time.process_time() - began) * 1000)
        if follow:
            asked["cursor"] = json.loads(body)["result_info"]["next"]
    return used


def searches(tenant: Tenant) -> list[dict[str, Any]]:
    """Searches by each kind of parameter, for many messages and for few or none."""
    message = tenant.messages[len(tenant.messages) // 2]
    return [
        {},
        {"domain": tenant.domain},
        {"domain": "partner-bank.example"},
        {"recipient": tenant.domain},
        {"recipient": "nobody.example"},
        {"recipient": message.recipients[0]},
        {"sender": tenant.domain},
        {"sender": HELD_SENDER},
        {"subject": "statement"},
        {"subject": "nothing like this"},
        {"query": tenant.domain},
        {"query": HELD_SENDER},
        {"query": "statement partner-bank"},
        {"query": tenant.message_id_of(message)},
        {"message_id": tenant.message_id_of(message)},
        {"smtp_helo_ip": "198.51.100.10"},
        {"metric": "bulk"},
        {"final_disposition": "BULK"},
        {"delivery_status": "quarantined"},
        {"message_action": "MOVED"},
    ]


if __name__ == "__main__":
    main()
