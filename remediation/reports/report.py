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
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from core.errors import ParameterError
from core.quantity import counted
from remediation.exports.destinations.local_copy import local_copy
from remediation.exports.destinations.place import open_place
from remediation.exports.files.atomic_file import FileRecord, atomic_file
from remediation.exports.files.path_checks import checked_destination, reason
from remediation.exports.formats.ndjson import rows_of
from remediation.reports import own_words
from remediation.reports.facts import job_of, part, text
from remediation.reports.file_hashes import recorded_file
from remediation.reports.integrity import Check, check_row_file, unreadable_rows
from remediation.reports.page import Report, report_of
from remediation.reports.summary import summary_text
from remediation.reports.tally import Tally

ReportFormat = Literal["html", "markdown", "summary"]

_EMPTY_LINES = re.compile(r"\n{3,}")
_TEMPLATES = {"html": "report.html.j2", "markdown": "report.md.j2"}


def render(facts: Mapping[str, Any], format: ReportFormat) -> str:  # noqa: A002 -- the parameter's name everywhere
    """Return the report as text. If `rows` is a path or the URL of an object, the row file is read once.

    Raises: ParameterError for an unknown format (pointer `/format`) or an unreadable row file (pointer `/rows`).
    """
    return _render(_read(facts, {}), format)


def render_all(facts: Mapping[str, Any], formats: Sequence[ReportFormat], hashes: Mapping[str, str]) -> list[str]:
    """Return the report in several formats. The rows are read once.

    hashes: the SHA-256 of files that were just written, by their path in `export`.
    """
    report = _read(facts, hashes)
    return [_render(report, report_format) for report_format in formats]


def write_report(facts: Mapping[str, Any], destination: str, format: ReportFormat) -> tuple[FileRecord, str]:  # noqa: A002
    """Write the report to a path or an object, replacing an existing one. Return its record and its text.

    The file has mode 0600 and is written completely or not at all. `rows` in the record counts the rows read.
    Raises: ParameterError as `render`, or for the destination (pointer `/destination`); OutputError.
    """
    with open_place(destination, overwrite=True) as place:
        path = checked_destination(place.path)
        report = _read(facts, {})
        text = _render(report, format)
        with atomic_file(path, name=place.name) as file:
            file.write(text.encode("utf-8"))
        place.deliver()
    return file.record(place.name, format, report.rows_read or 0), text


def _render(report: Report, report_format: str) -> str:
    if report_format == "summary":
        return summary_text(report)
    if report_format not in _TEMPLATES:
        known = f"{', '.join(_TEMPLATES)} or summary"
        raise ParameterError.at("/format", f"unknown report format: use {known}")
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
    rows, files = facts.get("rows"), part(facts, "export").get("files")
    records = [record for record in (files if isinstance(files, list | tuple) else ()) if isinstance(record, Mapping)]
    tally, checks, created = None, list[Check](), job_of(facts).created
    if isinstance(rows, str | os.PathLike):
        lines = _Lines()
        with local_copy(str(rows), "/rows") as path:
            if path is None:
                raise ParameterError.at("/rows", f"there is no object {str(rows)!r}")
            try:
                with path.open("rb") as file:
                    tally = Tally(lines.rows(file), created)
            except (OSError, ValueError) as error:
                why = reason(error) if isinstance(error, OSError) else str(error)
                raise ParameterError.at("/rows", f"{str(rows)!r} can't be read: {why}") from error
        digest = lines.sha256.hexdigest()
        hashes = {str(rows): digest}
        own = [text(record.get("sha256")) for record in records if text(record.get("path")) == str(rows)]
        checks.append(check_row_file(digest, [sha256 for sha256 in own if sha256]))
        if lines.unreadable:
            checks.append(unreadable_rows(lines.unreadable))
    elif isinstance(rows, Iterable) and not isinstance(rows, bytes | Mapping):
        tally = Tally((row for row in rows if isinstance(row, Mapping)), created)
    return report_of(facts, tally, [recorded_file(record, hashes) for record in records], checks)


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
