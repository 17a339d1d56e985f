"""The tag at the start of a job's comment, by which the pack recognizes its own jobs: the API has no idempotency keys.

In the code the tag is called stamp; docs and messages call it the tag. It looks like
`[cfes:1:KEY:REQUEST:call=CALL:plan=PLAN:by=WHO:ok=WHO,WHO:n=COUNT:sent=SENT:mac=MAC]`.

KEY and REQUEST are digests of the caller's idempotency key (with the account) and of the request as the caller wrote
it. Then follow the known ones of: the call among those with the same key, the plan's digest, the requester, the
approvers, and the number of messages counted just before. With a key (CFES_PLAN_KEY), KEY is a MAC, SENT is a digest of
the request as it was sent, and MAC covers the whole tag. `comment` is the only field of a job that a caller can set
freely.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import unicodedata
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import SecretStr

from core.derived_key import derive_key

# Fields of a later version are ignored. A tag that is not recognized would lead to a second job.
_IN_COMMENT = re.compile(r"\[cfes:1:([0-9a-f]{24}):([0-9a-f]{16})((?::[a-z]{1,20}=[A-Za-z0-9._%+@,-]{1,1000}){0,15})\]")

# 128 bits: too many to find a second plan, or a second request, with the same digest.
DIGEST_DIGITS = 32

_DIGEST = re.compile(rf"[0-9a-f]{{{DIGEST_DIGITS}}}")
_COUNT = re.compile(r"[0-9]{1,12}")
_MAC_FIELD = ":mac="


@dataclass(frozen=True)
class StampKey:
    """The key that tags are made and checked with. It does not appear in a repr."""

    key: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: SecretStr | None) -> StampKey | None:
        """Return the key that is derived from CFES_PLAN_KEY; None if that is not set."""
        return None if secret is None else cls(derive_key(secret, "stamp"))

    def mac(self, purpose: str, text: str) -> str:
        """Return the HMAC-SHA256 as hex digits. A MAC is valid for one purpose only."""
        return hmac.digest(self.key, f"{purpose}\0{text}".encode(errors="surrogatepass"), hashlib.sha256).hex()


@dataclass(frozen=True)
class Stamp:
    """The tag of a job (messages call it the tag). Two tags with one `key` are of one request.

    If their `request`s differ, the key was used for two requests. call: distinguishes this call's own job from a job of
    another worker for the same request. plan: the digest of the plan that the job was made from; empty without a plan.
    requested_by, approved_by: names. messages: how many were counted just before the create; None if nothing was
    counted. sent: digest of the request as it was sent. mac: covers all of it; empty without a key.
    """

    key: str
    request: str
    call: str = ""
    plan: str = ""
    requested_by: str = ""
    approved_by: tuple[str, ...] = ()
    messages: int | None = None
    sent: str = ""
    mac: str = ""
    # The text that the MAC of a read tag covers, with the fields of a later version.
    covered: str = field(default="", compare=False, repr=False)
    # `key` as earlier versions computed it, of other spellings of the idempotency key. Empty in a tag that was read.
    former_keys: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self._without_mac()}{_MAC_FIELD}{self.mac}]" if self.mac else f"{self._without_mac()}]"

    def _without_mac(self) -> str:
        known = {
            "call": self.call,
            "plan": self.plan,
            "by": self.requested_by,
            "ok": ",".join(self.approved_by),
            "n": "" if self.messages is None else str(self.messages),
            "sent": self.sent,
        }
        fields = "".join(f":{name}={value}" for name, value in known.items() if value)
        return f"[cfes:1:{self.key}:{self.request}{fields}"

    @classmethod
    def of(
        cls,
        account_id: str,
        idempotency_key: str,
        request: dict[str, Any],
        *,
        call: str = "",
        plan_hash: str | None = None,
        requested_by: str | None = None,
        stamp_key: StampKey | None = None,
    ) -> Stamp:
        """Return the tag of a request, without a MAC: see `sealed`. request: as the caller wrote it, as JSON."""
        account, normal = account_id.lower(), normal_key(idempotency_key)
        key, *former = (
            _key_digest(f"{account}\0{spelled}", stamp_key)
            for spelled in (normal, idempotency_key, unicodedata.normalize("NFD", normal))
        )
        return cls(
            key=key,
            request=request_digest(request),
            call=call,
            plan=(plan_hash or "")[:DIGEST_DIGITS],
            requested_by=requested_by or "",
            former_keys=frozenset(former) - {key},
        )

    @classmethod
    def read(cls, comment: str | None) -> Stamp | None:
        """Return the tag at the very start of a comment, or None. A tag anywhere else is ignored."""
        found = _IN_COMMENT.match(comment or "")
        if found is None:
            return None
        fields = dict(part.split("=", 1) for part in found[3].split(":") if part)
        approved_by = tuple(name for name in fields.get("ok", "").split(",") if name)
        call, plan, requested_by, sent = (fields.get(name, "") for name in ("call", "plan", "by", "sent"))
        counted = fields.get("n", "")
        covered, _, mac = found[0].removesuffix("]").rpartition(_MAC_FIELD)
        return cls(
            found[1],
            found[2],
            call,
            plan,
            requested_by,
            approved_by,
            int(counted) if _COUNT.fullmatch(counted) else None,
            sent,
            # Only at the end: the MAC would not cover a field behind it.
            mac if _DIGEST.fullmatch(mac) else "",
            covered,
        )

    def sealed(self, account_id: str, stamp_key: StampKey | None) -> Stamp:
        """Return the tag with its MAC; unchanged without a key."""
        if stamp_key is None:
            return self
        return replace(self, mac=_mac(stamp_key, account_id, self._without_mac()), covered="")

    def is_authentic(self, account_id: str, stamp_key: StampKey) -> bool:
        """Return whether the tag was made with this key, for this account. It may be a copy from another job."""
        expected = _mac(stamp_key, account_id, self.covered or self._without_mac())
        return bool(self.mac) and hmac.compare_digest(self.mac, expected)

    def names_plan(self, plan_hash: str) -> bool:
        """Return whether the job was made from this plan; false for a digest under 128 bits, of an older version."""
        return bool(_DIGEST.fullmatch(self.plan)) and plan_hash.startswith(self.plan)

    def same_plan(self, other: Stamp) -> bool:
        """Return whether both name the same plan."""
        return bool(_DIGEST.fullmatch(self.plan)) and self.plan == other.plan

    def recognized(self, other: Stamp) -> Stamp:
        """Return the other tag; with this tag's `key` where an earlier version made it for the same key."""
        return replace(other, key=self.key) if other.key in self.former_keys else other

    def same_request(self, other: Stamp) -> bool:
        return (self.key, self.request) == (other.key, other.request)

    def is_of_call(self, other: Stamp) -> bool:
        return self.same_request(other) and self.call == other.call

    def on(self, comment: str | None) -> str:
        """Return the comment with this tag in front, where a service that shortens comments keeps it."""
        return f"{self} {(comment or '').strip()}".strip()


def reason_in(comment: str) -> str:
    """Return a job's comment without the tag in front: the text of a person."""
    found = _IN_COMMENT.match(comment)
    return comment if found is None else comment[found.end() :].strip()


def request_digest(request: dict[str, Any]) -> str:
    """Return the digest of a request in its tag. request: as JSON."""
    return _digest(json.dumps(request, sort_keys=True, separators=(",", ":")))[:16]


def normal_key(idempotency_key: str) -> str:
    """Return the normal form of an idempotency key: NFC, without white space around it. Case counts."""
    return unicodedata.normalize("NFC", idempotency_key).strip()


def _key_digest(account_and_key: str, stamp_key: StampKey | None) -> str:
    return (_digest(account_and_key) if stamp_key is None else stamp_key.mac("intent", account_and_key))[:24]


def _mac(stamp_key: StampKey, account_id: str, text: str) -> str:
    return stamp_key.mac("stamp", f"{account_id.lower()}\0{text}")[:DIGEST_DIGITS]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
