"""docs/reference/dependencies.md has one row for each dependency, and no other rows."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from supply_chain.installed import declared_license, find_distributions
from supply_chain.pins import (
    CONSTRAINTS,
    DEVELOPMENT_EXTRAS,
    PYPROJECT,
    ROOT,
    RUNTIME_EXTRAS,
    read_direct_dependencies,
    read_pins,
)

PAGE = ROOT / "docs" / "reference" / "dependencies.md"


def read_tables(page: str) -> dict[str, dict[str, dict[str, str]]]:
    """Return the rows of each section's table by the canonical name of the package, a row as column: cell."""
    tables: dict[str, dict[str, dict[str, str]]] = {}
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        title, *lines = section.splitlines()
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
        if not cells or cells[0][0] != "package":
            continue
        rows = [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]
        tables[title] = {canonicalize_name(row["package"].strip("`")): row for row in rows}
        assert len(tables[title]) == len(rows), f"{title}: a package has two rows"
    return tables


TABLES = read_tables(PAGE.read_text())
RUNTIME, TOOLS = TABLES["Runtime"], TABLES["Tools"]
DIRECT = read_direct_dependencies(PYPROJECT.read_text())


def groups(*, runtime: bool) -> dict[str, str]:
    kept = {"": "always"} if runtime else {"build": "`build`"}
    kept |= {extra: f"`{extra}`" for extra in (RUNTIME_EXTRAS if runtime else DEVELOPMENT_EXTRAS)}
    return {
        name: ", ".join(kept[group] for group in sorted(required_by & kept.keys()))
        for name, required_by in DIRECT.items()
        if required_by & kept.keys()
    }


def tools_of_the_makefile() -> dict[str, str]:
    """Return each package that a recipe installs into an environment of its own, and that environment."""
    found: dict[str, str] = {}
    for variable in ("MOTO", "STORES", "SUPPLY", "CLIENT"):
        recipes = re.findall(
            rf"\$\({variable}\)/bin/python -m pip install ((?:[^\n]*\\\n)*[^\n]*)", (ROOT / "Makefile").read_text()
        )
        for recipe in recipes:
            for text in re.findall(r"'([^']+)'", recipe):
                found[canonicalize_name(Requirement(text).name)] = f"`.venv-{variable.lower()}`"
    return found


def test_each_runtime_dependency_has_a_row_with_its_extras() -> None:
    assert {name: row["required by"] for name, row in RUNTIME.items()} == groups(runtime=True)


def test_each_tool_has_a_row_with_its_extras_and_environments() -> None:
    assert {name: row["required by"] for name, row in TOOLS.items()} == {
        **groups(runtime=False),
        **tools_of_the_makefile(),
    }


def test_each_extra_is_a_runtime_or_a_development_extra() -> None:
    extras = {group for required_by in DIRECT.values() for group in required_by} - {"", "build"}
    assert extras == {*RUNTIME_EXTRAS, *DEVELOPMENT_EXTRAS}
    assert not set(RUNTIME_EXTRAS) & set(DEVELOPMENT_EXTRAS)


def test_no_cell_is_empty() -> None:
    for row in [*RUNTIME.values(), *TOOLS.values()]:
        assert all(row.values()), row


INSTALLED = cache(find_distributions)


@pytest.mark.parametrize("name", sorted(RUNTIME.keys() | groups(runtime=False).keys() - {"hatchling"}))
def test_the_licence_matches_the_installed_package(name: str) -> None:
    distribution = INSTALLED(Path(sys.executable))[name]
    licence = {**RUNTIME, **TOOLS}[name]["licence"]
    # If the metadata declares no license, the page refers to the LICENSE file.
    assert licence == (declared_license(distribution) or f"{licence.split()[0]} (by its LICENSE file)")


def test_each_package_of_the_page_is_pinned() -> None:
    assert not (RUNTIME.keys() | TOOLS.keys()) - read_pins(CONSTRAINTS.read_text()).keys()
