"""Request facts: a job's request and requester, for evidence and reports, with the fields that are only claimed.

Anyone with a token can write a job's comment. The fields of its stamp are claims, unless the stamp is keyed and proved
for this job (`remediation.jobs.match.is_proved`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from remediation.stamp import Stamp

# The fields of the stamp.
STAMPED = ("requested_by", "approved_by", "plan_digest")


def request_facts(job: Mapping[str, Any], *, proved: bool = False) -> dict[str, Any]:
    """Return the API's record of the request, the stamp's fields, and `claimed`: the names of unproved fields.

    job: the API's `BulkJob`. proved: whether its stamp is proved.
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
        # The caller always chooses the text after the stamp.
        "claimed": ["comment"] if proved else ["comment", *STAMPED],
    }
