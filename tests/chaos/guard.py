"""The policy of guarded intents: only plans that preview-job made and an approver signed make jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from remediation.guardrails.approvals.approval import approve
from remediation.guardrails.approvals.token import Signing
from tests.remediation.guardrails.test_approval import BOB, private_pem, public_pem

PLAN_KEY = "a plan key of bad days, 32 characters or more"
POLICY = (
    "policy: 1\nplan_needed: [{}]\napproval_needed:\n  - {approvals: 1}\napprovers:\n  - name: bob\n    public_key: "
)


@dataclass(frozen=True)
class Guard:
    """settings: of the connection of those who work under the policy. machine: of those who don't."""

    settings: Mapping[str, Any]
    machine: Mapping[str, Any]

    def approval(self, plan: Mapping[str, Any], now: datetime, jti: str) -> str:
        """Return the approver's signature over the plan."""
        return approve(
            Signing(
                plan_hash=plan["plan_hash"],
                account_id=plan["account_id"],
                approver="bob",
                private_key_pem=private_pem(BOB),
                now=now,
                lifetime_seconds=8 * 3600,
                jti=jti,
            )
        ).token


@contextmanager
def guard() -> Iterator[Guard]:
    """A policy file, and a state directory of its own."""
    with TemporaryDirectory(prefix="cfes-chaos-") as directory:
        policy = Path(directory) / "policy.yaml"
        policy.write_text(POLICY + repr(public_pem(BOB)).replace("'", '"'))
        policy.chmod(0o600)
        settings = {"policy_file": str(policy), "plan_key": PLAN_KEY, "requested_by": "alice"}
        # Of this case alone: the calls of another one are not counted with its own.
        machine = {"state_directory": str(Path(directory) / "state")}
        yield Guard({**settings, **machine}, machine)
