"""`cfes demo`: answer a real alert with the pack's main playbook, over HTTP, against the sandbox on this machine."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from core.errors import PackError, ParameterError
from core.quantity import counted
from platforms.cli import playbook_run
from platforms.cli.command_list import PlainCommand
from platforms.cli.commands import options
from platforms.cli.commands.sandbox import require_extra
from platforms.cli.inputs.input_values import InputFlag, inputs_of
from platforms.cli.views.errors import report_errors
from platforms.cli.views.palette import QUIET
from platforms.cli.views.parting import Parting
from platforms.cli.views.screen import Screen
from playbooks import library

app = typer.Typer(add_completion=False, rich_markup_mode=None)

ROOT = Path(__file__).resolve().parents[3]
ALERT = ROOT / "examples" / "alert.json"
ALERT_FLAG = "--alert"
PLAYBOOK = "phish-campaign-purge"

# 20,000 messages take a few seconds to make up; much more is a sandbox that does not come up.
START_SECONDS = 60
STOP_SECONDS = 10

FAREWELL = "Interrupted. The sandbox is stopped, and its job with it."


class SandboxFailed(PackError):
    """The sandbox did not come up."""


@app.command("demo", cls=PlainCommand)
def demo(
    alert: Annotated[
        Path, typer.Option(metavar="FILE", help="The alert: a Logpush record.", show_default="examples/alert.json")
    ] = (ALERT),
    messages: Annotated[int, typer.Option(metavar="NUMBER", help="Size of the tenant.")] = 20_000,
    directory: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the journal and the files go. [default: cfes-runs/ID-TIME-RANDOM]"),
    ] = None,
    playbook: Annotated[str, typer.Option(metavar="ID_OR_PATH", help="The playbook to run.")] = PLAYBOOK,
    output: options.Output = None,
    verbose: options.Verbose = False,
) -> None:
    """Answer an alert against the sandbox: no account, no network, the same code as against the real service.

    A tenant of made-up mail is served on this machine, the alert's campaign among it. The playbook finds it, moves it
    out, waits, exports the evidence and writes the report. The sandbox ends with the run, its files stay. Nobody is
    asked: no real mail is moved.
    """
    screen = Screen(output, verbose=verbose)
    flags: list[InputFlag] = []  # filled when it is known which input the alert is
    with report_errors(screen, flags, lambda: Parting(FAREWELL)):
        screen.configure_log()
        require_extra()
        chosen = library.find(playbook)
        flags.append(InputFlag(ALERT_FLAG, f"/{chosen.primary_input}"))
        inputs = inputs_of(chosen, [str(alert)], (), option=ALERT_FLAG)
        with sandbox(screen, alert, messages) as environment:
            terms = playbook_run.Terms(yes=True, environment=environment, farewell=FAREWELL)
            raise typer.Exit(playbook_run.begin(screen, chosen, inputs, directory, terms))


@contextmanager
def sandbox(screen: Screen, alert: Path, messages: int) -> Iterator[dict[str, str]]:
    """A sandbox in a process of its own while the block runs; gives the environment that connects to it.

    Raises: SandboxFailed with what it said.
    """
    # -P: no folder named `sandbox` of the working directory.
    command = [sys.executable, "-P", "-m", "sandbox", "--port", "0", "--until-stdin-closes"]
    command += ["--alert", str(alert), "--messages", str(messages)]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    screen.say(f"Starting the sandbox with {counted(messages, 'message')}", QUIET)
    # A session of its own: Ctrl-C on the terminal is for this process, which then stops the sandbox.
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(  # noqa: S603 -- our own module, no shell
            command,
            env={**os.environ, "PYTHONPATH": path},
            # Held open by this process alone: when it is gone, however it ended, the sandbox sees the end of it.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield _environment(_ready(process, complaints))
        finally:
            _stop(process)


def _ready(process: subprocess.Popen[bytes], complaints: IO[bytes]) -> dict[str, Any]:
    """What the sandbox says when it serves: one line of JSON."""
    try:
        ready = json.loads(_first_line(process.stdout))
    except ValueError:
        ready = None
    if isinstance(ready, dict):
        return ready
    _stop(process)
    complaints.seek(0)
    said = complaints.read().decode(errors="replace").strip()[-500:]
    problem = f"the sandbox did not come up: {said or 'it said nothing'}"
    if process.returncode == ParameterError.exit_code:
        raise ParameterError(problem, help="Nothing was run. Correct what it names.")
    raise SandboxFailed(problem, help="Nothing was run. Try it by itself: cfes sandbox")


def _first_line(stream: IO[bytes] | None) -> bytes:
    """What comes until the first line break, the end, or the end of our patience."""
    line, until = b"", time.monotonic() + START_SECONDS
    while stream is not None and not line.endswith(b"\n") and time.monotonic() < until:
        if select.select([stream], [], [], 0.5)[0]:
            more = os.read(stream.fileno(), 65_536)
            if not more:
                break
            line += more
    return line


def _environment(ready: dict[str, Any]) -> dict[str, str]:
    return {
        "CLOUDFLARE_BASE_URL": ready["base_url"],
        "CLOUDFLARE_ACCOUNT_ID": ready["account_id"],
        "CLOUDFLARE_API_TOKEN": ready["tokens"]["full"],
        # It shows a job at once; patience would only make the demo slow.
        "CFES_LISTING_LAG_SECONDS": "1",
    }


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
