"""A result row is matched to a message by either ID and by its recipient, never by a guess."""

from __future__ import annotations

from typing import Any

from connectors.objects.message_change import MoveRow, ReleaseRow
from remediation.guardrails.change import NamedMessage
from remediation.messages.rows import all_accounted, attributed, outcome_of, release_rows

A, B = "a@corp.example", "b@corp.example"


def move_row(message_id: str | None, recipient: str | None = None, *, success: bool = True, **more: Any) -> MoveRow:
    return MoveRow(success=success, message_id=message_id, recipient=recipient, **more)


def test_a_row_is_matched_by_investigate_id_or_by_message_id_with_or_without_brackets() -> None:
    batch = [NamedMessage("x-1"), NamedMessage("x-2", "<two@corp.example>"), NamedMessage("x-3", "three@corp.example")]
    found = attributed(
        batch, [move_row("x-1"), move_row("two@corp.example"), move_row("<three@corp.example>"), move_row("other")]
    )
    assert set(found.by_id) == {"x-1", "x-2", "x-3"}
    assert [row.message_id for row in found.unmatched] == ["other"]
    assert found.without_row(batch) == []


def test_messages_with_the_same_message_id_are_matched_by_recipient() -> None:
    batch = [NamedMessage("x-1", "<same@x>", (A,)), NamedMessage("x-2", "<same@x>", (B,))]
    found = attributed(batch, [move_row("<same@x>", B.upper(), success=False), move_row("<same@x>", A)])
    assert outcome_of(batch[0], found.by_id["x-1"]) == "succeeded"
    assert outcome_of(batch[1], found.by_id["x-2"]) == "failed"


def test_a_failed_row_that_fits_two_messages_counts_for_both() -> None:
    batch = [NamedMessage("x-1", "<same@x>", (A,)), NamedMessage("x-2", "<same@x>", (A,))]
    found = attributed(batch, [move_row("<same@x>", A), move_row("<same@x>", A, success=False)])
    assert [outcome_of(one, found.by_id[one.id]) for one in batch] == ["failed", "failed"]
    assert {one for one, _ in found.shown} == {None}


def test_one_row_does_not_account_for_two_messages() -> None:
    batch = [NamedMessage("x-1", "<same@x>", (A,)), NamedMessage("x-2", "<same@x>", (A,))]
    found = attributed(batch, [move_row("<same@x>", A)])
    assert found.without_row(batch) == batch


def test_a_message_is_unknown_if_a_recipient_has_no_row() -> None:
    message = NamedMessage("x-1", None, (A, B))
    assert outcome_of(message, [move_row("x-1", A)]) == "unknown"
    assert outcome_of(message, [move_row("x-1", A), move_row("x-1", B)]) == "succeeded"
    assert outcome_of(message, [move_row("x-1", None)]) == "succeeded"
    assert outcome_of(message, []) == "unknown"


def test_unmatched_rows_account_for_messages_only_if_all_succeeded() -> None:
    two = [NamedMessage("x-1"), NamedMessage("x-2")]
    assert all_accounted(two, [move_row("<1@x>", A), move_row("<1@x>", B), move_row("<2@x>", A)])
    assert not all_accounted(two, [move_row("<1@x>", A), move_row("<2@x>", A, success=False)])
    assert not all_accounted(two, [move_row("<1@x>", A)])
    assert not all_accounted(two, [move_row("<1@x>", A), move_row(None, A)])
    assert not all_accounted([NamedMessage("x-1", "<known@x>")], [move_row("<1@x>", A)])
    assert not all_accounted([], [])


def test_a_release_has_a_row_for_each_recipient_and_fails_without_recipients() -> None:
    rows = release_rows([
        ReleaseRow(id="x-1", delivered=[A], failed=[B], undelivered=None),
        ReleaseRow(id="x-2", delivered=[], failed=[], undelivered=[]),
    ])  # fmt: skip
    assert [(row.message_id, row.recipient, row.success) for row in rows] == [
        ("x-1", A, True), ("x-1", B, False), ("x-2", None, False),
    ]  # fmt: skip
