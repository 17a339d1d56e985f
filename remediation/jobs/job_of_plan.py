"""Check whether a job was made from a plan: by its tag, and by what the job really does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob
from remediation.jobs.match import ExpectedJob, differences, is_visible
from remediation.stamp import Stamp, StampKey

if TYPE_CHECKING:
    from remediation.guardrails.plans.plan import Plan

NOT_OF_PLAN = "is not the plan that the job was made from"


def problem_of_plan(api: EmailSecurity, plan: Plan, job: BulkJob) -> str | None:
    """Return why the job is not the plan's; None if it was made from the plan and does exactly that.

    Raises: PlanRefused if the plan's search is not valid for a job.
    """
    stamp = Stamp.read(job.comment)
    if stamp is None:
        return "can't be compared with the job: Cloudflare shows the job without a tag, and only the tag names the plan"
    if not stamp.names_plan(plan.plan_hash):
        return NOT_OF_PLAN
    if found := differences(ExpectedJob(plan.request()), job):
        return f"{NOT_OF_PLAN}, although its tag names the plan: {'; '.join(found[:5])}"
    stamp_key = StampKey.of(api.connection.plan_key)
    if is_visible(job) or stamp_key is None or stamp.is_authentic(api.connection.account_id, stamp_key):
        return None
    return f"{NOT_OF_PLAN}, or this can't be checked: the job's tag was not made with CFES_PLAN_KEY"
