"""`python -m sandbox`: the flags, one line of JSON when ready, and an orderly end on SIGINT, SIGTERM or SIGHUP."""

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

# Nothing was changed, and it is safe to run again: the code that `cfes` gives this too.
CANNOT_WRITE = 6


class CannotAnnounceError(Exception):
    """Nobody can learn where the sandbox serves."""


def main(argv: Sequence[str] | None = None, *, program: str = "python -m sandbox") -> int:
    """Serve until interrupted and return 0; 2 for flags or files that make no sense, with the reason on stderr.

    6 where the ready line can't be written.
    """
    try:
        flags = _parser(program).parse_args(argv)
    except SystemExit as done:
        return _ended(done.code if isinstance(done.code, int) else 2)
    given = vars(flags)
    until_stdin_closes = given.pop("until_stdin_closes")
    try:
        settings = _settings(given)
        with ExitStack() as stack:
            # From here on: an interrupt while 200,000 messages are made is an orderly end too.
            interrupted = stack.enter_context(_Interrupt())
            if until_stdin_closes:
                interrupted.when_stdin_closes()
            sandbox = stack.enter_context(start(settings))
            _announce(sandbox)
            interrupted.wait()
    except BrokenPipeError:
        # Whoever was to read the line is gone, and so is the reason to serve.
        _empty(sys.stdout)
    except CannotAnnounceError as problem:
        _empty(sys.stdout)
        _complain(f"nothing is served: its address can't be written to standard output: {problem}")
        return CANNOT_WRITE
    except (BadAlertError, NoMailError, BadSettingsError, CannotListenError) as problem:
        _complain(str(problem))
        return 2
    return 0


def _ended(code: int) -> int:
    """Return the exit code after a help text or a complaint of the parser, which may have been lost."""
    problem = _flushed(sys.stdout)
    _flushed(sys.stderr)
    if problem is None or isinstance(problem, BrokenPipeError):
        return code
    _complain(f"can't write to standard output: {problem.strerror}")
    return code or CANNOT_WRITE


def _flushed(stream: TextIO | None) -> OSError | None:
    """Write what is left in the stream's buffer. Returns what prevented it; then nothing is left."""
    try:
        if stream is not None:
            stream.flush()
    except OSError as problem:
        _empty(stream)
        return problem
    return None


def _complain(line: str) -> None:
    if sys.stderr is not None:
        with suppress(OSError, UnicodeEncodeError):
            sys.stderr.write(f"sandbox: {line}\n")
        _flushed(sys.stderr)


def _empty(stream: TextIO | None) -> None:
    """Let what is left in the stream's buffer go nowhere when the interpreter ends."""
    if stream is None:
        return
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


class _Interrupt:
    """Turns SIGINT, SIGTERM and SIGHUP into an event, for as long as it is entered."""

    def __init__(self) -> None:
        self._told = threading.Event()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "_Interrupt":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # started with nohup, and so to outlive the terminal
            self._before[number] = signal.signal(number, self._tell)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _tell(self, _: int, __: FrameType | None) -> None:
        self._told.set()

    def when_stdin_closes(self) -> None:
        """Let the end of standard input be an interrupt too: it comes when the parent is gone, however it ended."""
        if sys.stdin is None:
            self._told.set()
            return
        threading.Thread(target=self._read_on, args=(sys.stdin.fileno(),), name="stdin", daemon=True).start()

    def _read_on(self, descriptor: int) -> None:
        # Not by way of sys.stdin: its lock, held by a thread that waits, would be in the way when the interpreter ends.
        with suppress(OSError):
            while os.read(descriptor, 65_536):
                pass
        self._told.set()

    def wait(self) -> None:
        self._told.wait()


def _announce(sandbox: RunningSandbox) -> None:
    mail = sandbox.mail
    now = sandbox.clock.now()
    if mail is not None and mail.unreadable:
        _complain(f"{mail.unreadable} mails could not be read and were left out")
    if mail is not None and mail.future:
        _complain(f"{mail.future} mails are dated after {iso(now)}, the clock's now, and were taken as undated")
    if mail is not None and mail.newest < now - 30 * DAY:
        _complain(f"the newest mail is of {iso(mail.newest)}, and a search looks back 30 days: see --at")
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
        description="Cloudflare Email Security's bulk action jobs on this machine. "
        "Prints one line of JSON when ready and serves until interrupted.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    where = parser.add_argument_group("where it listens")
    where.add_argument("--host", default=usual.host, help="address to listen on")
    where.add_argument("--port", type=int, default=usual.port, help="port; 0 takes a free one")
    where.add_argument("--account-id", default=usual.account_id, help="the only account there is")
    mail = parser.add_argument_group("the mail")
    mail.add_argument("--seed", type=int, default=usual.seed, help="the same seed gives the same tenant")
    mail.add_argument("--messages", type=int, help="size of the tenant (default: 2000, with --mbox 0)")
    mail.add_argument("--alert", type=Path, help="a Logpush email_security_alerts record whose campaign is planted")
    mail.add_argument("--campaign-size", type=int, default=usual.campaign_size, help="messages of the campaign")
    mail.add_argument("--late-copies", type=int, default=usual.late_copies, help="more that arrive after the start")
    mail.add_argument("--late-every", type=float, default=usual.late_every, help="seconds between them")
    mail.add_argument("--mbox", type=Path, help="real mail: an mbox, a Maildir, a folder of .eml files, or one")
    mail.add_argument("--mbox-disposition", choices=get_args(Disposition), help="the verdict on all of --mbox")
    time = parser.add_argument_group("the clock")
    time.add_argument(
        "--at", type=_instant, help="instant at which it starts (default: 30 minutes after the alert, or now)"
    )
    time.add_argument("--manual-clock", action="store_true", help="time moves only by POST /_sandbox/clock")
    end = parser.add_argument_group("its end")
    end.add_argument(
        "--until-stdin-closes", action="store_true", help="end with standard input too, and so with the parent"
    )
    limits = parser.add_argument_group("the rate limit")
    limits.add_argument("--quota", type=int, default=usual.quota, help="calls in a window")
    limits.add_argument("--window", type=int, default=usual.window, help="its length in seconds")
    jobs = parser.add_argument_group("jobs and searches")
    jobs.add_argument("--start-delay", type=float, default=pace.start_delay, help="seconds a job stays PENDING")
    jobs.add_argument("--discover-rate", type=float, default=pace.discover_rate, help="rows discovered a second")
    jobs.add_argument("--process-rate", type=float, default=pace.process_rate, help="rows processed a second")
    jobs.add_argument("--retry-delay", type=float, default=pace.retry_delay, help="seconds, times the tries so far")
    jobs.add_argument("--max-retries", type=int, default=pace.max_retries, help="tries after the first")
    jobs.add_argument(
        "--permanent-failures", type=float, default=usual.permanent_failures, help="share of rows that fail for good"
    )
    jobs.add_argument(
        "--transient-failures", type=float, default=usual.transient_failures, help="share of rows that fail at first"
    )
    jobs.add_argument(
        "--moved-in-flight",
        type=float,
        default=pace.moved_in_flight,
        help="share of the messages under way when a job is cancelled that are moved all the same",
    )
    jobs.add_argument("--row-order", choices=get_args(RowOrder), default=usual.row_order, help="order of a job's rows")
    jobs.add_argument(
        "--slow-search-seconds", type=float, default=usual.slow_search_seconds, help="answer searches with 202 so long"
    )
    return parser
