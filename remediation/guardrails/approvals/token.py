"""The signed tokens of approvers: a JWT (EdDSA, Ed25519) that approves or rejects one plan, and expires.

The claims are `iss` (cfes), `sub` (the approver), `aud` (cfes: and the account), `plan_hash`, `iat`, `exp` and `jti`; a
rejection has `reason` too. The header is `alg`, `typ` (cfes-approval+jwt or cfes-rejection+jwt) and `kid` (the
approver). A token with more, less or other content is refused: a condition that the pack does not know can't be met.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from connectors.connection import PERSON
from core.errors import ParameterError
from core.instants import format_instant
from core.json_values import read_json
from remediation.guardrails.approvals.keys import jwt_library, private_key
from remediation.guardrails.policy.policy import Policy

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Kind = Literal["approval", "rejection"]

ALGORITHM = "EdDSA"
ISSUER = "cfes"
TYPES: dict[Kind, str] = {"approval": "cfes-approval+jwt", "rejection": "cfes-rejection+jwt"}

LONGEST_TOKEN = 4096

# Printable characters on one line. Each may take 12 characters of JSON, and all must fit into the token.
LONGEST_REASON = 200

# How far the approver's clock may be ahead, in seconds. An expired token gets no such allowance.
CLOCK_SKEW_SECONDS = 60

# The end of the year 9999, the latest datetime.
LATEST = 253_402_300_799

_HASH = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_REQUIRED = {"iss", "sub", "aud", "plan_hash", "iat", "exp", "jti"}
_OPTIONAL = {"nbf"}


@dataclass(frozen=True)
class ApprovalTerms:
    """The conditions under which an approval counts. requesters: all known requesters; none of them may approve."""

    policy: Policy
    plan_hash: str
    account_id: str
    requesters: Collection[str]
    now: datetime


@dataclass(frozen=True)
class Signing:
    """The facts that an approver signs, and the key. jti: an ID that no other token has. Its repr has no key."""

    plan_hash: str
    account_id: str
    approver: str
    private_key_pem: bytes = field(repr=False)
    now: datetime
    lifetime_seconds: float
    jti: str


@dataclass(frozen=True)
class ReadToken:
    """A token whose signature and claims were checked.

    id: SHA-256 (hex) over the signed part: the same for each spelling of one token. reason: of a rejection.
    """

    kind: Kind
    approver: str
    id: str
    issued_at: int
    expires_at: int
    reason: str = ""

    def is_signed_before(self, seconds: int) -> bool:
        """Return whether it may have been signed before that time (since 1970). The signer's clock may be ahead."""
        return self.issued_at <= seconds + CLOCK_SKEW_SECONDS


@dataclass(frozen=True)
class SignedToken:
    """A new token, and its content. Its repr leaves out the token: everybody who has it can use it."""

    kind: Kind
    token: str = field(repr=False)
    approver: str
    plan_hash: str
    expires_at: datetime
    reason: str = ""


class Unacceptable(Exception):
    """A token is not accepted. The message never quotes content whose signature was not checked."""


def is_reason(text: object) -> bool:
    """Return whether the text can be a rejection's reason: printable, on one line, not empty and not too long."""
    return isinstance(text, str) and text.strip() != "" and len(text) <= LONGEST_REASON and text.isprintable()


def sign_token(kind: Kind, signing: Signing, reason: str = "") -> SignedToken:
    """Return the signed token. reason: of a rejection.

    Raises: ParameterError for a key that is not an unencrypted Ed25519 key, or for facts that no token can have;
    ApprovalRefused if the extra `approval` is not installed.
    """
    jwt, key = jwt_library(), private_key(signing.private_key_pem)
    issued = int(signing.now.timestamp())
    nothing = "Nothing was signed."
    lifetime = signing.lifetime_seconds
    if not math.isfinite(lifetime) or not 1 <= lifetime <= LATEST - issued:
        raise ParameterError(f"the {kind} must be valid for at least one second, and must expire", help=nothing)
    for name, pattern in (("approver", PERSON), ("plan_hash", _HASH), ("jti", _ID)):
        if not re.fullmatch(pattern, getattr(signing, name)):
            raise ParameterError(f"{name} is not valid in a token", help=nothing)
    expires = issued + int(lifetime)
    claims = {
        "iss": ISSUER,
        "sub": signing.approver,
        "aud": f"{ISSUER}:{signing.account_id.lower()}",
        "plan_hash": signing.plan_hash,
        "iat": issued,
        "exp": expires,
        "jti": signing.jti,
        **({"reason": reason} if reason else {}),
    }
    token = jwt.encode(claims, key, algorithm=ALGORITHM, headers={"typ": TYPES[kind], "kid": signing.approver})
    expires_at = datetime.fromtimestamp(expires, UTC)
    return SignedToken(kind, token, signing.approver, signing.plan_hash, expires_at, reason)


