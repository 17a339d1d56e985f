"""Results are kept within a size limit: lists are cut at their ends, everything else is kept."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions import list_jobs
from actions.contract.result_size import fit_result, fitting
from connectors.http.client import httpx
from tests.connectors.scripted import JOB_ID, connected, envelope, job
from tests.exhaustive import exhaustive_unless

ENTRIES = st.lists(st.text(max_size=40) | st.integers() | st.dictionaries(st.text(max_size=5), st.text(max_size=9)))
OBJECTS = st.dictionaries(st.text(max_size=20), st.integers(), max_size=30)
ORDER = ("rows", "numbers", "ids")


@given(rows=ENTRIES, numbers=OBJECTS, ids=st.lists(st.text(max_size=20)), most=st.integers(0, 4000))
def test_a_result_fits_and_reports_the_cuts(rows: Any, numbers: Any, ids: Any, most: int) -> None:
    document = {"count": len(rows), "rows": rows, "numbers": numbers, "ids": ids, "truncated": {}}
    before = copy.deepcopy(document)
    fit_result(document, most, ORDER, {"ids"})
    if len(json.dumps(before)) < most:
        assert document == before
        return
    cut: Any = document["truncated"]
    emptied = all(not document[name] for name in ORDER)
    assert len(json.dumps(document)) < most or emptied
    assert document["count"] == before["count"]
    for name in ORDER:
        kept: Any = document[name]
        if name not in cut:
            assert kept == before[name]
        elif name == "ids":
            assert (kept, cut[name]) == (None, {"kept": 0, "total": len(ids)})
        else:
            assert list(kept) == list(before[name])[: len(kept)]
            assert cut[name] == {"kept": len(kept), "total": len(before[name])}
    # A list is cut only after all lists before it are empty.
    names = list(cut)
    assert names == [name for name in ORDER if before[name]][: len(names)]
    assert all(not document[name] for name in names[:-1])


@given(entries=ENTRIES, most=st.integers(0, 500))
def test_fitting_returns_the_first_entries_that_fit(entries: Any, most: int) -> None:
    kept = fitting(entries, most)
    assert kept == entries[: len(kept)]
    assert not kept or len(json.dumps(kept)) <= most


@pytest.mark.parametrize(
    "comment", exhaustive_unless(str.isprintable, ["plain", "\N{GRINNING FACE}" * 100, "\u202e\x00" * 50])
)
def test_a_long_job_list_loses_its_oldest_jobs(comment: str) -> None:
    jobs = [
        job(job_id=f"{n:08}{JOB_ID[8:]}", comment=comment, created_at=f"2026-11-20T16:{n // 60:02}:{n % 60:02}Z")
        for n in range(900)
    ]

    class Jobs(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json=envelope(jobs if request.url.params["page"] == "1" else []))

    result = list_jobs.run({}, connected(Jobs()))
    assert len(json.dumps(result)) < 200_000
    assert (result["count"], result["truncated"]["jobs"]) == (900, {"kept": len(result["jobs"]), "total": 900})
    # The newest jobs are kept.
    assert [found["job_id"][:8] for found in result["jobs"]][:2] == ["00000899", "00000898"]
    complete = list_jobs.run({"max_result_bytes": 50_000_000}, connected(Jobs()))
    assert (len(complete["jobs"]), complete["truncated"]) == (900, {})
