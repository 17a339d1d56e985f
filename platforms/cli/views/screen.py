"""The output streams, and the format of what is written to them.

Standard output gets the result: tables on a terminal, one JSON document otherwise, unless `--output` is set. Standard
error gets texts for people: progress, warnings, errors, the log.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

from connectors import call_log
from core.errors import ParameterError
from core.text import visible
from platforms.cli.views.palette import QUIET

if TYPE_CHECKING:
    from rich.console import Console

# For encodings without these marks.
PLAIN_MARKS = {"✓": "+", "✗": "x"}

MODES = ("auto", "json", "table")


class Screen:
    """The two streams of this process. Raises: ParameterError for an unknown `--output`."""

    def __init__(self, output: str | None = None, *, verbose: bool = False) -> None:
        mode = output or "auto"
        if mode not in MODES:
            raise ParameterError(
                f"--output must be one of {', '.join(MODES)}", help="Nothing was sent. Use one of them."
            )
        self.verbose = verbose
        self.on_terminal = is_terminal(sys.stdout)
        self.watched = is_terminal(sys.stderr)
        self.json = mode == "json" or (mode == "auto" and not self.on_terminal)

    @property
    def live(self) -> bool:
        """Whether a line can be redrawn. Lines of the log would break it."""
        logs = self.verbose or os.environ.get("CFES_LOG") in ("text", "json")
        return self.watched and not logs and os.environ.get("TERM") != "dumb"

    @property
    def shows_errors(self) -> bool:
        """Whether errors are shown as text for people, not only as JSON for programs."""
        return not self.json or (self.watched and not self.on_terminal)

    @cached_property
    def out(self) -> Console:
        """The console of standard output."""
        console: Console = _layout().console(stderr=False)
        return console

    @cached_property
    def err(self) -> Console:
        """The console of standard error."""
        console: Console = _layout().console(stderr=True)
        return console

    def configure_log(self) -> None:
        """Set up the log of calls: as `CFES_LOG` says, else text; off on a terminal unless --verbose is given."""
        call_log.configure("off" if self.watched and not self.verbose else "text")

    def write_json(self, document: Mapping[str, Any]) -> None:
        """Write one document on one line; indented on a terminal. ASCII only, so that it has no terminal escapes."""
        write(sys.stdout, json.dumps(document, indent=2 if self.on_terminal else None) + "\n")

    def say(self, line: str, style: str = "", mark: tuple[str, str] = ("", "")) -> None:
        """Write one line for people, with an optional mark and its style. Terminal escapes are made visible."""
        sign = _sign(mark[0])
        before = f"{sign} " if sign else ""
        if self.watched:
            _layout().marked(self.err, (before, mark[1]), line, style)
        else:
            write(sys.stderr, f"{before}{visible(line)}\n")

    def command(self, what: str, line: str) -> None:
        """Write a command to copy, on one line however long."""
        if self.watched:
            self.err.print(_layout().safe(f"  {what}: ", QUIET) + _layout().safe(line), soft_wrap=True)
        else:
            self.say(f"  {what}: {line}")

    def facts(self, rows: Sequence[tuple[str, object]]) -> None:
        """Write names and values for people to standard error, one per line."""
        if self.watched:
            _layout().facts(self.err, rows)
            return
        for name, value in rows:
            self.say(f"  {name}: {value}")


def _layout() -> Any:
    """Return the module that writes to terminals. It brings rich, which programs that read JSON need not wait for."""
    from platforms.cli.views import layout  # noqa: PLC0415 -- see above

    return layout


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether the stream is a terminal."""
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):
        return False


def write(stream: TextIO, text: str) -> None:
    """Write and flush. A failed write is handled at the end of the process: see `actions.contract.streams`."""
    stream.write(text)
    stream.flush()


def _sign(mark: str) -> str:
    """Return a mark that the stream's encoding has."""
    try:
        mark.encode(getattr(sys.stderr, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return PLAIN_MARKS.get(mark, "*")
    return mark
