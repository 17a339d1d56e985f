"""The approvers' Ed25519 keys.

PyJWT and cryptography are loaded on the first use only: few processes see an approval.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from core.ed25519 import LARGEST_KEY_BYTES, private_key_in, public_key_in
from core.errors import ApprovalRefused, ParameterError, Problem
from core.installation import command_to_add
from remediation.guardrails.policy.loading import unusable
from remediation.guardrails.policy.policy import Policy

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAKE_ONE = "Nothing was approved. Make a key with: openssl genpkey -algorithm ed25519 -out FILE"

# The points of small order (RFC 8032's curve; both signs, also spelled beyond the field's size): under such a "key"
# anybody can forge a signature. All zeros, a likely placeholder, is one of them.
WEAK_KEYS = frozenset(
    bytes.fromhex(text)
    for text in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)


def jwt_library() -> ModuleType:
    """Load PyJWT and the library that its EdDSA needs. Raises: ApprovalRefused without the extra `approval`."""
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401, PLC0415
        import jwt  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise ApprovalRefused(
            f"approvals need {missing.name}, which is not installed",
            help=f"Nothing was changed. Add the extra `approval`: {command_to_add('approval')}",
        ) from None
    return jwt


def public_keys(policy: Policy) -> dict[str, Ed25519PublicKey]:
    """Return every approver's key by name.

    Raises: PolicyUnusable naming each key that is not an Ed25519 key, is weak, or is listed twice; ApprovalRefused
    where the extra is not installed.
    """
    jwt_library()
    found: dict[str, Ed25519PublicKey] = {}
    seen: dict[bytes, str] = {}
    problems = []
    for index, approver in enumerate(policy.approvers):
        key = public_key_in(approver.public_key.encode())
        problem = _flaw_of(key)
        if key is not None and problem is None:
            owner = seen.setdefault(key.public_bytes_raw(), approver.name)
            if owner == approver.name:
                found[approver.name] = key
                continue
            problem = f"is also the key of {owner}: one person would count twice"
        problems.append(Problem(pointer=f"/approvers/{index}/public_key", message=problem or ""))
    if problems:
        raise unusable(None, problems)
    return found


def evidence_key(policy: Policy) -> Ed25519PublicKey | None:
    """Return the public key that evidence must be signed with before a job is deleted; None if the policy has none.

    Raises: PolicyUnusable if it is not an Ed25519 key or is weak; ApprovalRefused if the extra is not installed.
    """
    if policy.delete is None or policy.delete.public_key is None:
        return None
    jwt_library()
    key = public_key_in(policy.delete.public_key.encode())
    if problem := _flaw_of(key):
        raise unusable(None, [Problem(pointer="/delete/public_key", message=problem)])
    return key


def private_key(pem: bytes) -> Ed25519PrivateKey:
    """Return the key in the PEM text of an approver's key file. Raises: ParameterError, which never quotes the text."""
    jwt_library()
    if b"ENCRYPTED" in pem[:LARGEST_KEY_BYTES]:
        raise ParameterError("the key is encrypted, and must be unencrypted", help=_DECRYPT)
    if b"BEGIN PUBLIC KEY" in pem[:LARGEST_KEY_BYTES]:
        raise ParameterError("the key is a public key, and must be the private key", help=MAKE_ONE)
    key = private_key_in(pem)
    if key is None:
        raise ParameterError("the key is not an Ed25519 private key in PEM", help=MAKE_ONE)
    return key


_DECRYPT = "Nothing was approved. Decrypt it first, where only you can read it: openssl pkey -in FILE -out PLAIN"


def _flaw_of(key: Ed25519PublicKey | None) -> str | None:
    if key is None:
        return "is not an Ed25519 public key"
    raw = key.public_bytes_raw()
    is_weak = raw[:31] + bytes([raw[31] & 0x7F]) in WEAK_KEYS
    return "is a weak key, under which anybody can sign" if is_weak else None