def read_token(token: object, keys: Mapping[str, Ed25519PublicKey], terms: ApprovalTerms) -> ReadToken:
    """Return the content of a token after checking it. Raises: Unacceptable."""
    if not isinstance(token, str) or len(token) > LONGEST_TOKEN or not _TOKEN.fullmatch(token):
        raise Unacceptable("it is not the token of an approval")
    parts = [_decoded(part) for part in token.split(".")]
    header, claims = _object(parts[0]), _object(parts[1])
    kind = _kind(header)
    name = header["kid"]
    if not isinstance(name, str) or claims.get("sub") != name:
        raise Unacceptable("its header and its claims name different approvers")
    if name not in keys:
        raise Unacceptable("the policy does not name its approver")
    jwt = jwt_library()
    try:
        jwt.PyJWS(algorithms=[ALGORITHM]).decode(token, keys[name], algorithms=[ALGORITHM])
    except (jwt.PyJWTError, ValueError):
        raise Unacceptable(f"it is not signed by {name}'s key, or was changed afterwards") from None
    _check_claims(claims, terms, kind)
    signed = token.rpartition(".")[0]
    digest = hashlib.sha256(signed.encode()).hexdigest()
    return ReadToken(kind, name, digest, claims["iat"], claims["exp"], claims.get("reason", ""))


def _kind(header: dict[str, Any]) -> Kind:
    # A header with other keys is refused: it may bring its own key, or conditions that are not known here.
    if header.keys() == {"alg", "typ", "kid"} and header["alg"] == ALGORITHM:
        for kind, name in TYPES.items():
            if header["typ"] == name:
                return kind
    raise Unacceptable(f"its header is not that of an approval (alg {ALGORITHM}, typ {TYPES['approval']}, kid)")


def _check_claims(claims: dict[str, Any], terms: ApprovalTerms, kind: Kind) -> None:
    """Check every claim. Raises: Unacceptable.

    PyJWT checks times by the machine's clock only, takes a list for `aud`, and compares accounts by their case. So it
    checks the signature here, and not the claims.
    """
    required = _REQUIRED | ({"reason"} if kind == "rejection" else set())
    if not required <= claims.keys() <= required | _OPTIONAL:
        raise Unacceptable("it has unknown or missing claims")
    if kind == "rejection" and not is_reason(claims["reason"]):
        raise Unacceptable("its reason is not printable text on one line")
    if claims["iss"] != ISSUER or not isinstance(claims["jti"], str) or not _ID.fullmatch(claims["jti"]):
        raise Unacceptable("it is not an approval of this pack")
    if str(claims["aud"]).lower() != f"{ISSUER}:{terms.account_id.lower()}":
        raise Unacceptable("it is for another account")
    if not _HASH.fullmatch(terms.plan_hash) or claims["plan_hash"] != terms.plan_hash:
        raise Unacceptable("it is for another plan")
    issued, expires, begins = (_time(claims[name]) for name in ("iat", "exp", "nbf" if "nbf" in claims else "iat"))
    now = terms.now.timestamp()
    if max(issued, begins) > now + CLOCK_SKEW_SECONDS:
        raise Unacceptable("it was made in the future: one of the two machines' clocks is wrong")
    if expires <= now:
        raise Unacceptable(f"it expired at {format_instant(datetime.fromtimestamp(expires, UTC))}")
    if expires <= issued or expires - issued > terms.policy.approval_hours * 3600:
        raise Unacceptable(f"it is valid for longer than the policy's {terms.policy.approval_hours:g} h")


def _time(value: object) -> int:
    # In Python a boolean is an integer, and a float may be NaN.
    if type(value) is not int or not 0 <= value <= LATEST:
        raise Unacceptable("one of its times is not valid")
    return value


def _decoded(part: str) -> bytes:
    """Return the bytes in a part of a token. Raises: Unacceptable."""
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        data = b""
    # Each token has one spelling: the unused bits of base64 must be zero.
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != part:
        raise Unacceptable("it is not the token of an approval")
    return data


def _object(data: bytes) -> dict[str, Any]:
    """Return the JSON object in a part of a token. Raises: Unacceptable."""
    try:
        found = read_json(data.decode())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Unacceptable("it is not the token of an approval")
    return found
