"""Random bad days with fixed seeds: `complete` is true, everything else is said, and nothing is left lying about.

`make chaos` plays many more. A failure names the command that tells its whole story.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from connectors.paging.row_ids import RowIds
from remediation.evidence.contents import BundleWriter
from remediation.exports import export, row_file
from remediation.exports.finish_time import FinishTime
from remediation.exports.publication import Publication
from remediation.exports.row_file import RowFile
from remediation.exports.sink import RowSink
from remediation.jobs.row_count import RowCount
from tests.chaos.exports.__main__ import main
from tests.chaos.exports.play import in_words, run_day
from tests.chaos.exports.schedule import drawn
from tests.chaos.exports.tally import Tally
from tests.exhaustive import exhaustive_unless

SEED = 1
# Of 300 days, those that together draw every kind of trouble.
DAYS = (
    0, 7, 13, 15, 16, 26, 31, 40, 146, 169, 295,
)  # fmt: skip
# With these, every branch of the pack that any of the 300 takes, and every broken promise below.
MORE_DAYS = (
    10, 12, 30, 32, 37, 42, 46, 47, 48, 56, 59, 78, 97, 98, 106, 110, 116, 118, 123, 130, 131, 139, 153, 161, 162,
    164, 179, 201, 210, 212, 221, 224, 239, 240, 246, 248, 255, 271, 285, 288, 292, 296, 298, 299,
)  # fmt: skip
AT_ONCE = 11


def batches(days: Sequence[int]) -> list[Sequence[int]]:
    return [days[first : first + AT_ONCE] for first in range(0, len(days), AT_ONCE)]


@pytest.mark.parametrize(
    "days",
    [*batches(DAYS), *(pytest.param(days, marks=pytest.mark.exhaustive) for days in batches(MORE_DAYS))],
    ids=lambda days: str(days[0]),
)
def test_complete_is_true_and_everything_else_is_said(days: Sequence[int]) -> None:
    tally = Tally()
    for number in days:
        tally.play(SEED, number)
    assert not tally.failures, "\n\n".join(tally.failures)
    # A day that asks for nothing proves nothing.
    assert tally.sums["complete"] > AT_ONCE
    assert tally.sums["rows"] > 10 * AT_ONCE


def test_the_fixed_days_draw_every_kind_of_trouble() -> None:
    days = [drawn(SEED, number) for number in DAYS]
    assert {fault["kind"] for day in days for fault in day.faults} == {
        "address_denied", "cursor", "cut_json", "drop_after", "drop_before", "empty_page", "html", "notice",
        "rate_limit", "rewrite", "shift_rows", "status", "success_false", "truncate",
    }  # fmt: skip
    assert {(mishap.of, mishap.what) for day in days for mishap in day.mishaps} == {
        ("file", "disk full"), ("file", "killed after"), ("file", "killed before"), ("request", "killed after"),
        ("request", "killed before"),
    }  # fmt: skip
    assert {day.kind for day in days} == {"file", "folder", "inline", "zip"}
    assert {day.params.get("format") for day in days} == {"csv", "json", "ndjson", "parquet", None}
    assert {day.pages_ahead for day in days} == {0, 1, 8}
    for name in ("status", "require_complete", "pseudonymize", "time_budget_seconds"):
        assert {name in day.params for day in days} == {True, False}


@pytest.mark.parametrize(
    "number", exhaustive_unless({0}, [n for n in range(40) if drawn(SEED, n).pages_ahead == 0][:4])
)
def test_a_day_follows_from_its_seed_alone(number: int) -> None:
    first, again = run_day(SEED, number), run_day(SEED, number)
    assert first.story == again.story
    assert drawn(SEED, number) != drawn(SEED + 1, number)


def test_the_command_that_a_failure_names_tells_the_same_story(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_day(SEED, 1)
    command = in_words(outcome, story=False).splitlines()[-1]
    assert command.startswith("again: python -m tests.chaos.exports ")
    assert main(command.split()[4:]) == 0
    assert capsys.readouterr().out.rstrip("\n") == in_words(outcome, story=True)


# A check that can't fail is none: each of these breaks one promise, and the days have to notice.


def _believes_every_export_complete(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RowCount, "agrees_with", lambda *_: True)


def _takes_rows_twice(patch: pytest.MonkeyPatch) -> None:
    def all_new(self: RowIds, ids: Sequence[str]) -> list[bool]:
        self._count += len(ids)
        return [True] * len(ids)

    patch.setattr(RowIds, "new", all_new)


def _forgets_what_an_earlier_call_wrote(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RowSink, "load", lambda *_: None)


def _keeps_rows_of_another_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RowSink, "clear", lambda *_: None)


def _writes_in_place(patch: pytest.MonkeyPatch) -> None:
    def torn(temporary: Path, destination: Path, **_: Any) -> None:
        data = temporary.read_bytes()
        descriptor = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(descriptor, data[: len(data) // 2])
        os.write(descriptor, data[len(data) // 2 :])
        os.close(descriptor)
        temporary.unlink()

    patch.setattr(row_file, "put_in_place", torn)


def _never_minds_the_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Publication, "is_time_up", lambda *_: False)
    patch.setattr(FinishTime, "is_up", lambda *_: False)


def _gives_up_what_was_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RowFile, "_restore", lambda *_: None)


def _tells_nobody_what_is_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(export, "_add_resume", lambda *_: None)
    patch.setattr(RowFile, "abandon", RowFile.close)


def _leaves_the_partial_file(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RowFile, "_remove_partial", lambda *_: None)


def _loses_the_calls_of_before(patch: pytest.MonkeyPatch) -> None:
    recording = BundleWriter.recording
    patch.setattr(BundleWriter, "recording", lambda self, api, rows, **_: recording(self, api, rows, before=None))


PROMISES_OF_EACH_RUN = {_believes_every_export_complete, _takes_rows_twice, _writes_in_place, _leaves_the_partial_file}


@pytest.mark.parametrize(
    ("broken", "known", "noticed"),
    exhaustive_unless(
        lambda case: case[0] in PROMISES_OF_EACH_RUN,
        [
            (_believes_every_export_complete, 40, "calls its rows complete without"),
            (_takes_rows_twice, 26, "a row was written twice"),
            (_forgets_what_an_earlier_call_wrote, 7, "a row was written twice"),
            (_keeps_rows_of_another_time, 139, "and no row was ever hidden"),
            (_writes_in_place, 146, "half a file in its place"),
            (_never_minds_the_time, 10, "s of its"),
            (_gives_up_what_was_read, 106, "in another order than the API"),
            (_tells_nobody_what_is_kept, 16, "of which nobody is told"),
            (_leaves_the_partial_file, 0, "behind"),
            (_loses_the_calls_of_before, 48, "its bundle tells of"),
        ],
    ),
)
def test_a_broken_promise_is_noticed(
    broken: Callable[[pytest.MonkeyPatch], None], known: int, noticed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    # The known day notices it. Where it does so no more, because days are drawn differently, another one may.
    assert any(noticed in problem for number in (known, *DAYS) for problem in run_day(SEED, number).wrong)
