"""Other programs read every value of a row back from both CSV dialects, the plain one and the one for spreadsheets."""

from __future__ import annotations

import codecs
import csv
import io
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.text import FORMULA_STARTS, show_code_points
from remediation.exports.formats.csv_excel import MOST_CHARACTERS, excel_cell, write_excel_csv
from remediation.exports.formats.csv_table import COLUMNS, cell, values_of, write_csv
from remediation.exports.formats.ndjson import lines_of
from supply_chain.pins import ROOT
from tests.remediation.exports.test_row_formats import any_text, cells, spreadsheet_text
from tests.remediation.reports.sample_job import HOSTILE, json_text, row
from tests.skips import NOT_IN_CI

# Texts that a spreadsheet in some language converts to a number, date, time, amount, fraction, boolean or error.
CONVERTED_TEXTS = (
    *(
        "317078247e1198",
        "1E5",
        "1e-5",
        "12345678901234567890",
        "1234567890123456",
        "0123",
        "007",
        "1.5",
        "1,5",
        "12,345.60",
    ),
    *(
        "1 000",
        "1\u202f000",
        "(5)",
        "5-",
        "50%",
        "$5",
        "5 €",
        "¥100",
        "\\100",
        "1/2",
        "1 1/2",
        "2026/11",
        "1-2",
        "1.2.3",
    ),
    *("2026-11-20", "2026-11-20T16:04:01Z", "2026-11-20T16:04:01-05:00", "20.11.", "12:30", "10:00 AM", "MAR1", "DEC1"),
    *("May 2026", "Mai 2026", "1. Mai 2026", "Friday, May 1, 2026", "sexta-feira, 20 de novembro de 2026", "1 de mayo"),
    *("2026年11月20日", "１２３", "٣٤", "TRUE", "false", "WAHR", "Falsch", "VRAI", "0x1F", "12e3", "00:11:22:33:44:55"),
    *("#N/A", "#DIV/0!", "#NAME?", "192.0.2.1", " 123", " TRUE ", "YANLIŞ"),
)
# Texts that stay text in every spreadsheet without a mark.
UNCHANGED_TEXTS = (
    *("COMPLETED", "softfail", "dana@corp.example", "<20261120@mail.example>", "3fa85f64-5717-4562-b3fc-2c963f66afa6"),
    *("00000000-0000-4000-8000-000000000003", "Overdue invoice 4711 for Dana", "May", "x" * 50, "Größe 請求書 🧾"),
)
VALUES: tuple[Any, ...] = (
    *CONVERTED_TEXTS,
    *UNCHANGED_TEXTS,
    *(
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "  =1",
        "＝1",
        "'=1",
        "'0123",
        "''",
        "'",
        'a "quoted", text',
        "a,b;c",
        "null",
        "NaN",
        "NA",
    ),
    *HOSTILE,
    *(True, False, 0, 7, 999_999_999_999_999, 10**15, -1, 1.5, 1e300, None, {"a": ["ü", 1]}),
    *(["a@b.example", "c@d.example"], ["0123", "1E5"], ["'x", "=1"], []),
)
ROWS = [row(1), *({"message_id": f"row-{number}", "postfix_id": value} for number, value in enumerate(VALUES))]

relaxed = settings(deadline=None)


def csv_bytes(rows: list[dict[str, Any]], write: Callable[..., object] = write_excel_csv) -> bytes:
    out = io.BytesIO()
    write([lines_of([json_text(one)]) for one in rows], out.write)
    return out.getvalue()


def _documented_function() -> Callable[[str], str]:
    """Return the function that docs/reference/exports.md gives for programs."""
    [code] = re.findall(
        r"^```python[^\n]*\n(.*?)^```",
        (ROOT / "docs" / "reference" / "exports.md").read_text(),
        re.DOTALL | re.MULTILINE,
    )
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 -- the page is ours
    found: Callable[[str], str] = names["value_of"]
    return found


value_of = _documented_function()


def expected_values(one: dict[str, Any]) -> list[str]:
    return [show_code_points(cell(value, safe=str)) for value in values_of(one)]


# Each process collects this file, and loading these three takes a tenth of the time of collection.


def read_by_pandas(path: Path) -> list[list[str]]:
    import pandas as pd  # noqa: PLC0415

    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    return [list(frame.columns), *frame.to_numpy().tolist()]


def read_by_polars(path: Path) -> list[list[str]]:
    import polars as pl  # noqa: PLC0415

    frame = pl.read_csv(path, infer_schema=False).fill_null("")
    return [frame.columns, *map(list, frame.rows())]


def read_by_duckdb(path: Path) -> list[list[str]]:
    import duckdb  # noqa: PLC0415

    with duckdb.connect() as connection:
        found = connection.read_csv(str(path), all_varchar=True)
        return [found.columns, *([text or "" for text in line] for line in found.fetchall())]


