"""The report on one job: outcome, open items and integrity checks, as HTML, Markdown or a summary.

The HTML is one file without scripts and network requests; its content security policy forbids both. It fits screens of
any width, light or dark, and paper. `remediation.reports.facts` describes the facts; all of them are optional.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from core.errors import ParameterError
from core.quantity import counted
from remediation.exports.files.path_checks import checked_destination, reason
from remediation.exports.files.whole_file import FileRecord, whole_file
from remediation.exports.formats.ndjson import rows_of
from remediation.reports import own_words
from remediation.reports.facts import job_of, part, text
from remediation.reports.file_hashes import RecordedFile, recorded_file
from remediation.reports.integrity import Check, check_row_file, unreadable_rows
from remediation.reports.page import Report, report_of
from remediation.reports.summary import summary_text
from remediation.reports.tally import Tally

ReportFormat = Literal["html", "markdown", "summary"]

_EMPTY_LINES = re.compile(r"\n{3,}")
_TEMPLATES = {"html": "report.html.j2", "markdown": "report.md.j2"}


def render(facts: Mapping[str, Any], format: ReportFormat) -> str:  # noqa: A002 -- the parameter's name everywhere
    """Return the report as text. If `rows` is a path, the row file is read once and not kept in memory.

    Raises:
        ParameterError: the format is unknown (pointer `/format`), or the row file can't be read (pointer `/rows`).
    """
    return _render(_read(facts, {}), format)


def render_all(facts: Mapping[str, Any], formats: Sequence[ReportFormat], hashes: Mapping[str, str]) -> list[str]:
    """Return the report in several formats. The rows are read once.

    hashes: the SHA-256 of files that were just written, by their path in `export`.
    """
    report = _read(facts, hashes)
    return [_render(report, report_format) for report_format in formats]


def write_report(
    facts: Mapping[str, Any],
    path: str | os.PathLike[str],
    format: ReportFormat,  # noqa: A002 -- the parameter's name everywhere
    *,
    name: str | None = None,
) -> FileRecord:
    """Write the report to a file with mode 0600, completely or not at all. Return its record.

    name: the file's name in the record and in errors; default: its path. `rows` in the record counts the rows read.

    Raises:
        ParameterError: see `render`; or the destination is not writable (pointer `/destination`).
        OutputError: the file can't be written completely.
    """
    destination = checked_destination(path)
    report = _read(facts, {})
    body = _render(report, format).encode("utf-8")
    with whole_file(destination, name=name) as file:
        file.write(body)
    return {
        "path": str(destination) if name is None else name,
        "format": format,
        "bytes": file.bytes,
        "sha256": file.sha256,
        "rows": report.rows_read or 0,
    }


def _render(report: Report, report_format: str) -> str:
    if report_format == "summary":
        return summary_text(report)
    if report_format not in _TEMPLATES:
        known = f"{', '.join(_TEMPLATES)} or summary"
        raise ParameterError(problems=[{"pointer": "/format", "message": f"unknown report format: use {known}"}])
    text = _environment(report_format).get_template(_TEMPLATES[report_format]).render(report=report)
    # Skipped parts of a template leave empty lines.
    return _EMPTY_LINES.sub("\n\n", text) if report_format == "markdown" else text


@functools.cache
def _environment(report_format: str) -> Environment:
    environment = Environment(
        loader=PackageLoader("remediation.reports", "templates"),
        undefined=StrictUndefined,
        # For Markdown too: `finalize` marks its results as safe, and everything else is escaped.
        autoescape=True,
        finalize=own_words.html if report_format == "html" else own_words.markdown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    environment.globals["wording"] = own_words.Wording
    environment.globals["counted"] = lambda *words: own_words.Wording(counted(*words))
    environment.filters["heading"] = own_words.markdown_title
    environment.filters["cell"] = own_words.markdown_cell
    environment.filters["page_title"] = own_words.html_title
    if report_format == "html":
        style, _, _ = environment.loader.get_source(environment, "report.css")  # type: ignore[union-attr]
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        environment.globals["style"] = Markup(style)  # noqa: S704 -- the pack's own file
        environment.globals["style_source"] = Markup(f"'sha256-{digest}'")  # noqa: S704 -- base64
    return environment


def _read(facts: Mapping[str, Any], hashes: Mapping[str, str]) -> Report:
    rows, export = facts.get("rows"), part(facts, "export")
    created = job_of(facts).created
    if isinstance(rows, str | os.PathLike):
        tally, digest, row_checks = _tally_file(Path(rows), export, created)
        return report_of(facts, tally, _recorded(export, {str(rows): digest}), row_checks)
    if not isinstance(rows, Iterable) or isinstance(rows, bytes | Mapping):
        return report_of(facts, None, _recorded(export, hashes))
    tally = Tally((row for row in rows if isinstance(row, Mapping)), created)
    return report_of(facts, tally, _recorded(export, hashes))


def _recorded(export: Mapping[str, Any], known: Mapping[str, str]) -> list[RecordedFile]:
    files = export.get("files")
    records = files if isinstance(files, list | tuple) else ()
    return [recorded_file(record, known) for record in records if isinstance(record, Mapping)]


def _tally_file(path: Path, export: Mapping[str, Any], job_created: datetime | None) -> tuple[Tally, str, list[Check]]:
    lines = _Lines()
    try:
        with path.open("rb") as file:
            tally = Tally(lines.rows(file), job_created)
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise ParameterError(
            problems=[{"pointer": "/rows", "message": f"{str(path)!r} can't be read: {why}"}]
        ) from error
    files = export.get("files")
    recorded = [
        sha256
        for file in (files if isinstance(files, list | tuple) else ())
        if isinstance(file, Mapping) and text(file.get("path")) == str(path) and (sha256 := text(file.get("sha256")))
    ]
    digest = lines.sha256.hexdigest()
    found = [check_row_file(digest, recorded)]
    return tally, digest, [*found, unreadable_rows(lines.unreadable)] if lines.unreadable else found


class _Lines:
    """The lines of a row file, with its SHA-256 and the number of unreadable lines."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.unreadable = 0

    def rows(self, lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
        for line in lines:
            self.sha256.update(line)
            try:
                yield from rows_of([line])
            except ValueError:
                self.unreadable += 1
