"""All processes of a machine share a count of calls, and an invalid file never fails a call."""

from __future__ import annotations

import fcntl
import hashlib
import heapq
import os
import random
import statistics
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from connectors.connection import Connection
from connectors.email_security import EmailSecurity
from connectors.rate.call_count import CallCount, shared_count
from core.errors import RateLimited
from sandbox.server import RunningSandbox
from tests.clock import FakeClock
from tests.connectors.scripted import ACCOUNT, TOKEN

QUOTA = 1200


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir(mode=0o700)
    return made


def name_in(directory: Path) -> str:
    """A name that no other test has: where there is no file, a process counts by name."""
    return f"calls-{hashlib.sha256(bytes(directory)).hexdigest()[:32]}"


def count_in(directory: Path, clock: FakeClock | None = None) -> CallCount:
    return CallCount(clock or FakeClock(), name_in(directory), str(directory))


def take(count: CallCount, most_wait: float = 0, *, spaced: bool = False, share: float = 0.8) -> float:
    return count.take(share=share, spaced=spaced, most_wait=most_wait, quota=None)


def used_up(count: CallCount) -> int:
    """Take calls until one would have to wait; return how many there were."""
    taken = 0
    while take(count) == 0:
        taken += 1
        assert taken < 2 * QUOTA
    return taken


def most_in_a_window(times: list[float]) -> int:
    times, most, first = sorted(times), 0, 0
    for last, at in enumerate(times):
        while times[first] <= at - 300:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize("seed", range(3))
def test_twenty_processes_together_stay_under_the_quota(directory: Path, seed: int) -> None:
    """A simulation: each process calls as fast as it may, some of them write; an answer takes up to a second."""
    chance, clock = random.Random(seed), FakeClock()
    processes = [count_in(directory, clock) for _ in range(20)]
    due = [(chance.uniform(0, 5), number) for number in range(len(processes))]
    arrived: list[float] = []
    while due[0][0] < 1500:
        at, number = heapq.heappop(due)
        clock.advance(max(0.0, at - clock.monotonic()))
        writes = chance.random() < 0.1
        wait = take(processes[number], 0 if writes else 120, spaced=not writes)
        sent = wait <= (0 if writes else 120)
        if sent:
            arrived.append(clock.monotonic() + wait + chance.uniform(0, 1))
        # A call that was refused is tried again a little later.
        heapq.heappush(due, (clock.monotonic() + (wait if sent else 5) + chance.uniform(0.02, 0.3), number))
    assert most_in_a_window(arrived) < QUOTA
    assert len(arrived) > 4 * 1000


def test_calls_beyond_the_share_are_spread_over_the_rest_of_the_window_whichever_process_asks(directory: Path) -> None:
    clock = FakeClock()
    one, other = count_in(directory, clock), count_in(directory, clock)
    waits = [take(count, 1000, spaced=True) for _ in range(500) for count in (one, other)]
    assert waits[:950] == [0] * 950
    later = waits[970:]
    assert all(0.5 < after - before < 2.5 for before, after in pairwise(later))


HAMMER = """
import sys
from connectors.rate.call_count import CallCount
from core.clock import SystemClock
count = CallCount(SystemClock(), sys.argv[1], sys.argv[2])
taken = 0
sys.stdin.readline()
for _ in range(1200):
    taken += count.take(share=0.8, spaced=False, most_wait=0, quota=None) == 0
print(taken)
"""


def test_real_processes_at_once_take_each_call_once(directory: Path) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, name_in(directory), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert sum(int(process.communicate(timeout=60)[0]) for process in running) == QUOTA - 1


def test_a_child_of_a_fork_counts_with_its_parent(directory: Path) -> None:
    count = count_in(directory)
    take(count)
    child = os.fork()
    if child == 0:
        for _ in range(100):
            take(count)
        os._exit(0)
    os.waitpid(child, 0)
    assert used_up(count) == QUOTA - 1 - 101


def test_calls_older_than_a_window_do_not_count(directory: Path) -> None:
    clock = FakeClock()
    count = count_in(directory, clock)
    assert used_up(count) == QUOTA - 1
    clock.advance(299)
    assert used_up(count) == 0
    clock.advance(7)
    assert used_up(count) == QUOTA - 1


