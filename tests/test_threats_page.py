"""docs/explanation/threats.md: each threat has a control that exists and a test that exists and runs."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "explanation" / "threats.md"
HEADER = ["threat", "control", "proof"]


@dataclass(frozen=True)
class Row:
    threat: str
    control: str
    tests: tuple[str, ...]


def read_rows(page: str) -> list[Row]:
    """Return the rows of all tables.

    Raises AssertionError if a row does not have three cells, or if its third cell contains anything but test names.
    """
    rows: list[Row] = []
    for line in page.splitlines():
        if not line.startswith("|"):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) == 3, line
        if cells == HEADER or all(set(cell) == {"-"} for cell in cells):
            continue
        names = cells[2].split("<br>")
        assert all(re.fullmatch(r"`tests/[\w/]+\.py(::\w+){1,2}`", name) for name in names), line
        rows.append(Row(cells[0], cells[1], tuple(name.strip("`") for name in names)))
    return rows


@cache
def marks_of_tests(path: Path) -> dict[str, list[str]]:
    """Return the marks of each test of a file, by the test's name within the file."""
    found: dict[str, list[str]] = {}
    for node in ast.parse(path.read_text()).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        outer = node.decorator_list if isinstance(node, ast.ClassDef) else []
        for member in members:
            if isinstance(member, ast.FunctionDef) and member.name.startswith("test_"):
                found[prefix + member.name] = [ast.unparse(mark) for mark in (*outer, *member.decorator_list)]
    return found


def problem_of(name: str) -> str | None:
    """Return the problem of a test name, or None if the test exists and is neither skipped nor expected to fail."""
    path, _, test = name.partition("::")
    if not (ROOT / path).is_file():
        return f"{path} does not exist"
    marks = marks_of_tests(ROOT / path).get(test)
    if marks is None:
        return f"{path} has no test {test}"
    return next((f"{name} is marked {mark}" for mark in marks if "skip" in mark or "xfail" in mark), None)


def places_of(control: str) -> list[Path]:
    """Return the pages and modules that a control names."""
    links = [PAGE.parent / target for target in re.findall(r"\]\(([^)#]+)", control)]
    return links + [ROOT / path for path in re.findall(r"`([\w/]+\.(?:py|yaml))`", control)]


ROWS = read_rows(PAGE.read_text())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.threat)
def test_each_named_test_exists_and_runs(row: Row) -> None:
    assert [problem for name in row.tests if (problem := problem_of(name))] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.threat)
def test_each_control_names_a_page_or_a_module_that_exists(row: Row) -> None:
    places = places_of(row.control)
    assert places, f"{row.threat}: the control names neither a page nor a module"
    assert [str(place) for place in places if not place.is_file()] == []


def test_no_threat_is_listed_twice_and_each_table_has_the_same_columns() -> None:
    threats = [row.threat for row in ROWS]
    assert len(threats) == len(set(threats)) > 50
    sections = PAGE.read_text().count("\n## ")
    assert PAGE.read_text().count(f"| {' | '.join(HEADER)} |\n") == sections


def test_a_missing_test_is_reported() -> None:
    here = "tests/test_threats_page.py"
    assert problem_of(f"{here}::test_a_missing_test_is_reported") is None
    assert problem_of(f"{here}::test_of_yesterday") == f"{here} has no test test_of_yesterday"
    assert problem_of(f"{here}::read_rows") == f"{here} has no test read_rows"
    assert problem_of("tests/no_such_file.py::test_of_yesterday") == "tests/no_such_file.py does not exist"


@pytest.mark.parametrize("line", ["| a | b |", "| a | b | none yet |", "| a | b | `tests/test_readme.py` |"])
def test_a_row_without_a_named_test_is_refused(line: str) -> None:
    with pytest.raises(AssertionError):
        read_rows(line)
