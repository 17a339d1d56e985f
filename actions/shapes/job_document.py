"""The parameter type for a job: its own object, or a whole result with the job in `job`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator


def _job_in(value: Any) -> Any:
    """Return the job in a result of get-job, wait-for-job or a create; anything else as it is."""
    if isinstance(value, dict) and isinstance(value.get("job"), dict) and "action_type" not in value:
        return value["job"]
    return value


JobDocument = Annotated[dict[str, Any], BeforeValidator(_job_in)]
