"""Tags of jobs: their fields, and their MAC when a key is set."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import SecretStr

from core.derived_key import derive_key
from remediation.stamp import Stamp, StampKey

ACCOUNT = "023e105f4ecef8ad9ca31a8372d0c353"
SECRET = SecretStr("plan-key-that-must-never-show-0123456789")
KEY = StampKey(derive_key(SECRET, "stamp"))
OTHER_KEY = StampKey(derive_key(SecretStr("another-key-that-must-never-show-012345"), "stamp"))
PLAN = "ab" * 32
FULL = replace(
    Stamp.of(ACCOUNT, "case-42", {"action": "MOVE"}, call="01234567", plan_hash=PLAN, requested_by="alice"),
    approved_by=("bob", "carol"), messages=61, sent="cd" * 16,
)  # fmt: skip


def test_a_written_tag_is_read_back() -> None:
    for stamp in (FULL, FULL.sealed(ACCOUNT, KEY), Stamp("0" * 24, "1" * 16), replace(FULL, messages=0)):
        assert Stamp.read(stamp.on("case 42")) == stamp


def test_a_tag_made_without_a_key_has_no_mac() -> None:
    assert str(Stamp.of(ACCOUNT, "case-42", {"a": 1})) == "[cfes:1:74476abcf11e86d088c2ded8:015abd7f5cc57a2d]"
    assert FULL.sealed(ACCOUNT, None) == FULL


def test_each_key_gives_another_tag_for_one_request() -> None:
    keys = {Stamp.of(ACCOUNT, "case-42", {}, stamp_key=key).key for key in (None, KEY, OTHER_KEY)}
    assert len(keys) == 3
    assert {len(key) for key in keys} == {24}


def test_the_case_of_the_account_id_does_not_matter() -> None:
    assert Stamp.of(ACCOUNT.upper(), "k", {}, stamp_key=KEY) == Stamp.of(ACCOUNT, "k", {}, stamp_key=KEY)


@pytest.mark.parametrize(
    "change",
    [
        ("by=alice", "by=mallory"), ("ok=bob,carol", "ok=bob"), ("n=61", "n=6"), ("plan=ab", "plan=ac"),
        ("sent=cd", "sent=ce"), (":n=61", ""), ("call=0", "call=1"), ("cfes:1:", "cfes:1:0"),
    ],
)  # fmt: skip
def test_a_changed_tag_is_not_authentic(change: tuple[str, str]) -> None:
    text = str(FULL.sealed(ACCOUNT, KEY))
    original = Stamp.read(text)
    assert original is not None
    assert original.is_authentic(ACCOUNT, KEY)
    changed = Stamp.read(text.replace(*change, 1))
    assert changed is None or not changed.is_authentic(ACCOUNT, KEY)


def test_a_tag_with_another_key_another_account_or_no_key_is_not_authentic() -> None:
    read = Stamp.read(str(FULL.sealed(ACCOUNT, KEY)))
    assert read is not None
    assert not read.is_authentic(ACCOUNT, OTHER_KEY)
    assert not read.is_authentic("another", KEY)
    assert not FULL.is_authentic(ACCOUNT, KEY)


def test_a_field_after_the_mac_is_refused() -> None:
    read = Stamp.read(str(FULL.sealed(ACCOUNT, KEY)).replace("]", ":by=mallory]"))
    assert read is None or not read.is_authentic(ACCOUNT, KEY)


def test_the_mac_covers_fields_of_a_later_version() -> None:
    text = f"{str(FULL)[:-1]}:zz=new"
    mac = KEY.mac("stamp", f"{ACCOUNT}\0{text}")[:32]
    read = Stamp.read(f"{text}:mac={mac}] case 42")
    assert read is not None
    assert read.is_authentic(ACCOUNT, KEY)
    assert read.requested_by == "alice"


@pytest.mark.parametrize(("digits", "named"), [(32, True), (31, False), (16, False), (1, False), (0, False)])
def test_a_truncated_digest_does_not_name_a_plan(digits: int, named: bool) -> None:
    stamp = replace(FULL, plan=PLAN[:digits])
    assert stamp.names_plan(PLAN) is named
    assert stamp.same_plan(replace(FULL, plan=PLAN[:digits])) is named
    assert not stamp.names_plan("cd" * 32)


@pytest.mark.parametrize("text", ["x", "-1", "1e3", "1" * 13, "%00"])
def test_a_count_that_is_not_a_number_is_ignored(text: str) -> None:
    read = Stamp.read(str(FULL).replace("n=61", f"n={text}"))
    assert read is not None
    assert read.messages is None


def test_the_key_does_not_appear_in_a_repr() -> None:
    assert str(KEY.key) not in repr(KEY)
    assert KEY.mac("intent", "x") != KEY.mac("stamp", "x")
    assert derive_key(SECRET, "stamp") != derive_key(SECRET, "plan")
