"""Search everything that a test writes for the tokens of the tests, and fail a test that shows one.

A pytest plugin. It searches captured output, output read with capsys, log records, the output of processes, the
results of actions, every PackError, the reprs of connections, and the files under tmp_path. A test that has to show a
token gives the reason: `@pytest.mark.shows_tokens("reason")`.
"""

from __future__ import annotations

import base64
import functools
import json
import logging
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from itertools import chain
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import pytest

from actions.contract.action import Action
from connectors.connection import Connection
from core.errors import PackError
from platforms.callers import tokens
from sandbox import access
from tests import object_stores
from tests.connectors import scripted
from tests.remediation.notifications import receivers

# Every credential that a test passes to the pack, by its name in a report. A test fails if one is missing.
SECRETS: dict[str, str] = {
    "the sandbox's full token": access.FULL_ACCESS,
    "the sandbox's read token": access.READ_ONLY,
    "the sandbox's revoked token": access.REVOKED,
    "the sandbox's e-mail key": access.EMAIL_KEY,
    "the scripted token": scripted.TOKEN,
    "the scripted pseudonym key": scripted.PSEUDONYM_KEY,
    "the token of test_process": "token-of-this-test",
    "the token of the cassettes": "of-no-account",
    "the token of test_connection": "s3cret-token-value-0123456789",
    "the key of test_transport": "k" * 37,
    "the token of nobody": "sandbox-token-of-nobody",
    "the proxy's password": "proxy-password",
    "the token of test_move_messages_faults": "no-such-token",
    "the plan key": "a plan key of the tests, 32 characters or more",
    "the plan key of bad days": "a plan key of bad days, 32 characters or more",
    "the plan key of the insider's other machine": "another key that has its 32 characters",
    "the plan key of forged jobs": "plan-key-that-must-never-show-0123456789",
    "the plan key of commands": "0123456789abcdef" * 4,
    "the object store's access key": object_stores.ACCESS_KEY,
    "the object store's secret key": object_stores.SECRET_KEY,
    "the object store's session token": object_stores.SESSION_TOKEN,
    "the path of a chat's webhook": receivers.URL_SECRET,
    "the API key of TheHive": receivers.API_KEY,
    "the token of a ticket system": receivers.BEARER,
    "the secret of a signed webhook": receivers.WEBHOOK_SECRET,
}

SHORTEST_PART = 12
MOST_FILES = 2000
MOST_BYTES = 2**26
PIECE_BYTES = 2**20
# No form of a token is longer, so a token across two pieces is complete in the second.
OVERLAP_BYTES = 2**10

# A private key may be in a file, but nowhere else.
PRIVATE_KEY = "PRIVATE KEY-----"

# Every test makes its own tokens of callers: they are known by their form.
CALLER_TOKEN = "a caller's token"

_Leaks = list[str]
_PATCHES = pytest.StashKey[pytest.MonkeyPatch]()
_SECTIONS = pytest.StashKey[int]()
_PASSED = pytest.StashKey[bool]()


# How a hyphen is written in URLs, JSON, Python and HTML.
HYPHENS = ("%2D", "%2d", "\\u002d", "\\x2d", "&#45;", "&#x2d;")


