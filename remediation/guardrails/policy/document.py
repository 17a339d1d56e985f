"""A policy as evidence: its content in one canonical form, and the hash over it.

The form leaves out the YAML file's comments and every default value: two files with the same meaning have one hash. It
holds no secret, because a policy has none: its keys are public, and every field has a known form.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from remediation.guardrails.policy.policy import Policy

FORMAT = "cfes-policy/1"


class PolicyDocument(BaseModel):
    """The content of policy.json. policy: null if there was none, or names are left out; `why` has the reason."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, hide_input_in_errors=True)

    format: Literal["cfes-policy/1"] = "cfes-policy/1"
    sha256: str | None = Field(pattern=r"^[0-9a-f]{64}$")
    read_at: str | None = Field(None, max_length=40)
    why: str | None = Field(None, max_length=300)
    policy: dict[str, Any] | None


def canonical(policy: Policy) -> dict[str, Any]:
    """Return the policy as plain JSON values."""
    return policy.model_dump(mode="json", exclude_defaults=True, exclude_none=True)


def policy_hash(policy: Policy) -> str:
    """Return the SHA-256 (hex) over the canonical JSON: keys sorted, no white space, ASCII."""
    text = json.dumps(canonical(policy), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"cfes policy\0{text}".encode()).hexdigest()


def policy_document(policy: Policy, *, read_at: str) -> dict[str, Any]:
    """Return the content of policy.json for a policy that was read then (RFC 3339)."""
    return PolicyDocument(sha256=policy_hash(policy), read_at=read_at, policy=canonical(policy)).model_dump(mode="json")


def without_policy(why: str, *, sha256: str | None = None) -> dict[str, Any]:
    """Return the content of policy.json without a policy."""
    return PolicyDocument(sha256=sha256, why=why, policy=None).model_dump(mode="json")


def read_policy_document(document: Mapping[str, Any]) -> tuple[PolicyDocument, Policy | None]:
    """Return the document and its policy. Raises: ValueError if it is not valid, or its hash does not match."""
    try:
        found = PolicyDocument.model_validate(dict(document))
        policy = None if found.policy is None else Policy.model_validate(found.policy)
    except ValidationError as error:
        where = "/".join(str(part) for part in error.errors(include_input=False, include_url=False)[0]["loc"])
        raise ValueError(f"it is not valid at {where or 'its beginning'}") from None
    if policy is not None and policy_hash(policy) != found.sha256:
        raise ValueError("its sha256 does not match its policy")
    return found, policy
