"""What can go wrong with a playbook or its run; each one is a core.errors.PackError.

ParameterError             exit 2   an input does not fit
├── DirectoryUnusable               the run's directory can't be used: it is a file, or not ours to write to
├── PlaybookInvalid                 the playbook itself has problems; each has a pointer into the YAML
└── PlaybookNotFound                no shipped playbook and no file of this name
ExpressionFailed           exit 2   an expression met data it can't handle; names playbook, step and field
StateRefused               exit 2   a state or journal is damaged, or belongs to another version of the playbook
├── JournalRefused                  the journal is missing, damaged, edited, or there already; or others can change it
└── RunMoved                        the run's directory is not where the run began
GuardrailRefusal           exit 3
└── RunInProgress                   another process works on this journal
TemporaryFailure           exit 6
├── RepeatLimitReached              a step was repeated as often as it may be
└── OutputError
    └── JournalUnwritable           the journal can't be written (exit 7 once the run has changed something)
RunIncomplete              exit 8   the run went through, but its own closing check says that not all succeeded
"""

from __future__ import annotations

from core.errors import (
    GuardrailRefusal,
    OutputError,
    PackError,
    ParameterError,
    TemporaryFailure,
)


class PlaybookInvalid(ParameterError):
    """The playbook has problems, all of them in `problems`. Nothing of it was run."""

    default_help = "Nothing was run. Correct the playbook at the places named in `problems`."


class PlaybookNotFound(ParameterError):
    """No playbook of this id, or no readable file at this path."""

    default_help = "Nothing was run. Name a shipped playbook by its id, or give the path of a YAML file."


class DirectoryUnusable(ParameterError):
    """The run's directory can't be used, and trying again would not change that."""

    default_help = "Nothing was run. Choose a directory that can be made and written to."


class ExpressionFailed(PackError):
    """An expression of the playbook could not be evaluated on the data of this run."""

    exit_code = 2
    default_help = "Correct the expression, or guard it against such data."


class StateRefused(PackError):
    """The state is not one that this playbook's engine wrote, or it does not wait for this event."""

    exit_code = 2
    default_help = (
        "Nothing was run. Go on with the playbook's version and the state that belong together, or begin a new run: "
        "actions that create jobs look for the earlier job by their idempotency key."
    )


class JournalRefused(StateRefused):
    """The journal is missing, damaged, edited or there already, or another user can change its directory."""


class RunMoved(StateRefused):
    """The run's directory was moved or copied: paths in its state still name the old place."""

    default_help = (
        "Nothing was run. Move the directory back to where the run began and resume it there, or begin a new run: "
        "actions that create jobs look for the earlier job by their idempotency key."
    )


class RunInProgress(GuardrailRefusal):
    """Another process works on this journal now."""

    default_help = "Nothing was run. Wait until the other process ends, or choose another directory."


class RepeatLimitReached(TemporaryFailure):
    """A step, or the whole run, has made as many commands as it may."""

    default_help = "What the steps began at the remote side goes on. Run the playbook again to go on watching it."


class RunIncomplete(PackError):
    """The run was carried out, and a closing check of the playbook says that not everything succeeded."""

    exit_code = 8
    applied = "yes"
    default_help = "The run was carried out to this check. Look at its outputs for what did not succeed."


class JournalUnwritable(OutputError):
    """The journal can't be written. Without it a run could not be resumed, so it stops.

    The exit code is 7 once the run has changed something, or may have (playbooks.engine.changes.with_changes).
    """

    default_help = "Nothing was run. Make room or choose another directory."
