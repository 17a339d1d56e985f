"""Runs a playbook for the command line: the steps as they go, the closing table or document, the exit code."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from actions.contract import catalog
from actions.contract.action import Action
from actions.contract.ending import EndedBySignal, interrupted_code
from actions.contract.streams import code_of_success, record
from connectors.email_security import EmailSecurity
from core import progress
from core.clock import SystemClock
from core.errors import PackError
from core.quantity import counted
from platforms import playbook_session
from platforms.cli import step_approval as approval
from platforms.cli.inputs.alert_records import named
from platforms.cli.inputs.flag_words import document_in_flags
from platforms.cli.inputs.input_values import InputFlag
from platforms.cli.preview import Previews
from platforms.cli.views.errors import Interruption, show
from platforms.cli.views.palette import STRONG, WARNING
from platforms.cli.views.progress_bar import Bar
from platforms.cli.views.run import RunView
from platforms.cli.views.run_end import seconds_of, show_closing
from platforms.cli.views.screen import Screen
from platforms.ended_runs import left_by, with_left
from platforms.playbook_session import (
    CALLS,
    STAY,
    Prepared,
    RunPlace,
    account_of,
    find_run,
    is_connected,
    open_store,
    open_temporary_store,
    prepare_run,
    resume_of,
    scope_of,
)
from platforms.run_following import follow
from platforms.session import Session
from playbooks.drivers import local
from playbooks.drivers.drive import Patience
from playbooks.drivers.outcome import Outcome, outcome_of
from playbooks.drivers.run_store import RunStore
from playbooks.drivers.store.records import ENDED, RunSummary
from playbooks.language.bundling import every_step
from playbooks.language.errors import RunExists, RunInProgress
from playbooks.language.format import Playbook, Step
from playbooks.language.inputs import accept
from remediation.exports.files.locked_temporary import spool_directory

NOT_ALL_SUCCEEDED = 8

# The action that makes plans.
PREVIEW = "preview-job"


MakeGate = Callable[[Callable[[], AbstractContextManager[None]], Previews], approval.Gate]


@dataclass(frozen=True)
class Terms:
    """yes: ask nothing. exit_status: exit 8 unless the output `outcome` is succeeded.

    environment: the connection's settings; the process's own unless given. interrupted: the text at Ctrl-C for a run
    that can't be resumed. flags: the flags that give the playbook's inputs, which errors name.
    """

    yes: bool = False
    exit_status: bool = False
    environment: Mapping[str, str] | None = None
    interrupted: str | None = None
    flags: Sequence[InputFlag] = ()


def begin(screen: Screen, playbook: Playbook, inputs: Mapping[str, Any], directory: Path | None, terms: Terms) -> int:
    """Run a playbook from its beginning and return the exit code. Raises: PackError if the run can't begin.

    If a run with the playbook's key exists, it is resumed, followed, or reported if it has ended.
    """
    accept(playbook, inputs)
    if not terms.yes:
        approval.require_person(screen, every_step(playbook))
    with _store(terms) as store:
        prepared = prepare(screen, store, playbook, inputs, directory, terms)
        try:
            return _begin_or_continue(screen, store, prepared, terms, connected=is_connected(playbook))
        except RunExists:
            # Another process has begun the run of this key since.
            prepared = prepare(screen, store, playbook, inputs, directory, terms)
            return _begin_or_continue(screen, store, prepared, terms, connected=is_connected(playbook))


def _begin_or_continue(screen: Screen, store: RunStore, prepared: Prepared, terms: Terms, *, connected: bool) -> int:
    if prepared.ended is not None:
        return _report_ended(screen, prepared.ended, prepared.plan, terms)
    if prepared.begun:
        screen.say(f"A run for this key has begun before: {prepared.run_id}. This command continues it.", WARNING)
    return _drive_and_show(screen, store, prepared, terms, connected=connected)


# The exit code of several runs is the first of these that a run has: the most urgent comes first.
WORST_FIRST = (7, 1, 8, 5, 4, 6, 3, 2)


def begin_each(
    screen: Screen, playbook: Playbook, each: Sequence[Mapping[str, Any]], directory: Path | None, terms: Terms
) -> int:
    """Run a playbook once for each of several inputs, one after the other, and return the worst exit code.

    directory: holds a directory for each run, 0001 and so on. A run that fails does not stop the later runs.
    """
    if not terms.yes:
        approval.require_person(screen, every_step(playbook))
    codes: list[int] = []
    for number, inputs in enumerate(each, 1):
        record = inputs[playbook.primary_input or ""]
        if number > 1:
            screen.say("")
        screen.say(f"Record {number} of {len(each)}{named(record)}", "bold")
        try:
            codes.append(begin(screen, playbook, inputs, directory and directory / f"{number:04}", terms))
        except PackError as error:
            show(screen, error, terms.flags)
            codes.append(error.exit_code)
        except typer.Exit:
            screen.say(_so_far(codes))
            left = f"Not run: records {number + 1} to {len(each)}. " if number < len(each) else ""
            screen.say(f"Record {number} was interrupted. {left}Run one record with --record N instead of --each.")
            raise
    screen.say("")
    screen.say(_so_far(codes))
    # Standard error has the failures. Standard output has the result of each run that succeeded.
    return worst_of([code or code_of_success() for code in codes])


def _so_far(codes: Sequence[int]) -> str:
    ended = {code: codes.count(code) for code in sorted(set(codes))}
    return (
        f"{counted(len(codes), 'run')}: "
        f"{', '.join(f'{times} with exit {code}' for code, times in ended.items()) or 'none ended'}"
    )


def worst_of(codes: Sequence[int]) -> int:
    """Return the worst of these exit codes."""
    return next((code for code in WORST_FIRST if code in codes), max(codes, default=0))


def prepare(
    screen: Screen,
    store: RunStore,
    playbook: Playbook,
    inputs: Mapping[str, Any],
    directory: Path | None,
    terms: Terms,
) -> Prepared:
    """Return a run to begin or to continue, and show the playbook's title."""
    screen.say(f"{playbook.title} ({playbook.id})", STRONG)
    environment = os.environ if terms.environment is None else terms.environment
    return prepare_run(store, playbook, inputs, RunPlace(directory), scope=scope_of(environment))


