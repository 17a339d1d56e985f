"""`cfes playbook` for runs: list, show, watch, resume, signal, approve and cancel them."""

from __future__ import annotations

import getpass
import os
from typing import Annotated, Any

import typer

from core.clock import SystemClock
from core.errors import PackError, ParameterError
from core.json_values import read_json
from core.quantity import counted
from platforms import run_following, run_signals
from platforms.cli import playbook_run
from platforms.cli.commands import approve, options, playbook_temporal
from platforms.cli.inputs.documents import read_bytes
from platforms.cli.step_approval import agrees, can_ask
from platforms.cli.views.errors import report_errors, show
from platforms.cli.views.palette import QUIET
from platforms.cli.views.run import RunView
from platforms.cli.views.run_end import seconds_of, show_closing
from platforms.cli.views.run_list import OpenedRun, show_run, show_runs
from platforms.cli.views.screen import Screen
from platforms.due_runs import due_runs
from platforms.playbook_session import find_run, open_store
from playbooks.drivers import local
from playbooks.drivers.drive import CANCEL, Patience
from playbooks.drivers.outcome import outcome_of
from playbooks.drivers.run_store import RunStore
from playbooks.drivers.store.records import ENDED, STATUSES, RunSummary
from playbooks.engine.signals import Signal
from playbooks.language.errors import RunEnded, RunOfOtherAccount

# With --due, a run that would sleep longer is left for the next call.
LONGEST_SLEEP = 30.0

Run = Annotated[str, typer.Argument(metavar="RUN", help="The run's ID, the beginning of its ID, or its directory.")]


def runs(
    status: Annotated[
        list[str] | None,
        typer.Option(metavar="STATUS", help=f"Only runs with this status; repeat as needed: {', '.join(STATUSES)}."),
    ] = None,
    playbook: Annotated[str | None, typer.Option(metavar="ID", help="Only runs of this playbook.")] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=10_000, help="At most this many, the newest first.")
    ] = 50,
    engine: options.Engine = options.LOCAL,
    output: options.Output = None,
) -> None:
    """List the runs.

    The list shows when each run began, its step, and the signal that it waits for.
    """
    screen = Screen(output)
    with report_errors(screen):
        unknown = [name for name in status or () if name not in STATUSES]
        if unknown:
            raise ParameterError(
                f"--status must be one of {', '.join(STATUSES)}, not {unknown[0][:80]!r}", help="Nothing was listed."
            )
        if options.is_temporal(engine):
            playbook_temporal.list_runs(screen, status or (), playbook, limit)
            return
        with open_store() as store:
            show_runs(screen, store.runs(status=status or None, playbook_id=playbook, limit=limit))


def watch(run: Run, output: options.Output = None) -> None:
    """Follow a run that another process drives.

    Show each step as it ends, then how the run ended.
    """
    screen = Screen(output)
    with report_errors(screen), open_store() as store:
        found = find_run(store, run)
        view = RunView(screen, None, names_run=False)
        ended = run_following.follow(store, found.run_id, SystemClock(), view)
        outcome = ended or outcome_of(*local.opened(store.read(found.run_id)))
        if found.status in ENDED:
            screen.say(f"This run has already ended: {found.run_id} ({outcome.status}).")
        show_closing(screen, outcome, seconds_of(outcome, {}))
        raise typer.Exit(outcome.exit_code)


def resume(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="The run's ID, the beginning of its ID, or its directory."),
    ] = None,
    due: Annotated[
        bool,
        typer.Option(
            "--due",
            help="Resume every run whose time has come: a sleep that is over, a signal that came, a pause that timed "
            "out, or a process that was killed. For cron: add --yes if a run changes mail.",
        ),
    ] = False,
    yes: options.Yes = False,
    output: options.Output = None,
    verbose: options.Verbose = False,
) -> None:
    """Resume a run where it stopped.

    Steps that are done do not run again. A step that was interrupted runs again, which is safe: it finds its own job.
    """
    screen = Screen(output, verbose=verbose)
    terms = playbook_run.Terms(yes=yes)
    with report_errors(screen):
        screen.configure_log()
        if (run is None) == (not due):
            wrong = "give RUN or --due, not both" if due else "RUN or --due is missing"
            raise ParameterError(wrong, help="Nothing was run. `cfes playbook runs` lists the runs.")
        if run is not None:
            raise typer.Exit(playbook_run.resume(screen, run, terms))
        raise typer.Exit(_resume_due(screen, terms))


