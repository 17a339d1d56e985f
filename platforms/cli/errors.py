"""The errors that `cfes` adds to those of actions and playbooks."""

from __future__ import annotations

from core.errors import ApprovalRefused, GuardrailRefusal, PackError, ParameterError


class ExtraMissing(ParameterError):
    """An optional part of the pack is not installed."""

    default_help = "Nothing was run. Install the missing extra."


class ManifestStale(ParameterError):
    """The file does not match the actions and playbooks."""

    default_help = "Nothing was written. Run `cfes manifest --write`."


class NobodyToAsk(ParameterError):
    """A playbook would change mail, and there is no terminal to ask for confirmation."""

    default_help = "Nothing was run. Add --yes to skip the question, or --plan-only to see what the playbook would do."


class NothingToPlan(ParameterError):
    """The playbook has no step that changes anything."""

    default_help = "Nothing was run. Run it without --plan-only: the playbook only reads."


class NoPlan(GuardrailRefusal):
    """The run stopped before a step that takes no plan, and no earlier step made one."""

    default_help = "Nothing was changed. To run the playbook, leave out --plan-only."


class NotApproved(GuardrailRefusal):
    """The run stopped before the step that was not approved, and can be resumed."""


class NotConfirmed(GuardrailRefusal):
    """The person at the terminal did not answer yes."""

    default_help = "Nothing was changed. Run it again and answer y, or add --yes to skip the question."


class NotGiven(ApprovalRefused):
    """The approver answered no, or nobody could be asked."""

    default_help = "Nothing was signed."


class SandboxFailed(PackError):
    """The sandbox did not start."""
