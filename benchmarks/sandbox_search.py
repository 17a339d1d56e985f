"""Measures the sandbox's message search: the first page of 1,000, and further pages.

`python -m benchmarks.sandbox_search [--messages N] [--pages N]` runs over HTTP, in one process with a client that
discards the bytes, and measures the processor time of both. Then it measures a search with each kind of parameter, with
pages of 1 message, so that the time is that of the search itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.summary import Line, at_most, say, table
from connectors.http.client import httpx
from sandbox.correspondence import HELD_SENDER
from sandbox.search import Criteria, find
from sandbox.server import start
from sandbox.settings import Settings
from sandbox.tenant import Tenant

MESSAGES, PAGES = 200_000, 20
MOST_MS = 100


class Search(NamedTuple):
    """The milliseconds to the first message of a search. again: of the same search repeated."""

    query: str
    found: int
    first: float
    again: float


class Measured(NamedTuple):
    """The milliseconds for pages of 1,000."""

    messages: int
    first_page: float
    further_page: float
    searches: Sequence[Search]


def measure(messages: int = MESSAGES, count: int = PAGES) -> Measured:
    with start(Settings(messages=messages, quota=1_000_000)) as sandbox:
        address = f"{sandbox.base_url}/accounts/{sandbox.account_id}/email-security/investigate"
        with httpx.Client(headers={"Authorization": f"Bearer {sandbox.token}"}, timeout=60) as client:
            # The first call of the client loads its modules.
            client.get(f"{sandbox.base_url}/user/tokens/verify")
            tenant = sandbox.state.tenant
            used = pages(client, address, {"domain": tenant.domain, "per_page": "1000"}, count)
            each = []
            for query in searches(tenant):
                first, again = pages(client, address, query | {"per_page": "1"}, 2, follow=False)
                found = find(tenant, Criteria(detections_only=False, **query), sandbox.state.clock.now())
                name = " ".join(f"{name}={value}" for name, value in query.items()) or "(none)"
                each.append(Search(name, len(found), first, again))
    return Measured(messages, used[0], statistics.median(used[1:]), each)


def report(figure: Measured) -> str:
    row = f"| {figure.messages:,} | {figure.first_page:.0f} | {figure.further_page:.0f} | at most {MOST_MS} |"
    rows = [f"| {one.query} | {one.found:,} | {one.first:.0f} | {one.again:.0f} |" for one in figure.searches]
    return (
        table("messages in the tenant | first page, ms | each further page, ms | goal", [row])
        + "\n\n"
        + table("search | messages found | first message, ms | again, ms", rows)
    )


def line(figure: Measured) -> Line:
    measured = f"{figure.first_page:.0f} ms the first page of 1,000, {figure.further_page:.0f} ms each further one"
    goals = (at_most(MOST_MS, "ms a page", figure.first_page, figure.further_page),)
    return Line(f"sandbox search, {figure.messages:,} messages", measured, goals)


def pages(client: httpx.Client, address: str, query: dict[str, str], count: int, *, follow: bool = True) -> list[float]:
    """Return the milliseconds of `count` pages, or without `follow` of the first page each time."""
    used, params = [], query | {"detections_only": "false"}
    for _ in range(count):
        began = time.process_time()
        body = client.get(address, params=params).raise_for_status().content
        used.append((time.process_time() - began) * 1000)
        if follow:
            params["cursor"] = json.loads(body)["result_info"]["next"]
    return used


def searches(tenant: Tenant) -> list[dict[str, Any]]:
    """Return searches with each kind of parameter, with many, few and no results."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--messages", type=int, default=MESSAGES, help="messages in the tenant")
    parser.add_argument("--pages", type=int, default=PAGES, help="pages to read")
    asked = parser.parse_args()
    say(report(measure(asked.messages, asked.pages)))


if __name__ == "__main__":
    main()