def _resume_due(screen: Screen, terms: playbook_run.Terms) -> int:
    codes: list[int] = []
    refused = 0
    with open_store() as store:
        for found in due_runs(store, SystemClock().now()):
            try:
                if run_following.is_driven(store, found.run_id):
                    continue
                codes.append(playbook_run.resume_in(screen, store, found, terms, Patience(longest_sleep=LONGEST_SLEEP)))
            except RunOfOtherAccount:
                continue  # the cron job of that account resumes it
            except PackError as error:
                screen.say(f"Run {found.run_id}", QUIET)
                show(screen, error)
                refused += 1
                codes.append(error.exit_code)
    screen.say(f"{counted(len(codes) - refused, 'run')} resumed{f', {refused} refused' if refused else ''}.")
    return playbook_run.worst_of(codes)


def signal(
    run: Run,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The signal's name, as `cfes playbook show RUN` names it.")
    ],
    value: Annotated[
        str, typer.Argument(metavar="@FILE|JSON", help="The value: JSON, or @FILE to read it from a file (@-: input).")
    ] = "true",
    engine: options.Engine = options.LOCAL,
    output: options.Output = None,
) -> None:
    """Send a signal to a run that waits for it.

    A value that the run does not accept is refused. For approvals use `cfes playbook approve`.
    """
    screen = Screen(output)
    with report_errors(screen):
        if options.is_temporal(engine):
            playbook_temporal.send(screen, run, name, _value(value))
            return
        with open_store() as store:
            _send(screen, store, find_run(store, run), name, _value(value))


def approve_run(
    run: Run,
    key: Annotated[str, typer.Option("--key", metavar="FILE", help="Your Ed25519 private key (PEM, unencrypted).")],
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Your name. Not needed if the policy lists your key.")
    ] = None,
    hours: Annotated[float | None, typer.Option(metavar="HOURS", help="How long the approval is valid.")] = None,
    reason: Annotated[
        str | None, typer.Option("--reject", metavar="REASON", help="Reject the plan, and give the reason.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask the service. Rely on the numbers in the plan.")
    ] = False,
    accept_differences: Annotated[
        bool,
        typer.Option("--accept-differences", help="Sign even if the service or the policy contradicts the plan."),
    ] = False,
    yes: options.Yes = False,
    output: options.Output = None,
) -> None:
    """Approve the plan of a run that waits for approvals.

    Show what the plan does now, sign it, and send the approval to the run. A rejection ends the run.
    """
    screen = Screen(output)
    with report_errors(screen), open_store() as store:
        found = find_run(store, run)
        waits_for = {
            signal_name: each
            for signal_name, each in run_signals.awaited(store, found.run_id).items()
            if run_signals.PLAN in each.about
        }
        if not waits_for:
            raise ParameterError(
                f"the run {found.run_id} does not wait for an approval",
                help=f"Nothing was signed. To see where the run is: cfes playbook show {found.run_id}",
            )
        signal_name, expected = next(iter(waits_for.items()))
        plan: Any = expected.about[run_signals.PLAN]
        terms = approve.Terms(key, name, hours, reason, offline, accept_differences, yes)
        signed = approve.show_and_sign(screen, plan, terms)
        if signed.kind == "approval":
            _send(screen, store, found, signal_name, signed.token)
            return
        run_signals.send(store, found.run_id, Signal(signal_name, signed.token), clock=SystemClock(), sent_by=_sender())
        document = _end(screen, store, found, f"{signed.approver} rejected the plan: {signed.reason}")
        if screen.json:
            screen.write_json(document)


def cancel(
    run: Run,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="The reason, for the history.")] = "cancelled by a person",
    job: Annotated[
        bool | None,
        typer.Option("--job/--no-job", help="Also cancel the job that the run created. [default: ask on a terminal]"),
    ] = None,
    engine: options.Engine = options.LOCAL,
    output: options.Output = None,
) -> None:
    """End a run. With --job, also cancel its job.

    Without --job, the job keeps running in Cloudflare. A run that another process drives ends before its next step.
    """
    screen = Screen(output)
    with report_errors(screen):
        if options.is_temporal(engine):
            playbook_temporal.cancel(screen, run, reason)
            return
        with open_store() as store:
            _cancel(screen, store, find_run(store, run), reason, job)


