"""A bundle's zip file contains its files and nothing else, for every reader and every packer."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import pytest

from core.errors import ParameterError
from remediation.evidence.manifest import MANIFEST, SIGNATURE
from remediation.evidence.verification import BETWEEN, Verification, verify
from tests.exhaustive import exhaustive_unless
from tests.remediation.evidence.test_bundle import FILES, PUBLIC, contents, make_bundle, problem_states

EVIL = b"message_id\nforged\n"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "case.zip")


def hidden_entry(name: bytes = b"rows.csv") -> bytes:
    """Return a stored entry as a streaming reader sees it."""
    sizes = (zlib.crc32(EVIL), len(EVIL), len(EVIL))
    return struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 0x21, *sizes, len(name), 0) + name + EVIL


def entries(path: Path) -> list[zipfile.ZipInfo]:
    with zipfile.ZipFile(path) as archive:
        return archive.infolist()


def directory_offset(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        return archive.start_dir


def insert_bytes(path: Path, place: int, more: bytes) -> None:
    """Insert bytes into the zip file at a place, and correct its directory."""
    before, at = entries(path), directory_offset(path)
    data = path.read_bytes()
    central = bytearray(data[at:])
    position = 0
    for about in before:
        name, extra, comment = struct.unpack_from("<3H", central, position + 28)
        struct.pack_into("<L", central, position + 42, about.header_offset + len(more) * (about.header_offset >= place))
        position += 46 + name + extra + comment
    struct.pack_into("<L", central, position + 16, at + len(more))
    path.write_bytes(data[:place] + more + data[place:at] + central)


def problem(found: Verification) -> str:
    [finding] = found.problems
    assert (finding.path, finding.state, found.intact) == (BETWEEN, "extra", False)
    return finding.detail


@pytest.mark.parametrize("where", [0, 1, 3, "the directory"])
def test_an_entry_outside_the_directory_is_found(where: int | str, bundle: Path) -> None:
    place = entries(bundle)[where].header_offset if isinstance(where, int) else directory_offset(bundle)
    insert_bytes(bundle, place, hidden_entry())
    assert contents(bundle)[MANIFEST]
    assert problem(verify(bundle)) == f"{len(hidden_entry())} bytes that belong to no file"


def test_bytes_in_several_places_are_counted_together(bundle: Path) -> None:
    insert_bytes(bundle, directory_offset(bundle), b"x" * 7)
    insert_bytes(bundle, 0, b"x" * 4)
    assert problem(verify(bundle)) == "11 bytes that belong to no file"


def test_bytes_before_the_zip_are_found(bundle: Path) -> None:
    # Like a self-extracting archive: the directory's offsets are wrong by that much, and readers correct them.
    bundle.write_bytes(hidden_entry() + bundle.read_bytes())
    found = verify(bundle)
    assert not found.intact
    assert f"{len(hidden_entry())} bytes that belong to no file" in {finding.detail for finding in found.problems}


def test_an_archive_comment_is_found(bundle: Path) -> None:
    with zipfile.ZipFile(bundle, "a") as archive:
        archive.comment = hidden_entry()
    assert problem(verify(bundle)) == f"{len(hidden_entry())} bytes after the zip file's end"


def test_bytes_after_the_end_are_found(bundle: Path) -> None:
    with bundle.open("ab") as file:
        file.write(hidden_entry())
    assert problem(verify(bundle)) == f"{len(hidden_entry())} bytes after the zip file's end"


@pytest.mark.parametrize(("field", "value"), [(8, 1), (10, 99), (16, 1)])
def test_an_end_record_that_other_readers_read_differently_is_found(field: int, value: int, bundle: Path) -> None:
    data = bytearray(bundle.read_bytes())
    # The number of entries on this disk and in total, and the start of the directory.
    struct.pack_into("<L" if field == 16 else "<H", data, len(data) - 22 + field, value)
    bundle.write_bytes(data)
    found = verify_or_refuse(bundle)
    assert found is None or not found.intact


def verify_or_refuse(bundle: Path, key: bytes | None = None) -> Verification | None:
    try:
        return verify(bundle, key)
    except ParameterError:
        return None


def test_bytes_after_the_deflated_data_are_found(bundle: Path) -> None:
    # The directory counts them as part of the file, but a streaming reader sees the next entry in them.
    files = contents(bundle)
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    [about] = [about for about in entries(bundle) if about.filename == "job.json"]
    insert_bytes(bundle, about.header_offset + 30 + len("job.json") + about.compress_size, hidden_entry())
    data = bytearray(bundle.read_bytes())
    longer = struct.pack("<L", about.compress_size + len(hidden_entry()))
    data[about.header_offset + 18 : about.header_offset + 22] = longer
    central = data.rindex(b"job.json") - 46
    data[central + 20 : central + 24] = longer
    bundle.write_bytes(data)
    assert contents(bundle) == files
    [finding] = verify(bundle).problems
    assert (finding.path, finding.state) == ("job.json", "changed")
    assert f"{len(hidden_entry())} bytes follow its end" in finding.detail


@pytest.mark.parametrize(("field", "value"), [(6, 0), (8, 0), (14, 1), (18, 1), (22, 1)])
def test_a_differing_local_header_is_found(field: int, value: int, bundle: Path) -> None:
    [about] = [about for about in entries(bundle) if about.filename == "job.json"]
    data = bytearray(bundle.read_bytes())
    # Flags, method, CRC-32, and both sizes.
    struct.pack_into("<H" if field < 14 else "<L", data, about.header_offset + field, value)
    bundle.write_bytes(data)
    assert problem_states(verify(bundle)) == {("job.json", "changed"), (BETWEEN, "extra")}


def test_a_differing_data_descriptor_is_found(bundle: Path) -> None:
    data = bytearray(bundle.read_bytes())
    end = entries(bundle)[1].header_offset
    assert data[end - 16 : end - 12] == b"PK\7\10"
    data[end - 1] = 1
    bundle.write_bytes(data)
    assert "its sizes do not follow its data" in problem(verify(bundle))


def test_two_names_for_the_same_bytes_are_found(bundle: Path) -> None:
    # Both are readable by the directory.
    listed = entries(bundle)
    data = bytearray(bundle.read_bytes())
    central = data.rindex(b"empty.csv") - 46
    struct.pack_into("<L", data, central + 42, listed[0].header_offset)
    bundle.write_bytes(data)
    found = verify(bundle)
    assert not found.intact
    assert ("empty.csv", "changed") in problem_states(found)


def test_a_second_name_in_an_extra_field_is_found(bundle: Path) -> None:
    files = contents(bundle)
    with zipfile.ZipFile(bundle, "w") as archive:
        for name, content in files.items():
            about = zipfile.ZipInfo(name)
            if name == "job.json":
                other = struct.pack("<BL", 1, zlib.crc32(b"job.json")) + b"export.json"
                about.extra = struct.pack("<2H", 0x7075, len(other)) + other
            archive.writestr(about, content)
    assert ("job.json", "changed") in problem_states(verify(bundle))


def repack(path: Path, change: Callable[[zipfile.ZipInfo], None], name: str = "job.json") -> None:
    """Pack the files again, with one entry changed."""
    files = contents(path)
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in files.items():
            about = zipfile.ZipInfo(entry, (2026, 11, 20, 16, 2, 34))
            about.external_attr = 0o100644 << 16
            if entry == name:
                change(about)
            archive.writestr(about, content)


MODES = {
    "symbolic link": stat.S_IFLNK, "directory": stat.S_IFDIR, "named pipe": stat.S_IFIFO, "socket": stat.S_IFSOCK,
    "a device": stat.S_IFCHR, "device": stat.S_IFBLK, "not a regular file": 0o110000,
}  # fmt: skip
SPECIAL = {"setuid": 0o104755, "setgid": 0o102644, "sticky": 0o101644}
DOS = {"directory": 0x10, "label": 0x08, "device": 0x40, "reparse point": 0x400, "hidden": 0x02, "system file": 0x04}


@pytest.mark.parametrize("system", exhaustive_unless({3}, [0, 3, 11]))
@pytest.mark.parametrize("word", MODES)
def test_an_entry_that_is_not_a_regular_file_for_every_program_is_found(word: str, system: int, bundle: Path) -> None:
    def change(about: zipfile.ZipInfo) -> None:
        about.create_system, about.external_attr = system, (MODES[word] | 0o644) << 16

    repack(bundle, change)
    [finding] = verify(bundle).problems
    assert (finding.path, finding.state) == ("job.json", "changed")
    assert word in finding.detail


@pytest.mark.parametrize("attributes", [mode << 16 for mode in SPECIAL.values()])
def test_an_entry_with_a_special_mode_is_found(attributes: int, bundle: Path) -> None:
    repack(bundle, lambda about: setattr(about, "external_attr", attributes))
    [finding] = verify(bundle).problems
    assert finding.detail == "it can't be read: it is flagged as setuid, setgid or sticky"


@pytest.mark.parametrize("word", DOS)
def test_an_entry_with_special_dos_attributes_is_found(word: str, bundle: Path) -> None:
    repack(bundle, lambda about: setattr(about, "external_attr", DOS[word] | 0x20))
    [finding] = verify(bundle).problems
    assert (finding.path, finding.state) == ("job.json", "changed")
    assert word in finding.detail


@pytest.mark.parametrize("name", [MANIFEST, SIGNATURE])
def test_the_manifest_and_its_signature_must_be_regular_files(name: str, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "case.zip", signed=True)
    repack(bundle, lambda about: setattr(about, "external_attr", (stat.S_IFLNK | 0o777) << 16), name)
    for key in (None, PUBLIC):
        found = verify_or_refuse(bundle, key)
        assert found is None or not found.verified


EXTRA = {
    "the mode and link of Unix": struct.pack("<2H", 0x756E, 4) + bytes(4),
    "PKWARE's Unix field": struct.pack("<2H", 0x000D, 12) + bytes(12),
    "a second name": struct.pack("<2HBL", 0x7075, 8, 1, zlib.crc32(b"job.json")) + b"a/b",
    "a second comment": struct.pack("<2HBL", 0x6375, 5, 1, 0),
    "an access list": struct.pack("<2H", 0x4C41, 0),
    "an incomplete field": struct.pack("<2H", 0x5455, 9) + b"\1",
    "bytes after the last field": struct.pack("<2HBL", 0x5455, 5, 1, 0) + b"x",
    "a repeated time": struct.pack("<2HBL", 0x5455, 5, 1, 0) * 2,
    "redundant sizes": struct.pack("<2H2Q", 0x0001, 16, 1, 1),
}


@pytest.mark.parametrize("extra", EXTRA)
def test_an_ambiguous_extra_field_is_found(extra: str, bundle: Path) -> None:
    repack(bundle, lambda about: setattr(about, "extra", EXTRA[extra]))
    found = verify_or_refuse(bundle)
    assert found is None or not found.intact


@pytest.mark.parametrize(
    ("field", "value"),
    # The version, the flags, the method, the time, the disk, the attributes for text; then comment and name lengths.
    [(5, 2), (6, 99), (7, 9), (8, 1), (8, 0x20), (9, 0x20), (10, 12), (12, 1), (14, 1), (28, 7), (30, 4), (32, 3),
     (34, 1), (36, 2), (42, 1)],
)  # fmt: skip
def test_an_unexpected_directory_record_is_found(field: int, value: int, bundle: Path) -> None:
    data = bytearray(bundle.read_bytes())
    data[data.rindex(b"job.json") - 46 + field] = value
    bundle.write_bytes(data)
    found = verify_or_refuse(bundle)
    assert found is None or not found.intact


@pytest.mark.parametrize("place", [6, 10, 12])
def test_differing_flags_or_times_of_the_local_header_are_found(place: int, bundle: Path) -> None:
    [about] = [about for about in entries(bundle) if about.filename == "job.json"]
    data = bytearray(bundle.read_bytes())
    data[about.header_offset + place] ^= 2
    bundle.write_bytes(data)
    assert "its local header differs" in next(iter(verify(bundle).problems)).detail


NAMES = [
    "/job.json", "../job.json", "..", "a/../job.json", "a\\..\\job.json", "C:job.json", "C:\\job.json", "JOB.JSON",
    "job.json ", "job.json.", "job.json/", "job.json\0.txt", "j\u043eb.json", "jo\u0301b.json", "job.json:stream",
    "con", "\u202ejob.json", "//server/job.json", "./job.json",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_under_another_name_is_reported(name: str, bundle: Path) -> None:
    with zipfile.ZipFile(bundle, "a") as archive:
        about = zipfile.ZipInfo("placeholder")
        # Set directly: ZipInfo would correct the name.
        about.filename = about.orig_filename = name
        archive.writestr(about, b"x")
    found = verify(bundle)
    assert not found.intact
    assert {finding.state for finding in found.problems} <= {"extra", "changed"}


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
@pytest.mark.parametrize("large", [False, True])
def test_other_programs_unpack_the_verified_files(large: bool, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "case.zip", large=large)
    subprocess.run(["unzip", "-q", str(bundle), "-d", str(tmp_path / "out")], check=True)  # noqa: S607
    assert contents(tmp_path / "out") == contents(bundle)
    assert all(path.stat().st_mode == stat.S_IFREG | 0o600 for path in (tmp_path / "out").iterdir())


def test_a_bundle_has_no_8_byte_sizes_for_streaming_readers(bundle: Path) -> None:
    # Streaming readers stop at a descriptor with sizes of 8 bytes if the file does not need them.
    data = bundle.read_bytes()
    for about in entries(bundle):
        assert (about.flag_bits & 8, about.extract_version) == (8, 20)
        known = struct.pack("<4s3L", b"PK\7\10", about.CRC, about.compress_size, about.file_size)
        assert known in data


class Unseekable:
    """An unseekable stream, like a pipe."""

    def __init__(self, file: IO[bytes]) -> None:
        self.write, self.flush = file.write, file.flush


def write_to_stream(path: Path, files: dict[str, bytes], **how: Any) -> None:
    with path.open("wb") as file, zipfile.ZipFile(cast("IO[bytes]", Unseekable(file)), "w", **how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def write_bare_descriptors(path: Path, files: dict[str, bytes], signature: bytes) -> None:
    """Write a zip file with descriptors of 12 or 16 bytes and local headers without sizes."""
    body, central = b"", b""
    for name, content in files.items():
        packer = zlib.compressobj(wbits=-15)
        packed = packer.compress(content) + packer.flush()
        known = struct.pack("<3L", zlib.crc32(content), len(packed), len(content))
        common = struct.pack("<5H", 20, 8, 8, 0, 0x21)
        place = len(body)
        body += b"PK\3\4" + common + bytes(12) + struct.pack("<2H", len(name), 0) + name.encode()
        body += packed + signature + known
        central += b"PK\1\2" + struct.pack("<H", 20) + common + known
        central += struct.pack("<5H2L", len(name), 0, 0, 0, 0, 0, place) + name.encode()
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(files), len(files), len(central), len(body), 0)
    path.write_bytes(body + central + end)


PACKERS: dict[str, Callable[[Path, dict[str, bytes]], None]] = {
    "stored, to a stream": write_to_stream,
    "deflated, to a stream": lambda path, files: write_to_stream(path, files, compression=zipfile.ZIP_DEFLATED),
    "descriptors with a signature": lambda path, files: write_bare_descriptors(path, files, b"PK\7\10"),
    "descriptors without one": lambda path, files: write_bare_descriptors(path, files, b""),
}


@pytest.mark.parametrize("packer", PACKERS)
def test_a_repacked_bundle_is_intact(packer: str, bundle: Path) -> None:
    PACKERS[packer](bundle, contents(bundle))
    assert {name: contents(bundle)[name] for name in FILES} == FILES
    assert (problem_states(verify(bundle)), verify(bundle).intact) == (set(), True)


@pytest.mark.skipif(shutil.which("zip") is None, reason="zip is not installed")
@pytest.mark.parametrize("command", ["zip -qr {} .", "zip -qr0 {} .", "zip -qr - . | cat >{}", "zip -qr -fz {} ."])
def test_a_bundle_repacked_by_a_common_program_is_intact(command: str, tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "case")
    bundle = tmp_path / "anew.zip"
    subprocess.run(["sh", "-c", command.format(bundle)], cwd=folder, check=True)  # noqa: S607
    assert (problem_states(verify(bundle)), verify(bundle).intact) == (set(), True)


def test_a_directory_in_another_order_is_intact(bundle: Path) -> None:
    at = directory_offset(bundle)
    data = bundle.read_bytes()
    records, position = [], at
    for _ in entries(bundle):
        length = 46 + sum(struct.unpack_from("<3H", data, position + 28))
        records.append(data[position : position + length])
        position += length
    bundle.write_bytes(data[:at] + b"".join(reversed(records)) + data[position:])
    assert verify(bundle).intact


def test_the_end_of_a_large_zip_is_intact(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Beyond 2 GiB a zip file has a second end record, for sizes of 8 bytes.
    files = contents(bundle)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    with zipfile.ZipFile(bundle, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    monkeypatch.undo()
    assert b"PK\6\7" in bundle.read_bytes()
    assert (problem_states(verify(bundle)), verify(bundle).intact) == (set(), True)
    data = bytearray(bundle.read_bytes())
    data[len(data) - 22 - 20 + 8] ^= 1
    bundle.write_bytes(data)
    assert problem(verify(bundle)).startswith("the zip file's end has a wrong place")


def test_a_pipe_in_place_of_a_zip_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "case.zip")
    with pytest.raises(ParameterError, match="it is not a regular file"):
        verify(tmp_path / "case.zip")
