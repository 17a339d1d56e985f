"""What the client, the workflow and its activity send to each other, as JSON in the run's history.

The connection to Cloudflare is the worker's: no message has a secret.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from core.errors import InternalError, PackError
from core.json_values import Json
from playbooks.engine.changes import error_document

WORKFLOW = "cfes-playbook"
ACTION = "cfes-action"

SIGNAL = "signal"
STATE = "state"

# The keys of a workflow's memo, for lists of runs. RUN: its fixed facts; PROGRESS: where it is.
MEMO_RUN, MEMO_PROGRESS = "run", "progress"

# A server refuses larger messages (2 MB).
LARGEST_BYTES = 1_500_000

# A failure's message in the history. The whole error is in its details.
LONGEST_MESSAGE = 1000


@dataclass(frozen=True)
class Pace:
    """How a run uses the server, in seconds.

    heartbeat: a worker that is silent for so long is lost, and another one repeats its action. short_pause: an activity
    continues an action by itself if its next poll is due within this time. poll_for: how long one activity does so.
    """

    heartbeat: float = 30.0
    short_pause: float = 15.0
    poll_for: float = 60.0


@dataclass(frozen=True)
class RemoteCaller:
    """The caller of a service that began a run. stores: prefixes of the URLs that the run's files may have."""

    requested_by: str | None
    stores: list[str]


@dataclass(frozen=True)
class RunInput:
    """The input of a workflow. traits: ActionTraits by action, as JSON.

    files: the folder or the URL above the run's directory; empty if the run has no files. state: of a run that a new
    workflow run continues. caller: None for a run that a person began on a machine of the workers.
    """

    playbook: dict[str, Any]
    inputs: dict[str, Any]
    traits: dict[str, dict[str, Any]]
    files: str = ""
    pace: Pace = field(default_factory=Pace)
    state: dict[str, Any] | None = None
    caller: RemoteCaller | None = None


@dataclass(frozen=True)
class ActionCall:
    """The input of an activity: one action, and where its files go."""

    action: str
    params: dict[str, Any]
    directory: str
    resumable: bool
    pace: Pace
    caller: RemoteCaller | None = None


@dataclass(frozen=True)
class ActionAnswer:
    """The result of an action. interrupted: an earlier attempt was lost with its worker, and may have changed mail."""

    result: dict[str, Any]
    interrupted: bool


class FailureDetails(TypedDict):
    """The details of a failure: the inner error document, and the exit code. interrupted: as in ActionAnswer."""

    error: dict[str, Json]
    exit_code: int
    interrupted: bool


def bytes_of(value: object) -> int:
    """Return about how many bytes a value has in a message."""
    return len(json.dumps(value))


def failure_of(error: PackError, *, interrupted: bool = False) -> ApplicationError:
    """Return the failure for an error of the pack. The server never retries it."""
    details = FailureDetails(error=error_document(error), exit_code=error.exit_code, interrupted=interrupted)
    return _failure(error.message, details, type(error).__name__)


def failure_with(outcome: Mapping[str, Json]) -> ApplicationError:
    """Return the failure that ends a run with this outcome, which is in its details."""
    error = outcome["error"]
    if not isinstance(error, Mapping):
        raise InternalError("a run that did not complete has no error")
    return _failure(str(error.get("message")), outcome, str(error.get("type")))


def _failure(message: str, details: Mapping[str, Any], kind: str) -> ApplicationError:
    # BENIGN: otherwise the client library logs a traceback.
    return ApplicationError(
        message[:LONGEST_MESSAGE], details, type=kind, non_retryable=True, category=ApplicationErrorCategory.BENIGN
    )


def details_of(failure: BaseException | None) -> Mapping[str, Any] | None:
    """Return the details of a failure of this driver, also of one that the server has sent; None for any other."""
    if not isinstance(failure, ApplicationError) or not failure.details:
        return None
    found = failure.details[0]
    is_ours = isinstance(found, Mapping) and isinstance(found.get("error"), dict)
    return found if is_ours and isinstance(found.get("exit_code"), int) else None
