"""Check that every way of reading a zip file finds the same files.

Programs read a zip file by the directory at its end, or entry after entry from its beginning, as a streaming download
does. Bytes that the directory does not list can be a file for the second way. So can bytes after the deflated data, or
after a local header with another size. The verified files are the unpacked files only if both ways find the same ones.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from core.quantity import counted
from remediation.evidence.zip_entry import DESCRIBED_BEHIND, IN_ZIP64, extra_problem, problems_of, sizes_in_zip64

_BLOCK = 1 << 18

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s4B4H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_LONGEST_COMMENT = (1 << 16) - 1

_UTF_8 = 0x800


class Content:
    """The content of an entry. Reading it fails if it does not end where the directory says."""

    def __init__(self, file: IO[bytes], about: zipfile.ZipInfo) -> None:
        file.seek(_start(file, about))
        self._file = file
        self._about = about
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS) if about.compress_type == zipfile.ZIP_DEFLATED else None
        self._left = about.compress_size
        self._pending = b""
        self._ended = False
        self._bytes = self._crc = 0

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, fewer only at the end. Raises: OSError, EOFError, BadZipFile, zlib.error."""
        blocks = []
        while size and not self._ended:
            block = self._block(size)
            size -= len(block)
            blocks.append(block)
        return b"".join(blocks)

    def _block(self, most: int) -> bytes:
        if not self._pending and self._left:
            self._pending = self._file.read(min(self._left, _BLOCK))
            if not self._pending:
                raise EOFError("the zip file ends within it")
            self._left -= len(self._pending)
        if self._inflater is None:
            block, self._pending = self._pending[:most], self._pending[most:]
            self._ended = not self._left and not self._pending
        else:
            block = self._inflater.decompress(self._pending, min(most, _BLOCK))
            self._pending = self._inflater.unconsumed_tail
            self._ended = self._inflater.eof
            if not (block or self._pending or self._left or self._ended):
                raise zipfile.BadZipFile("it ends within its compressed data")
        self._bytes += len(block)
        self._crc = zlib.crc32(block, self._crc)
        if self._ended:
            self._check_end()
        return block

    def _check_end(self) -> None:
        # A streaming reader interprets the bytes after the deflated data as the next entry.
        behind = self._left + len(self._pending) + (len(self._inflater.unused_data) if self._inflater else 0)
        if behind:
            raise zipfile.BadZipFile(f"{counted(behind, 'byte follows', 'bytes follow')} its end")
        if (self._bytes, self._crc) != (self._about.file_size, self._about.CRC):
            raise zipfile.BadZipFile("its size or CRC-32 differs from the zip file's directory")


def content(file: IO[bytes], about: zipfile.ZipInfo) -> Content:
    """Return the content of an entry. Raises: OSError, ValueError, zipfile.BadZipFile if it can't be read."""
    for problem in problems_of(about):
        raise ValueError(problem)
    return Content(file, about)


def strays(file: IO[bytes], archive: zipfile.ZipFile) -> Iterator[str]:
    """Yield descriptions of anything besides the entries, the directory and the end of the zip file.

    Entries may be in any order and from any program, but each must begin where another ends.
    """
    entries = sorted(archive.infolist(), key=lambda about: about.header_offset)
    following = [*(about.header_offset for about in entries), archive.start_dir]
    loose = following.pop(0)
    for about, place in zip(entries, following, strict=True):
        name = about.filename[:200]
        try:
            ends = _ends(file, about)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            yield f"{name}: {error}"
            continue
        gap = min((place - end for end in ends), key=abs)
        if gap < 0:
            yield f"{name} overlaps the next entry"
        loose += max(gap, 0)
    if loose:
        yield f"{counted(loose, 'byte that belongs', 'bytes that belong')} to no file"
    yield from _directory(file, archive)
    yield from _end(file, archive)


def _directory(file: IO[bytes], archive: zipfile.ZipFile) -> Iterator[str]:
    """Yield the problems of the directory: it must consist of its entries' records and nothing else."""
    file.seek(archive.start_dir)
    for about in archive.infolist():
        header = file.read(_CENTRAL.size)
        fields = _CENTRAL.unpack(header) if len(header) == _CENTRAL.size else (b"",) * 19
        lengths = fields[12:15]
        rest = file.read(sum(lengths)) if fields[0] == b"PK\1\2" else b""
        whole = fields[0] == b"PK\1\2" and len(rest) == sum(lengths)
        sizes = sizes_in_zip64([fields[11], fields[10], fields[18]], about.extra) if whole else None
        if not whole or len(about.extra) != lengths[1] or sizes is None:
            yield f"{about.filename[:200]}: its record in the zip file's directory is incomplete"
            return
        if sizes[:2] != [about.file_size, about.compress_size]:
            yield f"{about.filename[:200]}: its sizes in the zip file's directory are ambiguous"
    signature = file.read(4)
    if signature not in (b"PK\5\6", b"PK\6\6"):
        yield "the zip file's directory contains more than its files"


