"""`cfes token`: create, list, rotate and revoke."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from core.errors import AuthenticationFailed
from platforms.callers.callers import Callers
from platforms.callers.records import Caller
from platforms.callers.store import FILE
from platforms.callers.tokens import PATTERN
from platforms.cli.commands import token as command
from tests.clock import FakeClock
from tests.platforms.cli.conftest import Cfes

shows_token = pytest.mark.shows_tokens("the command's purpose is to print a new token once")
has_tines = pytest.mark.usefixtures("tines")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock()
    monkeypatch.setattr(command, "SystemClock", lambda: fake)
    return fake


@pytest.fixture(autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("state") / "cfes"
    monkeypatch.setenv("CFES_STATE_DIR", str(folder))
    return folder


@pytest.fixture
def callers(state: Path, clock: FakeClock) -> Callers:
    return Callers(str(state), clock)


@pytest.fixture
def tines(callers: Callers, clock: FakeClock) -> str:
    return callers.create("tines", ["read", "write"], expires_at=clock.now() + timedelta(days=9), rate_share=0.5)


class TestCreate:
    @shows_token
    def test_the_token_is_printed_and_works(self, cfes: Cfes, callers: Callers) -> None:
        ended = cfes("token", "create", "tines", "--scopes", "write, read", "--rate-share", "0.25")
        assert ended.code == 0
        made = ended.document
        assert {name: made[name] for name in ("name", "status", "scopes", "rate_share")} == {
            "name": "tines",
            "status": "active",
            "scopes": ["read", "write"],
            "rate_share": 0.25,
        }
        caller = callers.authenticate(made["token"])
        assert caller == Caller("tines", frozenset({"read", "write"}), 0.25)
        assert "shown only once" in ended.err
        assert not PATTERN.search(ended.err)

    @shows_token
    def test_on_a_terminal_the_token_is_alone_on_its_line(self, cfes: Cfes) -> None:
        ended = cfes("token", "create", "tines", "--scopes", "read", terminal=True)
        first = re.sub(r"\x1b\[[0-9;]*m", "", ended.out).splitlines()[0]
        assert PATTERN.fullmatch(first)

    @shows_token
    @pytest.mark.parametrize(
        ("flag", "length"),
        [([], timedelta(days=90)), *((["--expires-in", text], length) for text, length in [
            ("30m", timedelta(minutes=30)), ("12h", timedelta(hours=12)), ("2w", timedelta(weeks=2)), ("never", None),
        ])],
    )  # fmt: skip
    def test_a_token_expires_when_its_flag_says(
        self, flag: list[str], length: timedelta | None, cfes: Cfes, clock: FakeClock
    ) -> None:
        expires_at = cfes("token", "create", "tines", "--scopes", "read", *flag).document["expires_at"]
        found = None if expires_at is None else datetime.fromisoformat(expires_at) - clock.now()
        assert found == length

    @pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5d", "1y", "999999d", "1d ", "\u0661d", "forever"])
    def test_an_unknown_length_of_time_is_refused(self, text: str, cfes: Cfes, callers: Callers) -> None:
        ended = cfes("token", "create", "tines", "--scopes", "read", f"--expires-in={text}")
        assert ended.code == 2
        assert "--expires-in must be never or a number with m, h, d or w" in ended.error["message"]
        assert callers.records() == []

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--scopes", "reed"], "not 'reed'"),
            (["--scopes", " , "], "one or more of read, write, approve, alerts"),
            (["--scopes", "read", "--rate-share", "0"], "above 0 and at most 1"),
            (["--scopes", "read", "--rate-share", "nan"], "above 0 and at most 1"),
            (["--scopes", "read", "--expires-in", "0d"], "would expire at once"),
        ],
    )
    def test_an_invalid_value_creates_nothing(
        self, flags: list[str], message: str, cfes: Cfes, callers: Callers
    ) -> None:
        ended = cfes("token", "create", "tines", *flags)
        assert ended.code == 2
        assert message in ended.error["message"]
        assert ended.error["help"].startswith("Nothing was created.")
        assert callers.records() == []

    def test_an_existing_caller_is_kept(self, cfes: Cfes, callers: Callers, tines: str) -> None:
        ended = cfes("token", "create", "tines", "--scopes", "read", terminal=True)
        assert ended.code == 2
        assert "cfes token rotate tines" in ended.err
        assert ended.err.count("Nothing was created") == 0
        assert callers.authenticate(tines).scopes == {"read", "write"}

    @shows_token
    def test_no_credentials_of_the_api_are_needed(self, cfes: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("CLOUDFLARE_API_TOKEN", "CLOUDFLARE_ACCOUNT_ID"):
            monkeypatch.delenv(name, raising=False)
        assert cfes("token", "create", "tines", "--scopes", "read").code == 0

    def test_an_empty_state_directory_setting_is_an_error(self, cfes: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CFES_STATE_DIR", "")
        ended = cfes("token", "create", "tines", "--scopes", "read")
        assert ended.code == 2
        assert "CFES_STATE_DIR is set but empty" in ended.error["message"]


class TestList:
    def test_every_token_is_listed_without_its_secret(self, cfes: Cfes, callers: Callers, tines: str) -> None:
        callers.authenticate(tines)
        [listed] = cfes("token", "list").document["tokens"]
        assert listed == {
            "name": "tines",
            "token_id": tines[5:15],
            "status": "active",
            "scopes": ["read", "write"],
            "rate_share": 0.5,
            "created_at": "2026-11-20T16:02:35Z",
            "expires_at": "2026-11-29T16:02:35Z",
            "revoked_at": None,
            "last_used_at": "2026-11-20T16:02:35Z",
        }

    @has_tines
    def test_revoked_tokens_are_listed_with_all(self, cfes: Cfes, callers: Callers, clock: FakeClock) -> None:
        callers.create("other", ["alerts"], expires_at=clock.now() + timedelta(minutes=1))
        callers.revoke("tines")
        clock.advance(60)
        assert [token["status"] for token in cfes("token", "list").document["tokens"]] == ["expired"]
        assert [token["status"] for token in cfes("token", "list", "--all").document["tokens"]] == [
            "revoked",
            "expired",
        ]

    @has_tines
    @pytest.mark.parametrize("columns", ["40", "80", "200"])
    def test_a_table_names_each_caller_at_any_width(
        self, columns: str, cfes: Cfes, callers: Callers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        long = "x" * 64
        callers.create(long, ["approve"], expires_at=None)
        monkeypatch.setenv("COLUMNS", columns)
        out = cfes("token", "list", terminal=True).out
        assert "tines" in out
        assert long in out

    def test_an_empty_list_names_the_next_command(self, cfes: Cfes) -> None:
        assert cfes("token", "list").document == {"tokens": []}
        assert "cfes token create NAME" in cfes("token", "list", terminal=True).err

    @has_tines
    def test_a_damaged_file_is_reported_with_the_ways_out(self, cfes: Cfes, state: Path) -> None:
        (state / FILE).write_bytes(b"x" * 4096)
        ended = cfes("token", "list")
        assert ended.code == 2
        assert "callers.sqlite" in ended.error["message"]
        assert "restore it from a backup" in ended.error["help"]


class TestRotate:
    @shows_token
    def test_the_new_token_works_at_once_and_the_old_one_for_the_overlap(
        self, cfes: Cfes, callers: Callers, clock: FakeClock, tines: str
    ) -> None:
        ended = cfes("token", "rotate", "tines", "--overlap", "90m")
        assert "90 minutes" in ended.err
        assert callers.authenticate(ended.document["token"]) == callers.authenticate(tines)
        clock.advance(90 * 60)
        callers.authenticate(ended.document["token"])
        with pytest.raises(AuthenticationFailed):
            callers.authenticate(tines)

    @shows_token
    def test_without_an_overlap_the_old_token_is_revoked(self, cfes: Cfes, callers: Callers, tines: str) -> None:
        assert "is revoked" in cfes("token", "rotate", "tines", "--overlap", "0m").err
        with pytest.raises(AuthenticationFailed):
            callers.authenticate(tines)

    @has_tines
    def test_an_unknown_caller_is_reported(self, cfes: Cfes) -> None:
        ended = cfes("token", "rotate", "tine")
        assert ended.code == 2
        assert ended.error["message"] == "unknown caller 'tine'; did you mean 'tines'?"


class TestRevoke:
    @has_tines
    def test_every_token_of_the_caller_is_refused(self, cfes: Cfes, callers: Callers) -> None:
        callers.rotate("tines", expires_at=None, overlap=timedelta(hours=1))
        ended = cfes("token", "revoke", "tines")
        assert ended.document == {"name": "tines", "revoked": 2}
        assert "2 tokens of tines revoked." in ended.err
        assert not callers.any()

    @has_tines
    def test_a_second_revocation_changes_nothing(self, cfes: Cfes) -> None:
        cfes("token", "revoke", "tines")
        ended = cfes("token", "revoke", "tines")
        assert (ended.code, ended.document["revoked"]) == (0, 0)
        assert "already revoked" in ended.err

    def test_an_unknown_caller_is_reported(self, cfes: Cfes) -> None:
        ended = cfes("token", "revoke", "nobody")
        assert ended.code == 2
        assert "unknown caller 'nobody'" in ended.error["message"]
