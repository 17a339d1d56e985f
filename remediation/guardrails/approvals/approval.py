"""Approvals and rejections that named people signed for one plan, and which of them count.

remediation.guardrails.approvals.token describes the signed tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from connectors.email_security import EmailSecurity
from core.errors import ApprovalRefused, ParameterError
from core.quantity import counted
from remediation.guardrails.approvals.keys import private_key, public_keys
from remediation.guardrails.approvals.needed import PROVE_IT, UNPROVED, Need, shortfall
from remediation.guardrails.approvals.token import (
    LONGEST_REASON,
    ApprovalTerms,
    ReadToken,
    SignedToken,
    Signing,
    Unacceptable,
    is_reason,
    read_token,
    sign_token,
)
from remediation.guardrails.policy.gate import policy_of
from remediation.guardrails.policy.people import named_among
from remediation.guardrails.policy.policy import Policy

MOST_TOKENS = 10


def approve(signing: Signing) -> SignedToken:
    """Return a signed approval of the plan. Raises: as remediation.guardrails.approvals.token.sign_token."""
    return sign_token("approval", signing)


def reject(signing: Signing, reason: str) -> SignedToken:
    """Return a signed rejection of the plan. reason: printable text on one line.

    Raises: ParameterError for a reason that is not printable; and as sign_token.
    """
    check_reason(reason)
    return sign_token("rejection", signing, reason.strip())


def check_reason(reason: str) -> None:
    """Check the reason of a rejection. Raises: ParameterError."""
    if not is_reason(reason):
        raise ParameterError(
            f"the reason must be 1 to {LONGEST_REASON} printable characters on one line", help="Nothing was signed."
        )


def approver_of(private_key_pem: bytes, policy: Policy) -> str | None:
    """Return the name in the policy that the key belongs to; None if the policy does not have the key.

    Raises: ParameterError, PolicyUnusable, ApprovalRefused, as `approve` and `public_keys`.
    """
    ours = private_key(private_key_pem).public_key().public_bytes_raw()
    return next((name for name, key in public_keys(policy).items() if key.public_bytes_raw() == ours), None)


@dataclass(frozen=True)
class GivenApprovals:
    """The approvals that a call passes for a plan, or for the hash of a list of messages.

    requesters: who asks now, and who asked for the plan; None if not known. None of them may be an approver.
    plan_proved: whether the plan's requester comes from a setting or a platform, not from a parameter.
    """

    tokens: Sequence[str]
    plan_hash: str
    requesters: Collection[str | None]
    plan_proved: bool = True


def require_approvals(api: EmailSecurity, need: Need, given: GivenApprovals) -> list[ReadToken]:
    """Return the approvals that count, in the order of the approvers' names; one approver may have signed several.

    Raises: ApprovalRefused if there are not enough, or if one is not acceptable or is a rejection.
    """
    policy = policy_of(api)
    known = [name for name in given.requesters if name is not None]
    terms = ApprovalTerms(policy, given.plan_hash, api.connection.account_id, known, api.clock.now())
    read = _read_all(given.tokens, terms)
    # A parameter proves nothing: callers who approve their own request would give another name.
    is_proved = api.connection.requested_by is not None
    if (need or given.tokens) and not (is_proved and given.plan_proved):
        unknown = "who requested the plan" if is_proved else "who the requester is"
        raise ApprovalRefused(f"nothing proves {unknown}, so no approval counts: {UNPROVED}", help=PROVE_IT)
    missing = shortfall(policy, need, {one.approver for one in read})
    if missing is not None:
        raise ApprovalRefused(f"the policy requires {need} of plan {given.plan_hash}, and {missing}")
    return read


def verify_approvals(tokens: Sequence[str], terms: ApprovalTerms) -> list[str]:
    """Return the names of the approvers who approved the plan, sorted. It does not check whether they are enough.

    Raises: ApprovalRefused if one of the tokens is not acceptable or is a rejection, whatever the others are;
    PolicyUnusable if an approver's key is not an Ed25519 key.
    """
    return sorted({token.approver for token in _read_all(tokens, terms)})


def _read_all(tokens: Sequence[str], terms: ApprovalTerms) -> list[ReadToken]:
    """Return the accepted approvals. Raises: ApprovalRefused, PolicyUnusable, as `verify_approvals`."""
    if not tokens:
        return []
    if not terms.policy.approvers:
        raise ApprovalRefused(
            "approvals were given, and no policy names approvers",
            help="Nothing was changed. Name the approvers in the policy (CFES_POLICY), or leave the approvals out.",
        )
    if len(tokens) > MOST_TOKENS:
        raise ApprovalRefused(f"there are {counted(len(tokens), 'approval')}, and at most {MOST_TOKENS} are accepted")
    keys = public_keys(terms.policy)
    read: dict[str, ReadToken] = {}
    refused: list[ApprovalRefused] = []
    for index, token in enumerate(tokens):
        try:
            one = read_token(token, keys, terms)
            if one.kind == "approval":
                _check_approver(one.approver, terms)
        except Unacceptable as reason:
            refused.append(ApprovalRefused(f"approval {index + 1} of {len(tokens)} is not accepted: {reason}"))
            continue
        if one.kind == "rejection":
            # A rejection comes before every other refusal: a person decided.
            raise ApprovalRefused(
                f"{one.approver} rejected plan {terms.plan_hash}: {one.reason}",
                help="Nothing was changed. Settle the reason with the approver, make a new plan, and have it approved.",
            )
        read[one.id] = one
    for refusal in refused:
        raise refusal
    return sorted(read.values(), key=lambda one: one.approver)


def _check_approver(name: str, terms: ApprovalTerms) -> None:
    """Check that the approver may approve this request. Raises: Unacceptable."""
    if named_among(name, terms.requesters):
        raise Unacceptable(f"{name} is the requester, and requesters can't approve their own requests")
    if named_among(name, terms.policy.service_accounts):
        raise Unacceptable(f"{name} is a service account, and only a person can approve")
