"""The packages of an installation, and their declared licenses."""

from __future__ import annotations

from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

from supply_chain.installed import declared_license, walk_packages


def install(folder: Path, name: str, *lines: str) -> Distribution:
    place = folder / f"{name}-1.dist-info"
    place.mkdir()
    (place / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1", *lines]) + "\n")
    return PathDistribution(place)


def test_nested_extras_are_followed_and_false_markers_are_skipped(tmp_path: Path) -> None:
    found = {
        "pack": install(tmp_path, "pack", "Requires-Dist: a", "Requires-Dist: b[fast]; extra == 'speed'"),
        "a": install(tmp_path, "a", "Requires-Dist: gone; python_version < '3'", "Requires-Dist: never; extra == 'x'"),
        "b": install(tmp_path, "b", "Requires-Dist: C_c; extra == 'fast'", "Requires-Dist: a"),
        "c-c": install(tmp_path, "C_c", "Requires-Dist: b"),
    }
    packages = walk_packages(found, "pack", ["speed"])
    assert list(packages) == ["a", "b", "c-c", "pack"]
    assert {name: (package.needs, package.extras) for name, package in packages.items()} == {
        "a": (set(), set()),
        "b": ({"c-c", "a"}, {"speed"}),
        "c-c": ({"b"}, {"speed"}),
        "pack": ({"a", "b"}, set()),
    }
    assert walk_packages(found, "pack", []).keys() == {"a", "pack"}


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="gone is required but not installed"):
        walk_packages({"pack": install(tmp_path, "pack", "Requires-Dist: gone")}, "pack", [])


@pytest.mark.parametrize(
    ("lines", "license"),
    [
        (["License-Expression: MIT AND PSF-2.0", "License: something else"], "MIT AND PSF-2.0"),
        (["Classifier: License :: OSI Approved :: MIT License"], "MIT"),
        (["Classifier: License :: OSI Approved", "License: ISC"], "ISC"),
        (["Classifier: License :: OSI Approved :: BSD License", "License: BSD-3-Clause"], "BSD-3-Clause"),
        (["Classifier: License :: OSI Approved :: BSD License"], "BSD License"),
        (["License: Copyright\n        All of this\n        and more"], ""),
        ([], ""),
    ],
)
def test_the_most_exact_declared_licence_is_used(tmp_path: Path, lines: list[str], license: str) -> None:  # noqa: A002
    assert declared_license(install(tmp_path, "a", *lines)) == license
