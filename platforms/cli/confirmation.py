"""Asks the person at the terminal before an action's command changes something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from core.errors import GuardrailRefusal, TooManyMessages
from platforms.cli import step_approval as approval
from platforms.cli.inputs.flag_words import result_in_flags
from platforms.cli.inputs.flags import flags_of
from platforms.cli.preview import bind_parameters, run_preview, show_preview
from platforms.cli.views.plan import effect_of
from platforms.cli.views.screen import Screen

if TYPE_CHECKING:
    from actions.contract.action import Action


class NotConfirmed(GuardrailRefusal):
    """The person at the terminal did not say yes."""

    default_help = "Nothing was changed. Run it again and answer y, or add --yes to run it without a question."


def confirm_call(screen: Screen, action: Action[Any, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Show what the call would do, ask, and return the parameters bound to what was shown.

    Asks nothing, and returns them as they are, for a dry run, where a plan or max_messages bounds the call, and where
    there is no terminal. Raises: NotConfirmed, also in the background of a terminal; and what the preview raises.
    """
    bounded = params.get("plan") is not None or params.get("max_messages") is not None
    if bounded or not action.asks_first(params):
        return dict(params)
    if not approval.can_ask(screen):
        if approval.in_background():
            raise NotConfirmed("the command runs in the background of a terminal, and nobody can be asked there")
        return dict(params)
    try:
        shown = run_preview(action, params, _run)
    except TooManyMessages as error:
        hint = "Nothing was changed. Narrow the search, or bound it with --max-messages: then it is not asked about."
        raise error.restate(error.message, help=hint) from None
    to_run = bind_parameters(action, params, shown)
    if shown is not None:
        said = result_in_flags(shown, flags_of(action.params))
        show_preview(screen, approval.console_of(screen), action, said, to_run)
    if not approval.agrees(screen, effect_of(action, shown)):
        raise NotConfirmed("the question was not answered with yes")
    return to_run


def _run(shows: Action[Any, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    from connectors.email_security import EmailSecurity  # noqa: PLC0415 -- only where a person is asked

    # A connection of its own: how long the person thinks is no part of the call's time.
    with EmailSecurity.from_environment() as api:
        if api.has_policy:
            from remediation.guardrails.policy.gate import attach_policy  # noqa: PLC0415 -- as above

            attach_policy(api)
        api.check_writable()
        return shows.run(params, api)
