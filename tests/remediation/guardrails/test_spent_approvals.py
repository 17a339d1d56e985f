"""An approval counts for one call only, despite other calls, crashes, deleted jobs and damaged records."""

from __future__ import annotations

import os
import resource
import select
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.email_security import EmailSecurity
from core.errors import ApprovalRefused
from core.state_database import FILE
from remediation.guardrails.approvals.spent import (
    KEPT_SECONDS,
    intent_of,
    mark_approvals_used,
    reserve_approvals,
    spend_approvals_of_job,
)
from remediation.guardrails.approvals.token import ReadToken
from sandbox.server import RunningSandbox
from tests.clock import FakeClock
from tests.exhaustive import exhaustive_unless

ROOT = Path(__file__).resolve().parents[3]
PLAN, OTHER_PLAN = "ab" * 32, "cd" * 32
NOW = int(datetime(2026, 11, 20, 16, 2, 35, tzinfo=UTC).timestamp())
HOUR = 3600

Api = Callable[..., EmailSecurity]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def api(sandbox: RunningSandbox, connect: Api, state: Path) -> EmailSecurity:
    return connect(sandbox, state_directory=str(state))


def token(name: str = "bob", number: int = 1, *, issued: int = NOW - 60, expires: int = NOW + HOUR) -> ReadToken:
    return ReadToken("approval", name, f"{number:064x}", issued, expires)


def reserve(api: EmailSecurity, *tokens: ReadToken, plan: str = PLAN, key: str = "case-1") -> None:
    reserve_approvals(api, tokens, plan_hash=plan, intent=intent_of(plan, key))


def refusal_of(api: EmailSecurity, *tokens: ReadToken, plan: str = PLAN, key: str = "case-1") -> str:
    with pytest.raises(ApprovalRefused) as caught:
        reserve(api, *tokens, plan=plan, key=key)
    assert (caught.value.exit_code, caught.value.applied) == (3, "no")
    assert "Nothing was changed" in caught.value.help
    return caught.value.message


def entries(state: Path) -> list[tuple[str, str]]:
    """Return the kind and ID of each entry in the record."""
    with closing(sqlite3.connect(state / FILE)) as database:
        return list(database.execute("SELECT kind, id FROM approvals ORDER BY id"))


class TestUsedOnce:
    def test_the_same_call_may_use_its_own_reservation_again(self, api: EmailSecurity, state: Path) -> None:
        for _ in range(3):
            reserve(api, token())
        assert entries(state) == [("reserved", f"{1:064x}")]

    @pytest.mark.parametrize("other", [{"key": "case-2"}, {"key": ""}, {"plan": OTHER_PLAN}])
    def test_another_call_cannot_use_a_reserved_approval(self, api: EmailSecurity, other: dict[str, str]) -> None:
        reserve(api, token())
        assert "reserved for another call" in refusal_of(api, token(), **other)
        reserve(api, token())

    def test_a_used_approval_is_refused_for_every_call(self, api: EmailSecurity) -> None:
        reserve(api, token())
        mark_approvals_used(api, PLAN)
        for other in ({}, {"key": "case-2"}, {"plan": OTHER_PLAN}):
            assert "is already used" in refusal_of(api, token(), **other)

    def test_a_used_approval_refuses_the_call_and_reserves_no_other(self, api: EmailSecurity) -> None:
        reserve(api, token("bob", 1))
        assert "bob" in refusal_of(api, token("carol", 2), token("bob", 1), key="case-2")
        reserve(api, token("carol", 2), key="case-3")

    def test_spending_one_plan_keeps_the_approvals_of_another(self, api: EmailSecurity) -> None:
        reserve(api, token("bob", 1))
        mark_approvals_used(api, OTHER_PLAN)
        reserve(api, token("bob", 1))

    def test_approvals_older_than_the_jobs_deletion_are_refused(self, api: EmailSecurity) -> None:
        spend_approvals_of_job(api, PLAN[:32])
        assert "deleted" in refusal_of(api, token("bob", 1), key="case-2")
        assert "deleted" in refusal_of(api, token("carol", 2, issued=NOW + 60))
        reserve(api, token("bob", 3, issued=NOW + 61))
        reserve(api, token("bob", 1), plan=OTHER_PLAN)

    @pytest.mark.parametrize("digest", ["", "a", PLAN[:15], "AB" * 16, "../" * 10, "x" * 32, PLAN + "a"])
    def test_an_invalid_plan_digest_spends_nothing(self, api: EmailSecurity, state: Path, digest: str) -> None:
        spend_approvals_of_job(api, digest)
        assert not state.exists()

    def test_without_approvals_nothing_is_written(self, api: EmailSecurity, state: Path) -> None:
        reserve(api)
        assert not state.exists()


