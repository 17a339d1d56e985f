"""Exports to servers that others wrote, with each fault on the way: one winner of a race, and no row lost."""

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

import pytest

from actions import export_job_messages
from actions.contract.ending import EndedBySignal
from core.errors import OutputError, PackError, ParameterError
from remediation.exports.destinations import object_store, object_store_settings, place
from remediation.exports.destinations.place import DELIVERY_SECONDS
from tests.actions.test_export import Listing, one_second_per_call, pages_of
from tests.clock import FakeClock
from tests.connectors.scripted import JOB_ID, connected
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
AWAY = ("dropped", "503", "SlowDown", "429")
ENDS = ("dropped", "503", "stored without an answer")


pytestmark = pytest.mark.usefixtures("spool")


@pytest.fixture(params=["whole", "parts"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "parts":
        monkeypatch.setattr(object_store, "ONE_REQUEST_BYTES", 0)
    return str(request.param)


@pytest.fixture
def through(store: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Door]]:
    """Lead the pack to the store through a door."""
    opened: list[Door] = []

    def lead(decide: Callable[[Request], Answer | None]) -> Door:
        door = Door(decide, store.endpoint.removesuffix("/" + store.account) if store.account else store.endpoint)
        opened.append(door)
        for name, value in store.settings(door.url).items():
            monkeypatch.setenv(name, value)
        return door

    yield lead
    for door in opened:
        door.close()


def export(listing: Listing, url: str, clock: FakeClock | None = None, **params: Any) -> dict[str, Any]:
    return export_job_messages.run({"job_id": JOB_ID, "destination": url, **params}, connected(listing, clock))


def puts_file(asked: Request) -> bool:
    """Whether the request is the one that would make the file appear, or would keep the rows."""
    path, _, query = asked.path.partition("?")
    if "rows" not in path:
        return False
    completes = asked.method == "POST" and "uploadId=" in query
    return completes or (asked.method == "PUT" and "partNumber=" not in query and "comp=block&" not in query + "&")


def test_an_export_in_pieces_is_the_file_that_a_path_gets(
    store: Server, spool: Path, tmp_path: Path, size: str
) -> None:
    export(Listing(2500, pages_of(2500)), str(tmp_path / "whole"))
    resume: dict[str, Any] = {}
    result: dict[str, Any] = {"done": False}
    turns = 0
    while not result["done"]:
        step = {"job_id": JOB_ID, "destination": store.url("case 42/rows.ndjson"), "time_budget_seconds": 0.001}
        result = export_job_messages.run(
            {**step, **resume}, one_second_per_call(connected(Listing(2500, pages_of(2500))))
        )
        resume = {"resume": result["resume"]}
        turns += 1
    assert (turns > 1, result["complete"]) == (True, True)
    assert store.get("case 42/rows.ndjson") == (tmp_path / "whole").read_bytes()
    assert (store.objects(), list(spool.iterdir())) == (["case 42/rows.ndjson"], [])


def test_an_empty_export_is_there(store: Server) -> None:
    assert export(Listing(0, pages_of(0)), store.url("rows"))["complete"]
    assert store.get("rows") == b""
    with pytest.raises(ParameterError, match="already exists"):
        export(Listing(0, pages_of(0)), store.url("rows"))


@pytest.mark.parametrize("races", [3, pytest.param(20, marks=pytest.mark.exhaustive)])
def test_of_two_exports_that_race_one_wins_and_the_other_fails(
    store: Server, through: Callable[..., Door], size: str, races: int
) -> None:
    both_there = threading.Barrier(2)
    first_puts: Counter[str] = Counter()
    counting = threading.Lock()

    def together(asked: Request) -> None:
        # The file itself, or the claim to complete it: both have found nothing at the destination.
        key = asked.path.split("?")[0]
        if asked.method == "PUT" and re.search(r"/rows-\d+(\.partial\.claim)?$", key) and "?" not in asked.path:
            with counting:
                first_puts[key] += 1
                first = first_puts[key] <= 2
            if first:
                both_there.wait(10)

    through(together)

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


def test_an_export_that_is_ended_while_it_has_a_time_limit_changes_nothing_of_another_run(store: Server) -> None:
    def ending(number: int) -> list[dict[str, Any]]:
        if number == 3:
            raise EndedBySignal(143)
        return pages_of(3500)(number)

    limited = {"destination": store.url("rows"), "time_budget_seconds": 1.5}
    other = export_job_messages.run(
        {"job_id": JOB_ID, **limited}, one_second_per_call(connected(Listing(3500, pages_of(3500))))
    )
    assert not other["done"]
    kept = store.get("rows.partial")
    for _ in range(2):
        with pytest.raises(EndedBySignal):
            export(Listing(3500, ending), store.url("rows"), time_budget_seconds=3600)
        assert (store.objects(), store.get("rows.partial")) == (["rows.partial"], kept)
        # As if the store had got it after the process was ended.
        store.put("rows.partial.trial", b"0")
    result = export(Listing(3500, pages_of(3500)), store.url("rows"), resume=other["resume"])
    assert (result["complete"], store.objects()) == (True, ["rows"])


@pytest.mark.parametrize("size", ["parts"], indirect=True)
def test_a_claim_that_a_killed_run_left_is_taken_over_after_an_hour(store: Server, size: str) -> None:
    store.put("rows.partial.claim", b"of a run that was killed")

    def after(hours: float) -> FakeClock:
        return FakeClock((datetime.now(UTC) + timedelta(hours=hours)).isoformat())

    with pytest.raises(OutputError, match="another run") as caught:
        export(Listing(30, pages_of(30)), store.url("rows"), after(0.5))
    assert store.get("rows") is None
    assert export(Listing(30, pages_of(30)), store.url("rows"), after(2), resume=caught.value.resume)["complete"]
    assert store.objects() == ["rows"]


@pytest.mark.parametrize(
    ("fault", "size"),
    [*((fault, "whole") for fault in FAULTS), *((fault, "parts") for fault in ENDS)],
    indirect=["size"],
)
def test_one_fault_on_the_last_request_costs_nothing(
    fault: str, store: Server, through: Callable[..., Door], spool: Path, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "trickled":
        monkeypatch.setattr(object_store_settings, "REQUEST_SECONDS", 0.3)
        monkeypatch.setattr(object_store_settings, "SLOWEST_BYTES_A_SECOND", 1 << 30)
    once = iter([FAULTS[fault]])
    through(lambda asked: next(once, None) if puts_file(asked) else None)
    result = export(Listing(30, pages_of(30)), store.url("rows"))
    assert next(once, None) is None
    assert hashlib.sha256(store.get("rows") or b"").hexdigest() == result["files"][0]["sha256"]
    assert (result["complete"], store.objects(), list(spool.iterdir())) == (True, ["rows"], [])


@pytest.mark.parametrize(
    ("fault", "size"), [*((fault, "whole") for fault in AWAY), ("503", "parts")], indirect=["size"]
)
def test_a_store_that_is_away_at_the_end_gets_the_file_from_the_next_call(
    fault: str, store: Server, through: Callable[..., Door], spool: Path, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "DELIVERY_SECONDS", 10)
    through(lambda asked: FAULTS[fault] if puts_file(asked) else None)
    clock = FakeClock()
    with pytest.raises(OutputError) as caught:
        export(Listing(30, pages_of(30)), store.url("rows"), clock)
    # The file's, and then the rows' that are kept instead.
    assert clock.slept == [1, 2, 4, 1, 2]
    [kept] = spool.iterdir()
    assert str(kept) in caught.value.help
    assert store.objects() == []
    through(lambda _: None)
    listing = Listing(30, pages_of(30))
    result = export(listing, store.url("rows"), resume=caught.value.resume)
    assert (result["complete"], result["written"], listing.requested_pages) == (True, 30, [])
    assert hashlib.sha256(store.get("rows") or b"").hexdigest() == result["files"][0]["sha256"]
    assert (store.objects(), list(spool.iterdir())) == (["rows"], [])


def test_a_store_that_is_away_for_less_than_the_documented_time_costs_nothing(
    store: Server, through: Callable[..., Door]
) -> None:
    clock = FakeClock()
    away = DELIVERY_SECONDS - object_store.LONGEST_PAUSE_SECONDS
    through(lambda asked: Answer(503) if puts_file(asked) and clock.monotonic() < away else None)
    assert export(Listing(30, pages_of(30)), store.url("rows"), clock)["complete"]
    assert store.objects() == ["rows"]


def test_a_wrong_key_or_an_expired_one_is_named_with_both_causes(
    store: Server, through: Callable[..., Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    if store.scheme == "gs":
        # The server asks for no credentials.
        through(lambda _: refusal(403, "AccessDenied"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", base64.b64encode(b"wrong").decode())
    said = r"the credentials are wrong or have expired|does not accept the credentials"
    with pytest.raises(ParameterError, match=said):
        export(Listing(1, pages_of(1)), store.url("rows"))
    if store.scheme == "az":
        monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
        monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", shared_access_token("2020-01-01T00:00:00Z"))
        with pytest.raises(ParameterError, match=said):
            export(Listing(1, pages_of(1)), store.url("rows"))
