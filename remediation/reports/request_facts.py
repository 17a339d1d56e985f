"""What a job was to do and who wanted it, for evidence and reports; and which of it is only claimed.

A job's comment is text that anybody with a token can write. What a stamp in it says is claimed, unless the stamp is
keyed and proved for this very job (`remediation.jobs.match.is_proved`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from remediation.stamp import Stamp

# What the stamp says.
STAMPED = ("requested_by", "approved_by", "plan_digest")


def request_facts(job: Mapping[str, Any], *, proved: bool = False) -> dict[str, Any]:
    """Return the request as the API has it, what the stamp says, and `claimed`: the names of unproved fields.

    job: as the API describes it. proved: whether its stamp is.
    """
    comment = job.get("comment")
    stamp = Stamp.read(comment if isinstance(comment, str) else None)
    asked = {name: job.get(name) for name in ("action_type", "action_params", "search_params", "comment")}
    if stamp is None:
        return {**asked, "claimed": ["comment"]}
    return {
        **asked,
        "requested_by": stamp.requested_by or None,
        "approved_by": list(stamp.approved_by),
        "plan_digest": stamp.plan or None,
        # The words behind the stamp are the caller's in any case.
        "claimed": ["comment"] if proved else ["comment", *STAMPED],
    }
