"""What a call would do, shown to the person who is asked: the view of preview-job, or of a dry run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from actions.contract import catalog
from core.quantity import counted
from platforms.cli.views.layout import facts, paragraph
from platforms.cli.views.palette import BAD, STRONG, WARNING
from platforms.cli.views.plan import effect_of, show_change, show_plan
from platforms.cli.views.screen import Screen
from platforms.cli.views.tables import named_values

if TYPE_CHECKING:
    from rich.console import Console

    from actions.contract.action import Action, Preview

RunPreview = Callable[["Action[Any, Any]", Mapping[str, Any]], dict[str, Any]]


def run_preview(action: Action[Any, Any], params: Mapping[str, Any], run: RunPreview) -> dict[str, Any] | None:
    """Return what the action's preview shows for a call; None where the action has none. Raises: PackError."""
    checked = action.check(params)
    if action.preview is None:
        return None
    preview: Preview = action.preview(checked)
    shows = catalog.find(preview.action)
    return run(shows, {name: value for name, value in preview.params.items() if name in shows.params.model_fields})


class Previews:
    """The plans that this process made, and what an upcoming call would do. `run` runs an action that only reads."""

    def __init__(self, run: RunPreview) -> None:
        self.plans: list[dict[str, Any]] = []
        self._run = run

    def of(self, action: Action[Any, Any], params: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what a call would do; None where that can't be shown. Raises: PackError.

        A plan that this process made is shown as it is. Another one is a file that may say anything: its search is
        counted now, and the hash alone is the plan's, for that is what the job will name.
        """
        plan = params.get("plan")
        if isinstance(plan, dict) and plan in self.plans:
            return plan
        found = run_preview(action, params, self._run)
        if found is None or not isinstance(plan, dict):
            return found
        count = plan.get("messages")
        messages = counted(count, "message") if isinstance(count, int) else "an unknown number of messages"
        claim = f"the given plan claims {messages}, counted at {plan.get('previewed_at')}"
        warnings = [f"{claim}; what is shown here was counted now", *found.get("warnings", ())]
        return {**found, "plan_hash": str(plan.get("plan_hash")), "warnings": warnings}


def bind_parameters(
    action: Action[Any, Any], params: Mapping[str, Any], shown: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the parameters, bound to what was shown: a call that would reach more by now is refused.

    A job is made from the plan that was shown, with no drift unless the call allows one. Of named messages the number
    is a cap. What has a plan, or shows no number, stays as it is.
    """
    if shown is None or not isinstance(shown.get("messages"), int) or params.get("plan") is not None:
        return dict(params)
    fields = action.params.model_fields
    if "plan" in fields and "search_params" in shown:
        by_search = {name: value for name, value in params.items() if name != "search_params"}
        return {**by_search, "plan": dict(shown), "max_drift": params.get("max_drift", 0)}
    if "max_messages" in fields:
        return {**params, "max_messages": max(1, shown["messages"])}
    return dict(params)


def show_preview(
    screen: Screen, console: Console, action: Action[Any, Any], shown: Mapping[str, Any], params: Mapping[str, Any]
) -> None:
    """Show what a call would do, its warnings, and in one line what is asked about. params: those it is made with."""
    if "search_params" in shown and "plan_hash" in shown:
        drift = params.get("max_drift")
        show_plan(screen, shown if drift is None else {**shown, "max_drift": min(drift, shown["max_drift"])}, console)
    elif "dry_run" in shown:
        show_change(screen, shown, console)
    else:
        own = {name: value for name, value in shown.items() if name not in ("job", "warnings")}
        facts(console, list(named_values({**own, **(shown.get("job") or {})})))
    for warning in shown.get("warnings") or ():
        paragraph(console, f"! {warning}", WARNING)
    if shown.get("messages", 0) is None:
        paragraph(console, "The messages can't be counted: how many this call reaches is not known.", WARNING)
    paragraph(console, effect_of(action, shown), STRONG)
    if shown.get("refusals"):
        paragraph(console, "This call would be refused. Answer n, and fix what is named above.", BAD)
