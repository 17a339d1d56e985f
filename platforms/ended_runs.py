"""What the job of an ended run has left: for a second start of the same run, which runs nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJobRequest
from core.errors import PackError
from core.json_values import Json
from playbooks.drivers.outcome import Outcome
from playbooks.engine.state import RunState
from remediation.jobs.reused_job import ReusedJob, describe_reused_job

# Carried out, but messages are left.
INCOMPLETE = 8


def plan_of(state: RunState) -> Mapping[str, Json] | None:
    """Return the plan of an ended run: of an input, or of a step's result. None if it had none."""
    return next((found for found in _values(state) if "plan_hash" in found and "asked_search_params" in found), None)


def left_by(api: EmailSecurity, outcome: Outcome, plan: Mapping[str, Json] | None) -> ReusedJob | None:
    """Return what the job of an ended run has left, counted now. None if the run has no job, or can't be asked."""
    job_id = outcome.outputs.get("job_id")
    if plan is None or not isinstance(job_id, str):
        return None
    try:
        asked = BulkJobRequest.model_validate(
            {
                "action": plan.get("action"),
                "destination": plan.get("destination"),
                "search_params": plan.get("asked_search_params"),
            }
        )
        return describe_reused_job(api, api.get_job(job_id), asked)
    except (PackError, ValidationError):
        return None


def with_left(outcome: Outcome, left: ReusedJob | None) -> Outcome:
    """Return the outcome of an ended run with what its job has left. Messages that are left make it incomplete."""
    if left is None:
        return outcome
    name = "still_held" if outcome.outputs.get("released") is not None else "still_delivered"
    outputs = {**outcome.outputs, name: left.remaining}
    code = INCOMPLETE if left.remaining and outcome.exit_code == 0 else outcome.exit_code
    return replace(outcome, outputs=outputs, exit_code=code)


def _values(state: RunState) -> Iterator[Mapping[str, Any]]:
    for value in (*state.inputs.values(), *(record.result for record in state.steps.values())):
        if isinstance(value, Mapping):
            yield value
            yield from (inner for inner in value.values() if isinstance(inner, Mapping))
