"""Approvals: a named person's signature over a plan's hash, as a JWT (EdDSA, Ed25519) that ends by itself.

The claims are `iss` (cfes), `sub` (the approver), `aud` (cfes: and the account), `plan_hash`, `iat`, `exp` and `jti`;
the header is `alg`, `typ` (cfes-approval+jwt) and `kid` (the approver). Whatever is more, less or of another kind is
refused: a condition that is not understood can't be kept.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from connectors.connection import PERSON
from connectors.ed25519 import raw_bytes
from connectors.email_security import EmailSecurity
from connectors.errors import ApprovalRefused, ParameterError
from connectors.policy import Policy
from connectors.search import format_instant
from guardrails.approver_keys import jwt_library, private_key, public_keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ALGORITHM = "EdDSA"
ISSUER = "cfes"
TYPE = "cfes-approval+jwt"

LONGEST_TOKEN = 4096
MOST_TOKENS = 10

# How far the approver's clock may be ahead, in seconds. None is granted at the end: expired is expired.
CLOCK_SKEW_SECONDS = 60

# The end of the year 9999: later there is no datetime.
LATEST = 253_402_300_799

_HASH = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_REQUIRED = {"iss", "sub", "aud", "plan_hash", "iat", "exp", "jti"}
_OPTIONAL = {"nbf"}


@dataclass(frozen=True)
class Approval:
    """An approval as it is handed over. Whoever has the token can use it: it is in no repr."""

    token: str = field(repr=False)
    approver: str
    plan_hash: str
    expires_at: datetime
    id: str


@dataclass(frozen=True)
class Asked:
    """What an approval has to be for."""

    policy: Policy
    plan_hash: str
    account_id: str
    requesters: frozenset[str]
    now: float


class _Unacceptable(Exception):
    """Why a token is not accepted. Never quotes what is in it before its signature was checked."""


def approve(
    *,
    plan_hash: str,
    account_id: str,
    approver: str,
    private_key_pem: bytes,
    now: datetime,
    lifetime_seconds: float,
    jti: str,
) -> Approval:
    """An approval of the plan, signed. `jti` is an ID that no other approval has.

    Raises: ParameterError for a key that is no unencrypted Ed25519 key, or for facts that no approval can hold;
    ApprovalRefused where the extra `approval` is not installed.
    """
    jwt, key = jwt_library(), private_key(private_key_pem)
    issued = int(now.timestamp())
    if not math.isfinite(lifetime_seconds) or not 1 <= lifetime_seconds <= LATEST - issued:
        raise ParameterError(
            "an approval lives for at least one second, and not for ever", help="Nothing was approved."
        )
    for name, value, pattern in (("approver", approver, PERSON), ("plan_hash", plan_hash, _HASH), ("jti", jti, _ID)):
        if not re.fullmatch(pattern, value):
            raise ParameterError(f"{name} is none that an approval can hold", help="Nothing was approved.")
    expires = issued + int(lifetime_seconds)
    claims = {
        "iss": ISSUER,
        "sub": approver,
        "aud": f"{ISSUER}:{account_id}",
        "plan_hash": plan_hash,
        "iat": issued,
        "exp": expires,
        "jti": jti,
    }
    token = jwt.encode(claims, key, algorithm=ALGORITHM, headers={"typ": TYPE, "kid": approver})
    return Approval(token, approver, plan_hash, datetime.fromtimestamp(expires, UTC), jti)


def approver_of(private_key_pem: bytes, policy: Policy) -> str | None:
    """The name in the policy that the key belongs to, None where it is nobody's.

    Raises: ParameterError, PolicyUnusable, ApprovalRefused as `approve` and `public_keys` do.
    """
    ours = raw_bytes(private_key(private_key_pem).public_key())
    return next((name for name, key in public_keys(policy).items() if raw_bytes(key) == ours), None)


def approvers(
    api: EmailSecurity,
    needed: int,
    plan_hash: str,
    tokens: Sequence[str],
    *,
    requested_by: str | None,
    planned_by: str | None = None,
) -> list[str]:
    """Who has approved, where `needed` approvals are asked for: names, sorted.

    requested_by: who asks now. planned_by: who asked for the plan. Neither may be an approver.

    Raises: ApprovalRefused where there are not enough, or where one of them is not acceptable.
    """
    if needed and api.connection.requested_by is None:
        # A parameter is what the caller says of himself: whoever approves his own would give another name.
        raise ApprovalRefused(
            "who asks for it is not certain: nobody could tell that person from the one who approves",
            help="Nothing was changed. Let the platform set CFES_REQUESTED_BY to who asks: a parameter is no proof.",
        )
    names = accepted(
        tokens,
        policy=api.policy,
        plan_hash=plan_hash,
        account_id=api.connection.account_id,
        requesters={name for name in (requested_by, planned_by) if name is not None},
        now=api.clock.now(),
    )
    if len(names) < needed:
        asked = "1 approval" if needed == 1 else f"{needed} approvals"
        raise ApprovalRefused(f"the policy asks for {asked} of plan {plan_hash}, and {len(names)} count")
    return names


def accepted(
    tokens: Sequence[str],
    *,
    policy: Policy,
    plan_hash: str,
    account_id: str,
    requesters: Collection[str],
    now: datetime,
) -> list[str]:
    """Who has approved the plan: the different approvers' names, sorted. How many are enough, the policy says.

    requesters: everybody who is known to have asked for it; none of them may be an approver.

    Raises: ApprovalRefused where one of the tokens is not acceptable, whatever the others are; PolicyUnusable where
    an approver's key is no Ed25519 key.
    """
    if not tokens:
        return []
    if not policy.approvers:
        raise ApprovalRefused(
            "approvals were given, and there is no policy that names approvers",
            help="Nothing was changed. Name the approvers in the policy (CFES_POLICY), or leave the approvals out.",
        )
    if len(tokens) > MOST_TOKENS:
        raise ApprovalRefused(f"{len(tokens)} approvals were given, and {MOST_TOKENS} are the most")
    keys = public_keys(policy)
    folded = frozenset(name.strip().casefold() for name in requesters)
    asked = Asked(policy, plan_hash, account_id, folded, now.timestamp())
    approvers = set()
    for index, token in enumerate(tokens):
        try:
            approvers.add(_approver(token, keys, asked))
        except _Unacceptable as reason:
            raise ApprovalRefused(f"approval {index + 1} of {len(tokens)} is not accepted: {reason}") from None
    return sorted(approvers)


def _approver(token: object, keys: dict[str, Ed25519PublicKey], asked: Asked) -> str:
    """Who gave the approval. Raises: _Unacceptable."""
    if not isinstance(token, str) or len(token) > LONGEST_TOKEN or not _TOKEN.fullmatch(token):
        raise _Unacceptable("it is no token of an approval")
    parts = [_decoded(part) for part in token.split(".")]
    header, claims = _object(parts[0]), _object(parts[1])
    # No other key of a header has a meaning here: one that brings its own key, or names conditions, is refused.
    if header.keys() != {"alg", "typ", "kid"} or header["alg"] != ALGORITHM or header["typ"] != TYPE:
        raise _Unacceptable(f"its header is not that of an approval (alg {ALGORITHM}, typ {TYPE}, kid)")
    name = header["kid"]
    if not isinstance(name, str) or claims.get("sub") != name:
        raise _Unacceptable("its header and its claims name different approvers")
    if name not in keys:
        raise _Unacceptable("the policy does not name its approver")
    jwt = jwt_library()
    try:
        jwt.PyJWS(algorithms=[ALGORITHM]).decode(token, keys[name], algorithms=[ALGORITHM])
    except (jwt.PyJWTError, ValueError):
        raise _Unacceptable(f"it is not signed by {name}'s key, or was changed afterwards") from None
    _check_claims(claims, asked)
    if name.casefold() in asked.requesters:
        raise _Unacceptable(f"{name} asked for it, and nobody approves their own")
    return name


def _check_claims(claims: dict[str, Any], asked: Asked) -> None:
    """Raises: _Unacceptable."""
    if not _REQUIRED <= claims.keys() <= _REQUIRED | _OPTIONAL:
        raise _Unacceptable("it has a claim too many or too few")
    if claims["iss"] != ISSUER or not isinstance(claims["jti"], str) or not _ID.fullmatch(claims["jti"]):
        raise _Unacceptable("it is no approval of this pack")
    if claims["aud"] != f"{ISSUER}:{asked.account_id}":
        raise _Unacceptable("it is for another account")
    if not _HASH.fullmatch(asked.plan_hash) or claims["plan_hash"] != asked.plan_hash:
        raise _Unacceptable("it is for another plan")
    issued, expires, begins = (_time(claims[name]) for name in ("iat", "exp", "nbf" if "nbf" in claims else "iat"))
    if max(issued, begins) > asked.now + CLOCK_SKEW_SECONDS:
        raise _Unacceptable("it was made in the future: one of the two machines' clocks is wrong")
    if expires <= asked.now:
        raise _Unacceptable(f"it expired at {format_instant(datetime.fromtimestamp(expires, UTC))}")
    if expires <= issued or expires - issued > asked.policy.approval_hours * 3600:
        raise _Unacceptable(f"it lives longer than the policy's {asked.policy.approval_hours:g} h")


def _time(value: object) -> int:
    # A boolean is an integer to Python, and a float may be none at all.
    if type(value) is not int or not 0 <= value <= LATEST:
        raise _Unacceptable("one of its times is no time")
    return value


def _decoded(part: str) -> bytes:
    """What a part of a token says. Raises: _Unacceptable."""
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        data = b""
    # One spelling for one token: the bits that base64 leaves over must not differ.
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != part:
        raise _Unacceptable("it is no token of an approval")
    return data


def _object(data: bytes) -> dict[str, Any]:
    """The JSON object in a part of a token. Raises: _Unacceptable."""
    try:
        found = json.loads(data.decode(), object_pairs_hook=_without_twins)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _Unacceptable("it is no token of an approval")
    return found


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found
