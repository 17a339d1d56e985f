"""Ask the person at the terminal before an action's command changes something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actions.contract.action import Action
from connectors.email_security import EmailSecurity
from core.errors import TooManyMessages
from platforms.cli import step_approval as approval
from platforms.cli.errors import NotConfirmed
from platforms.cli.inputs.flag_words import result_in_flags
from platforms.cli.inputs.flags import flags_of
from platforms.cli.preview import bind_parameters, run_preview, show_preview
from platforms.cli.views.plan import effect_of
from platforms.cli.views.screen import Screen
from remediation.guardrails.policy.gate import attach_policy


def confirm_call(screen: Screen, action: Action[Any, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Show what the call would do, ask, and return parameters that limit the call to what was shown.

    Asks nothing for a dry run, for a call with a plan or max_messages, and without a terminal. The parameters are then
    returned unchanged. Raises: NotConfirmed, also in the background of a terminal, and the preview's errors.
    """
    bounded = params.get("plan") is not None or params.get("max_messages") is not None
    if bounded or not action.asks_first(params):
        return dict(params)
    if not approval.can_ask(screen):
        if approval.in_foreground() is False:
            raise NotConfirmed("the command runs in the background of a terminal, so it can't ask you")
        return dict(params)
    try:
        shown = run_preview(action, params, _run)
    except TooManyMessages as error:
        hint = (
            "Nothing was changed. Narrow the search, or set a limit with --max-messages, which also skips the question."
        )
        raise error.restate(error.message, help=hint) from None
    to_run = bind_parameters(action, params, shown)
    if shown is not None:
        in_words = result_in_flags(shown, flags_of(action.params))
        show_preview(screen, approval.console_of(screen), in_words, to_run)
    if not approval.agrees(screen, effect_of(action, shown)):
        raise NotConfirmed("you did not answer yes")
    return to_run


def _run(shows: Action[Any, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    # A separate connection, so that the time for the answer does not count against the call's time limit.
    with EmailSecurity.from_environment() as api:
        if api.has_policy:
            attach_policy(api)
        api.check_writable()
        return shows.run(params, api)