class TestRecord:
    def test_the_record_is_readable_by_its_owner_only(self, api: EmailSecurity, state: Path) -> None:
        before = os.umask(0)
        try:
            reserve(api, token())
        finally:
            os.umask(before)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (state, *state.iterdir())}
        assert modes == {"state": 0o700, FILE: 0o600}

    def test_the_record_holds_no_names_and_no_key(self, api: EmailSecurity, state: Path) -> None:
        reserve(api, token("bob"), key="alert of dana@corp.example")
        data = (state / FILE).read_bytes()
        assert b"bob" not in data
        assert b"dana" not in data

    def test_entries_of_expired_approvals_are_dropped(self, api: EmailSecurity, state: Path) -> None:
        reserve(api, token(number=1))
        assert isinstance(api.clock, FakeClock)
        api.clock.advance(HOUR + KEPT_SECONDS - 1)
        reserve(api, token(number=2, expires=NOW + 100 * HOUR))
        assert "reserved for another" in refusal_of(api, token(number=1), key="case-2"), "kept a day after its end"
        api.clock.advance(1)
        reserve(api, token(number=2, expires=NOW + 100 * HOUR))
        assert entries(state) == [("reserved", f"{2:064x}")]
        assert "reserved for another" in refusal_of(api, token(number=2, expires=NOW + 100 * HOUR), key="case-2")

    @pytest.mark.parametrize("data", [b"not a database, but as long as a header is" * 100, b"SQLite format 3\0x"])
    def test_a_damaged_record_stops_every_approval(self, api: EmailSecurity, state: Path, data: bytes) -> None:
        reserve(api, token())
        (state / FILE).write_bytes(data)
        assert f"{FILE} in the state directory can't be used" in refusal_of(api, token(number=2))

    def test_an_unexpected_table_schema_stops_every_approval(self, api: EmailSecurity, state: Path) -> None:
        reserve(api, token())
        with closing(sqlite3.connect(state / FILE)) as database:
            database.execute("ALTER TABLE approvals RENAME COLUMN intent TO purpose")
        assert "no such column" in refusal_of(api, token(number=2))

    def test_an_unusable_record_or_directory_refuses_and_names_the_setting(
        self, sandbox: RunningSandbox, connect: Api, api: EmailSecurity, state: Path, tmp_path: Path
    ) -> None:
        reserve(api, token())
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_text("kept")
        elsewhere.chmod(0o600)

        def assert_refused(path: Path, make: Callable[[Path], object]) -> None:
            path.unlink(missing_ok=True)
            make(path)
            message = refusal_of(api, token(number=2))
            assert "CFES_STATE_DIR" in message or "state directory" in message
            path.rmdir() if path.is_dir() else path.unlink()
            assert elsewhere.read_text() == "kept"

        assert_refused(state / FILE, lambda path: path.symlink_to(elsewhere))
        assert_refused(state / FILE, lambda path: path.hardlink_to(elsewhere))
        assert_refused(state / FILE, lambda path: path.mkdir())
        assert_refused(state / FILE, os.mkfifo)
        assert_refused(state / FILE, lambda path: path.touch(0o640))
        for path in (elsewhere, tmp_path / "relative" / ".." / "\0", Path("relative")):
            with pytest.raises(ApprovalRefused) as caught:
                reserve(connect(sandbox, state_directory=str(path)), token())
            assert "CFES_STATE_DIR" in caught.value.help
            assert caught.value.exit_code == 3

    def test_a_directory_that_others_can_write_to_is_not_used(self, api: EmailSecurity, state: Path) -> None:
        reserve(api, token())
        state.chmod(0o770)
        assert "accessible to other users" in refusal_of(api, token())

    def test_a_full_disk_refuses_and_keeps_the_record_intact(self, api: EmailSecurity, state: Path) -> None:
        reserve(api, token())
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        try:
            message = refusal_of(api, token(number=2))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert f"{FILE} in the state directory can't be used" in message
        assert entries(state) == [("reserved", f"{1:064x}")]


PROCESS = """
import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from core.errors import ApprovalRefused
from remediation.guardrails.approvals.token import ReadToken
from remediation.guardrails.approvals.spent import intent_of, reserve_approvals
directory, key, plan, now = sys.argv[1:]
moment = datetime.fromtimestamp(int(now), UTC)
class Api(SimpleNamespace):
    @property
    def has_policy(self):  # read between checking the record and writing the entry
        sys.stdout.write("read\\n")
        sys.stdout.flush()
        sys.stdin.readline()
        return False
api = Api(connection=SimpleNamespace(state_directory=directory), clock=SimpleNamespace(now=lambda: moment))
try:
    reserve_approvals(
        api, [ReadToken("approval", "bob", "1" * 64, int(now) - 60, int(now) + 3600)],
        plan_hash=plan, intent=intent_of(plan, key),
    )
except ApprovalRefused as refusal:
    sys.exit(refusal.exit_code)
"""


def _is_locked(state: Path) -> bool:
    with closing(sqlite3.connect(state / FILE, timeout=0)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
    return False


@pytest.mark.parametrize(
    ("keys", "codes"),
    exhaustive_unless(lambda case: case[1] == [0, 3], [(["case-1", "case-2"], [0, 3]), (["case-1", "case-1"], [0, 0])]),
)
def test_two_processes_cannot_use_one_approval_for_two_calls(keys: list[str], codes: list[int], state: Path) -> None:
    """The first process pauses between checking the record and writing its entry. The second must wait for it."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(state), key, PLAN, str(NOW)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True,
        )
        for key in keys
    ]  # fmt: skip
    streams = [process.stdout for process in processes if process.stdout is not None]
    ready, _, _ = select.select(streams, [], [], 60)
    first = next(process for process in processes if process.stdout in ready)
    second = processes[1 - processes.index(first)]
    assert first.stdout is not None
    assert first.stdout.readline() == "read\n"
    assert _is_locked(state)
    first.communicate("go\n", timeout=60)
    second.communicate("go\n", timeout=60)
    assert [first.returncode, second.returncode] == codes
    assert len(entries(state)) == 1
