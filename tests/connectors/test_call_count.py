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
from tests.exhaustive import exhaustive_unless

QUOTA = 1200


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir(mode=0o700)
    return made


def file_name_for(directory: Path) -> str:
    """Return a name that no other test uses: without a file, a process counts by name."""
    return f"calls-{hashlib.sha256(bytes(directory)).hexdigest()[:32]}"


def count_in(directory: Path, clock: FakeClock | None = None) -> CallCount:
    return CallCount(clock or FakeClock(), file_name_for(directory), str(directory))


def take(count: CallCount, most_wait: float = 0, *, spaced: bool = False, share: float = 0.8) -> float:
    return count.take(share=share, spaced=spaced, most_wait=most_wait, quota=None)


def use_up(count: CallCount) -> int:
    """Take calls until one would have to wait; return their number."""
    allowed = 0
    while take(count) == 0:
        allowed += 1
        assert allowed < 2 * QUOTA
    return allowed


def most_in_a_window(times: list[float]) -> int:
    times, most, first = sorted(times), 0, 0
    for last, at in enumerate(times):
        while times[first] <= at - 300:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize("seed", exhaustive_unless({0}, range(3)))
def test_twenty_processes_together_stay_under_the_quota(directory: Path, seed: int) -> None:
    """Simulate processes that call as fast as allowed. Some write; a response takes up to a second."""
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


def test_calls_beyond_the_share_are_spread_over_the_window_across_processes(directory: Path) -> None:
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
allowed = 0
sys.stdin.readline()
for _ in range(600):
    allowed += count.take(share=0.8, spaced=False, most_wait=0, quota=None) == 0