@pytest.mark.parametrize("read", [read_by_pandas, read_by_polars, read_by_duckdb])
@pytest.mark.parametrize(("write", "undo"), [(write_csv, str), (write_excel_csv, value_of)])
def test_programs_read_each_value_of_a_row(
    write: Callable[..., object], undo: Callable[[str], str], read: Callable[[Path], list[list[str]]], tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(csv_bytes(ROWS, write))
    header, *found = read(path)
    assert header == [column.name for column in COLUMNS]
    expected = [expected_values(one) for one in ROWS]
    if write is write_csv:
        # A quote before a formula can't be distinguished from a quote in the value.
        expected = [cells(one) for one in ROWS]
    assert [[undo(text) for text in line] for line in found] == expected


SOFFICE = shutil.which("soffice")


@pytest.mark.skipif(SOFFICE is None, reason=f"{NOT_IN_CI}libreoffice-calc-nogui takes 276 MB, and is not installed")
@pytest.mark.parametrize("language", [1033, 1031, 1041], ids=["en-US", "de-DE", "ja-JP"])
def test_libreoffice_keeps_each_text_although_it_detects_numbers(language: int, tmp_path: Path) -> None:
    def through_libreoffice(table: bytes) -> list[list[str]]:
        (tmp_path / "rows.csv").write_bytes(table)
        comma, quote, utf_8 = 44, 34, 76
        subprocess.run(
            [
                str(SOFFICE),
                f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}",
                "--headless",
                # Detect special numbers, as the import's dialog offers.
                f"--infilter=Text - txt - csv (StarCalc):{comma},{quote},{utf_8},1,,{language},false,true",
                "--convert-to",
                f"csv:Text - txt - csv (StarCalc):{comma},{quote},{utf_8},1,,0,false,true",
                "--outdir",
                str(tmp_path / "seen"),
                str(tmp_path / "rows.csv"),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
        return list(csv.reader(io.StringIO((tmp_path / "seen" / "rows.csv").read_text("utf-8-sig"), newline="")))

    header, *found = through_libreoffice(csv_bytes(ROWS))
    assert header == [column.name for column in COLUMNS]
    for one, line in zip(ROWS, found, strict=True):
        seen = [value_of(text) for text in line]
        # Only a boolean is shown as a boolean.
        assert [
            text.lower() if text in ("TRUE", "FALSE") and one["postfix_id"] not in ("TRUE", "FALSE") else text
            for text in seen
        ] == expected_values(one)
    assert "317078247e1198" not in {line[7] for line in through_libreoffice(csv_bytes(ROWS, write_csv))}


def test_the_file_begins_with_a_byte_order_mark() -> None:
    assert csv_bytes([]).startswith(codecs.BOM_UTF8 + b'"message_id","status",')


@pytest.mark.parametrize("text", CONVERTED_TEXTS)
def test_text_that_a_spreadsheet_would_convert_is_marked(text: str) -> None:
    assert excel_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", UNCHANGED_TEXTS)
def test_text_that_stays_text_is_unchanged(text: str) -> None:
    assert excel_cell(text) == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (True, "true"),
        (0, "0"),
        (999_999_999_999_999, "999999999999999"),
        (10**15, "'1000000000000000"),
        (1.5, "'1.5"),
        (-1, "'-1"),
        (["0123", "x"], "'0123; x"),
        (["=1", "x"], "'=1; x"),
        (["x", "=1"], "x; '=1"),
        (["x", "'=1"], "x; ''=1"),
        (["'a", "x"], "''a; x"),
    ],
)
def test_a_value_gives_the_expected_spreadsheet_cell(value: object, expected: str) -> None:
    assert excel_cell(value) == expected


@relaxed
@given(st.text(st.sampled_from("0123456789٣１eE.,/:-+()%$€¥ '\u00a0TZAPM日"), min_size=1, max_size=30))
def test_text_of_digits_and_signs_is_marked(text: str) -> None:
    if any(character.isdigit() for character in text) and text.count("-") <= 3:
        assert excel_cell(text).startswith("'")


@relaxed
@given(spreadsheet_text | any_text)
def test_the_documented_rule_restores_each_text_and_no_cell_is_a_formula(text: str) -> None:
    # Control characters are shown as code points in both dialects.
    text = show_code_points(text)
    found = excel_cell(text)
    assert value_of(found) == text
    for start in [found, *found.split(";")]:
        assert start.lstrip(' "\u00a0')[:1] not in set(FORMULA_STARTS)


def test_a_cell_too_long_for_excel_is_complete_and_named() -> None:
    long = [{"subject": "x" * MOST_CHARACTERS}, {"subject": "🧾" * 16_384}, {"subject": "x" * 40_000}]
    out = io.BytesIO()
    [warning] = write_excel_csv([json_text({"message": message}) for message in long], out.write)
    assert warning == (
        "2 cells are longer than the 32,767 characters that Excel holds: subject in row 3 (32,768), subject in row 4 "
        "(40,000). The file is complete; Excel cuts such a cell when it opens the file."
    )
    found = list(csv.DictReader(io.StringIO(out.getvalue().decode("utf-8-sig"), newline="")))
    assert [line["subject"] for line in found] == [message["subject"] for message in long]


def test_the_first_of_many_long_cells_are_named() -> None:
    line = json_text({"postfix_id": "x" * 33_000})
    [warning] = write_excel_csv([line] * 12, lambda _: None)
    assert warning.startswith("12 cells are longer")
    assert warning.count("postfix_id") == 10
    assert "postfix_id in row 11 (33,000) and 2 more. The file" in warning


def test_more_rows_than_a_sheet_holds_give_a_warning() -> None:
    assert write_excel_csv([b"{}"] * 4, lambda _: None, most_rows=5) == []
    [warning] = write_excel_csv([b"{}"] * 5, lambda _: None, most_rows=5)
    assert warning.startswith("the file has 6 rows with its header, and Excel opens 5 of them.")
