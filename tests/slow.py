"""Slow tests: `--quick` leaves them out, and `--write-slow` measures them anew.

tests/slow.txt lists each test function that took longer than SLOW_SECONDS of time in all its cases together.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

LIST = Path(__file__).with_name("slow.txt")
SLOW_SECONDS = 0.6

_seconds: dict[str, float] = defaultdict(float)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="leave out the tests that tests/slow.txt lists")
    parser.addoption("--write-slow", action="store_true", help="measure the slow tests and write tests/slow.txt")


def function_of(node_id: str) -> str:
    """Return the test function's ID without the parameters of one case."""
    return node_id.partition("[")[0]


def listed() -> set[str]:
    return set(LIST.read_text(encoding="utf-8").split())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--quick"):
        return
    slow = listed()
    left_out = [item for item in items if function_of(item.nodeid) in slow]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if function_of(item.nodeid) not in slow]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[function_of(report.nodeid)] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    is_worker = hasattr(session.config, "workerinput")
    if session.config.getoption("--write-slow") and not is_worker:
        slow = sorted(name for name, seconds in _seconds.items() if seconds > SLOW_SECONDS)
        LIST.write_text("".join(f"{name}\n" for name in slow), encoding="utf-8")
