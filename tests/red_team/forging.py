"""Forged plans: edited files with a matching plan_hash, which anyone can compute."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from remediation.guardrails.plans.plan import Plan, hash_of

Document = dict[str, Any]


def rehash(plan: Document, **changes: Any) -> Document:
    """Return the plan with these changes and a matching plan_hash. The seal is unchanged: a forger can't make one."""
    edited = {**copy.deepcopy(plan), **changes}
    return {**edited, "plan_hash": hash_of(Plan.model_validate(edited))}


def _other_search(plan: Document) -> Document:
    """Replace the search with one that finds nothing, but keep the requested search. It aims at the idempotency key."""
    nothing = {**plan["search_params"], "sender": "nobody@nowhere.example"}
    return rehash(plan, search_params=nothing)


def _empty_window(plan: Document) -> Document:
    search = plan["search_params"]
    return rehash(plan, search_params={**search, "end": search["start"]})


def _wider_window(plan: Document) -> Document:
    return rehash(plan, search_params={**plan["search_params"], "start": "2026-10-01T00:00:00Z"})


def _future_window(plan: Document) -> Document:
    later = {"end": "2027-01-01T00:00:00Z"}
    return rehash(
        plan,
        search_params={**plan["search_params"], **later},
        asked_search_params={**plan["asked_search_params"], **later},
    )


FORGERIES: dict[str, Callable[[Document], Document]] = {
    "fewer messages, any drift, no limit": lambda plan: rehash(
        plan,
        messages=6,
        recipients=6,
        distinct_messages=6,
        max_drift=1000.0,
        cancel_if_discovered_over=None,
        reversibility={"reversible": True, "how": "easily"},
        warnings=[],
    ),
    "a drift of a thousand percent": lambda plan: rehash(plan, max_drift=1000.0),
    "a limit of a million": lambda plan: rehash(plan, cancel_if_discovered_over=1_000_000),
    "no numbers": lambda plan: rehash(
        plan, messages=None, recipients=None, distinct_messages=None, malicious=None, cancel_if_discovered_over=None
    ),
    "no numbers, with the claim that the search can't be counted": lambda plan: rehash(
        plan,
        messages=None,
        recipients=None,
        distinct_messages=None,
        malicious=None,
        cancel_if_discovered_over=None,
        parity="unknown",
    ),
    "messages without recipients": lambda plan: rehash(plan, recipients=None),
    "another search than requested": _other_search,
    "an empty window": _empty_window,
    "a wider window": _wider_window,
    "a window that ends in the future": _future_window,
    "the name of another requester": lambda plan: rehash(plan, requested_by="eve"),
    "other texts": lambda plan: rehash(plan, warnings=["checked by the security team"], parity_notes=["exact"]),
    "another folder": lambda plan: rehash(plan, destination="RecoverableItemsPurges"),
    "a later preview": lambda plan: rehash(plan, previewed_at="2026-11-20T16:02:30Z"),
}