print(allowed)
"""


def test_concurrent_processes_count_each_call_once(directory: Path) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, file_name_for(directory), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert sum(int(process.communicate(timeout=60)[0]) for process in running) == QUOTA - 1


def test_a_forked_child_shares_the_count_of_its_parent(directory: Path) -> None:
    count = count_in(directory)
    take(count)
    child = os.fork()
    if child == 0:
        for _ in range(100):
            take(count)
        os._exit(0)
    os.waitpid(child, 0)
    assert use_up(count) == QUOTA - 1 - 101


def test_calls_older_than_a_window_do_not_count(directory: Path) -> None:
    clock = FakeClock()
    count = count_in(directory, clock)
    assert use_up(count) == QUOTA - 1
    clock.advance(299)
    assert use_up(count) == 0
    clock.advance(7)
    assert use_up(count) == QUOTA - 1


class AdjustableClock(FakeClock):
    """A machine whose wall clock and monotonic clock can be set."""

    def __init__(self) -> None:
        super().__init__()
        self.set_by, self.steady_by = 0.0, 0.0

    def now(self):  # type: ignore[no-untyped-def]
        return super().now() + timedelta(seconds=self.set_by)

    def monotonic(self) -> float:
        return super().monotonic() + self.steady_by


@pytest.mark.parametrize("seconds", exhaustive_unless({-200, 86_400}, [-86_400, -200, 200, 86_400]))
def test_setting_the_clock_neither_frees_nor_blocks_the_budget(directory: Path, seconds: float) -> None:
    clock = AdjustableClock()
    use_up(count_in(directory, clock))
    clock.set_by = seconds
    assert use_up(count_in(directory, clock)) == 0
    clock.advance(310)
    assert use_up(count_in(directory, clock)) == QUOTA - 1


@pytest.mark.parametrize(("off_for", "allowed"), [(20, 0), (600, QUOTA - 1)])
def test_after_a_reboot_the_wall_clock_decides(directory: Path, off_for: float, allowed: int) -> None:
    clock = AdjustableClock()
    clock.advance(50_000)
    use_up(count_in(directory, clock))
    clock.steady_by, clock.set_by = -50_000, off_for
    assert use_up(count_in(directory, clock)) == allowed


def damage_with(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.write_bytes(change(path.read_bytes()))

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        damage_with(lambda data: data[:-1]),
        damage_with(lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]),
        damage_with(lambda _: b"x" * 10_000_000),
        *(
            pytest.param(damage_with(damage), marks=pytest.mark.exhaustive)
            for damage in (
                lambda _: b"",
                lambda data: data[:20],
                lambda data: data + b"x",
                lambda data: bytes([data[0] ^ 1]) + data[1:],
                lambda data: b"\xff" * len(data),
                lambda _: b"{}\n",
            )
        ),
    ],
)
def test_a_damaged_file_counts_as_no_calls(directory: Path, damage: Callable[[Path], None]) -> None:
    use_up(count_in(directory))
    damage(directory / file_name_for(directory))
    assert use_up(count_in(directory)) == QUOTA - 1
    # The file is valid again.
    assert use_up(count_in(directory)) == 0


def test_a_forged_file_does_not_block_calls(directory: Path) -> None:
    take(count_in(directory))
    now = 50_000_000
    a_day_ahead = [now + 86_400 * 10**6] * 40_000
    for times in ([now + 10**17] * 3, [now, now - 5], [-(2**62)], [2**63 - 1], a_day_ahead):
        write(directory, now, times)
        assert use_up(count_in(directory)) == QUOTA - 1


def write(directory: Path, now: int, times: list[int], *, clocks: tuple[int, int] = (0, 0)) -> None:
    rest = struct.pack("=qqqII", *clocks, now, QUOTA, len(times)) + struct.pack(f"={len(times)}q", *times)
    (directory / file_name_for(directory)).write_bytes(struct.pack("=8sI", b"cfescal1", zlib.crc32(rest)) + rest)


@pytest.mark.parametrize("clocks", [(-(2**63), -(2**63)), (2**63 - 1, 2**63 - 1), (-(2**63), 2**63 - 1)])
@pytest.mark.parametrize("now", [0, (1 << 62) - 1])
def test_extreme_clock_values_in_a_forged_file_are_handled(directory: Path, clocks: tuple[int, int], now: int) -> None:
    take(count_in(directory))
    write(directory, now, [], clocks=clocks)
    for _ in range(2):
        assert take(count_in(directory)) == 0
    assert count_in(directory).file is None or use_up(count_in(directory)) > 0


def test_calls_reserved_by_killed_processes_delay_others_by_minutes_at_most(directory: Path) -> None:
    clock = FakeClock()
    count = count_in(directory, clock)
    # Each call would wait up to a day.
    waits = [take(count, 86_400) for _ in range(4 * QUOTA)]
    assert max(waits) <= 600 + 305
    clock.advance(1000)
    assert use_up(count_in(directory, clock)) == QUOTA - 1


def test_a_quota_from_a_header_expires_with_its_calls(directory: Path) -> None:
    clock = FakeClock()
    assert count_in(directory, clock).take(share=0.8, spaced=False, most_wait=0, quota=2) == 0
    assert use_up(count_in(directory, clock)) == 0
    clock.advance(310)
    assert use_up(count_in(directory, clock)) == QUOTA - 1


def make_symbolic_link(path: Path) -> None:
    path.symlink_to(path.with_name("target"))


def make_hard_link(path: Path) -> None:
    path.hardlink_to(path.with_name("target"))


def make_world_writable(path: Path) -> None:
    path.write_bytes(b"")
    path.chmod(0o666)


@pytest.mark.parametrize("obstacle", [make_symbolic_link, make_hard_link, make_world_writable, Path.mkdir, os.mkfifo])
def test_an_untrusted_file_is_left_alone_and_the_process_counts_in_memory(
    directory: Path, obstacle: Callable[[Path], None]
) -> None:
    target = directory / "target"
    target.write_text("something else")
    obstacle(directory / file_name_for(directory))
    count = count_in(directory)
    assert use_up(count) == QUOTA - 1
    assert target.read_text() == "something else"


@pytest.mark.parametrize("place", ["missing/deep", "file/below", "relative"])
def test_without_a_file_the_connections_of_a_process_share_one_count(
    directory: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "file").write_text("")
    directory.chmod(0o777)
    setting = place if place == "relative" else str(directory / place)
    clock = FakeClock()
    one, other = (CallCount(clock, file_name_for(directory), setting) for _ in range(2))
    assert use_up(one) + use_up(other) == QUOTA - 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_stopped_process_that_holds_the_lock_does_not_block_others(directory: Path) -> None:
    take(count_in(directory))
    with (directory / file_name_for(directory)).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        count = count_in(directory)
        began = time.monotonic()
        assert use_up(count) == QUOTA - 1
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
        file_name_for(directory),
        recent.name,
        *(path.name for path in kept),
    }


def connection(**changes: str) -> Connection:
    return Connection.checked({"account_id": ACCOUNT, "api_token": TOKEN, **changes})


def test_the_file_hides_the_token_and_differs_by_token_and_service(directory: Path) -> None:
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
    # A token has one budget for all accounts.
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
    assert use_up(shared_count(api.connection, api.clock)) == QUOTA - 1 - sum(before.values())
    with pytest.raises(RateLimited) as caught:
        list(api.list_jobs())
    assert 300 <= (caught.value.retry_after_seconds or 0) <= 306
    [file] = directory.iterdir()
    assert f"count of this machine's calls is in '{file}'" in caught.value.help
    assert sandbox.state.truth()["calls"] == before


def test_counting_a_call_takes_less_than_a_millisecond(directory: Path) -> None:
    count = count_in(directory)
    for _ in range(900):
        take(count)
    spent = []
    for _ in range(200):
        began = time.perf_counter()
        take(count)
        spent.append(time.perf_counter() - began)
    # It takes about 60 microseconds; the rest is allowance for a busy machine.
    assert statistics.median(spent) < 0.001
