"""Check that an entry of a bundle's zip file is a regular file with one plain name.

Programs interpret zip files differently. One creates a link from a flag, another uses a second name from an extra
field, a third trusts the local header. An entry with such an ambiguity is refused. Only entries as the pack and common
packers write them are accepted.
"""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Iterator

# MS-DOS, Unix, NTFS (two numbers are in use) and OS X. The attributes of other systems are not known here.
_SYSTEMS = frozenset((0, 3, 10, 11, 19))

# 4.5: sizes of 8 bytes. No bundle uses features of later versions.
_LATEST_VERSION = 45

_DEFLATE_LEVEL, DESCRIBED_BEHIND, _UTF_8 = 0x6, 0x8, 0x800
_FLAGS = _DEFLATE_LEVEL | DESCRIBED_BEHIND | _UTF_8

# Refused attributes and their names. The allowed ones (archive, normal, read-only) have no effect. 0x8000 means that
# the upper half has a Unix mode.
_DOS = {0x02: "hidden", 0x04: "a system file", 0x08: "a volume's label", 0x10: "a directory", 0x40: "a device",
        0x400: "a link or another reparse point"}  # fmt: skip
_DOS_ALLOWED = 0x01 | 0x20 | 0x80 | 0x8000

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

ZIP64 = 0x0001
_TIMES, _OWNER, _OLD_TIMES, _NTFS_TIMES = 0x5455, 0x7875, 0x5855, 0x000A
_EXTRA = frozenset((ZIP64, _TIMES, _OWNER, _OLD_TIMES, _NTFS_TIMES))
OTHER_NAME = 0x7075

# This value of a size means that the zip64 extra field has the size.
IN_ZIP64 = 0xFFFFFFFF


def problems_of(about: zipfile.ZipInfo) -> Iterator[str]:
    """Yield every property in the zip directory that an entry of a bundle must not have."""
    if about.create_system not in _SYSTEMS:
        yield "it was packed on an unknown system"
    if about.extract_version > _LATEST_VERSION or about.reserved:
        yield "it needs a later version of the zip format than any bundle"
    if about.flag_bits & ~_FLAGS:
        yield "it is encrypted or patched, which no bundle is"
    if about.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        yield "it uses a compression method that no bundle uses"
    if about.volume:
        yield "it is on another disk"
    if about.comment:
        yield "it has a comment"
    yield from _attributes(about.external_attr, about.internal_attr)
    yield from _extra(fields_of(about.extra))


def _attributes(external: int, internal: int) -> Iterator[str]:
    mode, dos = external >> 16, external & 0xFFFF
    kind = stat.S_IFMT(mode)
    if kind not in (0, stat.S_IFREG):
        yield f"it is flagged as {_KINDS.get(kind, 'not a regular file')}"
    if mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX):
        yield "it is flagged as setuid, setgid or sticky"
    named = [word for flag, word in _DOS.items() if dos & flag]
    if named:
        yield f"it is flagged as {named[-1]}"
    elif dos & ~_DOS_ALLOWED:
        yield "it has attributes that no bundle has"
    # The lowest bit marks text. Programs ignore it by default.
    if internal & ~1:
        yield "it has attributes that no bundle has"


def fields_of(extra: bytes) -> list[tuple[int, bytes]] | None:
    """Return the extra fields in their order; None if they are incomplete."""
    found = []
    while extra:
        if len(extra) < 4:
            return None
        kind, length = struct.unpack_from("<2H", extra)
        if len(extra) < 4 + length:
            return None
        found.append((kind, extra[4 : 4 + length]))
        extra = extra[4 + length :]
    return found


def _extra(fields: list[tuple[int, bytes]] | None) -> Iterator[str]:
    if fields is None:
        yield "its extra fields are incomplete"
        return
    kinds = [kind for kind, _ in fields]
    if OTHER_NAME in kinds:
        yield "it has a second name, which some programs use for unpacking"
    elif unknown := [kind for kind in kinds if kind not in _EXTRA]:
        yield f"it has an extra field (0x{unknown[0]:04x}) that no bundle has"
    if len(set(kinds)) < len(kinds):
        yield "it has an extra field twice"


def extra_problem(local: bytes, central: bytes) -> str | None:
    """Return the problem of a local header's extra fields, compared with the directory; None if there is none."""
    here, there = fields_of(local), fields_of(central)
    for problem in _extra(here):
        return problem
    if _modified(here or []) != _modified(there or []) and _modified(there or []) is not None:
        return "its local header has another time than the zip file's directory"
    return None


def _modified(fields: list[tuple[int, bytes]]) -> bytes | None:
    """Return the modification time from the Info-ZIP field, the only time that the directory repeats."""
    return next((value[1:5] for kind, value in fields if kind == _TIMES and value[:1] and value[0] & 1), None)


def sizes_in_zip64(sizes: list[int], extra: bytes) -> list[int] | None:
    """Return the sizes, with those from the zip64 extra field; None if the field has others than the missing ones."""
    wanted = [index for index, size in enumerate(sizes) if size == IN_ZIP64]
    field = next((value for kind, value in fields_of(extra) or [] if kind == ZIP64), b"")
    if len(field) != 8 * len(wanted):
        return None
    found = list(sizes)
    for index, value in zip(wanted, struct.unpack(f"<{len(wanted)}Q", field), strict=True):
        found[index] = value
    return found