def resume(screen: Screen, run: str, terms: Terms, patience: Patience = STAY) -> int:
    """Resume a run and return the exit code. run: its ID, the beginning of its ID, or its directory.

    Raises: PackError if it can't be resumed.
    """
    with _store(terms) as store:
        return resume_in(screen, store, find_run(store, run, terms.environment), terms, patience)


def resume_in(screen: Screen, store: RunStore, run: RunSummary, terms: Terms, patience: Patience = STAY) -> int:
    """Resume a run of an open store and return the exit code. Raises: PackError if it can't be resumed."""
    if run.status in ENDED:
        outcome = outcome_of(*local.opened(store.read(run.run_id)))
        if not outcome.resumable:
            return _report_ended(screen, outcome, None, terms)
    prepared = Prepared(run.run_id, Path(run.directory), resume_of(store, run.run_id), begun=True)
    return _drive_and_show(screen, store, prepared, terms, patience=patience)


def _store(terms: Terms) -> AbstractContextManager[RunStore]:
    """Open the run store; for a run that can't be resumed one that is deleted afterwards."""
    return open_store(terms.environment) if terms.interrupted is None else _temporary_store()


@contextmanager
def _temporary_store() -> Iterator[RunStore]:
    with spool_directory() as place, open_temporary_store(place / "store") as store:
        yield store


def _drive_and_show(
    screen: Screen,
    store: RunStore,
    prepared: Prepared,
    terms: Terms,
    *,
    connected: bool = False,
    patience: Patience = STAY,
) -> int:
    """Run or resume a playbook, show how it ended, and return the exit code."""
    thinking: dict[str, float] = {}

    def make_gate(away: Callable[[], AbstractContextManager[None]], previews: Previews) -> approval.Gate:
        if terms.yes:
            return approval.Gate()
        return approval.AskingGate(screen, away, previews, thinking, resumed=prepared.begun, flags=terms.flags)

    if patience == STAY:
        # A person at the terminal sees what the run waits for. Without one nobody would end the process.
        patience = Patience(signals=approval.can_ask(screen))
    while True:
        try:
            outcome = drive(screen, prepared, terms, make_gate, connected=connected, patience=patience)
        except RunInProgress as error:
            if not prepared.begun:
                raise
            screen.say(f"{error.message}. This command follows the run.")
            ended = follow(store, prepared.run_id, SystemClock(), RunView(screen, None, names_run=False))
            if ended is None:
                continue  # no process has the run any more
            outcome = ended
        return _end(screen, outcome, terms, thinking)