def _cancel(screen: Screen, store: RunStore, run: RunSummary, reason: str, job: bool | None) -> None:
    """End a run of the run store, and its job if the person wants it. Raises: RunEnded."""
    if run.status in ENDED:
        raise RunEnded(
            f"the run {run.run_id} has already ended: {run.status}",
            help=f"Nothing was changed. To see it: cfes playbook show {run.run_id}",
        )
    document = _end(screen, store, run, reason)
    if document["job_id"] is not None:
        document["job_cancelled"] = _cancel_job(screen, run.run_id, document["job_id"], job)
    if screen.json:
        screen.write_json(document)


def _end(screen: Screen, store: RunStore, run: RunSummary, reason: str) -> dict[str, Any]:
    """End a run, and return the document of its end. A run of another process ends before its next step."""
    if run_following.is_driven(store, run.run_id):
        store.send_signal(run.run_id, CANCEL, reason, _sender())
        screen.say(f"The run {run.run_id} ends before its next step. To see it: cfes playbook watch {run.run_id}")
        return {"run_id": run.run_id, "status": "cancelling", "applied": None, "job_id": None}
    error = local.cancel(run.run_id, store=store, clock=SystemClock(), reason=reason).error or {}
    screen.say(f"The run {run.run_id} was cancelled. {error.get('help')}")
    return {"run_id": run.run_id, "status": "cancelled", "applied": error.get("applied"), "job_id": error.get("job_id")}


def _cancel_job(screen: Screen, run_id: str, job_id: str, job: bool | None) -> bool:
    """Cancel the run's job if the person wants it, else show the command. Return whether it was cancelled."""
    if job is None:
        job = can_ask(screen) and agrees(screen, f"The job {job_id} may still be running. Cancel it")
    if not job:
        screen.say(f"The job {job_id} keeps running in Cloudflare.")
        screen.command("cancel", f"cfes cancel-job --job-id {job_id}")
        return False
    try:
        playbook_run.run_one("cancel-job", {"job_id": job_id})
    except PackError as error:
        message = f"the run {run_id} was cancelled, but its job was not: {error.message}"
        raise error.restate(message, help=error.help) from None
    screen.say(f"The job {job_id} was cancelled.")
    return True


def _send(screen: Screen, store: RunStore, run: RunSummary, name: str, value: Any) -> None:
    sent = run_signals.send(store, run.run_id, Signal(name, value), clock=SystemClock(), sent_by=_sender())
    if screen.json:
        screen.write_json({"run_id": run.run_id, "signal": sent.name, "sent_at": sent.sent_at})
    screen.say(f"The signal {sent.name} was sent to the run {run.run_id}.")
    if not run_following.is_driven(store, run.run_id):
        screen.command("continue", f"cfes playbook resume {run.run_id}")


def _value(text: str) -> Any:
    """Return the value of a signal. Raises: ParameterError."""
    source = read_bytes(text[1:], "@FILE") if text.startswith("@") else text
    try:
        return read_json(source)
    except (ValueError, RecursionError):
        return _text(source)


def _text(source: bytes | str) -> str:
    """Return a text that is not JSON, such as a signed approval, without the line break at its end."""
    try:
        return source.decode().strip() if isinstance(source, bytes) else source
    except UnicodeDecodeError:
        raise ParameterError("the value is not UTF-8 text", help="Nothing was sent.") from None


def _sender() -> str | None:
    """Return the name of this user, for the history. It proves nothing."""
    try:
        return os.environ.get("CFES_REQUESTED_BY") or getpass.getuser()
    except (OSError, KeyError):
        return None


def show_run_of(screen: Screen, run: str) -> None:
    """Show a run: its steps with their times, its changes, and what it waits for. Raises: RunNotFound."""
    with open_store() as store:
        found = find_run(store, run)
        stored = store.read(found.run_id)
        playbook, state = local.opened(stored)
        driven = run_following.is_driven(store, found.run_id)
        show_run(screen, OpenedRun(found, playbook, state, driven))


def register(app: typer.Typer) -> None:
    """Add the commands for runs."""
    for name, function in (
        ("runs", runs),
        ("watch", watch),
        ("resume", resume),
        ("signal", signal),
        ("approve", approve_run),
        ("cancel", cancel),
    ):
        app.command(name, cls=options.PlainCommand)(function)
