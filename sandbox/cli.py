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
from typing import Any, TextIO, get_args

from sandbox.campaign import BadAlertError
from sandbox.clock import DAY, iso, parse_instant
from sandbox.contract.values import Disposition
from sandbox.job_life import Pace
from sandbox.jobs import RowOrder
from sandbox.mail_files import NoMailError
from sandbox.server import CannotListenError, RunningSandbox, start
from sandbox.settings import BadSettingsError, Settings

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
    usual, pace = Settings(), Pace()
    parser = argparse.ArgumentParser(
        prog=program,
        description="Serve a fake of the Cloudflare Email Security API on this machine. "
        "Prints one line of JSON when ready, and serves until interrupted.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    where = parser.add_argument_group("network")
    where.add_argument("--host", default=usual.host, help="address to listen on")
    where.add_argument("--port", type=int, default=usual.port, help="port; 0 selects a free one")
    where.add_argument("--account-id", default=usual.account_id, help="ID of the only account")
    mail = parser.add_argument_group("mail")
    mail.add_argument("--seed", type=int, default=usual.seed, help="the same seed creates the same mail")
    mail.add_argument("--messages", type=int, help="number of messages (default: 2000, with --mbox 0)")
    mail.add_argument("--alert", type=Path, help="Logpush email_security_alerts record to create a campaign from")
    mail.add_argument("--campaign-size", type=int, default=usual.campaign_size, help="messages of the campaign")
    mail.add_argument("--late-copies", type=int, default=usual.late_copies, help="copies that arrive after the start")
    mail.add_argument("--late-every", type=float, default=usual.late_every, help="seconds between late copies")
    mail.add_argument("--mbox", type=Path, help="real mail: an mbox, a Maildir, a folder of .eml files, or one")
    mail.add_argument("--mbox-disposition", choices=get_args(Disposition), help="verdict on all mail of --mbox")
    time = parser.add_argument_group("clock")
    time.add_argument(
        "--at", type=_instant, help="start time of the clock (default: 30 minutes after the alert, or now)"
    )
    time.add_argument("--manual-clock", action="store_true", help="advance time only by POST /_sandbox/clock")
    end = parser.add_argument_group("exit")
    end.add_argument(
        "--until-stdin-closes", action="store_true", help="also exit when standard input closes (the parent ends)"
    )
    limits = parser.add_argument_group("rate limit")
    limits.add_argument("--quota", type=int, default=usual.quota, help="calls per window")
    limits.add_argument("--window", type=int, default=usual.window, help="length of the window in seconds")
    jobs = parser.add_argument_group("jobs and searches")
    jobs.add_argument("--start-delay", type=float, default=pace.start_delay, help="seconds a job stays PENDING")
    jobs.add_argument("--discover-rate", type=float, default=pace.discover_rate, help="rows discovered per second")
    jobs.add_argument("--process-rate", type=float, default=pace.process_rate, help="rows processed per second")
    jobs.add_argument(
        "--retry-delay", type=float, default=pace.retry_delay, help="seconds before a retry, times the attempts so far"
    )
    jobs.add_argument("--max-retries", type=int, default=pace.max_retries, help="retries of a row")
    jobs.add_argument(
        "--permanent-failures",
        type=float,
        default=usual.permanent_failures,
        help="fraction of rows that fail permanently",
    )
    jobs.add_argument(
        "--transient-failures",
        type=float,
        default=usual.transient_failures,
        help="fraction of rows that fail at the first attempt",
    )
    jobs.add_argument(
        "--moved-in-flight",
        type=float,
        default=pace.moved_in_flight,
        help="fraction of the messages in progress when a job is cancelled that are still moved",
    )
    jobs.add_argument("--row-order", choices=get_args(RowOrder), default=usual.row_order, help="order of a job's rows")
    jobs.add_argument(
        "--slow-search-seconds",
        type=float,
        default=usual.slow_search_seconds,
        help="seconds during which a search answers 202",
    )
    return parser
