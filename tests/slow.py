"""Slow test files: `--quick` skips them, and `--write-slow` measures them again.

tests/slow.txt lists the files that do not fit into QUICK_SECONDS, which the files with the quickest tests fill.
Tests marked `exhaustive` run only with `--exhaustive`: each adds cases to a test that always runs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

LIST = Path(__file__).with_name("slow.txt")

# Shared by two processes.
QUICK_SECONDS = 80.0

_seconds: dict[str, float] = defaultdict(float)
_tests: Counter[str] = Counter()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="leave out the files that tests/slow.txt lists")
    parser.addoption("--write-slow", action="store_true", help="measure the test files and write tests/slow.txt")
    parser.addoption("--exhaustive", action="store_true", help="run also the tests that are marked exhaustive")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Slow files first: of two processes neither has a long file left when the other has none.
    slow = set(listed_files())
    items.sort(key=lambda item: item.nodeid.partition("::")[0] not in slow)
    if config.getoption("--exhaustive"):
        return
    skipped = [item for item in items if item.get_closest_marker("exhaustive")]
    if skipped:
        config.hook.pytest_deselected(items=skipped)
        items[:] = [item for item in items if not item.get_closest_marker("exhaustive")]


def some_of(cases: Collection[Any], *numbers: int) -> list[Any]:
    """Return the cases for parametrize: those at these positions run always, the others with `--exhaustive`."""
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=() if number in numbers else pytest.mark.exhaustive,
        )
        for number, case in enumerate(cases)
    ]


def listed_files() -> list[str]:
    return LIST.read_text(encoding="utf-8").split()


def slow_files(seconds: dict[str, float], tests: Counter[str]) -> list[str]:
    """Return the files that do not fit into QUICK_SECONDS if the files with the quickest tests run first."""
    left = QUICK_SECONDS
    found = []
    for file in sorted(seconds, key=lambda file: seconds[file] / tests[file]):
        left -= seconds[file]
        if left < 0:
            found.append(file)
    return sorted(found)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if not config.getoption("--quick"):
        return None
    is_slow = collection_path.is_file() and str(collection_path.relative_to(LIST.parents[1])) in listed_files()
    return True if is_slow else None


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    file = report.nodeid.partition("::")[0]
    _seconds[file] += report.duration
    _tests[file] += report.when == "call"


def pytest_sessionfinish(session: pytest.Session) -> None:
    is_worker = hasattr(session.config, "workerinput")
    if session.config.getoption("--write-slow") and not is_worker:
        LIST.write_text("".join(f"{file}\n" for file in slow_files(_seconds, _tests)), encoding="utf-8")
