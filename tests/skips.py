"""A skipped test fails in CI, where it would protect nothing. The failure shows the reason of the skip.

A skip whose reason begins with NOT_IN_CI stays a skip: CI lacks the requirement on purpose.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

NOT_IN_CI = "not in CI: "


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # A test that is expected to fail reports itself as skipped too.
    if not hasattr(report, "wasxfail"):
        _fail_in_ci(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_in_ci(report)
    return report


def _fail_in_ci(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and os.environ.get("CI"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        if str(reason).removeprefix("Skipped: ").startswith(NOT_IN_CI):
            return
        report.outcome = "failed"
        report.longrepr = f"{reason}\nIn CI a skip is a failure: install what is missing."
