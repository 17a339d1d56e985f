"""What is wrong with an export, by the sandbox's own truth."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from remediation.evidence.verification import verify
from sandbox.account import Account
from sandbox.jobs import Job, job_message_view

Row = Mapping[str, Any]


def truth(account: Account, job: Job, status: str | None) -> list[dict[str, Any]]:
    """The job's rows as the API would give them, were it a good day."""
    with account.present() as now:
        listed = job.list_rows(None, account.settings.row_order)
        rows = [job_message_view(account.tenant, job, row, now) for row in listed]
    return [row for row in rows if status in (None, row["status"])]


def written(path: Path, kind: str, row_format: str) -> list[dict[str, Any]]:
    """The rows in what was exported; of a CSV and a Parquet file no more than ID and status."""
    if kind == "folder":
        return _lines((path / "rows.ndjson").read_bytes())
    if kind == "zip":
        with zipfile.ZipFile(path) as archive:
            return _lines(archive.read("rows.ndjson"))
    if row_format == "parquet":
        from pyarrow.parquet import read_table  # noqa: PLC0415 -- 60 MB, for one case in a hundred

        found: list[dict[str, Any]] = read_table(path).select(["message_id", "status"]).to_pylist()
        return found
    data = path.read_bytes()
    if row_format == "csv":
        table = csv.DictReader(io.StringIO(data.decode(), newline=""))
        return [{"message_id": row["message_id"], "status": row["status"]} for row in table]
    return list(json.loads(data)) if row_format == "json" else _lines(data)


def _lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def judge_rows(
    rows: Sequence[Row], result: Mapping[str, Any], promised: Sequence[Row], job: Mapping[str, Any]
) -> list[str]:
    """What is wrong with the rows that came of a call, and with what it says of them. promised: as they are now."""
    wrong = []
    ids = [row["message_id"] for row in rows]
    if len(set(ids)) != len(ids):
        wrong.append("a row was written twice")
    if result["written"] != len(rows):
        wrong.append(f"says that it wrote {result['written']} rows, and wrote {len(rows)}")
    if result["counts_by_status"] != Counter(row["status"] for row in rows):
        wrong.append("miscounts its rows by status")
    strangers = set(ids) - {row["message_id"] for row in promised}
    if strangers and result["complete"]:
        wrong.append(f"has {len(strangers)} rows that are none of the job's")
    if result["complete"]:
        wrong += _judge_complete(rows, result, promised, job)
    elif not result["warnings"]:
        wrong.append("is incomplete and does not say why")
    return wrong


def _judge_complete(
    rows: Sequence[Row], result: Mapping[str, Any], promised: Sequence[Row], job: Mapping[str, Any]
) -> list[str]:
    wrong = []
    if job["completed_at"] is None:
        wrong.append("calls the rows of a running job complete")
    there = {row["message_id"]: row for row in rows}
    for row in promised:
        found = there.get(row["message_id"])
        if found is None:
            wrong.append(f"calls its rows complete without {row['message_id']}")
        elif found["status"] != row["status"]:
            wrong.append(f"has {row['message_id']} as {found['status']}, it is {row['status']}")
        elif len(found) > 2 and result["pseudonyms"] is None and found != row:
            wrong.append(f"has {row['message_id']} with other words than the API's")
    if result["snapshot"] or result["missing"] != 0 or result["expected"] != len(promised):
        wrong.append(
            f"is complete with {result['missing']} missing of {result['expected']}, snapshot {result['snapshot']}"
        )
    return wrong


def judge_bundle(path: Path, result: Mapping[str, Any], attempts: int, *, exact: bool) -> list[str]:
    """What is wrong with a bundle. attempts: requests that were made for it; exact: no more and no fewer were noted."""
    found = verify(path)
    wrong = [] if found.intact else [f"its bundle is not intact: {found.problems}"]
    if found.sha256 != result["evidence_sha256"]:
        wrong.append("gives another hash of evidence.json than it has")
    if (found.manifest.rows, found.manifest.complete) != (result["written"], result["complete"]):
        wrong.append("its evidence.json says something else than its result")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            calls = archive.read("calls.ndjson")
    else:
        calls = (path / "calls.ndjson").read_bytes()
    noted = len(calls.splitlines())
    if noted > attempts or (exact and noted != attempts):
        wrong.append(f"its bundle tells of {noted} calls, there were {attempts}")
    return wrong
