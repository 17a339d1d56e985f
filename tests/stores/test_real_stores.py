"""Exports to real object stores with faults in between: a race has one winner, and no row is lost."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from actions import export_job_messages
from actions.contract.ending import EndedBySignal
from core.errors import OutputError, PackError, ParameterError
from remediation.exports.destinations import object_store, object_store_settings, place
from remediation.exports.destinations.place import DELIVERY_SECONDS
from tests.actions.test_export import Listing, one_second_per_call, pages_of
from tests.clock import FakeClock
from tests.connectors.scripted import JOB_ID, connected
from tests.exhaustive import exhaustive_unless
from tests.object_stores import Answer, Door, Request, refusal
from tests.stores.servers import Server, shared_access_token

FAULTS = {
    "dropped": Answer(dropped=True),
    "503": Answer(503),
    "SlowDown": refusal(503, "SlowDown"),
    "429": Answer(429),
    "trickled": Answer(trickled=True),
    "stored without an answer": Answer(lost=True),
}
OUTAGES = ("dropped", "503", "SlowDown", "429")
FINAL_FAULTS = ("dropped", "503", "stored without an answer")


pytestmark = pytest.mark.usefixtures("spool")


@pytest.fixture(params=["whole", "parts"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "parts":
        monkeypatch.setattr(object_store, "ONE_REQUEST_BYTES", 0)
    return str(request.param)


@pytest.fixture
def connect_through_door(store: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Door]]:
    """A function that connects the pack to the store through a door."""
    opened: list[Door] = []

    def open_door(decide: Callable[[Request], Answer | None]) -> Door:
        door = Door(decide, store.endpoint.removesuffix("/" + store.account) if store.account else store.endpoint)
        opened.append(door)
        for name, value in store.settings(door.url).items():
            monkeypatch.setenv(name, value)
        return door

    yield open_door
    for door in opened:
        door.close()


def export(listing: Listing, url: str, clock: FakeClock | None = None, **params: Any) -> dict[str, Any]:
    return export_job_messages.run({"job_id": JOB_ID, "destination": url, **params}, connected(listing, clock))


def puts_file(request: Request) -> bool:
    """Return whether the request would create the file or the saved rows."""
    path, _, query = request.path.partition("?")
    if "rows" not in path:
        return False
    completes = request.method == "POST" and "uploadId=" in query
    return completes or (request.method == "PUT" and "partNumber=" not in query and "comp=block&" not in query + "&")


@pytest.mark.parametrize("size", exhaustive_unless({"parts"}, ["whole", "parts"]), indirect=True)
def test_an_export_in_several_calls_equals_the_local_file(
    store: Server, spool: Path, tmp_path: Path, size: str
) -> None:
    export(Listing(1200, pages_of(1200)), str(tmp_path / "whole"))
    resume: dict[str, Any] = {}
    result: dict[str, Any] = {"done": False}
    calls = 0
    while not result["done"]:
        step = {"job_id": JOB_ID, "destination": store.url("case 42/rows.ndjson"), "time_budget_seconds": 0.001}
        result = export_job_messages.run(
            {**step, **resume}, one_second_per_call(connected(Listing(1200, pages_of(1200))))
        )
        resume = {"resume": result["resume"]}
        calls += 1
    assert (calls > 1, result["complete"]) == (True, True)
    assert store.get("case 42/rows.ndjson") == (tmp_path / "whole").read_bytes()
    assert (store.objects(), list(spool.iterdir())) == (["case 42/rows.ndjson"], [])


def test_an_empty_export_creates_an_empty_object(store: Server) -> None:
    assert export(Listing(0, pages_of(0)), store.url("rows"))["complete"]
    assert store.get("rows") == b""
    with pytest.raises(ParameterError, match="already exists"):
        export(Listing(0, pages_of(0)), store.url("rows"))


@pytest.mark.parametrize("races", [2, pytest.param(20, marks=pytest.mark.exhaustive)])
def test_one_of_two_concurrent_exports_wins_and_the_other_fails(
    store: Server, connect_through_door: Callable[..., Door], size: str, races: int
) -> None:
    barrier = threading.Barrier(2)
    first_puts: Counter[str] = Counter()
    lock = threading.Lock()

    def hold_first_puts(request: Request) -> None:
        # The file, or the claim to complete it: both exports have found nothing at the destination.
        key = unquote(request.path.split("?")[0])
        if request.method == "PUT" and re.search(r"/rows-\d+(\.partial\.claim)?$", key) and "?" not in request.path:
            with lock:
                first_puts[key] += 1
                first = first_puts[key] <= 2
            if first:
                barrier.wait(10)

    connect_through_door(hold_first_puts)

    def run(number: int, rows: int) -> dict[str, Any] | PackError:
        try:
            return export(Listing(rows, pages_of(rows)), store.url(f"rows-{number}"))
        except PackError as error:
            return error

    for number in range(races):
        with ThreadPoolExecutor(2) as both:
            results = list(both.map(partial(run, number), (10, 20)))
        [winner] = [result for result in results if isinstance(result, dict)]
        [loser] = [result for result in results if isinstance(result, PackError)]
        assert hashlib.sha256(store.get(f"rows-{number}") or b"").hexdigest() == winner["files"][0]["sha256"]
        assert "already exists" in loser.message or "another run" in loser.message
        assert loser.resume is not None
    assert not [key for key in store.objects() if key.endswith(".claim")]


def test_an_interrupted_export_leaves_the_partial_file_of_another_run(store: Server) -> None:
    def end_on_page_3(number: int) -> list[dict[str, Any]]:
        if number == 3:
            raise EndedBySignal(143)
        return pages_of(3500)(number)

    limited = {"destination": store.url("rows"), "time_budget_seconds": 1.5}
    other = export_job_messages.run(
        {"job_id": JOB_ID, **limited}, one_second_per_call(connected(Listing(3500, pages_of(3500))))
    )
    assert not other["done"]
    saved = store.get("rows.partial")
    for _ in range(2):
        with pytest.raises(EndedBySignal):
            export(Listing(3500, end_on_page_3), store.url("rows"), time_budget_seconds=3600)
        assert (store.objects(), store.get("rows.partial")) == (["rows.partial"], saved)
        # As if the store had received it after the end of the process.
        store.put("rows.partial.trial", b"0")
    result = export(Listing(3500, pages_of(3500)), store.url("rows"), resume=other["resume"])
    assert (result["complete"], store.objects()) == (True, ["rows"])


@pytest.mark.parametrize("size", ["parts"], indirect=True)
def test_a_claim_left_by_a_killed_run_expires_after_an_hour(store: Server, size: str) -> None:
    store.put("rows.partial.claim", b"of a run that was killed")

    def clock_in(hours: float) -> FakeClock:
        return FakeClock((datetime.now(UTC) + timedelta(hours=hours)).isoformat())

    with pytest.raises(OutputError, match="another run") as caught:
        export(Listing(30, pages_of(30)), store.url("rows"), clock_in(0.5))
    assert store.get("rows") is None
    assert export(Listing(30, pages_of(30)), store.url("rows"), clock_in(2), resume=caught.value.resume)["complete"]
    assert store.objects() == ["rows"]


@pytest.mark.parametrize(
    ("fault", "size"),
    exhaustive_unless(
        {("503", "whole"), ("stored without an answer", "whole"), ("stored without an answer", "parts")},
        [*((fault, "whole") for fault in FAULTS), *((fault, "parts") for fault in FINAL_FAULTS)],
    ),
    indirect=["size"],
)
def test_one_fault_on_the_last_request_is_retried(
    fault: str,
    store: Server,
    connect_through_door: Callable[..., Door],
    spool: Path,
    size: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if fault == "trickled":
        monkeypatch.setattr(object_store_settings, "REQUEST_SECONDS", 0.3)
        monkeypatch.setattr(object_store_settings, "SLOWEST_BYTES_A_SECOND", 1 << 30)
    once = iter([FAULTS[fault]])
    connect_through_door(lambda request: next(once, None) if puts_file(request) else None)
    result = export(Listing(30, pages_of(30)), store.url("rows"))
    assert next(once, None) is None
    assert hashlib.sha256(store.get("rows") or b"").hexdigest() == result["files"][0]["sha256"]
    assert (result["complete"], store.objects(), list(spool.iterdir())) == (True, ["rows"], [])


@pytest.mark.parametrize(
    ("fault", "size"),
    exhaustive_unless({("503", "parts")}, [*((fault, "whole") for fault in OUTAGES), ("503", "parts")]),
    indirect=["size"],
)
def test_the_next_call_delivers_the_file_after_an_outage_at_the_end(
    fault: str,
    store: Server,
    connect_through_door: Callable[..., Door],
    spool: Path,
    size: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(place, "DELIVERY_SECONDS", 10)
    connect_through_door(lambda request: FAULTS[fault] if puts_file(request) else None)
    clock = FakeClock()
    with pytest.raises(OutputError) as caught:
        export(Listing(30, pages_of(30)), store.url("rows"), clock)
    # The attempts for the file, then for the saved rows.
    assert clock.slept == [1, 2, 4, 1, 2]
    [saved] = spool.iterdir()
    assert str(saved) in caught.value.help
    assert store.objects() == []
    connect_through_door(lambda _: None)
    listing = Listing(30, pages_of(30))
    result = export(listing, store.url("rows"), resume=caught.value.resume)
    assert (result["complete"], result["written"], listing.requested_pages) == (True, 30, [])
    assert hashlib.sha256(store.get("rows") or b"").hexdigest() == result["files"][0]["sha256"]
    assert (store.objects(), list(spool.iterdir())) == (["rows"], [])


def test_an_outage_shorter_than_the_documented_time_is_survived(
    store: Server, connect_through_door: Callable[..., Door]
) -> None:
    clock = FakeClock()
    outage_seconds = DELIVERY_SECONDS - object_store.LONGEST_PAUSE_SECONDS
    connect_through_door(
        lambda request: Answer(503) if puts_file(request) and clock.monotonic() < outage_seconds else None
    )
    assert export(Listing(30, pages_of(30)), store.url("rows"), clock)["complete"]
    assert store.objects() == ["rows"]


def test_a_wrong_or_expired_key_is_reported_with_both_causes(
    store: Server, connect_through_door: Callable[..., Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    if store.scheme == "gs":
        # The server requires no credentials.
        connect_through_door(lambda _: refusal(403, "AccessDenied"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", base64.b64encode(b"wrong").decode())
    expected = r"the credentials are wrong or have expired|does not accept the credentials"
    with pytest.raises(ParameterError, match=expected):
        export(Listing(1, pages_of(1)), store.url("rows"))
    if store.scheme == "az":
        monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
        monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", shared_access_token("2020-01-01T00:00:00Z"))
        with pytest.raises(ParameterError, match=expected):
            export(Listing(1, pages_of(1)), store.url("rows"))