class SetClock(FakeClock):
    """A machine whose wall clock and steady clock can be set."""

    def __init__(self) -> None:
        super().__init__()
        self.set_by, self.steady_by = 0.0, 0.0

    def now(self):  # type: ignore[no-untyped-def]
        return super().now() + timedelta(seconds=self.set_by)

    def monotonic(self) -> float:
        return super().monotonic() + self.steady_by


@pytest.mark.parametrize("seconds", [-86_400, -200, 200, 86_400])
def test_a_clock_that_is_set_neither_frees_the_budget_nor_blocks_it(directory: Path, seconds: float) -> None:
    clock = SetClock()
    used_up(count_in(directory, clock))
    clock.set_by = seconds
    assert used_up(count_in(directory, clock)) == 0
    clock.advance(310)
    assert used_up(count_in(directory, clock)) == QUOTA - 1


@pytest.mark.parametrize(("off_for", "taken"), [(20, 0), (600, QUOTA - 1)])
def test_after_a_restart_of_the_machine_the_wall_clock_counts(directory: Path, off_for: float, taken: int) -> None:
    clock = SetClock()
    clock.advance(50_000)
    used_up(count_in(directory, clock))
    clock.steady_by, clock.set_by = -50_000, off_for
    assert used_up(count_in(directory, clock)) == taken


def damaged(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.write_bytes(change(path.read_bytes()))

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        damaged(lambda _: b""),
        damaged(lambda data: data[:-1]),
        damaged(lambda data: data[:20]),
        damaged(lambda data: data + b"x"),
        damaged(lambda data: bytes([data[0] ^ 1]) + data[1:]),
        damaged(lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]),
        damaged(lambda data: b"\xff" * len(data)),
        damaged(lambda _: b"x" * 10_000_000),
        damaged(lambda _: b"{}\n"),
    ],
)
def test_a_damaged_file_counts_as_no_calls(directory: Path, damage: Callable[[Path], None]) -> None:
    used_up(count_in(directory))
    damage(directory / name_in(directory))
    assert used_up(count_in(directory)) == QUOTA - 1
    # It is a good file again.
    assert used_up(count_in(directory)) == 0


def test_a_forged_file_blocks_nobody(directory: Path) -> None:
    take(count_in(directory))
    now = 50_000_000
    a_day_ahead = [now + 86_400 * 10**6] * 40_000
    for times in ([now + 10**17] * 3, [now, now - 5], [-(2**62)], [2**63 - 1], a_day_ahead):
        write(directory, now, times)
        assert used_up(count_in(directory)) == QUOTA - 1


def write(directory: Path, now: int, times: list[int], *, clocks: tuple[int, int] = (0, 0)) -> None:
    rest = struct.pack("=qqqII", *clocks, now, QUOTA, len(times)) + struct.pack(f"={len(times)}q", *times)
    (directory / name_in(directory)).write_bytes(struct.pack("=8sI", b"cfescal1", zlib.crc32(rest)) + rest)


@pytest.mark.parametrize("clocks", [(-(2**63), -(2**63)), (2**63 - 1, 2**63 - 1), (-(2**63), 2**63 - 1)])
@pytest.mark.parametrize("now", [0, (1 << 62) - 1])
def test_no_clock_in_a_forged_file_is_too_large_to_be_counted_with(
    directory: Path, clocks: tuple[int, int], now: int
) -> None:
    take(count_in(directory))
    write(directory, now, [], clocks=clocks)
    for _ in range(2):
        assert take(count_in(directory)) == 0
    assert count_in(directory).file is None or used_up(count_in(directory)) > 0


def test_calls_that_killed_processes_have_reserved_stop_the_others_for_minutes_at_most(directory: Path) -> None:
    clock = FakeClock()
    count = count_in(directory, clock)
    # Each of them would wait for a day.
    waits = [take(count, 86_400) for _ in range(4 * QUOTA)]
    assert max(waits) <= 600 + 305
    clock.advance(1000)
    assert used_up(count_in(directory, clock)) == QUOTA - 1


def test_a_quota_from_a_header_expires_with_its_calls(directory: Path) -> None:
    clock = FakeClock()
    assert count_in(directory, clock).take(share=0.8, spaced=False, most_wait=0, quota=2) == 0
    assert used_up(count_in(directory, clock)) == 0
    clock.advance(310)
    assert used_up(count_in(directory, clock)) == QUOTA - 1