def forms(token: str) -> set[str]:
    """Return the forms of a token: its greater part, quoted for URLs and JSON, and in base64 at each offset."""
    # A token without its end still counts as shown.
    found = {part := token[: max(SHORTEST_PART, len(token) * 3 // 4)]}
    found |= {quote(part, safe=""), json.dumps(part)[1:-1]}
    found |= {part.replace("-", written) for written in HYPHENS}
    for before in range(3):
        data = b"\0" * before + part.encode()
        # Only the characters that don't depend on neighboring bytes.
        whole = slice((before * 8 + 5) // 6, len(data) * 8 // 6)
        found |= {base64.b64encode(data).decode()[whole], base64.urlsafe_b64encode(data).decode()[whole]}
    return found


class Watch:
    """Counts the searched texts by kind, and records where a token was, never the token."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self.counts: Counter[str] = Counter()
        self.leaks: _Leaks = []
        self._forms = [(form, name) for name, token in secrets.items() for form in forms(token)]
        # Half of the forms have an escaped hyphen, and most texts have none.
        self._by_hyphen: dict[str, list[tuple[str, str]]] = {}
        for form, name in self._forms:
            hyphen = next((written for written in HYPHENS if written in form), "")
            self._by_hyphen.setdefault(hyphen, []).append((form, name))
        self._secrets = secrets
        # Nine of ten errors, and half of the bytes in files, repeat a text without a token.
        self._clean: set[tuple[bool, int]] = set()

    def see(self, kind: str, where: str, seen: str | bytes | None) -> None:
        if not seen:
            return
        self.counts[kind] += 1
        text = (kind == "files", hash(seen))
        if text in self._clean:
            return
        leaks = self.found(seen)
        if kind != "files" and PRIVATE_KEY in (seen if isinstance(seen, str) else seen.decode("latin-1")):
            leaks.append("a private key")
        self.leaks += [f"{leak} in {where}" for leak in leaks]
        if not leaks:
            self._clean.add(text)

    def found(self, seen: str | bytes) -> list[str]:
        """Return the names of the tokens in a text."""
        text = seen if isinstance(seen, str) else seen.decode("latin-1")
        possible = (forms for hyphen, forms in self._by_hyphen.items() if hyphen in text)
        names = {name for form, name in chain.from_iterable(possible) if form in text}
        if tokens.PREFIX in text and tokens.PATTERN.search(text):
            names.add(CALLER_TOKEN)
        return sorted(names)

    def see_files(self, folder: Path) -> None:
        paths = (Path(above, name) for above, _, names in os.walk(folder) for name in names)
        for _, path in zip(range(MOST_FILES), paths, strict=False):
            where = f"the file {path.relative_to(folder)}"
            self.see("files", f"the name of {self.redacted(where)}", path.name)
            if path.is_file() and not path.is_symlink():
                try:
                    with path.open("rb") as file:
                        self.see_pieces(where, file)
                except OSError:
                    # A test has removed the read permission, or replaced the file.
                    continue

    def see_pieces(self, where: str, file: IO[bytes]) -> None:
        before = b""
        for _ in range(MOST_BYTES // PIECE_BYTES):
            piece = file.read(PIECE_BYTES)
            if not piece:
                break
            self.see("files", where, before + piece)
            before = piece[-OVERLAP_BYTES:]

    def see_error(self, error: PackError, document: Mapping[str, Any] | None = None) -> None:
        kind = type(error).__name__
        self.see("errors", f"a {kind}'s str", str(error))
        self.see("errors", f"a {kind}'s repr", repr(error))
        self.see("errors", f"a {kind}'s fields", str(error.__dict__))
        if document is not None:
            self.see("errors", f"a {kind}'s document", json.dumps(document, default=repr, ensure_ascii=False))

    def see_record(self, record: logging.LogRecord) -> None:
        where = f"a log record of {record.name}"
        self.see("log records", where, str(record.__dict__))
        if record.exc_info:
            self.see("log records", where, logging.Formatter().formatException(record.exc_info))

    def see_connection(self, connection: Connection) -> None:
        for how, shown in (
            ("repr", repr(connection)),
            ("str", str(connection)),
            ("JSON", connection.model_dump_json()),
        ):
            self.see("connections", f"a connection's {how}", shown)

    def redacted(self, text: str) -> str:
        for token in self._secrets.values():
            text = text.replace(token, "[token]")
        for form, _ in self._forms:
            text = text.replace(form, "[token]")
        return tokens.PATTERN.sub("[token]", text)

    def take_leaks(self) -> _Leaks:
        """Return the places of new tokens since the last call."""
        leaks, self.leaks = sorted(set(self.leaks)), []
        return leaks


WATCH = Watch(SECRETS)

# Folders that several tests share: they are searched after all tests.
SHARED: list[Path] = []


def pytest_configure(config: pytest.Config) -> None:
    patch = config.stash[_PATCHES] = pytest.MonkeyPatch()
    capture: Any = pytest.CaptureFixture
    _after(
        patch, capture, "readouterr", lambda _, read, *__: see_streams("output read by the test", read.out, read.err)
    )
    _after(patch, capture, "close", lambda it, *_: see_streams("unread output", it._captured_out, it._captured_err))
    _after(patch, subprocess.Popen, "communicate", lambda _, made, *__: see_streams("a process's output", *made))
    _after(patch, PackError, "__init__", lambda error, *_: WATCH.see_error(error))
    _after(patch, PackError, "document", lambda error, made, *_: WATCH.see_error(error, made))
    _after(patch, logging.Logger, "handle", lambda _, __, record: WATCH.see_record(record))
    _after(patch, Action, "run", lambda it, made, *_: WATCH.see("results", f"a result of {it.id}", str(made)))
    _after(patch, pytest.TempPathFactory, "mktemp", lambda _, made, *__: SHARED.append(made))
    checked = Connection.checked

    def watched(values: Mapping[str, Any]) -> Connection:
        connection = checked(values)
        WATCH.see_connection(connection)
        return connection

    patch.setattr(Connection, "checked", staticmethod(watched))


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_PATCHES].undo()


def _after(patch: pytest.MonkeyPatch, owner: Any, name: str, look: Callable[..., None]) -> None:
    """Call `look` with the object, the result of its method, and the method's arguments."""
    method = getattr(owner, name)

    @functools.wraps(method)
    def watched(self: Any, *arguments: Any, **named: Any) -> Any:
        made = method(self, *arguments, **named)
        look(self, made, *arguments)
        return made

    patch.setattr(owner, name, watched)


def see_streams(what: str, out: str | bytes | None, err: str | bytes | None) -> None:
    """Search output that a test captured without pytest."""
    WATCH.see("outputs", f"{what}: standard output", out)
    WATCH.see("outputs", f"{what}: standard error", err)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    for name, content in report.sections[item.stash.get(_SECTIONS, 0) :]:
        WATCH.see("outputs", name.lower(), content)
    item.stash[_SECTIONS] = len(report.sections)
    report.sections = [(name, WATCH.redacted(content)) for name, content in report.sections]
    if call.when == "call":
        item.stash[_PASSED] = report.passed
    if call.when != "teardown":
        return report
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    if isinstance(folder, Path):
        WATCH.see_files(folder)
        SHARED[:] = [other for other in SHARED if other != folder]
    complaint = _complaint(item, WATCH.take_leaks())
    if complaint:
        before = f"{report.longreprtext}\n" if report.failed else ""
        report.outcome, report.longrepr = "failed", before + complaint
    return report


def _complaint(item: pytest.Item, leaks: _Leaks) -> str | None:
    marker = item.get_closest_marker("shows_tokens")
    if marker is None:
        return "\n".join(f"a token shows: {leak}" for leak in leaks) or None
    if not (marker.args and isinstance(marker.args[0], str) and marker.args[0].strip()):
        return "shows_tokens needs a reason"
    if not leaks and item.stash.get(_PASSED, False):
        return "this test shows no token: remove the mark shows_tokens"
    return None


def pytest_sessionfinish(session: pytest.Session) -> None:
    for folder in SHARED:
        WATCH.see_files(folder)
    worker: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if worker is not None:
        worker["secrets_watch"] = {"counts": dict(WATCH.counts), "leaks": WATCH.take_leaks()}
    elif WATCH.leaks:
        # Found outside of any test.
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    sent = getattr(node, "workeroutput", {}).get("secrets_watch", {})
    WATCH.counts.update(sent.get("counts", {}))
    WATCH.leaks += sent.get("leaks", [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for leak in WATCH.take_leaks():
        terminalreporter.write_line(f"a token shows outside of the tests: {leak}", red=True)
    seen = ", ".join(f"{number} {kind}" for kind, number in sorted(WATCH.counts.items()))
    terminalreporter.write_line(f"looked for tokens in {seen or 'nothing'}")
