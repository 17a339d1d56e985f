"""Cases of a test that run only with `--exhaustive`; see tests/slow.py."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import pytest


def exhaustive_unless(kept: Callable[[Any], bool] | Collection[Any], cases: Iterable[Any]) -> list[Any]:
    """Return the cases for `parametrize`. Those that are not `kept`, or for which it is false, are exhaustive."""
    keeps = kept if callable(kept) else kept.__contains__
    cases = list(cases)
    found = [case if keeps(case) else pytest.param(*_values(case), marks=pytest.mark.exhaustive) for case in cases]
    assert any(map(keeps, cases)), "no case is left in the normal run"
    return found


def _values(case: Any) -> tuple[Any, ...]:
    return case if isinstance(case, tuple) else (case,)
