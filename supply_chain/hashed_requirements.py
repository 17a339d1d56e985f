"""Regenerate requirements-hashed.txt: `make hashes`.

The file lists the packages for the pack and its runtime extras, with the SHA-256 of every published file of each
version, for all platforms. It names no index. constraints.txt has no hashes, because pip then refuses to install a
checkout.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.utils import canonicalize_name

from supply_chain.pins import CONSTRAINTS, PYPROJECT, ROOT, RUNTIME_EXTRAS, read_pins

HASHED = ROOT / "requirements-hashed.txt"
HEADER = """\
# What the pack and its runtime extras need, with a hash of each file: `make hashes` writes it anew.
# pip install --require-hashes --no-deps -r requirements-hashed.txt
"""

_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.!+_-]+)(?: ; (?P<marker>[^\\]+))?")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class HashedPin:
    """A package at one version, with its marker and the hashes of its files."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]


def main() -> int:
    """Write the file, and return the exit code: 0, or 2 if it could not be created."""
    parser = argparse.ArgumentParser(prog="python -m supply_chain.hashed_requirements", description=__doc__)
    parser.add_argument("--out", type=Path, default=HASHED, help="file to write")
    options = parser.parse_args()
    try:
        pins = read_hashed_pins(_resolve())
        check_hashed_pins(pins, read_pins(CONSTRAINTS.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{options.out.name} was not changed: {error}\n")
        return 2
    options.out.write_text(HEADER + "".join(_write_pin(pin) for pin in pins), encoding="utf-8")
    return 0


def read_hashed_pins(text: str) -> list[HashedPin]:
    """Return the pins of a hashed requirements file, without those only for Windows. Raises ValueError."""
    pins: list[HashedPin] = []
    statements = re.sub(r"\s*\\\n\s*", " ", text).splitlines()
    for statement in statements:
        if not statement.strip() or statement.startswith("#"):
            continue
        pin, *hashes = re.split(r"\s+(?=--hash)", statement)
        found = _PIN.fullmatch(pin.strip())
        if found is None or not hashes or not all(_HASH.fullmatch(text) for text in hashes):
            raise ValueError(f"not a pin with SHA-256 hashes: {pin.strip()[:200]!r}")
        marker = (found["marker"] or "").strip()
        if marker and not any(Marker(marker).evaluate({"sys_platform": name}) for name in ("linux", "darwin")):
            continue
        pins.append(HashedPin(canonicalize_name(found["name"]), found["version"], marker, tuple(sorted(hashes))))
    return pins


def check_hashed_pins(hashed: Sequence[HashedPin], pins: Mapping[str, str]) -> None:
    """Check that the versions are those in constraints.txt. Raises ValueError."""
    for pin in hashed:
        if pins.get(pin.name) != pin.version:
            raise ValueError(f"{pin.name} {pin.version} is listed, but {pins.get(pin.name) or 'no version'} is pinned")


def _resolve() -> str:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "hashed.txt"
        extras = [option for extra in RUNTIME_EXTRAS for option in ("--extra", extra)]
        command = [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "compile",
            str(PYPROJECT),
            *extras,
            "--constraint",
            str(CONSTRAINTS),
        ]
        command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate"]
        command += ["--quiet", "--output-file", str(out)]
        ended = subprocess.run(command, check=False)  # noqa: S603 -- uv of this environment
        if ended.returncode != 0:
            raise ValueError(f"uv exited {ended.returncode}")
        return out.read_text(encoding="utf-8")


def _write_pin(pin: HashedPin) -> str:
    marker = f" ; {pin.marker}" if pin.marker else ""
    return " \\\n    ".join([f"{pin.name}=={pin.version}{marker}", *pin.hashes]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
