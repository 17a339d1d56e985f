"""Show the end of a playbook's run: its outputs, what was moved, the report, and the commands that come next."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from core.instants import parse_timestamp
from platforms.cli.views.errors import show_closing_error
from platforms.cli.views.layout import facts
from platforms.cli.views.palette import GOOD, QUIET, WARNING
from platforms.cli.views.screen import Screen
from platforms.cli.views.tables import named_values, near
from playbooks.drivers.outcome import Outcome

# Outputs of the shipped playbooks for a run whose job had already ended.
OF_RERUNS = ("still_delivered", "still_held", "earlier_job")

# A job either moves or releases.
_DONE = ("moved", "released")

# The outputs that the closing line sums up.
_COUNTS = ("failed", "skipped", "cancelled", "pending")


def show_closing(screen: Screen, outcome: Outcome, seconds: float, *, service_ended: bool = False) -> None:
    """Show how a run ended; for programs write one document.

    seconds: how long the run took. service_ended: the run was a demo, whose sandbox no command can reach any more.
    """
    rerun = _rerun(outcome)
    if screen.json:
        screen.write_json({**outcome.closing_document(), "seconds": round(seconds, 1)})
    else:
        screen.say("")
        if rerun:
            screen.say(rerun, WARNING)
        # Empty outputs of a refused run would only hide the reason.
        outputs = [(name, text) for name, text in _outputs(outcome) if outcome.error is None or text != "-"]
        facts(screen.out, [*outputs, ("time", f"{seconds:.1f} s"), ("directory", near(outcome.directory))])
    if outcome.error is not None:
        message = str(outcome.error.get("message"))
        # The first line of the closing table already shows the text of a rerun.
        once = message if screen.json or not rerun else " ".join(message.replace(rerun, "").split())
        show_closing_error(screen, {**outcome.error, "message": once}, outcome.exit_code)
    elif outcome.message is not None and (screen.json or outcome.message != rerun):
        screen.say(outcome.message)
    if not screen.json:
        _show_result(screen, outcome, service_ended=service_ended)


def seconds_of(outcome: Outcome, thinking: Mapping[str, float]) -> float:
    """Return how long the steps took in total, without the seconds that a person took to answer (`thinking`).

    A step that runs a playbook counts by the steps of that playbook, and steps at the same time count once.
    """
    spans = sorted(
        (parse_timestamp(record["started"]), parse_timestamp(record["ended"]))
        for path, record in outcome.steps.items()
        if record["started"] and record["ended"] and not _has_parts(path, outcome.steps)
    )
    took, until = 0.0, None
    for started, ended in spans:
        begin = started if until is None else max(started, until)
        took += max((ended - begin).total_seconds(), 0.0)
        until = ended if until is None else max(ended, until)
    return max(took - sum(thinking.values()), 0.0)


def _has_parts(path: str, paths: Iterable[str]) -> bool:
    """Return whether the step has run a playbook: the paths of its steps begin with job/ or each[0]/."""
    return any(other.startswith((f"{path}/", f"{path}[")) for other in paths)


def _show_result(screen: Screen, outcome: Outcome, *, service_ended: bool) -> None:
    """Show what was moved or released, the report, and the next commands. Shows nothing if the run changed nothing."""
    outputs = outcome.outputs
    done = next((name for name in _DONE if isinstance(outputs.get(name), int)), None)
    discovered = outputs.get("discovered")
    if done is None or not isinstance(discovered, int) or _rerun(outcome):
        return
    others = "".join(f", {outputs[name]:,} {name}" for name in _COUNTS if outputs.get(name))
    all_well = outputs[done] == discovered and not others
    screen.say("")
    screen.say(f"{outputs[done]:,} of {discovered:,} {done}{others}", GOOD if all_well else WARNING)
    bundle = _file(outcome, ".zip")
    if bundle is not None:
        screen.command("report", shlex.join(["cfes", "verify", bundle, "--report", "report.html"]))
    if service_ended:
        screen.say("  The sandbox ended with the run. To try a retry or an undo, start one with `cfes sandbox`.", QUIET)
    else:
        for title, command in _next_commands(outcome, done):
            screen.command(title, shlex.join(command))


def _next_commands(outcome: Outcome, done: str) -> Iterator[tuple[str, list[str]]]:
    outputs, job_id = outcome.outputs, outcome.outputs.get("job_id")
    if outputs.get("failed") and job_id:
        yield "retry (dry run)", ["cfes", "retry-failed-messages", "--job-id", str(job_id), "--dry-run"]
    bundle = _file(outcome, ".zip")
    rows = bundle or _file(outcome, ".ndjson")
    if done == "moved" and outputs[done]:
        if rows is None and job_id:
            rows = "messages.ndjson"
            yield "export rows", ["cfes", "export-job-messages", "--job-id", str(job_id), "--destination", rows]
        if rows is not None:
            yield "undo (dry run)", ["cfes", "restore-messages", "--export", rows]
    elif done == "released" and bundle is not None:
        yield "verify evidence", ["cfes", "verify", bundle]


def _file(outcome: Outcome, ending: str) -> str | None:
    """Return the path of the run's first file whose name ends like this."""
    files = outcome.outputs.get("files") or ()
    paths = (near(str(file.get("path"))) for file in files if isinstance(file, Mapping))
    return next((path for path in paths if path.endswith(ending)), None)


def _rerun(outcome: Outcome) -> str:
    """Return the text of a run whose job had already ended, so that it changed nothing; empty for other runs."""
    text = outcome.outputs.get("rerun")
    return text if isinstance(text, str) else ""


def _outputs(outcome: Outcome) -> list[tuple[str, str]]:
    # Files in the run's directory are shown by name, because the directory has its own line.
    within = f"{near(outcome.directory)}/"
    rows = []
    for name, value in outcome.outputs.items():
        if name == "rerun" or (value is None and name in (*OF_RERUNS, *_DONE)):
            continue
        if isinstance(value, dict) and "plan_hash" in value:
            # A whole plan would push the error and its next step off the screen.
            value = f"plan {value['plan_hash']}. Use --output json to see all of it."  # noqa: PLW2901
        shown: list[tuple[str, Any]] = list(named_values({name: value})) or [(name, "-")]
        rows += [(title, text.removeprefix(within)) for title, text in shown]
    return rows