def a_link(path: Path) -> None:
    path.symlink_to(path.with_name("target"))


def a_second_name(path: Path) -> None:
    path.hardlink_to(path.with_name("target"))


def open_to_others(path: Path) -> None:
    path.write_bytes(b"")
    path.chmod(0o666)


@pytest.mark.parametrize("obstacle", [a_link, a_second_name, open_to_others, Path.mkdir, os.mkfifo])
def test_a_file_that_cannot_be_trusted_is_left_alone_and_the_process_counts(
    directory: Path, obstacle: Callable[[Path], None]
) -> None:
    target = directory / "target"
    target.write_text("something else")
    obstacle(directory / name_in(directory))
    count = count_in(directory)
    assert used_up(count) == QUOTA - 1
    assert target.read_text() == "something else"


@pytest.mark.parametrize("place", ["missing/deep", "file/below", "relative"])
def test_where_no_file_can_be_kept_the_connections_of_a_process_count_together(
    directory: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "file").write_text("")
    directory.chmod(0o777)
    setting = place if place == "relative" else str(directory / place)
    clock = FakeClock()
    one, other = (CallCount(clock, name_in(directory), setting) for _ in range(2))
    assert used_up(one) + used_up(other) == QUOTA - 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_process_that_was_stopped_with_the_lock_stops_no_other(directory: Path) -> None:
    take(count_in(directory))
    with (directory / name_in(directory)).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        count = count_in(directory)
        began = time.monotonic()
        assert used_up(count) == QUOTA - 1
        assert time.monotonic() - began < 5


def test_unused_counts_are_deleted(directory: Path) -> None:
    kept = [directory / "state.sqlite", directory / "calls-of-somebody-else"]
    old, recent = (directory / f"calls-{digits * 16}" for digits in ("11", "22"))
    for path in (*kept, old, recent):
        path.write_bytes(b"")
    for path in (*kept, old):
        os.utime(path, (1, 1))
    take(count_in(directory))
    assert {path.name for path in directory.iterdir()} == {
        name_in(directory),
        recent.name,
        *(path.name for path in kept),
    }


def connection(**changes: str) -> Connection:
    return Connection.checked({"account_id": ACCOUNT, "api_token": TOKEN, **changes})


def test_the_files_name_and_content_do_not_show_the_token_and_differ_by_token_and_service(directory: Path) -> None:
    for changes in (
        {},
        {"account_id": "b" * 32},
        {"api_token": f"{TOKEN}x"},
        {"base_url": "http://127.0.0.1:9/client/v4"},
        {"base_url": "http://127.0.0.1:10/client/v4"},
        {"base_url": "https://API.cloudflare.com/other"},
    ):
        take(shared_count(connection(state_directory=str(directory), **changes), FakeClock()))
    files = list(directory.iterdir())
    # One user's token has one budget, for all accounts.
    assert len(files) == 4
    for path in files:
        assert TOKEN not in path.name
        assert TOKEN.encode() not in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_call_that_the_count_refuses_is_not_sent(
    sandbox: RunningSandbox, connect: Callable[..., EmailSecurity], directory: Path
) -> None:
    api = connect(sandbox, state_directory=str(directory))
    list(api.list_jobs())
    before = dict(sandbox.state.truth()["calls"])
    assert used_up(shared_count(api.connection, api.clock)) == QUOTA - 1 - sum(before.values())
    with pytest.raises(RateLimited) as caught:
        list(api.list_jobs())
    assert 300 <= (caught.value.retry_after_seconds or 0) <= 306
    [file] = directory.iterdir()
    assert f"count of this machine's calls is in '{file}'" in caught.value.help
    assert sandbox.state.truth()["calls"] == before


def test_counting_costs_next_to_nothing(directory: Path) -> None:
    count = count_in(directory)
    for _ in range(900):
        take(count)
    spent = []
    for _ in range(200):
        began = time.perf_counter()
        take(count)
        spent.append(time.perf_counter() - began)
    # About 60 microseconds; the rest is for a machine that is busy.
    assert statistics.median(spent) < 0.001