def _start(file: IO[bytes], about: zipfile.ZipInfo) -> int:
    """Return the start of an entry's data. Raises: BadZipFile if its local header and the directory differ."""
    if about.header_offset < 0:
        raise zipfile.BadZipFile("it begins before the zip file")
    file.seek(about.header_offset)
    header = file.read(_LOCAL.size)
    if len(header) != _LOCAL.size:
        raise zipfile.BadZipFile("it has no local header")
    signature, _, flags, method, time, date, crc, packed, unpacked, name_length, extra_length = _LOCAL.unpack(header)
    data = about.header_offset + _LOCAL.size + int(name_length) + int(extra_length)
    name, extra = file.read(name_length), file.read(extra_length)
    if signature != b"PK\3\4" or len(name) + len(extra) != name_length + extra_length:
        raise zipfile.BadZipFile("it has no local header")
    if problem := extra_problem(extra, about.extra):
        raise zipfile.BadZipFile(problem)
    sizes = sizes_in_zip64([int(unpacked), int(packed)], extra)
    # A size that was unknown when the header was written is zero there and follows the data.
    unknown = {0} if flags & DESCRIBED_BEHIND else set()
    same = (
        name.decode("utf-8" if flags & _UTF_8 else "cp437") == about.orig_filename == about.filename
        and (method, flags) == (about.compress_type, about.flag_bits)
        and _moment(date, time) == about.date_time
        and sizes is not None
        and crc in {about.CRC} | unknown
        and sizes[0] in {about.file_size} | unknown
        and sizes[1] in {about.compress_size} | unknown
    )
    if not same:
        raise zipfile.BadZipFile("its local header differs from the zip file's directory")
    return data


def _moment(date: int, time: int) -> tuple[int, int, int, int, int, int]:
    return (date >> 9) + 1980, date >> 5 & 15, date & 31, time >> 11, time >> 5 & 63, 2 * (time & 31)


def _ends(file: IO[bytes], about: zipfile.ZipInfo) -> list[int]:
    """Return where an entry may end: several places if its data descriptor is ambiguous."""
    end = _start(file, about) + about.compress_size
    if not about.flag_bits & DESCRIBED_BEHIND:
        return [end]
    file.seek(end)
    there = file.read(24)
    # Programs write 4 or 8 bytes for a size, with or without a signature. All values are known, so nothing can hide.
    known = (about.CRC, about.compress_size, about.file_size)
    bare = [struct.pack("<LQQ", *known)] + ([struct.pack("<LLL", *known)] if max(known) <= IN_ZIP64 else [])
    ends = [end + len(whole) for part in bare for whole in (b"PK\7\10" + part, part) if there.startswith(whole)]
    if not ends:
        raise zipfile.BadZipFile("its sizes do not follow its data, although its header says so")
    return ends


def _end(file: IO[bytes], archive: zipfile.ZipFile) -> Iterator[str]:
    """Yield the problems of the end: it must lead every reader to the same directory."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END.size - _LONGEST_COMMENT))
    tail = file.read()
    if tail[-_END.size :][:4] != b"PK\5\6" or tail[-2:] != b"\0\0":
        behind = len(tail) - tail.rfind(b"PK\5\6") - _END.size
        yield f"{counted(behind, 'byte')} after the zip file's end"
        return
    _, *fields, _ = _END.unpack(tail[-_END.size :])
    entries = len(archive.infolist())
    records = _END.size
    locator = tail[: -_END.size][-_LOCATOR.size :]
    if locator[:4] == b"PK\6\7":
        records += _LOCATOR.size + _END_64.size
        expected = [0, 0, entries, entries, size - records - archive.start_dir, archive.start_dir]
        record = tail[-records:][: _END_64.size]
        large = _END_64.unpack(record) if len(record) == _END_64.size else ()
        whole = _LOCATOR.unpack(locator)[1:] == (0, size - records, 1) and large[:2] == (b"PK\6\6", _END_64.size - 12)
        same = (
            whole
            and list(large[4:]) == expected
            and all(
                field in (known, most)
                for field, known, most in zip(fields, expected, [0xFFFF] * 4 + [IN_ZIP64] * 2, strict=True)
            )
        )
    else:
        same = fields == [0, 0, entries, entries, size - records - archive.start_dir, archive.start_dir]
    if not same:
        yield "the zip file's end has a wrong place or number of files for its directory"
