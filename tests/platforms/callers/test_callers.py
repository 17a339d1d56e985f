"""Tokens of callers: created, rotated and revoked; and what a token lets in."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core.errors import AuthenticationFailed, ConnectionSettingsError, PackError, ParameterError
from platforms.callers.callers import LAST_USE_SECONDS, RELOAD_SECONDS, Callers
from platforms.callers.records import Caller
from platforms.callers.store import FILE
from platforms.callers.tokens import LENGTH
from tests.clock import FakeClock

DAY = timedelta(days=1)


@pytest.fixture
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state", numbered=True) / "cfes"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def callers(state: Path, clock: FakeClock) -> Callers:
    return Callers(str(state), clock)


def refusal(callers: Callers, token: str | None) -> str:
    with pytest.raises(AuthenticationFailed) as refused:
        callers.authenticate(token)
    return str(refused.value.document())


class TestCreate:
    def test_a_token_names_its_caller_with_scopes_and_share(self, callers: Callers) -> None:
        token = callers.create("tines", ["write", "read"], expires_at=None, rate_share=0.25)
        assert callers.authenticate(token) == Caller("tines", frozenset({"read", "write"}), 0.25)

    def test_the_file_is_private_and_holds_no_secret(self, callers: Callers, state: Path) -> None:
        token = callers.create("tines", ["read"], expires_at=None)
        assert stat.S_IMODE((state / FILE).stat().st_mode) == 0o600
        data = (state / FILE).read_bytes()
        assert token.encode()[-43:] not in data
        assert token.encode()[5:15] in data

    def test_every_token_is_different_and_long_enough(self, callers: Callers) -> None:
        tokens = [callers.create(f"c{number}", ["read"], expires_at=None) for number in range(20)]
        assert {len(token) for token in tokens} == {LENGTH}
        assert len({token[-43:] for token in tokens}) == len({token[5:15] for token in tokens}) == 20

    def test_a_second_token_needs_a_rotation(self, callers: Callers) -> None:
        token = callers.create("tines", ["read"], expires_at=None)
        with pytest.raises(ParameterError, match="already has a token") as refused:
            callers.create("tines", ["write"], expires_at=None)
        assert "cfes token rotate tines" in refused.value.help
        assert callers.authenticate(token).scopes == {"read"}

    def test_the_name_of_a_revoked_caller_can_be_used_again(self, callers: Callers) -> None:
        old = callers.create("tines", ["read"], expires_at=None)
        callers.revoke("tines")
        new = callers.create("tines", ["write"], expires_at=None)
        assert callers.authenticate(new).scopes == {"write"}
        refusal(callers, old)

    @pytest.mark.parametrize("name", ["", "a b", "a" * 65, "tines\n", "té", "a/b", "a\0"])
    def test_a_name_that_a_tag_cannot_hold_is_refused(self, name: str, callers: Callers) -> None:
        with pytest.raises(ParameterError, match="name of a caller"):
            callers.create(name, ["read"], expires_at=None)

    @pytest.mark.parametrize("share", [0.0, -1.0, 1.01, float("nan"), float("inf")])
    def test_an_impossible_share_is_refused(self, share: float, callers: Callers) -> None:
        with pytest.raises(ParameterError, match="rate share"):
            callers.create("tines", ["read"], expires_at=None, rate_share=share)

    @pytest.mark.parametrize("scopes", [[], ["admin"], ["read", "read,write"]])
    def test_unknown_or_missing_scopes_are_refused(self, scopes: Any, callers: Callers) -> None:
        with pytest.raises(ParameterError, match="scopes must be one or more of read, write, approve, alerts"):
            callers.create("tines", scopes, expires_at=None)

    def test_an_expiry_in_the_past_is_refused(self, callers: Callers, clock: FakeClock) -> None:
        with pytest.raises(ParameterError, match="expire at once"):
            callers.create("tines", ["read"], expires_at=clock.now())
        assert callers.records() == []


class TestAuthenticate:
    @pytest.fixture
    def token(self, callers: Callers) -> str:
        return callers.create("tines", ["read"], expires_at=None)

    def test_every_token_that_is_not_valid_has_the_same_answer(
        self, callers: Callers, clock: FakeClock, token: str
    ) -> None:
        expired = callers.create("expired", ["read"], expires_at=clock.now() + DAY)
        revoked = callers.create("revoked", ["read"], expires_at=None)
        callers.revoke("revoked")
        clock.advance(DAY.total_seconds())
        unknown_id = f"cfes_{'a' * 10}_{token[-43:]}"
        wrong_secret = token[:16] + ("A" if token[16] != "A" else "B") + token[17:]
        answers = {refusal(callers, each) for each in (expired, revoked, unknown_id, wrong_secret, "")}
        assert len(answers) == 1
        assert "the request has no token" in refusal(callers, None)
        assert "cfes token rotate" in answers.pop()

    @pytest.mark.parametrize(
        "change",
        [
            lambda token: token + "\0",
            lambda token: token[:-1] + "\0",
            lambda token: token[:-1] + "é",
            lambda token: token[:-1] + "\udc80",
            lambda token: token[:-1] + "\N{FULLWIDTH LATIN SMALL LETTER A}",
            lambda token: token + "\n",
            lambda token: f" {token}",
            lambda token: token[:-1],
            lambda token: token.upper(),
            lambda _: "x" * 2**20,
            lambda token: token + "x" * 2**20,
            lambda token: f"Bearer {token}",
            lambda token: token.replace("cfes_", "CFES_"),
            lambda token: f"{token[:16]}%{token[17:]}",
            lambda token: f"{token[:16]}' OR 1=1 --".ljust(LENGTH, "x"),
            lambda token: token[:15] + "-" + token[16:],
        ],
    )
    def test_a_changed_token_is_refused(self, change: Callable[[str], str], callers: Callers, token: str) -> None:
        callers.authenticate(token)
        refusal(callers, change(token))

    def test_each_last_character_but_one_is_refused(self, callers: Callers, token: str) -> None:
        """Base64 has spare bits in its last character: two spellings must not be one token."""
        for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_":
            if last != token[-1]:
                refusal(callers, token[:-1] + last)

    def test_a_token_ends_at_its_expiry(self, callers: Callers, clock: FakeClock) -> None:
        token = callers.create("short", ["read"], expires_at=clock.now() + timedelta(minutes=1))
        clock.advance(59.999)
        callers.authenticate(token)
        clock.advance(0.001)
        refusal(callers, token)

    def test_a_clock_that_is_set_back_does_not_revive_a_token(self, callers: Callers, clock: FakeClock) -> None:
        expired = callers.create("expired", ["read"], expires_at=clock.now() + timedelta(minutes=1))
        revoked = callers.create("revoked", ["read"], expires_at=None)
        callers.revoke("revoked")
        clock.advance(61)
        clock.set_forward(days=-2)
        refusal(callers, expired)
        refusal(callers, revoked)

    def test_a_clock_that_is_corrected_ends_no_token_early(self, callers: Callers, clock: FakeClock) -> None:
        token = callers.create("tomorrow", ["read"], expires_at=clock.now() + DAY)
        clock.set_forward(days=3)
        refusal(callers, token)
        clock.set_forward(days=-3)
        callers.authenticate(token)

    def test_a_bad_token_does_not_touch_the_disk(
        self, callers: Callers, token: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        callers.authenticate(token)
        monkeypatch.setattr("platforms.callers.callers.read_tokens", pytest.fail)
        for number in range(1000):
            refusal(callers, f"cfes_{'a' * 10}_{number:043}")
        callers.authenticate(token)

    def test_a_revocation_elsewhere_takes_effect_within_a_second(
        self, callers: Callers, clock: FakeClock, state: Path, token: str
    ) -> None:
        callers.authenticate(token)
        revoke = f"from platforms.callers.callers import Callers; Callers({str(state)!r}).revoke('tines')"
        subprocess.run([sys.executable, "-c", revoke], check=True, timeout=60)
        clock.advance(RELOAD_SECONDS)
        refusal(callers, token)
        assert RELOAD_SECONDS < 1

    def test_a_new_token_works_in_another_process_within_a_second(
        self, callers: Callers, clock: FakeClock, state: Path
    ) -> None:
        assert not callers.any()
        token = Callers(str(state), clock).create("later", ["read"], expires_at=None)
        refusal(callers, token)
        clock.advance(RELOAD_SECONDS)
        callers.authenticate(token)

    def test_a_process_that_stopped_within_a_change_holds_up_no_request(
        self, callers: Callers, clock: FakeClock, state: Path, token: str
    ) -> None:
        with closing(sqlite3.connect(state / FILE, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("UPDATE token SET name = 'other'")
            clock.advance(RELOAD_SECONDS)
            assert callers.authenticate(token).name == "tines"
            assert callers.records()[0].last_used_at is None

    def test_many_threads_authenticate_while_tokens_change(self, state: Path) -> None:
        callers = Callers(str(state))
        kept = callers.create("kept", ["read"], expires_at=None)
        stop, wrong = threading.Event(), list[str]()

        def ask() -> None:
            while not stop.is_set():
                try:
                    if callers.authenticate(kept).name != "kept":
                        wrong.append("another caller")
                except PackError as error:
                    wrong.append(str(error))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        other = Callers(str(state))
        gone = []
        for number in range(8):
            gone.append(other.create(f"c{number}", ["read"], expires_at=None))
            callers.revoke(f"c{number}")
        stop.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        for token in gone:
            refusal(callers, token)


def test_of_processes_that_create_one_caller_at_once_one_succeeds(state: Path) -> None:
    create = (
        "import sys; from platforms.callers.callers import Callers; from core.errors import ParameterError\n"
        f"try: Callers({str(state)!r}).create('tines', ['read'], expires_at=None)\n"
        "except ParameterError: sys.exit(2)"
    )
    started = [subprocess.Popen([sys.executable, "-c", create]) for _ in range(4)]
    assert sorted(process.wait(timeout=60) for process in started) == [0, 2, 2, 2]


class TestLastUse:
    def test_the_last_use_is_written_at_most_once_a_minute(self, callers: Callers, clock: FakeClock) -> None:
        token = callers.create("tines", ["read"], expires_at=None)
        assert callers.records()[0].last_used_at is None
        first = clock.now()
        callers.authenticate(token)
        clock.advance(LAST_USE_SECONDS - 1)
        callers.authenticate(token)
        assert callers.records()[0].last_used_at == first
        clock.advance(1)
        callers.authenticate(token)
        assert callers.records()[0].last_used_at == clock.now()

    def test_a_refused_token_has_no_last_use(self, callers: Callers) -> None:
        token = callers.create("tines", ["read"], expires_at=None)
        refusal(callers, token[:-1] + ("A" if token[-1] != "A" else "B"))
        assert callers.records()[0].last_used_at is None

    def test_a_last_use_that_cannot_be_written_stops_no_request(self, callers: Callers, state: Path) -> None:
        token = callers.create("tines", ["read"], expires_at=None)
        callers.any()
        (state / FILE).chmod(0o666)
        assert callers.authenticate(token).name == "tines"


class TestRotate:
    def test_both_tokens_work_until_the_overlap_ends(self, callers: Callers, clock: FakeClock) -> None:
        old = callers.create("tines", ["read", "approve"], expires_at=None, rate_share=0.5)
        new = callers.rotate("tines", expires_at=None, overlap=timedelta(minutes=10))
        assert callers.authenticate(old) == callers.authenticate(new)
        assert callers.authenticate(new) == Caller("tines", frozenset({"read", "approve"}), 0.5)
        clock.advance(600)
        refusal(callers, old)
        callers.authenticate(new)

    def test_without_an_overlap_the_old_token_ends_at_once(self, callers: Callers, clock: FakeClock) -> None:
        old = callers.create("tines", ["read"], expires_at=None)
        callers.rotate("tines", expires_at=None, overlap=timedelta(0))
        refusal(callers, old)
        assert [record.status(clock.now()) for record in callers.records()] == ["revoked", "active"]

    def test_an_overlap_never_lengthens_a_token(self, callers: Callers, clock: FakeClock) -> None:
        old = callers.create("tines", ["read"], expires_at=clock.now() + timedelta(minutes=5))
        callers.rotate("tines", expires_at=None, overlap=timedelta(hours=1))
        callers.rotate("tines", expires_at=None, overlap=timedelta(hours=1))
        clock.advance(300)
        refusal(callers, old)

    def test_an_expired_token_can_be_rotated_and_is_revoked(self, callers: Callers, clock: FakeClock) -> None:
        old = callers.create("tines", ["read"], expires_at=clock.now() + timedelta(minutes=5))
        clock.advance(301)
        new = callers.rotate("tines", expires_at=None, overlap=timedelta(hours=1))
        clock.set_forward(days=-1)
        assert callers.authenticate(new).name == "tines"
        refusal(Callers(callers._directory, clock), old)

    def test_an_unknown_or_revoked_caller_cannot_be_rotated(self, callers: Callers) -> None:
        callers.create("tines", ["read"], expires_at=None)
        with pytest.raises(ParameterError, match="unknown caller 'tine'; did you mean 'tines'"):
            callers.rotate("tine", expires_at=None, overlap=DAY)
        callers.revoke("tines")
        with pytest.raises(ParameterError, match="every token of the caller 'tines' is revoked"):
            callers.rotate("tines", expires_at=None, overlap=DAY)


class TestRevoke:
    def test_every_token_of_the_caller_ends_at_once(self, callers: Callers) -> None:
        tokens = [callers.create("tines", ["read"], expires_at=None)]
        tokens.append(callers.rotate("tines", expires_at=None, overlap=DAY))
        other = callers.create("other", ["read"], expires_at=None)
        assert callers.revoke("tines") == 2
        for token in tokens:
            refusal(callers, token)
        callers.authenticate(other)
        assert callers.revoke("tines") == 0

    def test_an_unknown_caller_is_reported(self, callers: Callers) -> None:
        with pytest.raises(ParameterError, match="unknown caller 'nobody'"):
            callers.revoke("nobody")

    def test_any_is_true_only_with_a_valid_token(self, callers: Callers, clock: FakeClock) -> None:
        assert not callers.any()
        callers.create("tines", ["read"], expires_at=clock.now() + DAY)
        assert callers.any()
        clock.advance(DAY.total_seconds())
        assert not callers.any()


class TestFile:
    @pytest.fixture
    def token(self, callers: Callers, clock: FakeClock) -> str:
        token = callers.create("tines", ["read"], expires_at=None)
        callers.authenticate(token)
        clock.advance(RELOAD_SECONDS)
        return token

    @pytest.mark.parametrize("data", [b"not a database, but long enough for a header" * 50, b"SQLite format 3\0" * 9])
    def test_a_damaged_file_refuses_every_token_and_names_the_ways_out(
        self, data: bytes, callers: Callers, state: Path, token: str
    ) -> None:
        (state / FILE).write_bytes(data)
        with pytest.raises(
            ConnectionSettingsError, match=r"callers\.sqlite in the state directory can't be used"
        ) as bad:
            callers.authenticate(token)
        assert "restore it from a backup" in bad.value.help

    def test_a_repaired_file_is_used_again(self, callers: Callers, clock: FakeClock, state: Path, token: str) -> None:
        good = (state / FILE).read_bytes()
        (state / FILE).write_bytes(b"x" * 4096)
        with pytest.raises(ConnectionSettingsError):
            callers.authenticate(token)
        (state / FILE).write_bytes(good)
        clock.advance(RELOAD_SECONDS)
        assert callers.authenticate(token).name == "tines"

    def test_an_unusable_file_is_tried_at_most_twice_a_second(
        self, callers: Callers, state: Path, token: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (state / FILE).write_bytes(b"x" * 4096)
        with pytest.raises(ConnectionSettingsError):
            callers.authenticate(token)
        monkeypatch.setattr("platforms.callers.callers.read_tokens", pytest.fail)
        with pytest.raises(ConnectionSettingsError):
            callers.authenticate(token)

    def test_a_file_that_others_can_read_is_refused_with_the_command(
        self, callers: Callers, state: Path, token: str
    ) -> None:
        (state / FILE).chmod(0o640)
        with pytest.raises(ConnectionSettingsError, match="accessible to other users") as bad:
            callers.authenticate(token)
        assert f"chmod 600 {state / FILE}" in bad.value.help

    def test_a_link_is_not_followed(self, callers: Callers, state: Path, token: str) -> None:
        (state / FILE).rename(state / "other.sqlite")
        (state / FILE).symlink_to("other.sqlite")
        with pytest.raises(ConnectionSettingsError, match="symbolic links"):
            callers.authenticate(token)

    def test_a_second_hard_link_is_refused(self, callers: Callers, state: Path, token: str) -> None:
        os.link(state / FILE, state / "other.sqlite")
        with pytest.raises(ConnectionSettingsError, match="2 hard links"):
            callers.authenticate(token)

    def test_a_replaced_file_counts_at_once(
        self, callers: Callers, clock: FakeClock, state: Path, token: str, tmp_path: Path
    ) -> None:
        elsewhere = Callers(str(tmp_path / "elsewhere"), clock)
        new = elsewhere.create("other", ["read"], expires_at=None)
        (tmp_path / "elsewhere" / FILE).replace(state / FILE)
        assert callers.authenticate(new).name == "other"
        refusal(callers, token)

    def test_a_deleted_file_refuses_every_token(self, callers: Callers, state: Path, token: str) -> None:
        (state / FILE).unlink()
        refusal(callers, token)
        assert not callers.any()

    @pytest.mark.parametrize(
        "change",
        [
            "scopes = 'read,admin'",
            "scopes = ''",
            "scopes = x'00'",
            "rate_share = 7",
            "rate_share = 'much'",
            "secret_sha256 = x'00'",
            "secret_sha256 = 'text'",
            "expires_at = 'soon'",
            "created_at = 5",
            "name = 'a b'",
        ],
    )
    def test_a_damaged_row_refuses_every_token(self, change: str, callers: Callers, state: Path, token: str) -> None:
        with closing(sqlite3.connect(state / FILE, isolation_level=None)) as database:
            database.execute(f"UPDATE token SET {change}")  # noqa: S608 -- the test's own text
        with pytest.raises(ConnectionSettingsError, match=f"the row of the token '{token[5:15]}' is damaged"):
            callers.authenticate(token)

    def test_a_table_of_another_program_is_refused(self, callers: Callers, state: Path, token: str) -> None:
        with closing(sqlite3.connect(state / FILE, isolation_level=None)) as database:
            database.execute("DROP TABLE token")
            database.execute("CREATE TABLE token (x)")
        with pytest.raises(ConnectionSettingsError, match="no such column"):
            callers.authenticate(token)

    def test_a_relative_state_directory_is_refused(self) -> None:
        with pytest.raises(ConnectionSettingsError, match="CFES_STATE_DIR must be an absolute path"):
            Callers("state").any()


def test_a_known_caller_is_authenticated_at_once_until_the_tokens_are_old(callers: Callers, clock: FakeClock) -> None:
    token = callers.create("ana", ("read",), expires_at=None)
    assert callers.authenticate_at_once(token) is None
    assert callers.authenticate(token).name == "ana"
    known = callers.authenticate_at_once(token)
    assert known is not None
    assert known.name == "ana"
    assert callers.authenticate_at_once(f"{token[:-1]}{'A' if token[-1] != 'A' else 'B'}") is None
    assert callers.authenticate_at_once(None) is None
    clock.advance(RELOAD_SECONDS)
    assert callers.authenticate_at_once(token) is None


def test_a_revoked_or_expired_caller_is_not_authenticated_at_once(callers: Callers, clock: FakeClock) -> None:
    token = callers.create("ana", ("read",), expires_at=clock.now() + timedelta(seconds=0.2))
    callers.authenticate(token)
    assert callers.authenticate_at_once(token) is not None
    clock.advance(0.3)
    assert callers.authenticate_at_once(token) is None
