"""The secrets watch reports every kind of planted leak, and the repository contains no token."""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from sandbox.access import EMAIL, EMAIL_KEY, FULL_ACCESS
from tests.secrets_watch import PIECE_BYTES, SECRETS, Watch

ROOT = Path(__file__).parent.parent
KEPT = (
    "tests/cassettes",
    "tests/remediation/reports/goldens",
    "examples",
    "docs",
    "benchmarks",
    "playbooks",
    "manifest.json",
)
SETTINGS = {"api_token", "api_key", "CLOUDFLARE_API_TOKEN", "CLOUDFLARE_API_KEY", "plan_key", "CFES_PLAN_KEY"}

# One leak per test; its name says where the watch must report it.
LEAKS = """
import logging, subprocess, sys
from pathlib import Path
import pytest
from connectors.connection import Connection
from core.errors import NotFound, PackError
from sandbox.access import FULL_ACCESS as TOKEN

def test_captured_stdout_call(): print(TOKEN)
def test_captured_stderr_call(): print("no", TOKEN, file=sys.stderr)
def test_captured_log_call(): logging.getLogger("x").warning("to %s", TOKEN)
def test_a_log_record_of_quiet():
    logger = logging.getLogger("quiet")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    logger.warning("x", extra={"call": {"path": TOKEN}})
def test_output_read_by_the_test(capsys):
    print(TOKEN)
    assert capsys.readouterr().out
def test_output_read_by_the_test_as_bytes(capfdbinary):
    print(TOKEN, flush=True)
    assert capfdbinary.readouterr().out
def test_unread_output(capsys): print(TOKEN)
def test_a_process_s_output():
    subprocess.run([sys.executable, "-c", "import sys; print(sys.argv[1])", TOKEN], capture_output=True, check=True)
def test_a_process_s_output_read_by_hand():
    made = subprocess.Popen([sys.executable, "-c", f"print({TOKEN!r})"], stdout=subprocess.PIPE, text=True)
    made.communicate(timeout=20)
def test_a_NotFound_s_str(): NotFound("bad header " + TOKEN)
def test_a_NotFound_s_fields(): NotFound("bad", help=TOKEN)
def test_a_NotFound_s_document():
    error = NotFound("bad")
    error.resume = {"token": TOKEN}
    error.document()
def test_a_connection_s_repr(monkeypatch):
    monkeypatch.setattr(Connection, "__repr__", lambda self: str(self.secrets()))
    Connection.checked({"account_id": "a", "api_token": TOKEN})
def test_a_result_of_list_jobs(monkeypatch):
    from actions import list_jobs
    from tests.connectors.scripted import Scripted, connected, job, ok
    list_jobs.run({}, connected(Scripted(ok([job(comment=TOKEN)]), ok([]))))
def test_caller_s_token_in_captured_stdout(): print("cfes", "a" * 10, "B" * 43, sep="_")
def test_the_file_deep_state_json(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "state.json").write_bytes(b"\\xff" + TOKEN.encode())
def test_a_private_key_in_a_NotFound_s_str(): NotFound("-----BEGIN PRIVATE " + "KEY-----")
def test_the_name_of(tmp_path): (tmp_path / TOKEN).touch()
@pytest.mark.shows_tokens
def test_shows_tokens_needs_a_reason(): print(TOKEN)
@pytest.mark.shows_tokens("as planted")
def test_shows_no_token(): pass
@pytest.mark.shows_tokens("as planted")
def test_good_marked(): print(TOKEN)
def test_good_silent(): print("nothing")
"""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the output of a test run with the planted leaks."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "test_planted.py").write_text(LEAKS)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = shows_tokens(reason): x\n")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "1", "-p", "tests.secrets_watch", "-p", "no:cacheprovider", "-q"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_a_leak_of_each_kind_fails_its_test_and_names_the_place(planted: str) -> None:
    failures = re.findall(r"_ ERROR at teardown of test_(\w+) _+\n(.*?)(?=\n[_=]{9}|\n-{9})", planted, re.DOTALL)
    assert len(failures) == LEAKS.count("def test_") - 2, planted
    for test, message in failures:
        words = re.sub(r"\W+", "_", message.lower())
        expected = test.lower().removesuffix("_as_bytes").removesuffix("_read_by_hand")
        assert expected in words, (test, message)


