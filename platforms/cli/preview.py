"""Show what a call would do before a person confirms it, as preview-job or a dry run shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

from actions.contract import catalog
from actions.contract.action import Action
from core.quantity import counted
from platforms.cli.views.layout import facts, paragraph
from platforms.cli.views.palette import BAD, WARNING
from platforms.cli.views.plan import show_change, show_plan
from platforms.cli.views.screen import Screen
from platforms.cli.views.tables import named_values

RunPreview = Callable[[Action[Any, Any], Mapping[str, Any]], dict[str, Any]]


def run_preview(action: Action[Any, Any], params: Mapping[str, Any], run: RunPreview) -> dict[str, Any] | None:
    """Run the action's preview for a call. Returns None if the action has no preview. Raises: PackError."""
    checked = action.check(params)
    if action.preview is None:
        return None
    preview = action.preview(checked)
    shows = catalog.find(preview.action)
    return run(shows, {name: value for name, value in preview.params.items() if name in shows.params.model_fields})


class Previews:
    """Previews upcoming calls, and keeps the plans that this process made. run: runs a read-only action."""

    def __init__(self, run: RunPreview) -> None:
        self.plans: list[dict[str, Any]] = []
        self._run = run

    def of(self, action: Action[Any, Any], params: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the preview of a call; None if there is none. Raises: PackError.

        A plan that this process made is returned unchanged. Any other plan is a file that may contain anything, so its
        search is counted now. Only the hash is taken from the plan, for the job names that hash.
        """
        plan = params.get("plan")
        if isinstance(plan, dict) and plan in self.plans:
            return plan
        found = run_preview(action, params, self._run)
        if found is None or not isinstance(plan, dict):
            return found
        count = plan.get("messages")
        messages = counted(count, "message") if isinstance(count, int) else "an unknown number of messages"
        claim = f"the given plan has {messages}, counted at {plan.get('previewed_at')}"
        warnings = [f"{claim}; the numbers shown here were counted now", *found.get("warnings", ())]
        return {**found, "plan_hash": str(plan.get("plan_hash")), "warnings": warnings}


def bind_parameters(
    action: Action[Any, Any], params: Mapping[str, Any], shown: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return parameters that limit the call to what was shown. A call that reaches more is refused.

    A job gets the plan that was shown, with no drift unless the call allows one. A change of named messages gets
    max_messages. A call that has a plan, or whose preview shows no number, is not changed.
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


def show_preview(screen: Screen, console: Console, shown: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Show a call's preview and its warnings. params: those of the call."""
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
        paragraph(console, "The messages can't be counted, so this call may reach any number of them.", WARNING)
    if shown.get("refusals"):
        paragraph(console, "This call would be refused. Answer n, and fix the reasons above first.", BAD)
