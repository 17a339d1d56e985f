"""Output at any terminal width has complete IDs, no padding, and colors that are readable on any background."""

from __future__ import annotations

import io
import itertools
import re
from typing import Any

import pytest
from rich.cells import cell_len
from rich.color import Color, ColorSystem
from rich.console import Console

from actions.contract import catalog
from actions.contract.action import Action
from core.text import STEERING
from platforms.cli.views import palette
from platforms.cli.views.layout import NARROW, Whole, broken
from platforms.cli.views.progress_bar import Bar
from platforms.cli.views.tables import Column, grid
from tests.platforms.cli.conftest import Cfes
from tests.slow import some_of

COLOR_CODES = re.compile(r"\x1b\[[0-9;]*m")

# Texts that people copy from a screen.
COPIED = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32,64}")

WIDTHS = ["0", "1", "20", "40", "59", "60", "80", "120", "many", ""]

# This one is always shown at every width; the others at the limits of each layout, and exhaustively at every width.
EVERY_WIDTH = ("list-jobs",)

JOB_IDS = [f"7d9f3c1e-5b0a-4c55-9a57-0f6f3f0c9b{n}d" for n in range(3)]


@pytest.fixture
def set_result(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_action_result(result: dict[str, Any]) -> None:
        monkeypatch.setattr(Action, "run", lambda *_: result)

    return set_action_result


def _jobs(**changed: Any) -> dict[str, Any]:
    job = {
        "status": "DISCOVERING",
        "total_messages_discovered": 99_999,
        "messages_successful": 99_900,
        "action_type": "MOVE",
        "action_params": {"destination": "JunkEmail"},
        "created_at": "2026-11-20T16:02:35.123456Z",
        "search_params": {"sender": "billing@shop.example"},
        **changed,
    }
    return {"count": 3, "jobs": [{"job_id": each, "messages_failed": n, **job} for n, each in enumerate(JOB_IDS)]}


@pytest.mark.parametrize("every_width", some_of([False, True], 0))
@pytest.mark.parametrize("action", catalog.available().values(), ids=lambda action: action.id)
def test_ids_and_hashes_are_not_broken_at_any_width(
    action: Action[Any, Any], every_width: bool, cfes: Cfes, set_result: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_result(action.example_result)
    confirmation = ["--yes"] if action.asks_first({}) else []
    complete = set(COPIED.findall(cfes(action.id, "--output", "table").out))
    widths = WIDTHS if every_width or action.id in EVERY_WIDTH else ("1", "60", "")
    for width, piped in itertools.product(widths, (False, True)):
        monkeypatch.setenv("COLUMNS", width)
        ended = cfes(action.id, "--output", "table", *confirmation, terminal=not piped)
        shown = COLOR_CODES.sub("", ended.out)
        # Each text is on one output line; only the terminal itself may break it.
        assert set(COPIED.findall(shown)) == complete
        assert not [line for line in shown.splitlines() if line != line.rstrip()]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_commands_of_an_error_are_not_broken_at_any_width(
    width: str, cfes: Cfes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Action, "run", interrupt)
    lines = COLOR_CODES.sub("", cfes("wait-for-job", "--job-id", JOB_IDS[0], terminal=True).err).splitlines()
    assert f"  cancel: cfes cancel-job --job-id {JOB_IDS[0]}" in lines


def test_list_jobs_keeps_failed_at_80_columns(cfes: Cfes, set_result: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    set_result(_jobs())
    monkeypatch.setenv("COLUMNS", "80")
    head, *rows = COLOR_CODES.sub("", cfes("list-jobs", terminal=True).out).splitlines()
    assert {"job", "done", "failed"} <= set(head.split())
    assert [row.split()[0] for row in rows[:3]] == JOB_IDS
    assert max(map(cell_len, [head, *rows])) <= 80


def test_a_value_shared_by_all_rows_is_shown_once(cfes: Cfes, set_result: Any) -> None:
    set_result(_jobs())
    shown = COLOR_CODES.sub("", cfes("list-jobs", terminal=True).out)
    assert "action: MOVE in all rows" in shown.splitlines()
    assert shown.count("MOVE") == 1
    set_result({"count": 1, "jobs": _jobs()["jobs"][:1]})
    assert "in all rows" not in cfes("list-jobs", terminal=True).out


def test_names_are_above_their_values_below_60_columns(
    cfes: Cfes, set_result: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_result(_jobs())
    monkeypatch.setenv("COLUMNS", "40")
    lines = COLOR_CODES.sub("", cfes("list-jobs", terminal=True).out).splitlines()
    assert lines[:4] == ["job", f"  {JOB_IDS[0]}", "done", "  99900/99999"]
    set_result({"job_id": JOB_IDS[0], "status": "COMPLETED"})
    assert COLOR_CODES.sub("", cfes("get-job", terminal=True).out).splitlines()[:2] == ["job_id", f"  {JOB_IDS[0]}"]


def test_a_long_name_is_on_the_line_of_its_value(cfes: Cfes, set_result: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"count": 4, "messages": [], "counts_by_disposition": {"MALICIOUS-BEC": 4}, "warnings": []}
    for columns in ("", "80"):
        monkeypatch.setenv("COLUMNS", columns)
        set_result(found)
        assert "counts_by_disposition.MALICIOUS-BEC  4" in cfes("search-messages", "--output", "table").out.splitlines()


def test_a_long_list_is_cut_and_names_the_flag_for_the_rest(cfes: Cfes, set_result: Any) -> None:
    set_result(
        {
            "agrees": False,
            "disagreements": [{"kind": "row_without_event", "recipient": f"{n}@corp.example"} for n in range(60)],
        }
    )
    shown = cfes("reconcile-job", "--output", "table").out
    assert shown.count("kind: row_without_event") == 10
    assert "and 50 more. Use --output json to see all." in shown


def test_output_to_a_pipe_is_not_cut(cfes: Cfes, set_result: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS")
    subject = "overdue " * 60
    found = [{"id": str(n), "from": f"a{n}@b.example", "subject": f"{subject}{n}"} for n in range(2)]
    set_result({"count": 2, "messages": found, "warnings": []})
    assert f"{subject}1" in cfes("search-messages", "--output", "table").out


WIDE = (
    "\u540d\u524d\u306e\u8acb\u6c42\u66f8",
    "\U0001f600 hi",
    "e\u0301te\u0301",
    "\u0645\u0631\u062d\u0628\u0627",
    "plain",
)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_wide_and_combining_characters_keep_the_columns(width: int) -> None:
    columns = (Column("subject", 10), Column("n", 2, right=True), Column("last", 6))
    shown = _grid(columns, [(text * 3, n, f"end{n}") for n, text in enumerate(WIDE)], width)
    places = {cell_len(line[: line.index("end")]) for line in shown[1:]}
    assert len(places) == 1


def test_a_cut_cell_has_no_escapes() -> None:
    columns = (Column("id", 1), Column("subject", 10))
    hostile = "\x1b[31m\u202e\u540d" * 20
    lines = _grid(columns, [(n, f"{n}{hostile}") for n in (1, 20)], 60)
    assert max(map(cell_len, lines)) <= 60
    assert not STEERING.search("".join(lines))


def _grid(columns: Any, rows: Any, width: int) -> list[str]:
    stream = io.StringIO()
    grid(Console(file=stream, width=width, force_terminal=True, color_system=None), columns, rows)
    return stream.getvalue().splitlines()


@pytest.mark.parametrize(
    "text",
    [
        "Run `cfes approve plan.json --key FILE` first, then go on with the plan that it names",
        "'/srv/case 42/rows of today.ndjson' can't be written: No space left on device",
        "To resume: cfes playbook run --resume '/srv/case 42/run'",
        Whole("rows of case 42 and more than that.ndjson (12 kB)"),
        "/srv/case 42/rows of today.ndjson",
    ],
)
def test_commands_and_paths_are_not_broken(text: str) -> None:
    lines = broken(text, 20)
    complete = re.search(r"`.*`|'/.*\.ndjson'|cfes .*$|^rows.*|^/srv.*", text)
    assert complete is not None
    assert any(complete[0] in line for line in lines)
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())


def test_a_line_keeps_its_indent_and_spaces() -> None:
    assert broken("  a  b", 80) == ["  a  b"]
    assert broken("  aaaa bbbb", 8) == ["  aaaa", "bbbb"]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_the_progress_shows_the_count_and_the_time_left(width: int) -> None:
    from core.progress import Progress  # noqa: PLC0415

    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=True, color_system=None)
    with Bar(console) as bar:
        bar.begin("Wait until a bulk job has ended, however long that takes in the end")
        bar.show(Progress("wait-for-job", 99_998, 99_999, "messages", "PROCESSING, about 3600 s left"))
        bar._progress.refresh()
    shown = stream.getvalue().replace("\N{NO-BREAK SPACE}", " ")
    assert "about 3600 s left" in shown
    assert "99,998/99,999" in shown
    assert width >= NARROW or "messages" not in shown


def _luminance(red: int, green: int, blue: int) -> float:
    def linear(value: int) -> float:
        share = value / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)


@pytest.mark.parametrize(
    ("name", "nearest"), list(itertools.product(("GOOD", "BAD", "WARNING", "QUIET"), (True, False)))
)
def test_the_colors_are_readable_on_white_and_black(name: str, nearest: bool) -> None:
    color = Color.parse(getattr(palette, name).removeprefix("bold "))
    if nearest:
        # The nearest of 256 colors is shown; bold text counts as large text.
        color = color.downgrade(ColorSystem.EIGHT_BIT)
    light = _luminance(*color.get_truecolor())
    contrast = min(1.05 / (light + 0.05), (light + 0.05) / 0.05)
    assert contrast >= (3.8 if nearest else 4.5)


def test_no_color_of_the_terminal_palette_is_used(cfes: Cfes, set_result: Any) -> None:
    """The palette of a terminal is unknown: its yellow may be unreadable on white."""
    set_result({**_jobs(), "warnings": ["look at this"]})
    ended = cfes("list-jobs", terminal=True)
    for found in re.findall(r"\x1b\[([0-9;]*)m", ended.out + ended.err):
        assert re.fullmatch(r"0|1|(1;)?38;[25];[0-9;]+", found), found


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_output_without_color_has_the_same_text(
    name: str, value: str, cfes: Cfes, set_result: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_result({**_jobs(), "warnings": ["look at this"]})
    colored = cfes("list-jobs", terminal=True)
    monkeypatch.setenv(name, value)
    plain = cfes("list-jobs", terminal=True)
    assert "38;" not in plain.out + plain.err
    assert COLOR_CODES.sub("", colored.out) == COLOR_CODES.sub("", plain.out)
