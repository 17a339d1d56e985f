"""The report on one job: what happened, what was not done, and how that can be checked; as HTML, Markdown or a summary.

The HTML is one file without a script and without a request to anywhere (its content security policy forbids both),
for screens of any width, light or dark, and for paper. The facts it is made from are described in
`remediation.reports.facts`; all of them may be absent.
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
from remediation.reports import wording
from remediation.reports.facts import job_of, part, text
from remediation.reports.file_hashes import RecordedFile, recorded_file
from remediation.reports.integrity import Check, rows_unchanged, unreadable_rows
from remediation.reports.page import Report, report_of
from remediation.reports.summary_text import summary_text
from remediation.reports.tally import Tally

ReportFormat = Literal["html", "markdown", "summary"]

_EMPTY_LINES = re.compile(r"\n{3,}")
_TEMPLATES = {"html": "report.html.j2", "markdown": "report.md.j2"}


def render(facts: Mapping[str, Any], format: ReportFormat) -> str:  # noqa: A002 -- the parameter's name everywhere
    """The report as text. Reads the row file, if `rows` is a path, once and without keeping it.

    Raises:
        ParameterError: the format is unknown (pointer `/format`), or the row file can't be read (pointer `/rows`).
    """
    return _rendered(_read(facts, {}), format)


def rendered(facts: Mapping[str, Any], formats: Sequence[ReportFormat], hashes: Mapping[str, str]) -> list[str]:
    """The same in several formats, whose rows are read once.

    hashes: the SHA-256 of files that were just written, by the path that `export` has for each.
    """
    report = _read(facts, hashes)
    return [_rendered(report, report_format) for report_format in formats]


def write_report(
    facts: Mapping[str, Any],
    path: str | os.PathLike[str],
    format: ReportFormat,  # noqa: A002 -- the parameter's name everywhere
    *,
    name: str | None = None,
) -> FileRecord:
    """Write the report to a file, whole or not at all, mode 0600. `rows` in the record are the rows it was made from.

    name: what the record and errors call the file, if not by its path.

    Raises:
        ParameterError: as `render`, or nothing can be written there (pointer `/destination`).
        OutputError: the file can't be written to its end.
    """
    destination = checked_destination(path)
    report = _read(facts, {})
    body = _rendered(report, format).encode("utf-8")
    with whole_file(destination, name=name) as file:
        file.write(body)
    return {
        "path": str(destination) if name is None else name,
        "format": format,
        "bytes": file.bytes,
        "sha256": file.sha256,
        "rows": report.rows_read or 0,
    }


def _rendered(report: Report, report_format: str) -> str:
    if report_format == "summary":
        return summary_text(report)
    if report_format not in _TEMPLATES:
        known = f"{', '.join(_TEMPLATES)} or summary"
        raise ParameterError(problems=[{"pointer": "/format", "message": f"a report's format is {known}"}])
    text = _environment(report_format).get_template(_TEMPLATES[report_format]).render(report=report)
    # What a template leaves out leaves empty lines behind.
    return _EMPTY_LINES.sub("\n\n", text) if report_format == "markdown" else text


@functools.cache
def _environment(report_format: str) -> Environment:
    environment = Environment(
        loader=PackageLoader("remediation.reports", "templates"),
        undefined=StrictUndefined,
        # For Markdown too: what `finalize` lets through is marked as done, and nothing else gets in unescaped.
        autoescape=True,
        finalize=wording.html if report_format == "html" else wording.markdown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    environment.globals["wording"] = wording.Wording
    environment.globals["counted"] = lambda *words: wording.Wording(counted(*words))
    environment.filters["heading"] = wording.markdown_title
    environment.filters["cell"] = wording.markdown_cell
    environment.filters["page_title"] = wording.html_title
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
    seen = _Lines()
    try:
        with path.open("rb") as file:
            tally = Tally(seen.rows(file), job_created)
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
    digest = seen.sha256.hexdigest()
    found = [rows_unchanged(digest, recorded)]
    return tally, digest, [*found, unreadable_rows(seen.unreadable)] if seen.unreadable else found


class _Lines:
    """A row file on its way through: its SHA-256, and how many of its lines are no rows."""

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
