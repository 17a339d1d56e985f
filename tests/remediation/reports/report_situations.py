"""Report situations: the states of a job, its rows and its export that a report must handle."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from remediation.exports.row_file import RowFile
from tests.remediation.reports.sample_job import HOSTILE, facts, job, json_text, row, small_campaign

Facts = dict[str, Any]
JOB_ID = "7f6d1c0e-2f7b-4c55-9f0e-3f0f9f2f1a11"
PLAN_HASH = "954c945f2b69c97badd351d37d43e6d7caa7030e3d13f4ea710bfd4649163312"
POLICY_HASH = "1f3a" * 16
CREATED = datetime(2026, 11, 20, 15, 40, tzinfo=UTC)
# Subjects in Arabic, Hebrew, Chinese and Japanese, with emoji of several code points, and one long line.
SUBJECTS = (
    "فاتورة متأخرة رقم ٤٢ — ادفع الآن",
    "חשבונית באיחור: לתשלום מיידי",
    "逾期发票，请立即付款",
    "請求書のご確認をお願いいたします",
    "Pay now 👩‍👩‍👧‍👦🏴‍☠️💸",
    "Re: Fwd: " + "a very long subject line that goes on and on " * 12,
)


def _at(seconds: float) -> str:
    return (CREATED + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def campaign(moved: int, failed: int = 0, skipped: int = 0, **numbers: int) -> list[dict[str, Any]]:
    """Return rows with different processing times, domains, verdicts and reasons."""
    statuses = ["COMPLETED"] * moved + ["FAILED"] * failed + ["SKIPPED"] * skipped
    statuses += [status.upper() for status, number in numbers.items() for _ in range(number)]
    reasons = {
        "FAILED": ("Mailbox not found", "Quota exceeded"),
        "SKIPPED": ("Phish submission", "Already in the destination"),
    }
    domains = ("corp.example", "corp.example", "corp.example", "sub.corp.example", "partner.example")
    return [
        row(
            number,
            status,
            status_message=reasons[status][number % 2] if status in reasons else None,
            processed_at=_at(12 + (number * 7919) % 160) if status in {"COMPLETED", "FAILED", "SKIPPED"} else None,
            action_params={
                "type": "MOVE",
                "destination": "JunkEmail",
                "client_recipient": f"user{number}@{domains[number % 5]}",
            },
            message=row(number)["message"] | {"final_disposition": "MALICIOUS" if number % 7 else "SUSPICIOUS"},
        )
        for number, status in enumerate(statuses)
    ]


def with_people(given: Facts, **request: Any) -> Facts:
    """Return the facts with requester, approver, plan and policy."""
    given["request"] |= {
        "requested_by": "dana@corp.example",
        "approved_by": ["lee@corp.example"],
        "plan_digest": PLAN_HASH[:32],
        "plan_hash": PLAN_HASH,
        "policy": {"sha256": POLICY_HASH, "read_at": "2026-11-20T15:44:00Z", "why": None},
        "claimed": ["comment"],
        **request,
    }
    return given


def _export_rows(given: Facts, folder: Path) -> Facts:
    """Return the facts with their rows in a file that the export wrote."""
    path = folder / "messages.ndjson"
    with RowFile.create(path) as file:
        file.append([json_text(item) for item in given["rows"]])
        record = file.finish("ndjson")
    given["rows"] = str(path)
    given["export"]["files"] = [record]
    return given


def succeeded(folder: Path) -> Facts:
    rows = campaign(420)
    return with_people(_export_rows(facts(rows, outcome="succeeded", warnings=[]), folder))


def partial(folder: Path) -> Facts:
    rows = campaign(425, 9, 9)
    return with_people(_export_rows(facts(rows), folder))


def changed_row_file(folder: Path) -> Facts:
    given = succeeded(folder)
    path = Path(given["rows"])
    path.write_bytes(path.read_bytes().replace(b"user1@", b"user2@"))
    return given


def incomplete_export(_: Path) -> Facts:
    rows = campaign(50)
    given = with_people(facts(rows, job=job(campaign(53)), outcome="succeeded"))
    given["export"] |= {"complete": False, "expected": 53, "missing": 3}
    return given


def counters_contradict(_: Path) -> Facts:
    rows = campaign(20, 2)
    return with_people(facts(rows, job=job(rows, total_messages_discovered=30), outcome="partial"))


def failed_discovery(_: Path) -> Facts:
    given = with_people(
        facts(
            [],
            job=job([], status="FAILED", started_at=None, status_message="Discovery timed out in the search backend"),
            outcome="failed",
            warnings=[],
        )
    )
    del given["rows"], given["export"]
    return given


def unknown_job(_: Path) -> Facts:
    return {"title": "Phishing campaign purge", "job": {"job_id": JOB_ID}, "generated_at": "2026-11-20T15:45:10Z"}


def zero_messages(_: Path) -> Facts:
    return with_people(facts([], outcome="succeeded", warnings=[]))


def one_message(_: Path) -> Facts:
    return with_people(facts([row(0)], outcome="succeeded", warnings=[]))


def running(_: Path) -> Facts:
    rows = campaign(200, 3, 5, pending=112)
    given = with_people(facts(rows, outcome=None, job=job(rows, status="PROCESSING", completed_at=None), warnings=[]))
    # The counters are older than the rows.
    given["job"] |= {"messages_successful": 190, "messages_pending": 122}
    given["export"] |= {"complete": False, "written": 320, "expected": 320, "missing": 0}
    return given


def discovering(_: Path) -> Facts:
    given = with_people(facts([], outcome=None, job=job([], status="DISCOVERING", completed_at=None, started_at=None)))
    del given["rows"], given["export"]
    return given


def cancelled_by_limit(_: Path) -> Facts:
    rows = campaign(14, cancelled=986)
    warning = "The job discovered 1000 messages, more than the 462 allowed. It is CANCELLED; 14 were processed first."
    return with_people(facts(rows, outcome="cancelled", job=job(rows, status="CANCELLED"), warnings=[warning]))


def _to(folder: str, rows: list[dict[str, Any]]) -> Facts:
    given = with_people(
        facts(rows, outcome="partial" if any(item["status"] == "FAILED" for item in rows) else "succeeded")
    )
    params = {"type": "MOVE", "destination": folder}
    for item in rows:
        item["action_params"] |= params
    given["job"]["action_params"] = params
    given["request"]["destination"] = folder
    return given


def irreversible_purge(_: Path) -> Facts:
    return _to("RecoverableItemsPurges", campaign(420))


def soft_deletion(_: Path) -> Facts:
    return _to("RecoverableItemsDeletions", campaign(418, 2))


def without_times(_: Path) -> Facts:
    rows = campaign(60, 4)
    for item in rows[20:]:
        item["processed_at"] = None
    return with_people(facts(rows, warnings=[]))


def huge_numbers(_: Path) -> Facts:
    rows = campaign(59, 1)
    given = with_people(facts(rows))
    given["job"] |= {
        "total_messages_discovered": 1_234_567_890,
        "messages_successful": 1_234_567_880,
        "messages_failed": 10,
    }
    given["export"] |= {"written": 1_234_567_890, "expected": 1_234_567_890}
    del given["rows"]
    return given


def huge_job(_: Path) -> Facts:
    """One of ten thousand messages failed: its area must stay visible."""
    rows = campaign(9_999, 1)
    return with_people(facts(rows, warnings=[]))


def scripts(_: Path) -> Facts:
    rows = campaign(14, len(SUBJECTS))
    for item, subject in zip(rows[14:], SUBJECTS, strict=True):
        sender = f"{subject[:40].strip()} <{'very.long.local.part.' * 6}@{'subdomain.' * 8}example>"
        item["message"] |= {"subject": subject, "from": sender}
        item["status_message"] = f"Mailbox {subject[:20]} not found"
    given = with_people(facts(rows, title=SUBJECTS[0]), requested_by="דנה@corp.example")
    given["alert"] |= {"subject": SUBJECTS[5], "from": rows[14]["message"]["from"]}
    given["request"]["search_params"] = {"exact_subject": SUBJECTS[0], "sender": "billing@例え.example"}
    return given


def pseudonymized(_: Path) -> Facts:
    rows = campaign(30, 2)
    for number, item in enumerate(rows):
        item["action_params"]["client_recipient"] = f"p-{number:08x}@p-5f2c9a01.invalid"
        item["message"] |= {"subject": f"p-{number * 7:08x}", "from": "p-00c0ffee@p-77aa01bc.invalid"}
    given = with_people(facts(rows), requested_by="p-1d2e3f40", approved_by=["p-9a8b7c6d"])
    given["export"]["pseudonyms"] = "5f2c9a01"
    del given["alert"]
    given["request"]["search_params"] = {"sender": "p-00c0ffee@p-77aa01bc.invalid"}
    return given


def release(_: Path) -> Facts:
    rows = campaign(18, 2)
    for item in rows:
        item |= {"action_type": "RELEASE"}
        item["action_params"] = {"type": "RELEASE", "client_recipient": item["action_params"]["client_recipient"]}
    given = with_people(facts(rows, title="False positive release"))
    given["job"] |= {"action_type": "RELEASE", "action_params": {"type": "RELEASE"}}
    given["request"] |= {"action": "RELEASE"}
    del given["request"]["destination"]
    return given


def claimed(_: Path) -> Facts:
    """Only the job's comment names the requester."""
    given = with_people(facts(small_campaign()), claimed=["comment", "requested_by", "approved_by", "plan_digest"])
    del given["request"]["plan_hash"], given["request"]["policy"]
    return given


def hostile(_: Path) -> Facts:
    rows = [
        row(
            number,
            "FAILED",
            status_message=text,
            action_params={"client_recipient": f"{text}@{text}"},
            message={"subject": text, "from": text, "to": [text], "final_disposition": text},
        )
        for number, text in enumerate(HOSTILE)
    ]
    given = with_people(
        facts(rows, title=HOSTILE[4], warnings=list(HOSTILE)), requested_by=HOSTILE[0], approved_by=HOSTILE
    )
    given["alert"] |= {"subject": HOSTILE[11], "from": HOSTILE[3]}
    given["request"]["search_params"] = {"sender": HOSTILE[11], "exact_subject": "'; rm -rf ~; $(id) `id`"}
    return given


SITUATIONS: dict[str, Callable[[Path], Facts]] = {
    situation.__name__: situation
    for situation in (
        succeeded,
        partial,
        failed_discovery,
        unknown_job,
        zero_messages,
        one_message,
        running,
        discovering,
        cancelled_by_limit,
        irreversible_purge,
        soft_deletion,
        changed_row_file,
        incomplete_export,
        counters_contradict,
        without_times,
        huge_numbers,
        huge_job,
        scripts,
        pseudonymized,
        release,
        claimed,
        hostile,
    )
}
