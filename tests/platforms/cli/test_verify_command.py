"""`cfes verify`: what a person and a program are told of a bundle of evidence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evidence.test_bundle import OTHER_PUBLIC, PUBLIC, made
from tests.platforms.cli.conftest import Cfes


@pytest.mark.parametrize("name", ["case", "case.zip"])
def test_an_intact_bundle_is_told_as_such(name: str, cfes: Cfes, tmp_path: Path) -> None:
    bundle = made(tmp_path / name)
    ended = cfes("verify", str(bundle), "--output", "json")
    assert (ended.code, ended.document["intact"], ended.document["signed"]) == (0, True, "no")
    assert {file["state"] for file in ended.document["files"]} == {"unchanged"}
    shown = cfes("verify", str(bundle), "--output", "table")
    assert shown.code == 0
    assert ": intact" in shown.out
    assert ended.document["evidence_sha256"] in shown.out.replace("\n", "").replace(" ", "")


def test_each_file_that_is_not_as_it_was_is_named(cfes: Cfes, tmp_path: Path) -> None:
    bundle = made(tmp_path / "case")
    (bundle / "rows.ndjson").write_bytes(b"{}\n")
    (bundle / "job.json").unlink()
    (bundle / "\x1b[31mred\u202e.txt").touch()
    ended = cfes("verify", str(bundle), "--output", "table")
    assert ended.code == 8
    assert ": NOT intact" in ended.out
    for line in ("changed", "rows.ndjson: 3 bytes instead of 760,000", "missing", "job.json", "extra", "red"):
        assert line in ended.out
    assert "\x1b[31m" not in ended.out
    assert "\u202e" not in ended.out
    document = cfes("verify", str(bundle), "--output", "json").document
    assert {file["path"]: file["state"] for file in document["files"]} == {
        "rows.ndjson": "changed",
        "export.json": "unchanged",
        "job.json": "missing",
        "empty.csv": "unchanged",
        "\x1b[31mred\u202e.txt": "extra",
    }


def test_bytes_between_the_files_of_a_zip_are_told(cfes: Cfes, tmp_path: Path) -> None:
    bundle = made(tmp_path / "case.zip")
    bundle.write_bytes(b"#!/bin/sh\n" + bundle.read_bytes())
    ended = cfes("verify", str(bundle), "--output", "table")
    assert (ended.code, ": NOT intact" in ended.out) == (8, True)
    assert "(between the files): 10 bytes that are in no file" in ended.out


def test_a_signature_is_checked_with_a_key(cfes: Cfes, tmp_path: Path) -> None:
    bundle = made(tmp_path / "case.zip", signed=True)
    good, other = tmp_path / "good.pem", tmp_path / "other.pem"
    good.write_bytes(PUBLIC)
    other.write_bytes(OTHER_PUBLIC)
    assert "give --public-key" in cfes("verify", str(bundle), "--output", "table").out
    assert cfes("verify", str(bundle), "--public-key", str(good)).code == 0
    ended = cfes("verify", str(bundle), "--public-key", str(other), "--output", "table")
    assert (ended.code, "NOT with the key given" in ended.out) == (8, True)


def test_what_is_no_bundle_is_a_bad_parameter(cfes: Cfes, tmp_path: Path) -> None:
    ended = cfes("verify", str(tmp_path / "none"), "--output", "json")
    assert (ended.code, ended.error["type"]) == (2, "ParameterError")
    assert "is no bundle of evidence: it is not there" in ended.error["message"]
    bundle = made(tmp_path / "case")
    assert cfes("verify", str(bundle), "--public-key", str(tmp_path / "none")).code == 2
