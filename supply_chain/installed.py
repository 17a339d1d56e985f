"""Reads the packages of an installation from its environment."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_LICENSE_CLASSIFIER = "License :: "
# The SPDX identifiers for license classifiers.
_SPDX_OF_CLASSIFIER = {
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


@dataclass
class InstalledPackage:
    """A package. `needs` are the packages it needs here, `extras` the pack's extras without which it is not needed."""

    name: str
    version: str
    license: str
    summary: str
    needs: set[str] = field(default_factory=set)
    extras: set[str] = field(default_factory=set)


def find_distributions(python: Path) -> dict[str, Distribution]:
    """Return the installed distributions of an interpreter's environment, by canonical name."""
    prefix = python.parent.parent
    bases = {"base": str(prefix), "platbase": str(prefix)}
    folders = {sysconfig.get_path(kind, "venv", bases) for kind in ("purelib", "platlib")}
    return {
        canonicalize_name(found.metadata["Name"]): found
        for found in distributions(path=sorted(str(folder) for folder in folders))
    }


def walk_packages(found: Mapping[str, Distribution], root: str, extras: Iterable[str]) -> dict[str, InstalledPackage]:
    """Return the root and all packages that it needs here with these extras, by name, sorted.

    Raises LookupError that names a missing package.
    """
    packages: dict[str, InstalledPackage] = {}
    always = set(_reach(found, root, packages, {""}))
    for extra in sorted(extras):
        for name in set(_reach(found, root, packages, {"", extra})) - always:
            packages[name].extras.add(extra)
    return dict(sorted(packages.items()))


def _reach(
    found: Mapping[str, Distribution], root: str, packages: dict[str, InstalledPackage], extras: set[str]
) -> Iterator[str]:
    """Yield each name that the root needs, directly or not, and add it to the packages."""
    seen: set[tuple[str, str]] = set()
    pending = [(root, extra) for extra in sorted(extras)]
    while pending:
        name, extra = pending.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        if name not in found:
            raise LookupError(f"{name} is required but not installed in that environment. `make sbom` sets one up.")
        if name not in packages:
            packages[name] = _describe(name, found[name])
        package = packages[name]
        for wanted in _requirements(found[name]):
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                needed = canonicalize_name(wanted.name)
                package.needs.add(needed)
                pending += [(needed, asked) for asked in ("", *wanted.extras)]
        yield name


# A package is reached once for each extra, and each reading of a distribution parses its metadata.
@cache
def _requirements(distribution: Distribution) -> list[Requirement]:
    return [Requirement(text) for text in distribution.requires or []]


def _describe(name: str, distribution: Distribution) -> InstalledPackage:
    summary = " ".join((distribution.metadata["Summary"] or "").split())
    return InstalledPackage(name, distribution.version, declared_license(distribution), summary)


def declared_license(distribution: Distribution) -> str:
    """Return the license that a package declares: an SPDX expression if possible, else its name."""
    metadata = distribution.metadata
    if metadata["License-Expression"]:
        return str(metadata["License-Expression"])
    classifiers = [text for text in metadata.get_all("Classifier", []) if text.startswith(_LICENSE_CLASSIFIER)]
    named = sorted({text.rsplit(" :: ", 1)[1] for text in classifiers} - {"OSI Approved"})
    if named and _SPDX_OF_CLASSIFIER.keys() >= set(named):
        return " OR ".join(_SPDX_OF_CLASSIFIER[name] for name in named)
    lines = [line.strip() for line in (metadata["License"] or "").splitlines() if line.strip()]
    return lines[0] if len(lines) == 1 else " OR ".join(named)
