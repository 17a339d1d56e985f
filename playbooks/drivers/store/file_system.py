"""Find out whether a path is on a network file system, where SQLite's locks and shared memory don't work."""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")

NETWORK = frozenset(
    (
        *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "fhgfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs"),
        *("nfs", "nfs4", "ocfs2", "orangefs", "pvfs2", "smb", "smb2", "smb3", "smbfs"),
        *("davfs", "fuse.blobfuse", "fuse.ceph", "fuse.ceph-fuse", "fuse.cephfs", "fuse.davfs2", "fuse.gcsfuse"),
        *("fuse.glusterfs", "fuse.juicefs", "fuse.mount-s3", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "fuse.smbnetfs"),
    )
)


def network_file_system_of(path: Path, mounts: Path = MOUNTS) -> str | None:
    """Return the type of the network file system that holds an existing path, or None if it is local or unknown.

    mounts: a table of mounts as in Linux's /proc/self/mountinfo (proc_pid_mountinfo(5)). Without one, nothing is known.
    """
    try:
        lines = os.fsdecode(mounts.read_bytes()).splitlines()
        resolved = path.resolve()
    except OSError:
        return None
    best, kind = -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        point = Path(_unescaped(fields[4])) if len(fields) > 4 and after else None
        # Of two mounts at one place the later one is visible.
        if point is not None and resolved.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split(" ", 1)[0]
    return kind if kind in NETWORK else None


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
