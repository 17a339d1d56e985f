"""The HTTP status of each error type."""

from __future__ import annotations

from core import errors
from core.errors import PackError
from playbooks.language import errors as playbook_errors

# An error has the status of the nearest type above it.
_STATUSES: dict[type[PackError], int] = {
    errors.PackError: 500,
    errors.ParameterError: 422,
    errors.GuardrailRefusal: 403,
    # A playbook's own checks end a run and answer no call: this is a run of the same key with other inputs.
    errors.CheckRefused: 409,
    # The token of the API, not of the caller.
    errors.AuthenticationFailed: 502,
    errors.ApiRefusal: 502,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.UnusableAnswer: 502,
    errors.TemporaryFailure: 503,
    errors.RateLimited: 429,
    playbook_errors.PlaybookNotFound: 404,
    playbook_errors.PlaybookInvalid: 500,
    playbook_errors.DirectoryUnusable: 500,
    playbook_errors.RunStoreUnusable: 500,
    playbook_errors.RunNotFound: 404,
    playbook_errors.StateRefused: 409,
    playbook_errors.RunEnded: 409,
    playbook_errors.RunNotEnded: 409,
    playbook_errors.RunInProgress: 409,
}

# What each status means to a caller.
MEANINGS = {
    400: "The body is not valid JSON.",
    401: "The token is missing, unknown, expired or revoked.",
    403: "The token lacks the scope, or a guardrail refused. Nothing was changed.",
    404: "The job, message, run or file does not exist.",
    408: "The body did not arrive in time.",
    409: "The current state does not allow the request.",
    413: "The body is too large.",
    415: "The body has another media type.",
    422: "The parameters are not valid. `error.problems` names each one. Nothing was sent.",
    429: "The rate limit of the API or of the service is used up. Send the request again after `Retry-After` seconds.",
    500: "The service has a defect or a wrong setting, or a change may have been made: see `error.applied`.",
    502: "The remote API refused the request, or its answer can't be used.",
    503: "A temporary failure. Nothing was changed. Send the request again after `Retry-After` seconds.",
}


def status_of(kind: type[PackError]) -> int:
    """Return the HTTP status of an error of an action or a run, by its type."""
    return next(_STATUSES[each] for each in kind.__mro__ if each in _STATUSES)
