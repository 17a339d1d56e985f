"""What stands last on the screen after a playbook's run: its outputs, what was moved, the report, the next command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from core.instants import parse_timestamp
from platforms.cli.views.errors import show_closing_error
from platforms.cli.views.layout import facts
from platforms.cli.views.palette import GOOD, QUIET, WARNING
from platforms.cli.views.screen import Screen
from platforms.cli.views.tables import named_values, near
from playbooks.drivers import local

# Outputs of the shipped playbooks that say something of a run whose job had ended before it.
OF_RERUNS = ("still_delivered", "still_held", "earlier_job")

# The outputs that the closing line sums up.
_COUNTS = ("failed", "skipped", "cancelled", "pending")


def show_closing(screen: Screen, outcome: local.Outcome, seconds: float, *, service_ended: bool = False) -> None:
    """Show how a run ended; for programs one document.

    seconds: how long it took. service_ended: the sandbox of a demo ends with the run, and no command can reach it.
    """
    rerun = _rerun(outcome)
    if screen.json:
        screen.write_json({**outcome.closing_document(), "seconds": round(seconds, 1)})
    else:
        screen.say("")
        if rerun:
            screen.say(rerun, WARNING)
        # What a run that was refused has not come to would only hide the reason.
        outputs = [(name, text) for name, text in _outputs(outcome) if outcome.error is None or text != "-"]
        facts(screen.out, [*outputs, ("time", f"{seconds:.1f} s"), ("directory", near(outcome.directory))])
        _show_result(screen, outcome, service_ended=service_ended)
    if outcome.error is not None:
        said = str(outcome.error.get("message"))
        # The first line of the closing table says it already.
        once = said if screen.json or not rerun else " ".join(said.replace(rerun, "").split())
        show_closing_error(screen, {**outcome.error, "message": once}, outcome.exit_code)
    elif outcome.message is not None and (screen.json or outcome.message != rerun):
        screen.say(outcome.message)


def seconds_of(outcome: local.Outcome, thinking: Mapping[str, float]) -> float:
    """Return how long the steps took together, without the seconds that a person took to answer (`thinking`)."""
    steps = [record for record in outcome.steps.values() if record["started"] and record["ended"]]
    took = sum(
        (parse_timestamp(record["ended"]) - parse_timestamp(record["started"])).total_seconds() for record in steps
    )
    return float(max(took - sum(thinking.values()), 0.0))


def _show_result(screen: Screen, outcome: local.Outcome, *, service_ended: bool) -> None:
    """Say what was moved or released, where the report is, and what to do next. Not where the run changed nothing."""
    outputs = outcome.outputs
    done = next((name for name in ("moved", "released") if isinstance(outputs.get(name), int)), None)
    discovered = outputs.get("discovered")
    if done is None or not isinstance(discovered, int) or _rerun(outcome):
        return
    others = "".join(f", {outputs[name]:,} {name}" for name in _COUNTS if outputs.get(name))
    all_well = outputs[done] == discovered and not others
    screen.say("")
    screen.say(f"{outputs[done]:,} of {discovered:,} {done}{others}", GOOD if all_well else WARNING)
    for file in outputs.get("files") or ():
        if isinstance(file, Mapping) and str(file.get("path")).endswith(".html"):
            screen.command("report", near(str(file["path"])))
    if service_ended:
        screen.say("  The sandbox ended with the run. To try a retry or an undo, start one with `cfes sandbox`.", QUIET)
    elif outcome.error is None:
        for title, command in _next_commands(outcome, done):
            screen.command(title, shlex.join(command))


def _next_commands(outcome: local.Outcome, done: str) -> Iterator[tuple[str, list[str]]]:
    outputs = outcome.outputs
    if outputs.get("failed") and outputs.get("job_id"):
        yield "try failed again", ["cfes", "retry-failed-messages", "--job-id", str(outputs["job_id"]), "--dry-run"]
    rows = next((str(file["path"]) for file in outputs.get("files") or () if file.get("format") == "ndjson"), None)
    if rows is not None and done == "moved" and outputs[done]:
        yield "undo", ["cfes", "restore-messages", "--export", near(rows)]
    elif done == "released":
        bundle = str(Path(near(outcome.directory)) / "evidence.zip")
        yield "check the evidence", ["cfes", "verify", bundle]


def _rerun(outcome: local.Outcome) -> str:
    """Return what a run says that found its job ended, and so changed nothing; empty for others."""
    said = outcome.outputs.get("rerun")
    return said if isinstance(said, str) else ""


def _outputs(outcome: local.Outcome) -> list[tuple[str, str]]:
    # What lies in the run's directory goes by its name: the directory is told once.
    within = f"{near(outcome.directory)}/"
    rows = []
    for name, value in outcome.outputs.items():
        if name == "rerun" or (value is None and name in OF_RERUNS):
            continue
        if isinstance(value, dict) and "plan_hash" in value:
            # A whole plan would push the error and its next step off the screen.
            value = f"plan {value['plan_hash']}; --output json has all of it"  # noqa: PLW2901
        shown: list[tuple[str, Any]] = list(named_values({name: value})) or [(name, "-")]
        rows += [(title, text.removeprefix(within)) for title, text in shown]
    return rows
