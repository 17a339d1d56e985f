"""`cfes playbook run --plan-only`: run a playbook up to the first step that changes something, and keep its plan."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actions.contract import catalog
from actions.contract.action import Action
from core.errors import OutputError, ParameterError
from core.quantity import counted
from platforms.cli import playbook_run
from platforms.cli.errors import NoPlan, NothingToPlan
from platforms.cli.inputs.flag_words import document_in_flags, result_in_flags
from platforms.cli.inputs.input_values import flags_of
from platforms.cli.preview import Previews, show_preview
from platforms.cli.step_approval import Gate
from platforms.cli.views.errors import show_closing_error
from platforms.cli.views.layout import facts, paragraph
from platforms.cli.views.palette import STRONG
from platforms.cli.views.plan import effect_of
from platforms.cli.views.screen import Screen
from platforms.cli.views.tables import named_values, near
from platforms.playbook_session import is_connected, open_temporary_store
from playbooks.drivers.drive import Upcoming
from playbooks.drivers.outcome import Outcome
from playbooks.language.bundling import every_step
from playbooks.language.format import ActionStep, Playbook
from playbooks.language.inputs import accept
from remediation.exports.files.locked_temporary import spool_directory
from remediation.exports.files.path_checks import checked_destination
from remediation.guardrails.plans.plan import read_plan

INTERRUPTED = "Interrupted. Nothing was changed, and there is no run to resume."

# `--out -`: standard output, also where it is a terminal.
STANDARD_OUTPUT = "-"


NOTIFY = "notify"

# What only a run that is kept has.
OF_A_RUN = ("steps", "run_id", "key", "directory", "resumable", "waits_for")


class ChangeReached(Exception):
    """The run reached a step that changes something.

    Not an error of the pack, so that a playbook's `on_error` can't continue the run. shown: the preview of the step;
    plan: the plan that limits it.
    """

    def __init__(self, upcoming: Upcoming, shown: Mapping[str, Any] | None, plan: Mapping[str, Any] | None) -> None:
        super().__init__()
        self.step_id, self.params = upcoming.path, upcoming.command.params
        self.action: Action[Any, Any] = catalog.find(upcoming.command.action)
        self.shown, self.plan = shown, plan


class StoppingGate(Gate):
    """Lets read-only actions run, and stops the run before any other."""

    def __init__(self, previews: Previews) -> None:
        super().__init__()
        self._previews = previews

    def __call__(self, upcoming: Upcoming) -> None:
        """Stop before an action that may change something. Raises: ChangeReached, and the errors of a preview."""
        action, params = catalog.find(upcoming.command.action), upcoming.command.params
        if action.may_change(params):
            shown = self._previews.of(action, params)
            raise ChangeReached(upcoming, shown, self._plan(params, shown))

    def result_without_running(self, action: Action[Any, Any]) -> dict[str, Any] | None:
        """Return the result of a notification, which is not sent: the run that it would tell of is not kept."""
        return {**action.example_result, "sent": 0, "channels": [], "warnings": []} if action.id == NOTIFY else None

    def _plan(self, params: Mapping[str, Any], shown: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Return the plan that the step is given, else the one from its preview, else the last one that was made.

        Raises: PlanRefused for a given plan that was edited.
        """
        given = params.get("plan")
        if isinstance(given, Mapping):
            read_plan(given)
            return given
        if shown is not None and "plan_hash" in shown:
            return shown
        return self._previews.plans[-1] if self._previews.plans else None


