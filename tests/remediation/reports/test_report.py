"""The report: its contents, and that text from a mailbox has no effect in it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from core.errors import OutputError, ParameterError
from remediation.exports.row_file import RowFile
from remediation.reports.report import ReportFormat, render, write_report
from tests.remediation.reports.sample_job import HOSTILE, facts, hostile_campaign, job, json_text, row, small_campaign

GOLDENS = Path(__file__).parent / "goldens"
FORMATS: tuple[tuple[ReportFormat, str], ...] = (("html", "report.html"), ("markdown", "report.md"))
FORBIDDEN_ELEMENTS = {
    "script",
    "img",
    "link",
    "iframe",
    "object",
    "embed",
    "form",
    "input",
    "base",
    "image",
    "use",
    "foreignobject",
}
FORBIDDEN_ATTRIBUTE = re.compile(r"on.*|src|srcset|style|action|xlink:.*|data|ping|background")


class Page(HTMLParser):
    """The report's elements and text as a parser reads them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.words = ""
        self.style = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in {"meta", "br", "rect"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.words += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment in the report: {data}")


def hostile_facts() -> dict[str, Any]:
    given = facts(hostile_campaign(), title=HOSTILE[4], playbook=HOSTILE[3], outcome=HOSTILE[0], warnings=list(HOSTILE))
    given["alert"] = {"id": HOSTILE[1], "from": HOSTILE[5], "subject": HOSTILE[6], "received": HOSTILE[0]}
    given["request"] |= {"search_params": {text: text for text in HOSTILE}, "comment": HOSTILE[10]}
    given["job"] |= {"job_id": HOSTILE[1], "status_message": HOSTILE[3], "status": HOSTILE[0]}
    given["timings"] = dict.fromkeys(HOSTILE, 1.5)
    given["export"]["files"] = [{"path": text, "format": text, "sha256": text, "rows": text} for text in HOSTILE]
    return given


@pytest.mark.parametrize(("report_format", "name"), FORMATS)
def test_the_report_on_a_small_job_equals_the_golden_file(report_format: ReportFormat, name: str) -> None:
    # WRITE_GOLDENS=1 rewrites the files. Review them before you commit.
    golden = GOLDENS / name
    found = render(facts(small_campaign()), report_format)
    if os.environ.get("WRITE_GOLDENS"):
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8")


def test_the_page_has_no_script_no_outside_link_and_no_request() -> None:
    page = Page(render(hostile_facts(), "html"))
    # Links within the page are allowed.
    links = [value or "" for name, value in page.attributes if name == "href"]
    assert [link for link in links if not re.fullmatch(r"#rows-[a-z]+", link)] == []
    assert {f"#{value}" for name, value in page.attributes if name == "id"} >= set(links)
    assert not FORBIDDEN_ELEMENTS & set(page.tags)
    assert not [name for name, _ in page.attributes if FORBIDDEN_ATTRIBUTE.fullmatch(name)]
    assert page.open == []
    assert "url(" not in page.style
    assert "@import" not in page.style


def test_the_content_security_policy_allows_only_the_pages_style() -> None:
    page = Page(render(facts(small_campaign()), "html"))
    policy = next(value for name, value in page.attributes if name == "content" and value and "default-src" in value)
    digest = hashlib.sha256(page.style.encode()).digest()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{base64.b64encode(digest).decode()}'; "
        "base-uri 'none'; form-action 'none'"
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_readable_and_has_no_effect(text: str) -> None:
    page = Page(render(facts([row(1, "FAILED", status_message=text)]), "html"))
    start = re.sub(r"[^ -~].*", "", text.strip(), flags=re.DOTALL)[:100]
    assert start in page.words
    assert all(character.isprintable() or character in "\n\u00a0" for character in page.words)


@pytest.mark.parametrize("report_format", ["html", "markdown"])
def test_a_subject_of_ten_thousand_characters_is_shortened_with_a_mark(report_format: ReportFormat) -> None:
    found = render(facts([row(1, "FAILED", message={"subject": "A" * 10_000})]), report_format)
    assert "A" * 200 + "… (9,800 more characters)" in found
    assert "A" * 201 not in found


def test_characters_that_reorder_text_become_code_points() -> None:
    given = facts([row(1, "FAILED", status_message="invoice \u202egpj.exe")])
    assert "invoice <samp>U+202E</samp>gpj.exe" in render(given, "html")
    assert "`invoice [U+202E]gpj.exe`" in render(given, "markdown")


def test_markdown_shows_hostile_text_as_code_and_nothing_else() -> None:
    found = render(hostile_facts(), "markdown")
    # Links within the page, to one of its own headings.
    outside = re.sub(r"\]\(#[a-z-]+\)", "]", re.sub(r"`[^`\n]*`", "", found))
    assert "`" not in outside
    for dangerous in ("<", "](", "://", "www.", "@", "javascript:", "{{", "\x1b", "HYPERLINK", ":tada:"):
        assert dangerous not in outside
    assert all(character.isprintable() or character == "\n" for character in found)
    headings = [line for line in found.splitlines() if line.startswith("#")]
    assert headings == [heading for heading in headings if re.fullmatch(r"#{1,3} [`A-Z].*", heading)]
    for line in found.splitlines():
        if line.startswith("|"):
            assert line.count("|") in {4, 5, 6, 7}


@pytest.mark.parametrize("report_format", ["html", "markdown"])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"job": None, "export": [], "alert": "text", "request": 7, "rows": 3, "warnings": "none", "timings": []},
        {"job": {"created_at": "yesterday", "messages_failed": "many", "total_messages_discovered": -1}},
        {"job": {"completed_at": "0001-01-01T00:00:00+14:00", "created_at": "9999-12-31T23:59:59-14:00"}},
        {"rows": [{}, {"message": 1, "action_params": [], "status": {}}, "no row", None]},
        {"rows": {"no": "rows"}, "export": {"files": [{}, None, 7], "written": True}},
        {"timings": {"a": float("nan"), "b": "c", "d": True}, "warnings": [None, {"a": 1}, {1, 2}]},
    ],
)
def test_absent_and_malformed_facts_are_shown_as_not_known(given: dict[str, Any], report_format: ReportFormat) -> None:
    assert "not known" in render(given, report_format)