def test_a_leak_is_reported_without_the_token(planted: str) -> None:
    assert FULL_ACCESS[:12] not in planted
    assert "[token]" in planted
    assert "B" * 43 not in planted


def test_searched_texts_are_counted_across_processes(planted: str) -> None:
    kinds = re.findall(r"\d+ ([a-z]+(?: records)?)", planted.partition("looked for tokens in ")[2].splitlines()[0])
    assert kinds == ["connections", "errors", "files", "log records", "outputs", "results"]


@pytest.mark.parametrize("before", ["", "a", "ab"])
@pytest.mark.parametrize(
    "written",
    [
        lambda text: text,
        lambda text: text[:-2],
        lambda text: quote(text, safe=""),
        lambda text: text.replace("-", "%2D"),
        lambda text: json.dumps({"x": text}),
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    ],
)
def test_an_encoded_or_shortened_token_is_found(written: Any, before: str) -> None:
    watch = Watch(SECRETS)
    assert watch.found(written(f"{before}{EMAIL}:{EMAIL_KEY}")) == ["the sandbox's e-mail key"]
    assert watch.found(written(f"{before}{EMAIL}")) == []
    assert watch.found(watch.redacted(written(f"{before}{EMAIL_KEY}"))) == []


@pytest.mark.shows_tokens("one is planted in a file")
@pytest.mark.parametrize("before", [0, PIECE_BYTES - 7, 3 * PIECE_BYTES])
def test_a_large_file_is_searched_completely(before: int, tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"x" * before + FULL_ACCESS.encode() + b"x" * PIECE_BYTES)
    watch = Watch(SECRETS)
    watch.see_files(tmp_path)
    assert watch.take_leaks() == ["the sandbox's full token in the file rows"]


def test_the_repository_contains_no_token() -> None:
    watch = Watch(SECRETS)
    paths = [ROOT / name for name in KEPT] + sorted(ROOT.glob("*.md"))
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    for file in files:
        watch.see("files", str(file.relative_to(ROOT)), file.read_bytes())
    assert watch.take_leaks() == []
    assert watch.counts["files"] > 30


def test_no_cassette_has_a_credential_header() -> None:
    for cassette in (ROOT / "tests" / "cassettes").glob("*.yaml"):
        assert not re.search(r"^\s*(authorization|x-auth-\w+|cookie):", cassette.read_text(), re.I | re.M), cassette


def test_the_watch_knows_every_credential_used_in_tests() -> None:
    unknown = []
    for file in sorted((ROOT / "tests").rglob("*.py")):
        text = file.read_text()
        if not any(name in text for name in SETTINGS):
            continue
        for node in ast.walk(ast.parse(text)):
            for name, value in _named_texts(node):
                # Shorter values are meant to be refused; they could be part of any text.
                if name in SETTINGS and len(value) >= 12 and value not in SECRETS.values():
                    unknown.append(f"{file.relative_to(ROOT)}:{node.lineno}")  # type: ignore[attr-defined]
    assert unknown == [], "add them to tests/secrets_watch.py"


def _named_texts(node: ast.AST) -> list[tuple[str, str]]:
    """Return the named texts of a node: `{"x": "y"}`, `f(x="y")`, `f("x", "y")`."""
    pairs: list[tuple[ast.expr | None, ast.expr]] = []
    if isinstance(node, ast.Dict):
        pairs = list(zip(node.keys, node.values, strict=True))
    elif isinstance(node, ast.keyword) and node.arg:
        pairs = [(ast.Constant(node.arg), node.value)]
    elif isinstance(node, ast.Call) and len(node.args) >= 2:
        pairs = [(node.args[0], node.args[1])]
    return [
        (name.value, value.value)
        for name, value in pairs
        if isinstance(name, ast.Constant) and isinstance(value, ast.Constant)
        if isinstance(name.value, str) and isinstance(value.value, str)
    ]