def drive(
    screen: Screen,
    prepared: Prepared,
    terms: Terms,
    make_gate: MakeGate,
    *,
    connected: bool,
    patience: Patience = STAY,
) -> Outcome:
    """Run or resume a playbook while a person watches, each action through the gate.

    Raises: typer.Exit at Ctrl-C, after showing how to resume; NotApproved; the errors of the gate.
    """
    with ExitStack() as stack:
        session = stack.enter_context(
            Session(lambda: EmailSecurity.from_environment(terms.environment), calls=prepared.directory / CALLS)
        )
        if connected:
            # Connect before the run, so that a failed connection leaves no run.
            session.connect()
        bar = stack.enter_context(Bar(screen.err)) if screen.live else None
        view = RunView(screen, bar, names_run=terms.interrupted is None)
        stack.enter_context(progress.report_to(view.show_progress))
        away = bar.away if bar is not None else nullcontext
        previews = Previews(session.run)
        gate = make_gate(away, previews)
        view.thinking = gate.thinking

        def run_action(action: Action[Any, Any], params: dict[str, Any]) -> dict[str, Any]:
            result = gate.result_without_running(action)
            if result is None:
                result = session.run(action, gate.bind(params))
            if action.id == PREVIEW:
                previews.plans.append(result)
            return result

        def require_person(steps: Sequence[Step]) -> None:
            if not terms.yes and terms.interrupted is None:
                approval.require_person(screen, steps, begun=prepared.run_id if prepared.begun else None)

        try:
            return playbook_session.drive(
                session,
                prepared.start,
                observer=view,
                before_action=gate,
                before_resume=require_person,
                run_action=run_action,
                patience=patience,
                account=account_of(os.environ if terms.environment is None else terms.environment),
            )
        except (KeyboardInterrupt, EndedBySignal) as ended:
            stack.close()
            text = Interruption(terms.interrupted) if terms.interrupted else view.interruption()
            text.show(screen)
            raise typer.Exit(interrupted_code(ended)) from None
        except approval.Declined as declined:
            raise approval.not_approved(prepared.run_id, declined.changes) from None


def _report_ended(screen: Screen, outcome: Outcome, plan: Mapping[str, Any] | None, terms: Terms) -> int:
    """Report a run that had already ended, with what its job has left, and return its exit code."""
    screen.say(f"This run has already ended, so nothing was run: {outcome.run_id} ({outcome.status}).", WARNING)
    left = None
    if plan is not None:
        with EmailSecurity.from_environment(terms.environment) as api:
            left = left_by(api, outcome, plan)
    if left is not None:
        screen.say(left.message, WARNING if left.remaining else "")
        outcome = with_left(outcome, left)
    if terms.flags and any(flag.pointer == "/attempt" for flag in terms.flags):
        screen.say("To begin another run for it, add --set attempt=2.")
    return _end(screen, outcome, terms, {})


def _end(screen: Screen, outcome: Outcome, terms: Terms, thinking: Mapping[str, float]) -> int:
    """Show how a run ended and return the exit code."""
    if outcome.status == "failed" and outcome.resumable and outcome.error is not None and terms.interrupted is None:
        resume_help = (
            "Fix the cause. A resumed run keeps its inputs: to change one, begin a new run. To resume: "
            f"{approval.resuming(outcome.run_id)}"
        )
        outcome = replace(
            outcome, error={**outcome.error, "help": f"{outcome.error.get('help') or ''} {resume_help}".strip()}
        )
    if outcome.error is not None:
        outcome = replace(outcome, error=document_in_flags(outcome.error, terms.flags))
    if terms.interrupted is None:
        record(place=outcome.directory)
    show_closing(screen, outcome, seconds_of(outcome, thinking), service_ended=terms.interrupted is not None)
    return exit_code_of(outcome, terms)


def exit_code_of(outcome: Outcome, terms: Terms) -> int:
    """Return the exit code of a run: with --exit-status 8 unless all succeeded."""
    ended_early = outcome.message is not None
    if terms.exit_status and outcome.exit_code == 0 and "outcome" in outcome.outputs and not ended_early:
        return 0 if outcome.outputs["outcome"] == "succeeded" else NOT_ALL_SUCCEEDED
    return outcome.exit_code


def run_one(action_id: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Run one action with the connection of the environment, and return its result. Raises: PackError."""
    with Session(EmailSecurity.from_environment) as session:
        return session.run(catalog.find(action_id), params)
