"""Evidence bundles: written completely or not at all, and every later change is reported."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConnectionSettingsError, ParameterError
from remediation.evidence.bundle import bundle_at
from remediation.evidence.manifest import MANIFEST, SIGNATURE, BundledFile, Manifest, Pack
from remediation.evidence.signature import Signer
from remediation.evidence.verification import MOST_ENTRIES, Verification, verified_file, verify

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "how-to" / "verify-an-evidence-bundle.md"
NOW = datetime(2026, 11, 20, 16, 2, 35, tzinfo=UTC)
FILES = {
    "rows.ndjson": b'{"message_id":"1"}\n' * 40_000,
    "export.json": b'{"complete": true}\n',
    "job.json": b"{}\n",
    "empty.csv": b"",
}
KEY = Ed25519PrivateKey.from_private_bytes(b"7" * 32)
PRIVATE = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
OTHER = Ed25519PrivateKey.from_private_bytes(b"8" * 32).public_key()
OTHER_PUBLIC = OTHER.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def manifest(files: list[BundledFile], **changed: Any) -> Manifest:
    known = {
        "made_at": "2026-11-20T16:02:35Z",
        "made_by": "dana",
        "pack": Pack(name="pack", version="1"),
        "account_id": "a",
        "job_id": "j",
        "status": None,
        "rows": 40_000,
        "complete": True,
        "snapshot": False,
        "signer": None,
    }
    return Manifest(**{**known, **changed}, files=files)


def make_bundle(path: Path, *, signed: bool = False, large: bool = False) -> Path:
    signer = Signer(PRIVATE) if signed else None
    with bundle_at(path, now=NOW, kept="Kept.", large=large) as bundle:
        for name, content in FILES.items():
            bundle.add(name, [content])
        bundle.seal(lambda files: manifest(files, signer=signer.fingerprint if signer else None), signer)
    return path


@pytest.fixture(params=["case", "case.zip"])
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return make_bundle(tmp_path / request.param)


@pytest.fixture(params=["case", "case.zip"])
def signed_bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return make_bundle(tmp_path / request.param, signed=True)


def contents(bundle: Path) -> dict[str, bytes]:
    if bundle.is_dir():
        return {path.name: path.read_bytes() for path in bundle.iterdir()}
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(bundle: Path, files: dict[str, bytes]) -> Path:
    """Replace the files of the bundle, and return its path."""
    if bundle.is_dir():
        for path in bundle.iterdir():
            path.unlink()
        for name, content in files.items():
            (bundle / name).write_bytes(content)
    else:
        with zipfile.ZipFile(bundle, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    return bundle


def problem_states(found: Verification) -> set[tuple[str, str]]:
    return {(finding.path, finding.state) for finding in found.problems}


def test_a_bundle_contains_its_files(bundle: Path) -> None:
    found = verify(bundle)
    stored = contents(bundle)
    assert {name: stored[name] for name in FILES} == FILES
    assert (found.verified, found.intact, found.signature, found.problems) == (True, True, "absent", [])
    assert found.sha256 == hashlib.sha256(stored[MANIFEST]).hexdigest()
    assert [(file.path, file.bytes) for file in found.manifest.files] == [(n, len(c)) for n, c in FILES.items()]


def test_only_its_owner_can_read_a_bundle(bundle: Path) -> None:
    paths = [bundle, *bundle.iterdir()] if bundle.is_dir() else [bundle]
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in paths)


def test_other_programs_can_read_a_zip_and_check_the_hashes(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "case.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "out")
    # The command in the documentation for readers without cfes.
    [line] = [line for line in DOCUMENTATION.read_text().splitlines() if "sha256sum --check" in line]
    checked = subprocess.run(["sh", "-c", line], cwd=tmp_path / "out", check=True, capture_output=True, text=True)  # noqa: S607
    assert checked.stdout == "".join(f"{name}: OK\n" for name in FILES)
    (tmp_path / "out" / "job.json").write_bytes(b"[]\n")
    assert subprocess.run(["sh", "-c", line], cwd=tmp_path / "out", check=False, capture_output=True).returncode == 1  # noqa: S607


@pytest.mark.parametrize("name", ["case", "case.zip"])
def test_a_failed_write_leaves_no_bundle(name: str, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), bundle_at(tmp_path / name, now=NOW, kept="Kept.") as bundle:
        bundle.add("rows.ndjson", [b"1"])
        bundle.add("job.json", (bytes([1 // zero]) for zero in [0]))
    assert list(tmp_path.iterdir()) == []


def test_an_evidence_folder_is_never_replaced(tmp_path: Path) -> None:
    make_bundle(tmp_path / "case")
    before = contents(tmp_path / "case")
    never_replaced = pytest.raises(ParameterError, match="never replaces anything")
    with never_replaced, bundle_at(tmp_path / "case", now=NOW, kept="Kept.") as bundle:
        bundle.add("other", [b"1"])
    assert contents(tmp_path / "case") == before
    assert [path.name for path in tmp_path.iterdir()] == ["case"]


def test_an_empty_folder_made_in_the_meantime_is_not_replaced(tmp_path: Path) -> None:
    never_replaced = pytest.raises(ParameterError, match="never replaces anything")
    with never_replaced, bundle_at(tmp_path / "case", now=NOW, kept="Kept.") as bundle:
        bundle.add("other", [b"1"])
        (tmp_path / "case").mkdir()
    assert contents(tmp_path / "case") == {}


def changes(stored: dict[str, bytes]) -> dict[str, tuple[dict[str, bytes], tuple[str, str]]]:
    rows = stored["rows.ndjson"]
    return {
        "a removed file": ({n: c for n, c in stored.items() if n != "job.json"}, ("job.json", "missing")),
        "a changed byte": ({**stored, "rows.ndjson": b"[" + rows[1:]}, ("rows.ndjson", "changed")),
        "a removed row": ({**stored, "rows.ndjson": rows[:-19]}, ("rows.ndjson", "changed")),
        "an added row": ({**stored, "rows.ndjson": rows + rows[:19]}, ("rows.ndjson", "changed")),
        "a filled empty file": ({**stored, "empty.csv": b"x"}, ("empty.csv", "changed")),
        "an added file": ({**stored, "more.txt": b""}, ("more.txt", "extra")),
        "an unlisted signature": ({**stored, SIGNATURE: b"x" * 64}, (SIGNATURE, "extra")),
    }


@pytest.mark.parametrize("change", changes({**FILES, MANIFEST: b""}))
def test_every_change_is_reported(change: str, bundle: Path) -> None:
    files, expected = changes(contents(bundle))[change]
    found = verify(rewrite(bundle, files))
    assert (found.intact, problem_states(found)) == (False, {expected})


def test_all_changes_are_reported_together(bundle: Path) -> None:
    files = contents(bundle)
    found = verify(rewrite(bundle, {MANIFEST: files[MANIFEST], "rows.ndjson": b"", "a": b"", "b": b""}))
    assert problem_states(found) == {
        ("rows.ndjson", "changed"),
        ("export.json", "missing"),
        ("job.json", "missing"),
        ("empty.csv", "missing"),
        ("a", "extra"),
        ("b", "extra"),
    }


def flip_bit(data: bytes, place: int) -> bytes:
    """Return the data with the bit at `place` flipped; `place` wraps around."""
    changed = bytearray(data)
    changed[place // 8 % len(data)] ^= 1 << place % 8
    return bytes(changed)


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = make_bundle(tmp_path_factory.mktemp("signed") / "case", signed=True)
    assert verify(bundle, PUBLIC).verified
    return bundle


@pytest.fixture(scope="module")
def shared_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("signed") / "case.zip", signed=True)


@given(which=st.integers(0, 10), place=st.integers(0, 10**7))
def test_every_flipped_bit_is_detected(shared_folder: Path, which: int, place: int) -> None:
    paths = sorted(path for path in shared_folder.iterdir() if path.stat().st_size)
    path = paths[which % len(paths)]
    data = path.read_bytes()
    path.write_bytes(flip_bit(data, place))
    try:
        verified = verify(shared_folder, PUBLIC).verified
    except ParameterError:
        verified = False
    finally:
        path.write_bytes(data)
    assert not verified


@given(places=st.lists(st.integers(0, 10**7), min_size=1, max_size=8), cut=st.integers(0, 4000) | st.none())
def test_a_damaged_zip_is_reported(shared_zip: Path, places: list[int], cut: int | None) -> None:
    data = shared_zip.read_bytes()
    bundle = shared_zip.with_name("damaged.zip")
    for place in places:
        data = flip_bit(data, place)
    bundle.write_bytes(data[:cut])
    try:
        found = verify(bundle, PUBLIC)
    except ParameterError:
        return
    # Only the files are evidence, not the archive's own records.
    assert not found.verified or {name: contents(bundle)[name] for name in FILES} == FILES


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"format": "cfes-evidence/2"}',
        b"[" * 100_000,
        b'{"files": [' + b"1," * 1_000_000 + b"1]}",
    ],
)
def test_a_bundle_needs_a_manifest(broken: bytes, bundle: Path) -> None:
    with pytest.raises(ParameterError, match="is not an evidence bundle"):
        verify(rewrite(bundle, {**contents(bundle), MANIFEST: broken}))


@pytest.mark.parametrize(
    "name", ["../job.json", "/etc/passwd", "a/b", "", ".", "..", "a\n", "A.JSON", "\u202ea", "con:"]
)
def test_a_manifest_that_names_a_file_elsewhere_is_refused(name: str, bundle: Path) -> None:
    files = contents(bundle)
    document = json.loads(files[MANIFEST])
    document["files"][0]["path"] = name
    with pytest.raises(ParameterError, match="files/0/path"):
        verify(rewrite(bundle, {**files, MANIFEST: json.dumps(document).encode()}))


@pytest.mark.parametrize("name", ["rows.ndjson", "export.json", "job.json"])
def test_a_manifest_without_a_job_is_refused(name: str, bundle: Path) -> None:
    files = contents(bundle)
    document = json.loads(files[MANIFEST])
    document["files"] = [file for file in document["files"] if file["path"] != name]
    files[MANIFEST] = json.dumps(document).encode()
    with pytest.raises(ParameterError, match=f"is not an evidence bundle: its {MANIFEST} does not list {name}$"):
        verify(rewrite(bundle, files))


def test_too_many_files_are_refused_and_not_skipped(bundle: Path) -> None:
    # No file may be skipped silently, whether the manifest lists it or not.
    more = {f"{number}.txt": b"" for number in range(MOST_ENTRIES)}
    with pytest.raises(ParameterError, match="it holds more than 10,000 files"):
        verify(rewrite(bundle, {**contents(bundle), **more}))


def test_the_names_in_a_bundle_are_listed_once(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # One listing per file of the manifest would let a bundle slow the check down at will.
    listed: list[str] = []
    scandir, infolist, namelist = os.scandir, zipfile.ZipFile.infolist, zipfile.ZipFile.namelist

    def counting(what: str, really: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def call(of: Any) -> Any:
            listed.append(what)
            return really(of)

        return call

    monkeypatch.setattr(os, "scandir", counting("names", scandir))
    monkeypatch.setattr(zipfile.ZipFile, "infolist", counting("entries", infolist))
    monkeypatch.setattr(zipfile.ZipFile, "namelist", counting("names", namelist))
    assert verify(bundle).intact
    # The layout of a zip file is checked once more, whatever its number of files.
    assert listed == (["names"] if bundle.is_dir() else ["entries"] * 4)


@pytest.mark.parametrize(
    "kind", ["nothing", "a text file", "an empty folder", "a pipe in a folder", "a pipe", "a device"]
)
def test_a_path_without_a_bundle_is_a_parameter_error(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "case"
    if kind == "a text file":
        path.write_text("no zip")
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path = Path("/dev/zero")
    elif kind != "nothing":
        path.mkdir()
    if kind == "a pipe in a folder":
        os.mkfifo(path / MANIFEST)
    with pytest.raises(ParameterError, match="is not an evidence bundle") as caught:
        verify(path)
    assert caught.value.document()["error"]["problems"][0]["pointer"] == "/evidence"


def test_a_link_in_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "case")
    (bundle / "job.json").rename(tmp_path / "elsewhere")
    (bundle / "job.json").symlink_to(tmp_path / "elsewhere")
    [finding] = verify(bundle).problems
    assert (finding.path, finding.state) == ("job.json", "changed")
    assert finding.detail == "it can't be read: it is a symbolic link"


@pytest.mark.parametrize("kind", ["pipe", "socket", "setuid", "setgid", "sticky", "hard link", "folder"])
def test_a_file_that_is_not_a_regular_file_is_reported(kind: str, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "case")
    path = bundle / "job.json"
    if kind == "hard link":
        os.link(path, tmp_path / "elsewhere")
    elif kind in ("setuid", "setgid", "sticky"):
        path.chmod({"setuid": 0o4600, "setgid": 0o2600, "sticky": 0o1600}[kind])
    else:
        path.unlink()
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            os.mknod(path, stat.S_IFSOCK | 0o600)
    [finding] = verify(bundle).problems
    assert (finding.path, finding.state) == ("job.json", "changed")


@pytest.mark.parametrize("name", [MANIFEST, SIGNATURE])
def test_the_manifest_and_its_signature_must_not_be_links(name: str, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "case", signed=True)
    (bundle / name).rename(tmp_path / "elsewhere")
    (bundle / name).symlink_to(tmp_path / "elsewhere")
    if name == MANIFEST:
        with pytest.raises(ParameterError, match="it is a symbolic link"):
            verify(bundle, PUBLIC)
    else:
        assert verdicts(verify(bundle)) == (True, "broken", False)


def test_a_link_to_a_bundle_is_verified_as_the_bundle(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(bundle)
    assert verify(tmp_path / "latest").verified


def test_a_folder_in_place_of_a_file_is_reported(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "case")
    (bundle / "job.json").unlink()
    (bundle / "job.json").mkdir()
    assert problem_states(verify(bundle)) == {("job.json", "changed")}


def test_a_duplicate_name_in_a_zip_is_reported(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "case.zip")
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(bundle, "a") as archive:
        archive.writestr("job.json", FILES["job.json"])
        archive.writestr(MANIFEST, archive.read(MANIFEST))
    assert problem_states(verify(bundle)) == {("job.json", "changed"), (MANIFEST, "extra")}


def test_unpacking_stops_at_the_size_in_the_manifest(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "case.zip")
    files = contents(bundle)
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, files[MANIFEST])
        archive.writestr("rows.ndjson", files["rows.ndjson"])
        archive.writestr("export.json", files["export.json"])
        archive.writestr("empty.csv", b"")
        archive.writestr("job.json", b"0" * 20_000_000)
    found = verify(bundle)
    [finding] = found.problems
    assert finding.detail == "more than 3 bytes instead of 3"


def test_a_verified_file_is_checked_again_when_it_is_read(bundle: Path) -> None:
    [file] = [file for file in verify(bundle).manifest.files if file.path == "job.json"]
    assert verified_file(bundle, file) == FILES["job.json"]
    rewrite(bundle, {**contents(bundle), "job.json": b"[]\n"})
    with pytest.raises(ParameterError, match="was changed"):
        verified_file(bundle, file)


def verdicts(found: Verification) -> tuple[bool, str, bool]:
    return found.intact, found.signature, found.verified


def test_a_signature_is_checked_with_the_given_key(signed_bundle: Path) -> None:
    assert verdicts(verify(signed_bundle)) == (True, "unchecked", True)
    assert verdicts(verify(signed_bundle, PUBLIC)) == (True, "valid", True)


def test_another_key_does_not_change_the_verdict_on_the_files(signed_bundle: Path) -> None:
    found = verify(signed_bundle, OTHER_PUBLIC)
    assert (verdicts(found), found.problems) == ((True, "other_key", False), [])
    assert found.key == hashlib.sha256(OTHER.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()
    assert found.key != found.manifest.signer


def test_changed_files_do_not_change_the_verdict_on_the_signature(signed_bundle: Path) -> None:
    found = verify(rewrite(signed_bundle, {**contents(signed_bundle), "job.json": b"[]\n"}), PUBLIC)
    assert (verdicts(found), problem_states(found)) == ((False, "valid", False), {("job.json", "changed")})


def test_openssl_verifies_the_signature(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "case", signed=True)
    (tmp_path / "key.pem").write_bytes(PUBLIC)
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", str(tmp_path / "key.pem")]
    command += ["-in", str(bundle / MANIFEST), "-sigfile", str(bundle / SIGNATURE)]
    assert b"Successfully" in subprocess.run(command, check=True, capture_output=True).stdout


FORGED = {
    "no signature": "removed",
    "an empty signature": "broken",
    "a longer signature": "broken",
    "another key's signature": "broken",
    "another key's signature, named": "other_key",
    "unsigned manifest": "absent",
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_manifest_is_not_signed_with_the_key(forged: str, signed_bundle: Path) -> None:
    files = contents(signed_bundle)
    document = json.loads(files[MANIFEST])
    document["rows"] = 1
    signer = document["signer"]
    if forged == "another key's signature, named":
        signer = hashlib.sha256(OTHER.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()
    elif forged == "unsigned manifest":
        signer = None
    files[MANIFEST] = json.dumps({**document, "signer": signer}).encode()
    if forged in ("no signature", "unsigned manifest"):
        del files[SIGNATURE]
    elif forged == "an empty signature":
        files[SIGNATURE] = b""
    elif forged == "a longer signature":
        files[SIGNATURE] = KEY.sign(files[MANIFEST]) + b"\n"
    else:
        files[SIGNATURE] = Ed25519PrivateKey.from_private_bytes(b"8" * 32).sign(files[MANIFEST])
    rewrite(signed_bundle, files)
    assert verdicts(verify(signed_bundle, PUBLIC)) == (True, FORGED[forged], False)
    # Without a key, only a contradiction to evidence.json is visible.
    assert verify(signed_bundle).verified is (
        forged in ("another key's signature", "another key's signature, named", "unsigned manifest")
    )


def test_an_unsigned_bundle_is_not_signed_with_any_key(bundle: Path) -> None:
    assert verdicts(verify(bundle, PUBLIC)) == (True, "absent", False)


@pytest.mark.parametrize("key", ["", "no key", PUBLIC.decode()])
def test_an_invalid_private_key_is_a_settings_error(key: str) -> None:
    with pytest.raises(ConnectionSettingsError, match="CFES_EVIDENCE_KEY") as caught:
        Signer(key)
    assert key not in str(caught.value) or not key


@pytest.mark.parametrize("key", [b"", b"no key", PRIVATE.encode(), b"x" * 100_000])
def test_an_invalid_public_key_is_a_parameter_error(key: bytes, bundle: Path) -> None:
    with pytest.raises(ParameterError, match="not an Ed25519 public key"):
        verify(bundle, key)
