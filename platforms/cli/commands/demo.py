"""`cfes demo`: run the main playbook for an alert, over HTTP, against a sandbox on this machine."""

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

from core.errors import ParameterError
from core.quantity import counted
from platforms.cli import playbook_run
from platforms.cli.commands import options
from platforms.cli.commands.sandbox import require_extra
from platforms.cli.errors import SandboxFailed
from platforms.cli.inputs.input_values import InputFlag, inputs_of
from platforms.cli.views.errors import Interruption, report_errors
from platforms.cli.views.palette import QUIET
from platforms.cli.views.screen import Screen
from playbooks import library

app = typer.Typer(add_completion=False, rich_markup_mode=None)

ROOT = Path(__file__).resolve().parents[3]
ALERT = ROOT / "examples" / "alert.json"
ALERT_FLAG = "--alert"
PLAYBOOK = "phish-campaign-purge"

# The sandbox needs a few seconds to generate 20,000 messages.
START_SECONDS = 60
STOP_SECONDS = 10

INTERRUPTED = "Interrupted. The sandbox and its job were stopped."


@app.command("demo", cls=options.PlainCommand)
def demo(
    alert: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The alert, a Logpush record as JSON.", show_default="examples/alert.json"),
    ] = (ALERT),
    messages: Annotated[int, typer.Option(metavar="NUMBER", help="How many messages the sandbox has.")] = 20_000,
    directory: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Directory for the run's files. [default: cfes-runs/RUN_ID]"),
    ] = None,
    playbook: Annotated[str, typer.Option(metavar="ID_OR_PATH", help="The playbook to run.")] = PLAYBOOK,
    output: options.Output = None,
    verbose: options.Verbose = False,
) -> None:
    """Run a playbook for an alert against a sandbox. Needs no account and no network.

    The command starts a sandbox with generated mail, which includes the alert's campaign. The playbook finds the
    campaign, moves it, waits for the job, exports the evidence and writes the report. The sandbox ends with the run;
    the files are kept. The command does not ask for confirmation, because it moves no real mail.
    """
    screen = Screen(output, verbose=verbose)
    flags: list[InputFlag] = []  # filled once the playbook is read
    with report_errors(screen, flags, lambda: Interruption(INTERRUPTED)):
        screen.configure_log()
        require_extra()
        chosen = library.find(playbook)
        flags.append(InputFlag(ALERT_FLAG, f"/{chosen.primary_input}"))
        inputs = inputs_of(chosen, [str(alert)], (), option=ALERT_FLAG)
        with sandbox(screen, alert, messages) as environment:
            terms = playbook_run.Terms(yes=True, environment=environment, interrupted=INTERRUPTED)
            raise typer.Exit(playbook_run.begin(screen, chosen, inputs, directory, terms))


@contextmanager
def sandbox(screen: Screen, alert: Path, messages: int) -> Iterator[dict[str, str]]:
    """Run a sandbox as a child process during the block. Yields the environment that connects to it.

    Raises: SandboxFailed with the sandbox's own error.
    """
    # -P: no folder named `sandbox` of the working directory.
    command = [sys.executable, "-P", "-m", "sandbox", "--port", "0", "--until-stdin-closes"]
    command += ["--alert", str(alert), "--messages", str(messages)]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    screen.say(f"Starting the sandbox with {counted(messages, 'message')}", QUIET)
    # A session of its own, so that Ctrl-C reaches this process only, which then stops the sandbox.
    with (
        tempfile.TemporaryFile() as error_output,
        subprocess.Popen(  # noqa: S603 -- our own module, no shell
            command,
            env={**os.environ, "PYTHONPATH": path},
            # Only this process holds the pipe open. When it ends, for any reason, the sandbox ends too.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=error_output,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield _environment(_ready(process, error_output))
        finally:
            _stop(process)


def _ready(process: subprocess.Popen[bytes], error_output: IO[bytes]) -> dict[str, Any]:
    """Read the sandbox's first line, a JSON object with its address and tokens."""
    try:
        ready = json.loads(_first_line(process.stdout))
    except ValueError:
        ready = None
    if isinstance(ready, dict):
        return ready
    _stop(process)
    error_output.seek(0)
    reason = error_output.read().decode(errors="replace").strip()[-500:]
    problem = f"the sandbox did not start: {reason or 'it reported no error'}"
    if process.returncode == ParameterError.exit_code:
        raise ParameterError(problem, help="Nothing was run. Correct the parameters that are named.")
    raise SandboxFailed(problem, help="Nothing was run. Start the sandbox alone to see its error: cfes sandbox")


def _first_line(stream: IO[bytes] | None) -> bytes:
    """Read up to the first line break, the end of the stream, or the time limit."""
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
        # The sandbox lists a job at once; a longer wait would only slow the demo down.
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
