"""The errors of playbooks and their runs. Each is a core.errors.PackError."""

from __future__ import annotations

from typing import Any

from core.errors import (
    GuardrailRefusal,
    OutputError,
    PackError,
    ParameterError,
    TemporaryFailure,
)


class PlaybookInvalid(ParameterError):
    """The playbook has problems, which are listed in `problems`. Nothing was run."""

    default_help = "Nothing was run. Correct the playbook at the places named in `problems`."


class PlaybookNotFound(ParameterError):
    """No shipped playbook has this ID, or no readable file is at this path."""

    default_help = "Nothing was run. Give the ID of a shipped playbook (`cfes playbook list`) or the path of a file."


class DirectoryUnusable(ParameterError):
    """The run's directory can't be used. A second attempt would fail too."""

    default_help = "Nothing was run. Choose a directory that you can create and write to."


class RunDirectoryUnavailable(TemporaryFailure):
    """The run's directory can't be made or read at the moment."""

    default_help = "Nothing was run. Free disk space or choose another directory."


class ExpressionFailed(PackError):
    """An expression of the playbook can't be evaluated with the data of this run."""

    exit_code = 2
    default_help = "Correct the expression in the playbook, or guard it against such data."


class StateRefused(PackError):
    """The state was not written for this playbook, or does not expect this event."""

    exit_code = 2
    default_help = (
        "Nothing was run. Resume with the version of the playbook that began the run, or begin a new run: it reuses "
        "the existing job."
    )


class RunCancelled(GuardrailRefusal):
    """A person or the driver has cancelled the run."""

    default_help = "Nothing was changed. To start again, run the playbook again."


class RunRecordRefused(StateRefused):
    """The record of a run is damaged, edited or sealed with another key, or another user can change its directory."""


class RunMoved(StateRefused):
    """The run's directory was moved or copied. Paths in its state still name the old place."""

    default_help = (
        "Nothing was run. Move the directory back and resume the run there, or begin a new run: it reuses the existing "
        "job."
    )


class RunOfOtherAccount(StateRefused):
    """The run began with another account than that of this process."""

    default_help = "Nothing was run. Resume it with the token and the account that it began with."


class RunStoreUnusable(ParameterError):
    """The run store can't be used: its place, its owner or its content. A second attempt would fail too."""

    default_help = "Nothing was run. Set CFES_STATE to a file on a local disk, in a directory that only you can open."


class RunStoreUnavailable(TemporaryFailure):
    """The run store can't be read or written at the moment."""

    default_help = "Nothing was run. Check the free space of the disk."


class RunNotFound(ParameterError):
    """The run store has no run with this ID, or several with this beginning of an ID."""

    default_help = (
        "Nothing was run. `cfes playbook runs` lists the runs of this run store, and so does GET /v1/runs of the HTTP "
        "service. CFES_STATE sets the store."
    )


class RunExists(StateRefused):
    """A run with this ID already exists. `run_id` is its ID."""

    default_help = "Nothing was run. Resume the existing run, or begin a run with another key."

    def __init__(self, message: str, *, run_id: str, **details: Any) -> None:
        super().__init__(message, **details)
        self.run_id = run_id


class RunEnded(GuardrailRefusal):
    """The run has ended and takes no signal."""

    default_help = "Nothing was sent. To see how it ended: cfes playbook show RUN."


class RunNotEnded(GuardrailRefusal):
    """The run has not ended, or has ended too recently to be deleted."""

    default_help = "Nothing was deleted. Wait until the run has ended, or cancel it."


class TemporalUnavailable(TemporaryFailure):
    """The Temporal server does not answer, or no worker answers for the run."""

    default_help = "Nothing was changed. Start the server and a worker, then run it again."


class RunInProgress(GuardrailRefusal):
    """Another process uses this run."""

    default_help = "Nothing was run. Wait until the other process ends, or choose another directory."


class RepeatLimitReached(TemporaryFailure):
    """A step, or the whole run, has reached its limit of commands."""

    default_help = "A job that the run created keeps running in Cloudflare. Run the playbook again to follow the job."


class SignalAwaited(TemporaryFailure):
    """The run waits for a signal, such as an approval, and this process does not wait with it."""

    default_help = "Send the signal, then resume the run."


class RunInterrupted(TemporaryFailure):
    """The process of the run ended before the run did."""

    default_help = "Resume the run."


class RunSleeps(TemporaryFailure):
    """The run sleeps, and this process does not wait with it."""

    default_help = "Resume the run later."


class RunIncomplete(PackError):
    """The run ended, and a closing check of the playbook found that not everything succeeded."""

    exit_code = 8
    applied = "yes"
    default_help = "The steps before this check were run. The outputs show what did not succeed."


class RunRecordUnwritable(OutputError):
    """The record of a run can't be written. The run stops, because it could not be resumed without its record.

    The exit code is 7 once the run has changed something, or may have (playbooks.engine.changes.with_changes).
    """

    default_help = "Nothing was run. Free disk space, or make the directory writable."


class RevisionConflict(RunRecordUnwritable):
    """Another process has written the run's record since this process read it. This process stops."""

    retryable = False
    default_help = "Nothing was run. Find out which process has the run, and wait until it ends."
