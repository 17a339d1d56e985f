"""`python -m sandbox`: the flags, one line of JSON when ready, and a clean exit on SIGINT, SIGTERM or SIGHUP."""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import Any, Literal, TextIO, get_args, get_origin

from sandbox.campaign import BadAlertError
from sandbox.clock import DAY, iso, parse_instant
from sandbox.mail_files import NoMailError
from sandbox.server import CannotListenError, RunningSandbox, start
from sandbox.settings import BadSettingsError, Flag, Pace, Settings, flag_name

# Nothing was changed, and it is safe to run again: the same exit code as that of `cfes`.
CANNOT_WRITE = 6


class CannotAnnounceError(Exception):
    """The address of the sandbox can't be written."""


def main(argv: Sequence[str] | None = None, *, program: str = "python -m sandbox") -> int:
    """Serve until interrupted, and return 0.

    Return 2 for invalid flags or files, and 6 if the ready line can't be written, with the reason on standard error.
    """
    try:
        flags = _parser(program).parse_args(argv)
    except SystemExit as done:
        return _end_parser(done.code if isinstance(done.code, int) else 2)
    given = vars(flags)
    until_stdin_closes = given.pop("until_stdin_closes")
    try:
        settings = _settings(given)
        with ExitStack() as stack:
            # Before the start, so that an interrupt while 200,000 messages are created also leads to a clean exit.
            interrupted = stack.enter_context(_Interrupt())
            if until_stdin_closes:
                interrupted.watch_stdin()
            sandbox = stack.enter_context(start(settings))
            _announce(sandbox)
            interrupted.wait()
    except BrokenPipeError:
        # The reader of the line is gone, so nobody needs the sandbox.
        _discard(sys.stdout)
    except CannotAnnounceError as problem:
        _discard(sys.stdout)
        _complain(f"the sandbox did not start: its address can't be written to standard output: {problem}")
        return CANNOT_WRITE
    except (BadAlertError, NoMailError, BadSettingsError, CannotListenError) as problem:
        _complain(str(problem))
        return 2
    return 0


def _end_parser(code: int) -> int:
    """Return the exit code after a help text or an error of the parser, or 6 if the text could not be written."""
    problem = _flush(sys.stdout)
    _flush(sys.stderr)
    if problem is None or isinstance(problem, BrokenPipeError):
        return code
    _complain(f"can't write to standard output: {problem.strerror}")
    return code or CANNOT_WRITE


def _flush(stream: TextIO | None) -> OSError | None:
    """Flush the stream. Return the error if that fails, after discarding the buffer."""
    try:
        if stream is not None:
            stream.flush()
    except OSError as problem:
        _discard(stream)
        return problem
    return None


def _complain(line: str) -> None:
    if sys.stderr is not None:
        with suppress(OSError, UnicodeEncodeError):
            sys.stderr.write(f"sandbox: {line}\n")
        _flush(sys.stderr)


def _discard(stream: TextIO | None) -> None:
    """Redirect the stream to the null device, so that the exit of the interpreter can't fail on its buffer."""
    if stream is None:
        return
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


class _Interrupt:
    """Turns SIGINT, SIGTERM and SIGHUP into an event while the block runs."""

    def __init__(self) -> None:
        self._interrupted = threading.Event()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "_Interrupt":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # started with nohup, so it must outlive the terminal
            self._before[number] = signal.signal(number, self._set)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _set(self, _: int, __: FrameType | None) -> None:
        self._interrupted.set()

    def watch_stdin(self) -> None:
        """Treat the end of standard input as an interrupt: it comes when the parent ends, in any way."""
        if sys.stdin is None:
            self._interrupted.set()
            return
        threading.Thread(target=self._read_to_end, args=(sys.stdin.fileno(),), name="stdin", daemon=True).start()

    def _read_to_end(self, descriptor: int) -> None:
        # Not through sys.stdin: a waiting thread would hold its lock, and so block the exit of the interpreter.
        with suppress(OSError):
            while os.read(descriptor, 65_536):
                pass
        self._interrupted.set()

    def wait(self) -> None:
        self._interrupted.wait()


def _announce(sandbox: RunningSandbox) -> None:
    mail = sandbox.mail
    now = sandbox.clock.now()
    if mail is not None and mail.unreadable:
        _complain(f"{mail.unreadable} mails could not be read and were skipped")
    if mail is not None and mail.future:
        _complain(f"{mail.future} mails have a date after {iso(now)} (now), which was ignored")
    if mail is not None and mail.newest < now - 30 * DAY:
        _complain(f"the newest mail is of {iso(mail.newest)}, but a search covers 30 days: set --at")
    ready = {
        "base_url": sandbox.base_url,
        "account_id": sandbox.account_id,
        "tokens": {"full": sandbox.token, "read": sandbox.read_token, "revoked": sandbox.revoked_token},
        "control_url": sandbox.control_url,
        "messages": len(sandbox.state.tenant.messages),
        "now": iso(now),
    }
    if sys.stdout is None:
        raise CannotAnnounceError("it is closed")
    try:
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as problem:
        raise CannotAnnounceError(problem.strerror) from None


def _settings(flags: dict[str, Any]) -> Settings:
    pace = Pace(**{setting.name: flags.pop(setting.name) for setting in fields(Pace)})
    return Settings(pace=pace, **flags)


def _instant(text: str) -> int:
    try:
        return parse_instant(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="Serve a fake of the Cloudflare Email Security API on this machine. "
        "Prints one line of JSON when ready, and serves until interrupted.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    group = parser.add_argument_group("exit")
    group.add_argument(
        "--until-stdin-closes", action="store_true", help="also exit when standard input closes (the parent ends)"
    )
    for settings in (Settings, Pace):
        for name, declared, flag in Flag.of(settings):
            group = parser.add_argument_group(flag.group) if flag.group else group
            default = settings.__dataclass_fields__[name].default
            options: dict[str, Any] = {
                "default": argparse.SUPPRESS if default is None else default,
                "help": flag.description,
            }
            group.add_argument(f"--{flag_name(name)}", **options | _parsing(name, declared))
    return parser


def _parsing(name: str, declared: Any) -> dict[str, Any]:
    """Return how the parser reads a setting. declared: its type, which may be optional."""
    if declared is bool:
        return {"action": "store_true"}
    literals = [kind for kind in (declared, *get_args(declared)) if get_origin(kind) is Literal]
    if literals:
        return {"choices": get_args(literals[0])}
    return {"type": _instant if name == "at" else (get_args(declared) or (declared,))[0]}
