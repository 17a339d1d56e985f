"""The report in each situation, as HTML, as Markdown and as a summary."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from actions.contract.catalog import find
from connectors.objects.folders import recovery_from
from connectors.objects.job import BulkJob
from connectors.objects.job_notes import job_notes
from platforms.cli.inputs.flags import flags_of
from remediation.reports.commands import LONGEST_COMMAND, command, job_command
from remediation.reports.own_words import chat
from remediation.reports.report import ReportFormat, render
from tests.exhaustive import exhaustive_unless
from tests.remediation.reports.report_situations import JOB_ID, PLAN_HASH, POLICY_HASH, SITUATIONS
from tests.remediation.reports.sample_job import HOSTILE, facts, job, row

FORMATS: tuple[ReportFormat, ...] = ("html", "markdown", "summary")
# Text that Chromium, GitHub, Slack, Teams or Jira turns into a link, a mention or markup.
ACTIVE = re.compile(r"[<>|*~^#!{}\[\]&\\]|https?:|www\.|@\w|\w@|:\w+:|\w\.\w")


ReportText = Callable[..., str]


@pytest.fixture(scope="module")
def report_text(tmp_path_factory: pytest.TempPathFactory) -> ReportText:
    """A function that renders a situation once in a format. Of HTML it leaves out styles and marks inside of lines."""

    @cache
    def rendered(name: str, report_format: ReportFormat = "html") -> str:
        found = render(SITUATIONS[name](tmp_path_factory.mktemp("situation")), report_format)
        if report_format == "html":
            found = re.sub(r"<style>.*?</style>", "", found, flags=re.DOTALL)
            found = re.sub(r"<(?:bdi|/bdi|code[^>]*|/code|span[^>]*|/span)>", "", found)
        return found.replace("\u00a0", " ")

    return rendered


def visible_head(page: str) -> str:
    """Return the page up to its first section."""
    return page.split("<section>", maxsplit=1)[0]


@pytest.mark.parametrize("report_format", FORMATS)
@pytest.mark.parametrize(
    ("name", "expected", "never"),
    [
        (
            "failed_discovery",
            ["The job failed before it found any messages", "Discovery timed out in the search backend"],
            [
                "No message matched",
                "Nothing was found",
                "Nothing found",
                "No open items",
                "no open items",
            ],
        ),
        ("unknown_job", ["The job's status is not known", "get-job"], ["o open items", "Succeeded"]),
        ("zero_messages", ["Nothing was found", "Nothing found"], ["Succeeded", "1 messages"]),
        ("one_message", ["The one message found was moved"], ["1 messages", "1 rows", "all 1 ", "progress-title"]),
        ("running", ["so far", "Still running", "still pending"], ["Mismatch", "Not reliable", "not complete"]),
        ("discovering", ["found no messages so far"], ["Nothing was found", "No message matched", "Mismatch"]),
        ("cancelled_by_limit", ["986 messages were cancelled", "more than the 462 allowed"], ["Succeeded"]),
        ("changed_row_file", ["Not reliable", "The row file was changed after the export"], ["Succeeded", "Complete"]),
        ("incomplete_export", ["Not reliable", "The export lacks 3 rows"], ["Succeeded"]),
        ("counters_contradict", ["Not reliable", "The job's counters contradict each other"], ["Partly succeeded"]),
        ("irreversible_purge", ["420 messages were deleted", "users can't restore them"], ["no way back"]),
        ("soft_deletion", ["users can restore them"], ["out of reach", "users can't restore"]),
        ("without_times", ["60 of 64 messages"], ["all 20 within"]),
        ("release", ["18 of 20 messages found were released"], ["moved", "restore-messages", "Destination"]),
        ("pseudonymized", ["addresses, names and subjects are pseudonyms"], ["corp.example"]),
    ],
)
def test_each_situation_has_the_expected_texts(
    name: str, expected: list[str], never: list[str], report_format: ReportFormat, report_text: ReportText
) -> None:
    found = report_text(name, report_format).replace("&#39;", "'")
    assert all(text in found for text in expected) or report_format == "summary"
    assert any(text in found for text in expected)
    for text in never:
        assert text not in found, text


@pytest.mark.parametrize("report_format", exhaustive_unless({"markdown"}, FORMATS))
@pytest.mark.parametrize("name", [name for name in SITUATIONS if name != "hostile"])
def test_every_number_has_the_right_plural(name: str, report_format: ReportFormat, report_text: ReportText) -> None:
    found = re.sub(r"<[^>]*>", "", report_text(name, report_format))
    nouns = "messages|rows|files|checks|points|lines|bytes|times|recipients|were|characters|others"
    assert re.findall(rf"(?<![\d,.])1 (?:{nouns})\b.{{0,30}}", found) == []
    assert re.findall(r"(?<![\d,.])(?:0|[2-9]|\d[\d,]*\d) (?:message|row|file|check|line|byte)\b.{0,30}", found) == []


@pytest.mark.parametrize("name", [name for name in SITUATIONS if name not in {"unknown_job", "hostile"}])
def test_request_and_people_are_at_the_top_and_the_version_is_not(
    name: str, report_text: ReportText, tmp_path: Path
) -> None:
    page = report_text(name)
    (tmp_path / "again").mkdir()
    given = SITUATIONS[name](tmp_path / "again")
    head = visible_head(page)
    names = ["Sender", "Requested by", "Approved by", "Plan hash", "Job"]
    if "alert" in given:
        names.append("Subject")
    assert [field for field in names if f"<dt>{field}</dt>" not in head] == []
    plan = given["request"].get("plan_hash") or given["request"]["plan_digest"]
    assert plan in head
    assert ("Policy hash" in head) is ("policy" in given["request"])
    assert "Pack version" not in head
    assert "Pack version" in page


def test_complete_hashes_are_at_the_top(report_text: ReportText) -> None:
    head = visible_head(report_text("partial"))
    assert PLAN_HASH in head
    assert POLICY_HASH in head


def test_a_claim_is_marked_at_the_top(report_text: ReportText) -> None:
    assert visible_head(report_text("claimed")).count("claimed") == 3
    assert "claimed" not in visible_head(report_text("partial"))


@pytest.mark.parametrize(
    ("approvals", "expected"),
    [
        (
            {"verified": True, "approved_by": ["lee@corp.example", "kim@corp.example"]},
            "lee@corp.example, kim@corp.example verified",
        ),
        ({"verified": False, "why": "no policy"}, "lee@corp.example not verified"),
        (None, "lee@corp.example recorded"),
    ],
)
def test_an_approval_shows_whether_it_is_verified(
    approvals: dict[str, Any] | None, expected: str, tmp_path: Path
) -> None:
    given = SITUATIONS["partial"](tmp_path)
    if approvals is not None:
        given["request"]["approvals"] = approvals
    head = re.sub(r"<[^>]*>", "", visible_head(render(given, "html")))
    assert expected in head


@pytest.mark.parametrize(("state", "boxed"), [("not_met", True), ("invalid", True), ("met", False), ("unknown", False)])
def test_approvals_that_do_not_meet_the_policy_have_a_box(state: str, boxed: bool, tmp_path: Path) -> None:
    given = SITUATIONS["succeeded"](tmp_path)
    given["request"]["approval_check"] = {"state": state, "why": "1 of 2 approvals", "approved_by": []}
    found = render(given, "markdown")
    assert ("The approvals do not meet the policy" in found) is boxed
    assert ("No open items" in found) is not boxed


@pytest.mark.parametrize("name", ["changed_row_file", "incomplete_export", "counters_contradict"])
def test_one_box_with_all_mismatches_comes_first(name: str, report_text: ReportText) -> None:
    page = report_text(name)
    head = visible_head(page)
    assert head.index('class="point first bad"') < head.index('class="lead"')
    assert page.count('class="point first bad"') == 1
    assert "badge good" not in page
    assert "The evidence has a mismatch</h3>" not in page


def test_a_reason_that_all_rows_share_is_in_the_box_and_not_in_a_table(report_text: ReportText) -> None:
    page = render(facts([row(number, "FAILED", status_message="Mailbox not found") for number in range(3)]), "html")
    assert "Reason given: <bdi>Mailbox not found</bdi>" in page
    assert "Why messages failed" not in page
    assert "Why messages failed" in report_text("partial")


def test_a_value_that_all_rows_share_has_no_table(report_text: ReportText) -> None:
    page = report_text("one_message")
    assert 'class="values"' not in page
    assert "Verdict" in page
    assert "<caption" in page


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_table_has_a_name_and_no_section_is_empty(name: str, report_text: ReportText) -> None:
    page = report_text(name)
    assert page.count("<table") == page.count("<caption")
    assert re.findall(r"<h2>[^<]*</h2>\s*</section>", page) == []
    assert "There are none." not in page
    assert "No files are known." not in page
    markdown = report_text(name, "markdown") if name != "changed_row_file" else ""
    assert (
        re.findall(r"^#+ .*\n\n(?=#|---)", markdown.replace("## Messages that did not succeed\n\n### ", ""), re.M) == []
    )


def test_the_outcome_bar_and_the_tables_are_scaled_to_the_total(report_text: ReportText) -> None:
    page = report_text("partial")
    bar = page.split('<svg class="whole"')[1].split("</svg>", maxsplit=1)[0]
    widths = [float(width) for width in re.findall(r'class="\w+" x="[\d.]+%" width="([\d.]+)%"', bar)]
    assert widths == pytest.approx([100 * number / 443 for number in (425, 9, 9)], abs=0.1)
    reasons = page.split("Why messages failed</caption>")[1].split("</table>", maxsplit=1)[0]
    assert sum(float(share) for share in re.findall(r">([\d.]+) %<", reasons)) == pytest.approx(100, abs=0.1)


class TestCommands:
    @pytest.mark.parametrize("report_format", ["html", "markdown"])
    @pytest.mark.parametrize(
        ("name", "line"),
        [
            ("partial", f"cfes retry-failed-messages --job-id {JOB_ID}"),
            ("partial", f"cfes export-job-messages --job-id {JOB_ID} --status SKIPPED"),
            ("soft_deletion", f"cfes retry-failed-messages --job-id {JOB_ID} --allow-irreversible"),
            ("running", f"cfes wait-for-job --job-id {JOB_ID}"),
            ("unknown_job", f"cfes get-job --job-id {JOB_ID}"),
            (
                "cancelled_by_limit",
                f"cfes export-job-messages --job-id {JOB_ID} --status CANCELLED --destination cancelled.ndjson",
            ),
            ("incomplete_export", f"cfes export-job-messages --job-id {JOB_ID} --destination rows-again.ndjson"),
            (
                "failed_discovery",
                "cfes preview-job --action MOVE --destination JunkEmail --sender billing@invoice-portal.example "
                "--no-detections-only",
            ),
        ],
    )
    def test_a_box_has_its_command(
        self, name: str, line: str, report_format: ReportFormat, report_text: ReportText
    ) -> None:
        found = report_text(name, report_format)
        assert (f"\n  `{line}`\n" if report_format == "markdown" else f">{line}<") in found

    @pytest.mark.parametrize("name", exhaustive_unless(list(SITUATIONS)[1::2], SITUATIONS))
    def test_cfes_accepts_every_command(self, name: str, tmp_path: Path) -> None:
        lines = re.findall(r"^ *`(cfes [^`\n]*)`$", render(SITUATIONS[name](tmp_path), "markdown"), re.MULTILINE)
        for line in lines:
            program, action, *words_after = shlex.split(line)
            known = {flag.option for flag in flags_of(find(action).params)}
            given = {word.partition("=")[0] for word in words_after if word.startswith("--")}
            assert program == "cfes"
            assert {f"--{flag.removeprefix('--no-').removeprefix('--')}" for flag in given} <= known

    @pytest.mark.parametrize(
        "text", [*HOSTILE, "'; rm -rf ~ #", "$(id)", "a'b\"c", "-x", "--all", "@/etc/passwd", "\u3000"]
    )
    def test_data_never_breaks_out_of_its_quotes(self, text: str) -> None:
        line = command("preview-job", {"action": "MOVE", "subject": text})
        if line is None:
            assert not text.isprintable() or "`" in text or "|" in text or len(text) > LONGEST_COMMAND / 2
            return
        found = shlex.split(line)
        assert found[:4] == ["cfes", "preview-job", "--action", "MOVE"]
        assert found[4:] in (["--subject", text], [f"--subject={text}"])
        assert not text.startswith("-") or len(found) == 5

    @pytest.mark.parametrize("job_id", [None, "", "7", f"{JOB_ID}; id", f"{JOB_ID}\n", "$(id)", "--yes"])
    def test_a_job_without_a_uuid_has_no_command(self, job_id: str | None) -> None:
        assert job_command("get-job", job_id) is None
        assert "get-job --job-id" not in render({"job": {"job_id": job_id}}, "html")

    @pytest.mark.parametrize("report_format", ["html", "markdown"])
    def test_a_box_links_to_its_rows(self, report_format: ReportFormat, report_text: ReportText) -> None:
        found = report_text("partial", report_format)
        for anchor in ("failed", "skipped"):
            if report_format == "html":
                assert f'href="#rows-{anchor}"' in found
                assert f'<h3 id="rows-{anchor}"' in found
            else:
                assert f"](#{anchor})" in found
                assert f"\n### {anchor.capitalize()}\n" in found


class TestSummary:
    @pytest.mark.parametrize("name", SITUATIONS)
    def test_a_summary_has_at_most_twelve_lines_and_no_table(self, name: str, report_text: ReportText) -> None:
        lines = report_text(name, "summary").splitlines()
        assert 2 <= len(lines) <= 12
        assert all(line.startswith("- ") for line in lines[1:])
        assert not any("|" in line or line.startswith("#") for line in lines)
        assert all(len(line) < 420 for line in lines)

    @pytest.mark.parametrize("name", SITUATIONS)
    def test_mailbox_text_is_not_active_in_a_summary(self, name: str, report_text: ReportText) -> None:
        found = report_text(name, "summary")
        safe = found.replace("[@]", "").replace("[.]", "").replace(".ndjson", "")
        safe = re.sub(r"\[U\+[0-9A-F]{4,6}\]", "", safe)
        assert ACTIVE.findall(safe) == []
        assert found.count("`") % 2 == 0
        assert all(line.count("`") % 2 == 0 for line in found.splitlines())
        assert all(character.isprintable() or character == "\n" for character in found)

    @pytest.mark.parametrize(
        "text",
        [*HOSTILE, "@here", "<!channel>", "<@U024BE7LH>", "[~admin]", "!img.png!", "{code}", "\uff20everyone",
         "a\u3002example", "/invite @all", "mailto:dana@evil.example", "&lt;!here&gt;", "*bold* _it_ ~no~",
         "$x^2$", "tel:+4912345"],
    )  # fmt: skip
    def test_chat_text_is_neither_a_link_nor_a_mention_nor_markup(self, text: str) -> None:
        found = chat(text)
        assert found[0] == found[-1] == "`"
        safe = re.sub(r"\[(?:@|\.|U\+[0-9A-F]{4,6}|[0-9,]+ more marks)\]", "", found[1:-1])
        assert ACTIVE.findall(safe.replace("…", "")) == []
        assert "`" not in safe
        assert "\uff20" not in safe
        assert len(found) < 400

    def test_a_name_stays_readable(self) -> None:
        assert chat("Ünal, john_smith@corp.example: 50 %") == "`Ünal, john_smith[@]corp[.]example: 50 %`"

    def test_a_summary_has_outcome_people_hashes_and_open_items(self, report_text: ReportText) -> None:
        first, *lines = report_text("partial", "summary").splitlines()
        assert first == (
            "Partly succeeded: 425 of 443 messages found were moved to Junk Email; 9 failed and 9 were skipped."
        )
        text = "\n".join(lines)
        for part in (
            PLAN_HASH,
            POLICY_HASH,
            JOB_ID,
            "dana[@]corp[.]example",
            "lee[@]corp[.]example",
            "443 of 443 rows",
        ):
            assert part in text
        assert f"Open: 9 messages failed; run `cfes retry-failed-messages --job-id {JOB_ID}`" in text

    def test_many_open_items_are_counted(self) -> None:
        rows = [row(number, status) for number, status in enumerate(["FAILED", "CANCELLED", "SKIPPED", "PENDING"])]
        found = render(facts(rows, job=job(rows, status="CANCELLED"), outcome="cancelled"), "summary")
        assert "Open: 2 more items, see the report" in found


def test_a_running_job_shows_so_far_beside_its_numbers(report_text: ReportText) -> None:
    page = report_text("running")
    for heading in ("Progress over time, so far", "Messages so far", "Found so far", "Per message, so far"):
        assert heading in page
    assert page.count("so far") >= 10


@pytest.mark.parametrize("outcome", ["succeeded", "partial", "failed"])
def test_a_running_job_is_never_reported_as_ended(outcome: str) -> None:
    rows = [row(0), row(1, "PENDING")]
    found = render(facts(rows, job=job(rows, status="PROCESSING", completed_at=None), outcome=outcome), "markdown")
    assert "**Still running.**" in found


def test_cancelled_rows_may_still_have_been_moved(report_text: ReportText) -> None:
    assert "may still have been moved" in report_text("cancelled_by_limit")


@pytest.mark.parametrize("report_format", FORMATS)
def test_a_text_in_a_box_is_not_repeated_as_a_warning(report_format: ReportFormat) -> None:
    rows = [row(0), row(1, "FAILED"), row(2, "SKIPPED"), row(3, "CANCELLED")]
    document = {**job(rows, status="CANCELLED"), "action_params": {"destination": "RecoverableItemsPurges"}}
    ended = BulkJob.read(document, "job")
    notes = list(job_notes(ended.status, ended.total_messages_discovered, ended.counters()))
    warnings = [*notes, str(recovery_from("RecoverableItemsPurges")), "another thing"]
    found = render(facts(rows, outcome="cancelled", job=document, warnings=warnings), report_format)
    assert len(notes) == 3
    assert "another thing" in found
    assert not [text for text in warnings[:-1] if text.replace("'", "&#39;") in found or text in found]


@pytest.mark.parametrize("folder", ["RecoverableItemsPurges", "RecoverableItemsDeletions"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_deletion_warns_if_messages_were_deleted(folder: str, number: int) -> None:
    rows = [*(row(index) for index in range(number)), row(9, "FAILED")]
    given = facts(rows, job=job(rows, action_params={"destination": folder}), outcome="partial")
    found = render(given, "html")
    assert ('class="point warn first"' in found) is bool(number)
    if number:
        assert f"{number} message{'s were' if number > 1 else ' was'} deleted" in found
    if folder == "RecoverableItemsDeletions" and number:
        assert "users can restore" in found


def test_the_facts_of_each_situation_are_valid_json(tmp_path: Path) -> None:
    """An action may pass every situation as JSON."""
    for name, situation in SITUATIONS.items():
        folder = tmp_path / name
        folder.mkdir()
        json.dumps(situation(folder))
