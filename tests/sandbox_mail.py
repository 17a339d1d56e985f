"""Fill the sandboxes of many tests with the same mail once. A pytest plugin."""

from __future__ import annotations

import pickle
from collections import Counter
from typing import Any

import pytest

from sandbox import correspondence
from sandbox.tenant import Tenant

MOST_MESSAGES = 1000

_fill = correspondence.fill
_times: Counter[tuple[object, ...]] = Counter()
_filled: dict[tuple[object, ...], bytes] = {}
_PATCH = pytest.StashKey[pytest.MonkeyPatch]()


def fill(tenant: Tenant, **settings: Any) -> None:
    """Fill the tenant, or copy the mail of an earlier one with the same settings."""
    key = (tenant.domain, *sorted(settings.items()))
    if key in _filled:
        vars(tenant).update(pickle.loads(_filled[key]))  # noqa: S301 -- from this process
        return
    _fill(tenant, **settings)
    _times[key] += 1
    # With a real clock, the mail is different each time. Much mail would fill the memory.
    if _times[key] == 2 and len(tenant.messages) <= MOST_MESSAGES:
        tenant.newest_first()
        state = {name: value for name, value in vars(tenant).items() if name != "identifiers"}
        _filled[key] = pickle.dumps(state, pickle.HIGHEST_PROTOCOL)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_PATCH] = patch = pytest.MonkeyPatch()
    patch.setattr(correspondence, "fill", fill)


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_PATCH].undo()
