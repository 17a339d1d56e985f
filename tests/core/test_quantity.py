"""A number is followed by its unit in singular or plural; no text says `1 messages`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.quantity import counted

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("actions", "connectors", "core", "platforms", "playbooks", "remediation")
NOUNS = "approvals|bytes|calls|events|files|IDs|jobs|lines|messages|recipients|records|rows|runs|times"
PLURAL = re.compile(rf"\A (?:[A-Z]+ |failed )?(?:{NOUNS})\b")


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (0, ("message",), "0 messages"),
        (1, ("message",), "1 message"),
        (1200, ("message",), "1,200 messages"),
        (1, ("copy", "copies"), "1 copy"),
        (2, ("row is", "rows are"), "2 rows are"),
    ],
)
def test_a_number_has_its_unit_in_singular_or_plural(number: int, words: tuple[str, ...], text: str) -> None:
    assert counted(number, *words) == text


def find_plurals_after_numbers(path: Path) -> Iterator[str]:
    """Yield the f-strings in which a plural follows a value that may be 1."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, text in zip(node.values, node.values[1:], strict=False):
            if not isinstance(value, ast.FormattedValue) or not isinstance(text, ast.Constant):
                continue
            if isinstance(text.value, str) and PLURAL.match(text.value) and may_be_one(value.value):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(value.value)}{text.value}"


def may_be_one(value: ast.expr) -> bool:
    """Return whether the value may be the number 1. Constants in capitals and joined texts are not."""
    if ".join(" in ast.unparse(value):
        return False
    names = [one.id for one in ast.walk(value) if isinstance(one, ast.Name)]
    return not names or not all(name.isupper() or name == "timedelta" for name in names)


def test_no_text_has_a_plural_after_a_number_that_may_be_one() -> None:
    found = [
        one
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for one in find_plurals_after_numbers(path)
    ]

    assert found == []


def test_no_playbook_has_a_plural_after_a_number_that_may_be_one() -> None:
    for path in (ROOT / "playbooks").glob("*.yaml"):
        assert re.findall(rf".*[^\n{{}}]\}}\}}\s+(?:{NOUNS})\b.*", path.read_text(encoding="utf-8")) == []
