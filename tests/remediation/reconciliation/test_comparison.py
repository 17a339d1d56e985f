"""A comparison in partitions gives the same result as a comparison of all rows and events at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import OutputError
from remediation.reconciliation.comparison import Comparison, ExpectedEvent
from remediation.reconciliation.disagreements import EventRecord, RowRecord
from remediation.reconciliation.partitions import Partitions

EXPECTED = ExpectedEvent(operation="move", destination="JunkEmail", begin=None, end=None)
MESSAGE_IDS = st.sampled_from([None, "<a@x.test>", "A@x.test", "<b@x.test>"])
RECIPIENTS = st.sampled_from([None, "dana@corp.example", " Dana@Corp.example", "lee@corp.example"])
POSTFIX_IDS = st.sampled_from([None, "4one", "4two"])
FOLDERS = st.sampled_from([None, "JunkEmail", "Junk Email", "Inbox"])

ROWS = st.builds(
    RowRecord,
    row_id=st.uuids().map(str),
    status=st.sampled_from(["COMPLETED", "COMPLETED", "FAILED", "CANCELLED"]),
    destination=FOLDERS,
    email_message_id=MESSAGE_IDS,
    recipient=RECIPIENTS,
    postfix_id=POSTFIX_IDS,
)
EVENTS = st.builds(
    EventRecord,
    email_message_id=MESSAGE_IDS,
    recipient=RECIPIENTS,
    operation=st.sampled_from(["move", "Move", "quarantineRelease"]),
    success=st.booleans(),
    status=st.sampled_from(["OK", "half \ud83d of a pair"]),
    destination=FOLDERS,
    at=st.sampled_from([None, 1, 2, 3, 4]),
    requested_at=st.sampled_from([None, 1, 2]),
    requested_by=st.sampled_from(["soar", "Soar ", "analyst"]),
    postfix_id=POSTFIX_IDS,
)


def compare(rows: list[RowRecord], events: list[EventRecord]) -> tuple[list[str], dict[str, Any], dict[str, Any]]:
    with Comparison(EXPECTED) as comparison:
        comparison.add_rows(rows)
        comparison.add_events(events)
        found = sorted(repr(one) for one in comparison.disagreements())
        event_counts = {
            **vars(comparison.events),
            "by_others": comparison.by_others,
            "unmatched_postfix_ids": comparison.unmatched_postfix_ids,
        }
        return found, vars(comparison.rows), event_counts


def normalized_name(value: str | None) -> str:
    return (value or "").strip().strip("<>").lower()


def groups(rows: list[RowRecord], events: list[EventRecord]) -> list[tuple[list[RowRecord], list[EventRecord]]]:
    """Group rows and events by message and recipient, comparing all pairs. Events without a row form own groups."""

    def key(one: RowRecord | EventRecord) -> tuple[str, str]:
        return (normalized_name(one.email_message_id) or f"postfix {one.postfix_id}", normalized_name(one.recipient))

    found: dict[tuple[str, str], tuple[list[RowRecord], list[EventRecord]]] = {}
    for row in rows:
        found.setdefault(key(row), ([], []))[0].append(row)
    for event in events:
        own = [
            r
            for r in rows
            if r.postfix_id and r.postfix_id == event.postfix_id and normalized_name(r.recipient) == key(event)[1]
        ]
        found.setdefault(key(own[0]) if own else key(event), ([], []))[1].append(event)
    return list(found.values())


@given(st.lists(ROWS, max_size=6), st.lists(EVENTS, max_size=8))
def test_each_group_gives_the_same_disagreements_alone(rows: list[RowRecord], events: list[EventRecord]) -> None:
    """Groups are independent if all events have one requester and all rows and events name message and recipient."""
    rows = [row for row in rows if normalized_name(row.recipient) and (row.email_message_id or row.postfix_id)]
    events = [
        event._replace(requested_by="soar")
        for event in events
        if event.operation != "quarantineRelease"
        and normalized_name(event.recipient)
        and (event.email_message_id or event.postfix_id)
    ][:4]
    together = compare(rows, events)
    alone = [compare(*group) for group in groups(rows, events)]
    assert together[0] == sorted(one for found, _, _ in alone for one in found)
    for counted in ("succeeded", "failed", "duplicates", "other_destination", "other_requester", "by_others"):
        assert together[2][counted] == sum(event_counts[counted] for _, _, event_counts in alone), counted


@given(st.lists(ROWS, max_size=6), st.lists(EVENTS, max_size=8), st.randoms(use_true_random=False))
def test_event_order_and_repeated_events_do_not_change_the_disagreements(
    rows: list[RowRecord], events: list[EventRecord], random: Any
) -> None:
    shuffled = [*events, *events]
    random.shuffle(shuffled)
    once, twice = compare(rows, events), compare(rows, shuffled)
    assert once[0] == twice[0]
    assert (once[2]["succeeded"], once[2]["failed"]) == (twice[2]["succeeded"], twice[2]["failed"])


def test_partitions_hold_every_record_once_and_keep_the_order_within_a_hash() -> None:
    partitions: Partitions[tuple[bytes, str, int | None]] = Partitions(tuple[bytes, str, int | None])
    records = [(bytes([number * 7 % 256]), f"“{number}”", number if number % 3 else None) for number in range(1000)]
    for begin in range(0, 1000, 90):
        partitions.add(records[begin : begin + 90])
    read = [record for part in partitions.parts() for record in part]
    assert sorted(read, key=repr) == sorted(records, key=repr)
    for part in partitions.parts():
        for first in {record[0] for record in part}:
            assert [r for r in part if r[0] == first] == [r for r in records if r[0] == first]
    partitions.close()


def test_a_lone_surrogate_is_kept_as_an_escape() -> None:
    partitions: Partitions[tuple[bytes, str]] = Partitions(tuple[bytes, str])
    partitions.add([(b"a", "half \ud83d"), (b"a", "whole 🎁")])
    assert [record for part in partitions.parts() for record in part] == [(b"a", "half \\ud83d"), (b"a", "whole 🎁")]
    partitions.close()


def test_an_unusable_temporary_directory_is_reported_with_its_setting(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(OutputError, match="the temporary file could not be used") as error:
        Partitions(tuple[bytes, str])
    assert "TMPDIR" in (error.value.help or "")