def test_an_unknown_format_is_a_parameter_error() -> None:
    with pytest.raises(ParameterError, match="html, markdown or summary"):
        render({}, "pdf")  # type: ignore[arg-type]


def export_rows(path: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    with RowFile.create(path) as file:
        file.append([json_text(item) for item in rows])
        record = file.finish("ndjson")
    given = facts(rows) | {"rows": str(path)}
    given["export"]["files"] = [record]
    return given


def test_the_row_file_is_checked_against_its_recorded_hash(tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    given = export_rows(path, small_campaign())
    assert "**Match.** The row file of this report has the recorded SHA-256" in render(given, "markdown")
    path.write_bytes(path.read_bytes().replace(b"user1@", b"user2@"))
    assert "**Mismatch.** The row file of this report was changed" in render(given, "markdown")


def test_every_exported_file_is_checked_against_its_recorded_hash(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_bytes(b"a,b\n")
    record = {
        "path": str(table),
        "format": "csv",
        "rows": 0,
        "bytes": 4,
        "sha256": hashlib.sha256(b"a,b\n").hexdigest(),
    }
    given = export_rows(tmp_path / "rows.ndjson", small_campaign())
    given["export"]["files"].append(record)
    found = render(given, "markdown")
    assert "**Match.** Exported files with the recorded SHA-256: 2 of 2." in found
    assert "Evidence: Complete**, 10 of 10 rows; all 5 checks passed" in found
    for changed in (b"a,c\n", b"a,b,c\n"):
        table.write_bytes(changed)
        found = render(given, "markdown")
        assert "with the recorded SHA-256: 1 of 2. Changed: 1." in found
        assert "Evidence: Mismatch**" in found
        assert "- **1 exported file was changed after the export.** Exported files" in found
        assert "4 bytes, **changed**." in found
    table.unlink()
    found = render(given, "markdown")
    assert "**Not checked.** Exported files with the recorded SHA-256: 1 of 2." in found
    assert "4 bytes, not checked." in found


@pytest.mark.parametrize("kind", ["pipe", "directory", "device", "name", "nul"])
def test_a_path_that_is_not_a_regular_file_does_not_block(tmp_path: Path, kind: str) -> None:
    path = {"device": "/dev/zero", "name": "n" * 5000, "nul": "a\0b"}.get(kind, str(tmp_path / kind))
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        Path(path).mkdir()
    found = render({"export": {"files": [{"path": path, "sha256": "0" * 64}]}}, "markdown")
    assert "with the recorded SHA-256: 0 of 1. The others could not be read" in found


def test_unreadable_lines_are_counted_and_not_fatal(tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    path.write_bytes(b'{"status":"COMPLETED"}\nnonsense\n[1]\n')
    found = render({"rows": str(path)}, "markdown")
    assert "2 lines of the row file can" in found


def test_a_missing_row_file_is_a_parameter_error(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no such") as caught:
        render({"rows": str(tmp_path / "rows.ndjson")}, "html")
    assert caught.value.problems[0]["pointer"] == "/rows"


@pytest.mark.parametrize(("report_format", "name"), FORMATS)
def test_a_written_report_is_complete_private_and_recorded(
    tmp_path: Path, report_format: ReportFormat, name: str
) -> None:
    path = tmp_path / name
    record, _ = write_report(facts(hostile_campaign()), str(path), report_format)
    data = path.read_bytes()
    assert record == {
        "path": str(path),
        "format": report_format,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "rows": len(HOSTILE),
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == [name]


def test_a_failed_write_leaves_the_previous_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.md"
    path.write_text("before")

    def raise_no_space(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", raise_no_space)
    with pytest.raises(OutputError, match="no space is left"):
        write_report({}, str(path), "markdown")
    assert path.read_text() == "before"
    assert [found.name for found in tmp_path.iterdir()] == ["report.md"]


def test_a_large_job_is_reported_quickly_and_by_its_most_frequent_values() -> None:
    rows = (
        row(number, action_params={"client_recipient": f"x@d{number % 40 if number % 2 else 1}.example"})
        for number in range(5_000)
    )
    found = render({"job": job([]), "rows": rows}, "markdown")
    assert "| `d1.example` | 2,625 | 52.5 % | 0 |" in found
    assert "| all others |" in found
    assert "| Found to processed | 5,000 | 10.0 s | 10.0 s | 10.0 s |" in found
