"""Row formats: NDJSON, JSON and Parquet lose no data, and CSV holds no dangerous cell."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import unicodedata
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from connectors.paging.raw_rows import rows_envelope
from core.errors import ParameterError
from core.text import (
    FORMULA_STARTS,
    MOST_MARKS,
    STEERING,
    are_safe,
    formula_safe,
    limit_marks,
    shorten,
    show_code_points,
    visible,
)
from remediation.exports.formats.csv_table import COLUMNS, LINES_AT_ONCE, cell, values_of, write_csv
from remediation.exports.formats.ndjson import lines_of, rows_of, write_json
from remediation.exports.formats.parquet_table import write_parquet
from remediation.exports.request import ExportRequest
from tests.remediation.reports.sample_job import HOSTILE, json_text, row

any_text = st.text(st.characters(exclude_categories=()), max_size=40)


def cells(row: Mapping[str, Any]) -> list[str]:
    return [cell(value) for value in values_of(row)]


any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)
any_row = st.dictionaries(any_text, any_json, max_size=6)
spreadsheet_text = st.text(st.sampled_from("=+-@＝＋－＠;,\"' \t\r\n\0a1\u202e\u200b\ufeff\u00a0|"), max_size=12)

relaxed = settings(deadline=None)  # a busy machine is not a defect


def csv_of(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    write_csv([lines_of([json_text(row)]) for row in rows], out.write)
    return out.getvalue()


def _normalized(value: Any) -> Any:
    """Return the value after JSON has joined neighboring surrogates to one character."""
    return json.loads(json.dumps(value))


@relaxed
@given(any_row)
def test_a_row_is_read_back_from_ndjson_with_its_keys_in_order(row: dict[str, Any]) -> None:
    line = lines_of([json_text(row)])
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    back = json.loads(line)
    assert back == _normalized(row)
    assert list(back) == list(_normalized(row))


@relaxed
@given(any_row)
def test_an_ndjson_line_is_one_line_for_every_reader_without_control_characters(row: dict[str, Any]) -> None:
    text = lines_of([json_text(row)]).decode("utf-8")
    assert len(text.splitlines()) == 1
    assert not any("\x7f" <= character <= "\x9f" or character in "\u2028\u2029\u202e\u2066" for character in text)
    assert not any(character < " " for character in text[:-1])


def expected_line(text: str) -> bytes:
    """Return a line of NDJSON, escaped character by character according to Unicode properties."""

    def escape(character: str) -> str:
        if character in "\r\n":
            return " "
        steers = unicodedata.category(character) in ("Cc", "Zl", "Zp") or character in BIDI_CONTROLS
        return f"\\u{ord(character):04x}" if steers else character

    return "".join(map(escape, text)).encode() + b"\n"


# The property Bidi_Control of the Unicode Character Database.
BIDI_CONTROLS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# Control characters, and others that begin with the same byte in UTF-8.
similar_characters = st.text(
    st.sampled_from(
        BIDI_CONTROLS + "\x7f\x80\x85\x9f\u2028\u2029" + "a \\é\xa0\xbf\u061b\u0622\u200d\u2010’“…€\u2065\u206a請🎉"
    ),
    max_size=30,
)


@given(st.lists(similar_characters, max_size=6), st.sampled_from([None, 1]), st.booleans())
def test_lines_are_escaped_by_the_rule(subjects: list[str], indent: int | None, crlf: bool) -> None:
    rows = [
        json.dumps({"message_id": "1", "status": "FAILED", "subject": subject}, ensure_ascii=False, indent=indent)
        for subject in subjects
    ]
    if crlf:
        rows = [row.replace("\n", "\r\n") for row in rows]
    expected = b"".join(map(expected_line, rows))
    assert lines_of([row.encode() for row in rows]) == expected
    found = rows_envelope(f'{{"success": true, "result": [{",".join(rows)}]}}'.encode())
    assert found is not None
    assert lines_of(found["result"].texts, form=found["result"].form) == expected


def test_every_character_is_escaped_by_the_rule() -> None:
    text = "".join(chr(code) for code in (*range(0x20, 0xD800), *range(0xE000, sys.maxunicode + 1)))
    assert lines_of([text.encode()], form="one-line") == expected_line(text)


def test_ndjson_keeps_letters_of_all_scripts_readable() -> None:
    text = '{"subject" :"Größe 請求書 🧾"}'.encode()
    assert lines_of([text]) == text + b"\n"


def test_ndjson_keeps_text_that_a_parser_would_lose() -> None:
    texts = [b'{"a": 1.50, "b": 1e400, "a": 12345678901234567890123}', b'{ "c":"\\u00e9" }']
    assert lines_of(texts) == b"".join(text + b"\n" for text in texts)


def test_line_breaks_between_json_tokens_become_spaces() -> None:
    assert lines_of([b'{"a":\n 1,\r\n "b": 2}', b"{}"]) == b'{"a":  1,   "b": 2}\n{}\n'


def test_invalid_utf_8_is_refused() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        lines_of([b'{"a": "\xff"}'])


@pytest.mark.parametrize("line", [b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_an_invalid_line_is_named_by_its_number(line: bytes) -> None:
    with pytest.raises(ValueError, match="line 2"):
        list(rows_of([b"{}\n", line]))


@relaxed
@given(st.lists(any_row, max_size=4))
def test_a_json_file_is_an_array_of_the_rows(rows: list[dict[str, Any]]) -> None:
    out = io.BytesIO()
    write_json([lines_of([json_text(row)]) for row in rows], out.write)
    assert json.loads(out.getvalue()) == _normalized(rows)


@relaxed
@given(st.lists(st.fixed_dictionaries({"message_id": any_text, "status_message": any_json, "message": any_json})))
def test_any_row_is_read_back_from_csv_cell_by_cell(rows: list[dict[str, Any]]) -> None:
    data = csv_of(rows).decode("utf-8")
    header, *lines = csv.reader(io.StringIO(data, newline=""), strict=True)
    assert header == [column.name for column in COLUMNS]
    assert lines == [cells(row) for row in rows]
    assert data.count("\n") == data.count("\r\n") == len(rows) + 1


def table_row(changes: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    """Return a row with a value of the right type in each column, except for the changed paths."""
    usual = {"text": "Dana Weber", "list": ["dana@corp.example", "lee@corp.example"], "integer": 2, "boolean": True}
    found: dict[str, Any] = {}
    for path, value in {**{column.path: usual[column.kind] for column in COLUMNS}, **changes}.items():
        parent: Any = found
        for key in path[:-1]:
            parent = parent.setdefault(key, {}) if isinstance(parent, dict) else {}
        if isinstance(parent, dict):
            parent[path[-1]] = value
    return found


any_cell = st.one_of(
    spreadsheet_text,
    any_text,
    st.lists(spreadsheet_text, max_size=3),
    st.none(),
    st.integers(),
    st.booleans(),
    any_json,
)
any_path = st.sampled_from([column.path for column in COLUMNS])
any_object = st.sampled_from([("message",), ("action_params",), ("message", "validation")])


@settings(deadline=None)
@given(st.lists(st.dictionaries(any_path, any_cell, max_size=3) | st.dictionaries(any_object, any_json, max_size=1)))
def test_the_csv_agrees_with_the_csv_module(changes: list[dict[tuple[str, ...], Any]]) -> None:
    rows = [_normalized(table_row(one)) for one in changes]
    expected = io.StringIO(newline="")
    csv.writer(expected, lineterminator="\r\n").writerows(map(cells, rows))
    assert csv_of(rows).partition(b"\r\n")[2] == expected.getvalue().encode()


def test_more_rows_than_one_batch_are_written_in_order() -> None:
    rows = [table_row({("message_id",): str(number)}) for number in range(2 * LINES_AT_ONCE + 1)]
    lines = csv_of(rows).decode().splitlines()[1:]
    assert [line.partition(",")[0] for line in lines] == [str(number) for number in range(2 * LINES_AT_ONCE + 1)]


@given(st.lists(spreadsheet_text | any_text, min_size=1, max_size=4))
def test_safe_cells_are_not_changed(texts: list[str]) -> None:
    if are_safe(",".join(texts)):
        assert list(map(formula_safe, texts)) == texts


def test_every_name_in_the_header_is_quoted() -> None:
    # DuckDB assumes a file without quotes if the first 20,480 lines have none, and splits the first quoted cell.
    assert csv_of([{"message_id": "1"}]).split(b"\r\n")[0] == ",".join(f'"{c.name}"' for c in COLUMNS).encode()
    assert csv_of([]).startswith(b'"message_id","status",')


@relaxed
@given(spreadsheet_text | any_text)
def test_no_cell_is_a_formula_however_it_is_split(text: str) -> None:
    safe = formula_safe(text)
    for start in [safe, *safe.split(";")]:
        assert start.lstrip(' "\u00a0')[:1] not in set(FORMULA_STARTS)
    assert not STEERING.search(safe)
    safe.encode("utf-8")


@relaxed
@given(any_text)
def test_a_cell_only_gains_quotes_and_code_points(text: str) -> None:
    if text.isprintable() and not set(text) & {*FORMULA_STARTS, ";"}:
        assert formula_safe(text) == text
    assert formula_safe(text).replace("'", "") == show_code_points(text).replace("'", "")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('=HYPERLINK("https://evil.example")', '\'=HYPERLINK("https://evil.example")'),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'[U+0009]=1"),
        ("\r=1", "'[U+000D]=1"),
        ("\n=1", "'[U+000A]=1"),
        ("＝1", "'＝1"),
        ("＠x", "'＠x"),
        ("  =1", "'  =1"),
        ('"=1', "'\"=1"),
        ('x;"=1+1', "x;\"'=1+1"),
        ("a\r\nb", "a[U+000D][U+000A]b"),
        ("cod\u202eexe", "cod[U+202E]exe"),
        (["a@b.example", "=1"], "a@b.example; '=1"),
        (["=1", None, "x"], "'=1; ; x"),
        (None, ""),
        (True, "true"),
        (-1, "'-1"),
        ({"a": ["ü"]}, '{"a":["ü"]}'),
        ("plain, with \"quotes\" and 'apostrophes'", "plain, with \"quotes\" and 'apostrophes'"),
    ],
)
def test_a_value_gives_the_expected_cell(value: object, expected: str) -> None:
    assert cell(value) == expected


def test_a_rows_values_are_in_their_columns() -> None:
    table = dict(zip((column.name for column in COLUMNS), cells(row(3)), strict=True))
    assert table["message_id"] == "00000000-0000-4000-8000-000000000003"
    assert table["action"] == "MOVE"
    assert table["client_recipient"] == "user3@corp.example"
    assert table["to"] == "dana@corp.example; lee@corp.example"
    assert table["spf"] == "softfail"
    assert table["retry_count"] == "0"
    assert table["alert_id"] == ""


@pytest.mark.parametrize("message", [None, [], "text", {"validation": 7}])
def test_a_row_with_a_missing_or_malformed_message_has_all_cells(message: object) -> None:
    assert len(cells({"message": message, "action_params": message})) == len(COLUMNS)


def test_a_shortened_text_counts_the_omitted_characters() -> None:
    assert shorten("x" * 10_000, 200) == "x" * 200 + "… (9,800 more characters)"
    assert shorten("x" * 200, 200) == "x" * 200


@pytest.mark.parametrize("text", HOSTILE)
def test_visible_text_has_no_control_characters(text: str) -> None:
    assert visible(text).isprintable()


ACUTE, ENCLOSED, THAI = "\u0301", "\u20dd\u0489", "\u0e47"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"a{ACUTE * 200}b", f"a{ACUTE * 6}[194 more marks]b"),
        (f"a{ACUTE * 7} b{ACUTE * 7}", f"a{ACUTE * 6}[1 more mark] b{ACUTE * 6}[1 more mark]"),
        (ENCLOSED * 600, f"{ENCLOSED * 3}[1,194 more marks]"),
        (f"\u0e2a{THAI * 50}", f"\u0e2a{THAI * 6}[44 more marks]"),
        # Marks with joiners between them.
        (f"a{(ACUTE + chr(0x200D)) * 100}", f"a{(ACUTE + chr(0x200D)) * 6}[94 more marks]"),
    ],
)
def test_excess_combining_marks_are_replaced_by_their_count(text: str, expected: str) -> None:
    assert limit_marks(text) == visible(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "\u05e9\u05b8\u05c1\u0591\u05dc\u05d5\u05b9\u05dd",
        "\u0e1a\u0e49\u0e32\u0e19\u0e17\u0e35\u0e48",
        "\u0f56\u0f66\u0f92\u0fb2\u0f74\u0f56\u0f66",
        "Vie\u0323\u0302t Nam " * 50,
        "\u2764\ufe0f" * 50,
        "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 20,
        "1\ufe0f\u20e3" * 20,
        f"a{ACUTE * MOST_MARKS}",
        f"e{ACUTE}" * 200,
    ],
)
def test_marks_of_natural_text_are_kept(text: str) -> None:
    assert visible(text) == text


def test_the_row_writers_load_no_heavy_module() -> None:
    program = (
        "import sys, remediation.exports.row_file; "
        "print([m for m in ('jinja2', 'markupsafe', 'pydantic') if m in sys.modules])"
    )
    completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert completed.stdout.strip() == "[]"


def parquet_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    out = io.BytesIO()
    write_parquet([lines_of([json_text(row)]) for row in rows], out.write)
    found: list[dict[str, Any]] = parquet.read_table(io.BytesIO(out.getvalue())).to_pylist()
    return found


def test_parquet_has_the_columns_of_the_csv_with_types() -> None:
    [found] = parquet_of([row(3, retry_count=2)])
    assert list(found) == [*(column.name for column in COLUMNS), "row"]
    assert (found["client_recipient"], found["retry_count"]) == ("user3@corp.example", 2)
    assert found["to"] == ["dana@corp.example", "lee@corp.example"]
    assert found["alert_id"] is None
    assert json.loads(found["row"]) == row(3, retry_count=2)
    [odd] = parquet_of([{"message_id": 5, "retry_count": True, "message": {"to": "x", "is_quarantined": True}}])
    assert [odd[name] for name in ("message_id", "retry_count", "to", "is_quarantined")] == [None, None, None, True]


@relaxed
@given(st.lists(st.fixed_dictionaries({"message_id": any_json, "retry_count": any_json, "message": any_json})))
def test_any_row_is_read_back_completely_from_parquet(rows: list[dict[str, Any]]) -> None:
    assert [json.loads(found["row"]) for found in parquet_of(rows)] == _normalized(rows)


def expected_value(value: Any, kind: str) -> Any:
    if kind == "list":
        return [expected_value(item, "text") for item in value] if isinstance(value, list) else None
    if isinstance(value, bool):
        return value if kind == "boolean" else None
    if isinstance(value, int):
        return value if kind == "integer" and abs(value) < 2**63 else None
    # A lone surrogate is not a character.
    is_text = kind == "text" and isinstance(value, str)
    return value.encode("utf-8", "backslashreplace").decode() if is_text else None


def value_at(row: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        row = row.get(key) if isinstance(row, dict) else None
    return row


@relaxed
@given(st.lists(st.dictionaries(any_path, any_cell, max_size=3) | st.dictionaries(any_object, any_json, max_size=1)))
def test_a_parquet_column_holds_only_values_of_its_type(changes: list[dict[tuple[str, ...], Any]]) -> None:
    rows = [_normalized(table_row(one)) for one in changes]
    for escape, found in zip(rows, parquet_of(rows), strict=True):
        del found["row"]
        assert found == {column.name: expected_value(value_at(escape, column.path), column.kind) for column in COLUMNS}


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, -(2**63) + 1, -(2**63), 10**30])
def test_a_number_of_more_than_64_bits_is_in_the_csv_and_in_no_parquet_column(number: int) -> None:
    rows = [table_row({("retry_count",): number})]
    assert parquet_of(rows)[0]["retry_count"] == expected_value(number, "integer")
    assert str(number) in csv_of(rows).decode()


def test_parquet_row_groups_are_written_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remediation.exports.formats.parquet_table.ROWS_IN_A_GROUP", 3)
    found = parquet_of([row(number, status_message=text) for number, text in enumerate(HOSTILE)])
    # A lone surrogate is not a character.
    assert [one["status_message"] for one in found] == [
        text.encode("utf-8", "backslashreplace").decode() for text in HOSTILE
    ]
    assert parquet_of([]) == []


def test_a_missing_parquet_extra_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ParameterError, match="extra `parquet`"):
        ExportRequest("", format="parquet", destination="rows.parquet").check()