@dataclass(frozen=True)
class PlanFile:
    """The destination of the plan: a new file, or standard output."""

    name: str | None

    @property
    def is_file(self) -> bool:
        return self.name not in (None, STANDARD_OUTPUT)

    def check(self) -> None:
        """Check that the file can be created. Raises: ParameterError."""
        if not self.is_file:
            return
        place = Path(self.name or "")
        if not place.name or "\0" in str(place):
            raise self._refused("is not the path of a file")
        try:
            checked_destination(place)
        except ParameterError as error:
            raise self._refused(f"is not the path of a file: {error.problems[0]['message']}") from None
        if os.path.lexists(place):
            raise self._refused("already exists, and --out does not overwrite files")
        if not place.parent.is_dir() or not os.access(place.parent, os.W_OK):
            raise self._refused(f"can't be written: {str(place.parent)!r} is not a folder that you can write to")

    def write(self, plan: Mapping[str, Any]) -> None:
        """Write the plan to a new file that only its owner can read. Raises: ParameterError, OutputError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        name = self.name or ""
        try:
            descriptor = os.open(name, flags, 0o600)
        except FileExistsError:
            raise self._refused("already exists, and --out does not overwrite files") from None
        except OSError as error:
            raise self._refused(f"can't be written: {error.strerror}") from None
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(json.dumps(plan, indent=2) + "\n")
        except OSError as error:
            Path(name).unlink(missing_ok=True)
            raise OutputError(f"--out {name[:200]!r} can't be written: {error.strerror}", path=name) from None

    def _refused(self, reason: str) -> ParameterError:
        return ParameterError(
            f"--out {(self.name or '')[:200]!r} {reason}", help="Nothing was changed. Name another file."
        )


def plan_only(
    screen: Screen, playbook: Playbook, inputs: Mapping[str, Any], out: str | None, terms: playbook_run.Terms
) -> int:
    """Run the read-only steps, show what the next step would do, and write its plan.

    Returns 0 if a plan was made, else the exit code of the playbook, which ended before such a step. Leaves no run to
    resume. Raises: NothingToPlan, NoPlan, and the errors of a run.
    """
    accept(playbook, inputs)
    steps = [step for step in every_step(playbook) if isinstance(step, ActionStep)]
    if not any(catalog.find(step.action).may_change(step.with_) for step in steps):
        raise NothingToPlan(f"playbook {playbook.id} has no step that changes anything, so there is nothing to plan")
    file = PlanFile(out)
    file.check()
    made: list[Previews] = []

    def make_gate(_: object, previews: Previews) -> StoppingGate:
        made.append(previews)
        return StoppingGate(previews)

    terms = replace(terms, interrupted=INTERRUPTED)
    with spool_directory() as place, open_temporary_store(place / "store") as store:
        prepared = playbook_run.prepare(screen, store, playbook, inputs, place / "run", terms)
        connected = is_connected(playbook)
        try:
            outcome = playbook_run.drive(screen, prepared, terms, make_gate, connected=connected)
        except ChangeReached as reached:
            _show_reached(screen, playbook, reached, file)
            return 0
    plan = ((outcome.waits_for or {}).get("about") or {}).get("plan")
    if isinstance(plan, Mapping):
        _show_waiting(screen, playbook, outcome, plan, file)
        return 0
    if outcome.error is not None:
        outcome = replace(outcome, error=document_in_flags(outcome.error, terms.flags))
    plans = made[-1].plans
    _show_end(screen, outcome, plans[-1] if plans else None, file)
    return playbook_run.exit_code_of(outcome, terms)


def _show_reached(screen: Screen, playbook: Playbook, reached: ChangeReached, file: PlanFile) -> None:
    """Show the preview of the step that was reached, and write its plan. Raises: NoPlan."""
    if reached.shown is not None and screen.shows_errors:
        console = screen.err if screen.json else screen.out
        shown = result_in_flags(reached.shown, flags_of(playbook))
        show_preview(screen, console, shown, reached.params)
        paragraph(console, effect_of(reached.action, shown), STRONG)
    before = f"before step {reached.step_id!r} ({reached.action.id})"
    if reached.plan is None:
        raise NoPlan(f"the run stopped {before}, which takes no plan")
    screen.say(f"Stopped {before}. Nothing was changed.", STRONG)
    _keep_plan(screen, playbook, reached.plan, file, step=reached.step_id, action=reached.action.id)


def _show_waiting(
    screen: Screen, playbook: Playbook, outcome: Outcome, plan: Mapping[str, Any], file: PlanFile
) -> None:
    """Show that the plan needs approvals before its step, and write it."""
    waits_for = outcome.waits_for or {}
    needed = counted(int(waits_for.get("count") or 1), "approval")
    screen.say(f"Stopped before {waits_for.get('signal')}: the plan needs {needed}. Nothing was changed.", STRONG)
    _keep_plan(screen, playbook, plan, file, step=str(waits_for.get("signal")), action=None)


def _keep_plan(
    screen: Screen, playbook: Playbook, plan: Mapping[str, Any], file: PlanFile, *, step: str, action: str | None
) -> None:
    if file.is_file:
        file.write(plan)
        _show_next_command(screen, playbook, file)
        if screen.json:
            named = {name: plan.get(name) for name in ("plan_hash", "messages")}
            screen.write_json({"status": "planned", "step": step, "action": action, **named, "plan_file": file.name})
    elif screen.json or file.name == STANDARD_OUTPUT:
        screen.write_json(plan)
    else:
        screen.say("To keep the plan, add --out FILE.")


def _show_next_command(screen: Screen, playbook: Playbook, file: PlanFile) -> None:
    screen.say(f"Plan written to {near(file.name or '')}.")
    if "plan" in playbook.inputs:
        name = f"./{file.name}" if str(file.name).startswith("@") else file.name
        given = shlex.join(["--set", f"plan=@{name}"])
        screen.say(f"To run this plan, use the same inputs without --plan-only, and add: {given}")


def _show_end(screen: Screen, outcome: Outcome, plan: Mapping[str, Any] | None, file: PlanFile) -> None:
    """Show how the playbook ended before any step that changes something. Keep the plan, if one was made."""
    if plan is not None and file.is_file:
        file.write(plan)
    if screen.json:
        kept = {"plan_file": file.name if plan is not None else None} if file.is_file else {"plan": plan}
        document = {name: value for name, value in outcome.document().items() if name not in OF_A_RUN}
        screen.write_json({**document, **kept})
    else:
        facts(screen.out, [row for row in named_values(outcome.outputs) if row[1] != ""])
    if outcome.error is not None:
        show_closing_error(screen, outcome.error, outcome.exit_code)
    elif outcome.message is not None:
        screen.say(outcome.message)
    if plan is None:
        screen.say("No plan was made: the playbook ended before any step that changes something.")
    elif file.is_file:
        screen.say(f"Plan written to {near(file.name or '')}, although the playbook ended early.")
