"""The list of slow tests names tests that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slow import LIST, function_of, listed

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", sorted(listed()))
def test_each_listed_test_exists(name: str) -> None:
    file, *_, function = name.split("::")
    source = (ROOT / file).read_text(encoding="utf-8")
    assert f"def {function}(" in source, f"{name} is gone: delete its line in {LIST.name}, or run make slow"


def test_the_cases_of_one_test_count_together() -> None:
    assert function_of("tests/a/test_b.py::TestC::test_d[x::y-1]") == "tests/a/test_b.py::TestC::test_d"
