"""An in-memory jobs API whose list can lag, hide and repeat rows, and change their fields.

It gives lists that the sandbox does not give. The test controls its clock.
"""

from __future__ import annotations

import json
import random
import re
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec

from connectors.http.client import httpx
from tests.clock import FakeClock
from tests.connectors.scripted import envelope, job

Row = dict[str, Any]

_BULK = re.compile(r"/investigate/bulk(?:/([0-9A-Fa-f-]{36}))?(/cancel)?$")


class JobsService(httpx.BaseTransport):
    """Answer requests about jobs, which are kept in the order of their creation.

    newest_first, page_size, reports_page_size: order and pages of the list. show_in_list(job): the row that the list
    shows, or None to hide the job. before_request(request, number): called before each request, with the number of
    earlier ones. answer_create(response, job): the response to a create.
    """

    def __init__(self, clock: FakeClock, *, seed: int = 1) -> None:
        self.clock = clock
        self.jobs: list[Row] = []
        self.requests: list[httpx.Request] = []
        self.newest_first = True
        self.page_size = 1000
        self.reports_page_size = True
        self.whole_seconds = False
        self.ignores_filters = False
        self.show_in_list: Callable[[Row], Row | None] = lambda one: one
        self.before_request: Callable[[httpx.Request, int], None] = lambda _request, _number: None
        self.answer_create: Callable[[httpx.Response, Row], httpx.Response] = lambda answer, _one: answer
        self._ids = random.Random(seed)
        self._lock = threading.RLock()

    def add_old(self, count: int, **changes: Any) -> None:
        for number in range(count):
            created_at = self.clock.now() - timedelta(days=30) + timedelta(seconds=number)
            self.jobs.append(job(**{"job_id": self.new_id(), "created_at": created_at.isoformat(), **changes}))

    def new_id(self) -> str:
        return str(uuid.UUID(int=self._ids.getrandbits(128), version=4))

    @property
    def calls(self) -> Counter[str]:
        return Counter(request.method for request in self.requests)

    @property
    def live(self) -> list[Row]:
        return [one for one in self.jobs if one.get("comment") and one["status"] != "CANCELLED"]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        with self._lock:
            self.before_request(request, len(self.requests))
            self.requests.append(request)
            return self._answer(request)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        found = _BULK.search(request.url.path)
        assert found is not None, request.url
        if found[1] is None:
            return self._create(json.loads(request.content)) if request.method == "POST" else self._list(request)
        for one in self.jobs:
            if one["job_id"].lower() == found[1].lower():
                if found[2]:
                    one["status"] = "CANCELLED"
                return httpx.Response(200, json=envelope(one))
        return httpx.Response(404, json=envelope(None, success=False, errors=[{"code": 1000, "message": "gone"}]))

    def _create(self, body: dict[str, Any]) -> httpx.Response:
        created_at = self.clock.now().isoformat(timespec="seconds" if self.whole_seconds else "microseconds")
        one = job(
            job_id=self.new_id(), created_at=created_at, comment=body["comment"], search_params=body["search_params"]
        )
        self.jobs.append(one)
        return self.answer_create(httpx.Response(201, json=envelope(one)), one)

    def _list(self, request: httpx.Request) -> httpx.Response:
        query = request.url.params
        rows = [row for row in (self.show_in_list(one) for one in self.jobs) if row is not None]
        if "action_type" in query and not self.ignores_filters:
            rows = [row for row in rows if row["action_type"] == query["action_type"]]
        rows = rows[::-1] if self.newest_first else rows
        size = min(self.page_size, int(query["per_page"]))
        page = rows[(int(query["page"]) - 1) * size :][:size]
        info = {"page": 0, "total_count": 0, "count": len(page)} | (
            {"per_page": size} if self.reports_page_size else {}
        )
        # In a tenth of the time that `json=` takes for a page of a thousand jobs.
        body = msgspec.json.encode(envelope(page, result_info=info))
        return httpx.Response(200, content=body, headers={"content-type": "application/json"})
