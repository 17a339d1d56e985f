"""Send signals to runs of the run store, after checking that the run waits for them and would accept them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

from connectors.connection import environment_variables
from core.clock import Clock
from core.errors import ApprovalRefused, ParameterError
from core.json_values import Json
from core.settings import read_setting
from playbooks.drivers import local
from playbooks.drivers.run_store import RunStore
from playbooks.drivers.store.records import StoredSignal
from playbooks.engine.commands import AwaitSignal, Command, Place, path_of
from playbooks.engine.engine import next_commands
from playbooks.engine.signals import Signal, awaited_signals, find_awaited, signal_problems
from remediation.guardrails.approvals.keys import public_keys
from remediation.guardrails.approvals.token import ApprovalTerms, Unacceptable, read_token
from remediation.guardrails.policy.loading import load_policy
from remediation.guardrails.policy.people import same_person

POLICY = environment_variables()["policy_file"]

# The key of `about` in a pause that waits for approvals.
PLAN = "plan"


def awaited(store: RunStore, run_id: str) -> dict[str, AwaitSignal]:
    """Return the signals that a run waits for, by name. Raises: RunNotFound, StateRefused, RunRecordRefused."""
    return awaited_signals(_commands(store, run_id))


def send(store: RunStore, run_id: str, signal: Signal, *, clock: Clock, sent_by: str | None) -> StoredSignal:
    """Send a signal that the run waits for. sent_by: a name for the history.

    Raises: ParameterError, ApprovalRefused, RunEnded, and as `awaited`.
    """
    place, expected = find_awaited(_commands(store, run_id), signal.name)
    name = path_of(place, expected.name)
    problems = signal_problems(expected, signal.value)
    if problems:
        raise ParameterError(
            f"the run does not accept this value for the signal {name}",
            problems=problems,
            help=f"Nothing was sent. To see which values the run accepts: cfes playbook show {run_id}",
        )
    not_taken = [each.value for each in store.signals(run_id) if each.name == name and each.taken_at is None]
    # A later pause of this name would take it. An approval can't: it is bound to its plan.
    if PLAN not in expected.about and len(expected.values) + len(not_taken) >= expected.count:
        raise ParameterError(
            f"the signal {name} has been sent before, and the run {run_id} has not taken it yet",
            help=f"Nothing was sent. Continue the run: cfes playbook resume {run_id}",
        )
    check_approval(expected, signal.value, clock, not_taken=not_taken)
    return store.send_signal(run_id, name, signal.value, sent_by)


def _commands(store: RunStore, run_id: str) -> dict[Place, Command]:
    playbook, state = local.opened(store.read(run_id))
    return next_commands(playbook, state)


def check_approval(expected: AwaitSignal, value: Json, clock: Clock, *, not_taken: Sequence[Json] = ()) -> None:
    """Check a signal that is an approval: its signature, and that its approver has not approved before.

    A pause waits for approvals if its `about` has a plan. not_taken: approvals that the run has not taken yet. Without
    a policy here, the action that creates the job still checks it. Raises: ApprovalRefused, PolicyUnusable.
    """
    plan = expected.about.get(PLAN)
    path = read_setting(os.environ, POLICY, guard=True)
    if path is None or not isinstance(plan, Mapping):
        return
    earlier = [*expected.values, *not_taken]
    policy = load_policy(path)
    requesters = [name for name in (plan.get("requested_by"),) if isinstance(name, str)]
    terms = ApprovalTerms(policy, str(plan.get("plan_hash")), str(plan.get("account_id")), requesters, clock.now())
    keys = public_keys(policy)
    try:
        token = read_token(_token(value), keys, terms)
    except Unacceptable as reason:
        raise ApprovalRefused(f"the approval is not accepted: {reason}", help="Nothing was sent.") from None
    if token.kind == "rejection":
        return
    for one in earlier:
        with suppress(Unacceptable):
            if same_person(read_token(_token(one), keys, terms).approver, token.approver):
                raise ApprovalRefused(
                    f"{token.approver} has already approved this plan", help="Nothing was sent. Ask another approver."
                )


def _token(value: Json) -> Json:
    if isinstance(value, Mapping):
        return value.get("approval") or value.get("rejection")
    return value
