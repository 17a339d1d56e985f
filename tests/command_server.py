"""Run `cfes` commands fast: one process loads the pack once, and a fork of it runs each command.

`python -m tests.command_server SOCKET` serves until its standard input closes. `CLIENT` is the program `cfes` in the
shell of a test: it passes its arguments, folder, environment and streams to the server. `Command` does the same from
Python, and can kill the fork. A first argument that ends in .python is a Python program to run instead.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parent.parent
WAIT_SECONDS = 60

# The server answers with the copy's process ID, and at its end with its exit code.
CLIENT = """\
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(os.environ["CFES_SERVER"])
call = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(connection, [len(call).to_bytes(4, "big")], [0, 1, 2])
connection.sendall(call)
sys.exit(int([*connection.makefile(), "70"][1]))
"""


@contextmanager
def command_server(folder: Path) -> Iterator[str]:
    """Start a server. Yield its address."""
    address = str(folder / "socket")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.command_server", address],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        yield address
        process.stdin.close()


class Command:
    """A `cfes` command in a fork of the server's process. streams: standard input, output and error."""

    def __init__(
        self, server: str, arguments: Sequence[str], environment: Mapping[str, str], streams: Sequence[int]
    ) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(WAIT_SECONDS)
        self._connection.connect(server)
        call = json.dumps([arguments, str(ROOT), dict(environment)]).encode()
        socket.send_fds(self._connection, [len(call).to_bytes(4, "big")], streams)
        self._connection.sendall(call)
        self._answer = self._connection.makefile()
        self._pid = int(self._answer.readline())

    def kill(self) -> None:
        """Kill the fork. It must not have ended."""
        self.abandon()
        assert self.exit_code() is None, "it had ended before it could be killed"

    def abandon(self) -> None:
        """Kill the fork if it runs."""
        os.kill(self._pid, signal.SIGKILL)

    def exit_code(self) -> int | None:
        """Wait until the fork has ended. Return its exit code, or None if it was killed."""
        try:
            code = self._answer.readline()
        except ConnectionResetError:
            # It was killed before it had read its call.
            return None
        return int(code) if code else None

    def close(self) -> None:
        self._answer.close()
        self._connection.close()


def serve(path: str) -> None:
    """Serve commands at a socket until standard input closes."""
    from platforms.cli import main  # noqa: PLC0415 -- only the server loads the pack

    warm_up()
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as ready:
        listener.bind(path)
        listener.listen()
        print("ready", flush=True)  # noqa: T201
        ready.register(listener, selectors.EVENT_READ)
        ready.register(sys.stdin, selectors.EVENT_READ)
        while all(key.fileobj is not sys.stdin for key, _ in ready.select()):
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    answer(connection, main.main)
            reap()


def warm_up() -> None:
    """Load the pack, and fill its caches for all commands: commands, schemas, playbooks and the report's templates."""
    from typer import Context  # noqa: PLC0415 -- only the server loads the pack
    from typer.main import get_command  # noqa: PLC0415

    from platforms.cli.command_list import app  # noqa: PLC0415
    from platforms.playbook_checks import require_sound  # noqa: PLC0415
    from playbooks import library  # noqa: PLC0415
    from remediation.reports.report import render  # noqa: PLC0415

    for name in ("platforms.cli.outcome", "connectors.objects.found_message", "remediation.evidence.bundle"):
        importlib.import_module(name)
    commands: Any = get_command(app)
    context = Context(commands)
    for name in commands.list_commands(context):
        if name != "worker":
            commands.get_command(context, name)
    for playbook in library.available():
        require_sound(playbook)
    for report_format in ("html", "markdown"):
        render({}, report_format)


def reap() -> None:
    """Reap the child processes that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def answer(connection: socket.socket, run: object) -> NoReturn:
    """Run the command that a client passes, send its exit code, and end this process."""
    code = 70
    connection.sendall(f"{os.getpid()}\n".encode())
    try:
        head, streams, _, _ = socket.recv_fds(connection, 4, 3)
        call = b""
        while len(call) < int.from_bytes(head, "big"):
            call += connection.recv(65536)
        arguments, folder, environment = json.loads(call)
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        if arguments and arguments[0].endswith(".python"):
            runpy.run_path(arguments[0], run_name="__main__")
            code = 0
        else:
            sys.argv = ["cfes", *arguments]
            assert callable(run)
            code = run()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except Exception:  # noqa: BLE001 -- as the interpreter reports it
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(str(code).encode())
        os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1])
