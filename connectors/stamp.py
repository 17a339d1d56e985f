"""The stamp in a job's comment: how the pack recognises its own jobs on an API without idempotency keys.

A stamp looks like `[cfes:1:KEY:REQUEST:call=CALL:plan=PLAN:by=WHO:ok=WHO,WHO]`: digests of the caller's idempotency key
(with the account) and of the request as the caller wrote it; then, where there is one to tell, the one call among those
with the same key, a digest of the plan, who asked and who approved. `comment` is the only field of a job that a caller
can set freely.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

# Fields that a later version adds are passed over: to take its job for a stranger's would make a second one.
_IN_COMMENT = re.compile(r"\[cfes:1:([0-9a-f]{24}):([0-9a-f]{16})((?::[a-z]{1,20}=[A-Za-z0-9._%+@,-]{1,1000}){0,10})\]")


@dataclass(frozen=True)
class Stamp:
    """Two stamps with one `key` mean one intent; with different `request`s the key was used twice for two things.

    call: tells this call's own job from that of another worker with the same intent. plan: the plan that the job was
    made from, a digest; empty without one. requested_by, approved_by: names.
    """

    key: str
    request: str
    call: str = ""
    plan: str = ""
    requested_by: str = ""
    approved_by: tuple[str, ...] = ()

    def __str__(self) -> str:
        known = {"call": self.call, "plan": self.plan, "by": self.requested_by, "ok": ",".join(self.approved_by)}
        fields = "".join(f":{name}={value}" for name, value in known.items() if value)
        return f"[cfes:1:{self.key}:{self.request}{fields}]"

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
    ) -> Stamp:
        canonical = json.dumps(request, sort_keys=True, separators=(",", ":"))
        return cls(
            key=_digest(f"{account_id}\0{idempotency_key}")[:24],
            request=_digest(canonical)[:16],
            call=call,
            plan=(plan_hash or "")[:16],
            requested_by=requested_by or "",
        )

    @classmethod
    def read(cls, comment: str | None) -> Stamp | None:
        """The stamp that a comment begins with: nowhere else is one believed."""
        found = _IN_COMMENT.match(comment or "")
        if found is None:
            return None
        fields = dict(part.split("=", 1) for part in found[3].split(":") if part)
        approved_by = tuple(name for name in fields.get("ok", "").split(",") if name)
        call, plan, requested_by = (fields.get(name, "") for name in ("call", "plan", "by"))
        return cls(found[1], found[2], call, plan, requested_by, approved_by)

    def names_plan(self, plan_hash: str) -> bool:
        """Whether the job was made from this plan."""
        return bool(self.plan) and plan_hash.startswith(self.plan)

    def same_request(self, other: Stamp) -> bool:
        return (self.key, self.request) == (other.key, other.request)

    def is_of_call(self, other: Stamp) -> bool:
        return self.same_request(other) and self.call == other.call

    def on(self, comment: str | None) -> str:
        """The comment behind this stamp. In front, where a service that keeps only so many characters keeps it."""
        return f"{self} {(comment or '').strip()}".strip()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
