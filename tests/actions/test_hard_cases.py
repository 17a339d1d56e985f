"""Cases in which an action once reported something false."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions import (
    cancel_job,
    create_move_job,
    delete_job,
    export_job_messages,
    render_report,
    test_connection,
    wait_for_job,
)
from actions.contract.streams import kept_streams
from connectors.email_security import EmailSecurity
from connectors.http.client import httpx
from core.clock import Deadline
from core.errors import (
    ApiRefusal,
    Conflict,
    OutcomeUnknown,
    ParameterError,
    PermissionDenied,
    ServiceUnavailable,
)
from sandbox.server import RunningSandbox
from sandbox.settings import Pace
from tests.clock import FakeClock
from tests.conftest import CAMPAIGN
from tests.connectors.scripted import JOB_ID, Scripted, connected, job, ok, refused
from tests.exhaustive import exhaustive_unless

ROOT = Path(__file__).parent.parent.parent
MOVE = {"search_params": CAMPAIGN, "destination": "JunkEmail"}
OTHER_ID = "c2f4d8aa-0f55-4a6e-8a51-6b8a3d1b7e90"

Connect = Callable[..., EmailSecurity]


def test_a_job_is_reused_even_if_its_search_exceeds_max_messages(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    keyed = {**MOVE, "idempotency_key": "case-42"}
    first = create_move_job.run(keyed, api)
    again = create_move_job.run({**keyed, "max_messages": 1}, api)
    assert (again["created"], again["job_id"]) == (False, first["job_id"])


def test_concurrent_workers_make_one_job(start_sandbox: Callable[..., RunningSandbox], connect: Connect) -> None:
    # Each worker advances the shared clock while it waits; no job may end during that time.
    sandbox = start_sandbox(pace=Pace(discover_rate=1))
    results: list[dict[str, Any]] = []

    def work() -> None:
        results.append(create_move_job.run({**MOVE, "idempotency_key": "case-42"}, connect(sandbox)))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    alive = [job for job in sandbox.state.truth()["jobs"] if job["status"] != "CANCELLED"]
    assert len(results) == 4
    assert len({result["job_id"] for result in results}) == len(alive) == 1


def running(status: str = "PROCESSING", **counters: int) -> dict[str, Any]:
    return job(status=status, **counters)


def test_an_export_of_a_running_job_is_never_reported_complete() -> None:
    nothing_yet = Scripted(ok(running("PENDING")), ok([]), ok(running("PENDING")))
    result = export_job_messages.run({"job_id": JOB_ID}, connected(nothing_yet))
    assert (result["written"], result["complete"], result["snapshot"]) == (0, False, True)
    assert result["warnings"]


def test_rows_read_before_the_job_ended_are_read_again_even_if_the_counters_agree() -> None:
    """A row that FAILED at first and succeeded after its retry: the counters agree by chance."""
    before = running(total_messages_discovered=2, messages_pending=1, messages_failed=1)
    after = job(status="COMPLETED", total_messages_discovered=2, messages_successful=1, messages_failed=1)
    early = [{"message_id": "1", "status": "FAILED", "retry_count": 1}]
    late = [{"message_id": "2", "status": "FAILED", "retry_count": 3}]
    script = Scripted(ok(before), ok(early), ok(after), ok(late), ok(after))
    result = export_job_messages.run({"job_id": JOB_ID, "status": "FAILED"}, connected(script))
    assert [row["message_id"] for row in result["messages"]] == ["2"]
    assert (result["complete"], result["snapshot"]) == (True, False)


def test_a_failed_file_export_returns_a_resume_object(tmp_path: Path) -> None:
    done = job(status="COMPLETED", total_messages_discovered=1500, messages_successful=1500)
    rows = [{"message_id": f"row-{n:05}", "status": "COMPLETED"} for n in range(1500)]
    path = tmp_path / "rows.ndjson"
    script = Scripted(ok(done), ok(rows[:1000]), *[httpx.Response(502)] * 6)
    with pytest.raises(ServiceUnavailable) as caught:
        export_job_messages.run({"job_id": JOB_ID, "destination": str(path)}, connected(script, pages_ahead=0))
    resume = caught.value.document()["error"]["resume"]
    script = Scripted(ok(done), ok(rows[1000:]), ok(done))
    result = export_job_messages.run({"job_id": JOB_ID, "destination": str(path), "resume": resume}, connected(script))
    assert (result["written"], result["complete"]) == (1500, True)


def test_the_time_budget_holds_during_a_rate_limit_block(tmp_path: Path) -> None:
    clock = FakeClock()
    done = job(status="COMPLETED", total_messages_discovered=1500, messages_successful=1500)
    rows = [{"message_id": f"row-{n:05}", "status": "COMPLETED"} for n in range(1000)]
    script = Scripted(ok(done), ok(rows), refused(429, headers={"retry-after": "290"}))
    params = {"job_id": JOB_ID, "destination": str(tmp_path / "rows"), "time_budget_seconds": 10}
    result = export_job_messages.run(params, connected(script, clock, pages_ahead=0))
    assert (result["done"], result["written"]) == (False, 1000)
    assert clock.monotonic() <= 10


def test_an_existing_file_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "remediation.exports.formats.ndjson"
    path.write_text("of another case")
    params = {"job_id": JOB_ID, "destination": str(path)}
    with pytest.raises(ParameterError, match="overwrite"):
        export_job_messages.run(params, connected(Scripted()))
    assert path.read_text() == "of another case"
    ended = job(status="COMPLETED")
    export_job_messages.run({**params, "overwrite": True}, connected(Scripted(ok(ended), ok([]), ok(ended))))
    assert path.read_text() == ""


def test_a_job_that_ends_during_its_cancel_is_not_reported_as_cancelled() -> None:
    ended = job(status="COMPLETED", total_messages_discovered=9, messages_successful=9)
    with pytest.raises(Conflict, match="9 of 9"):
        cancel_job.run({"job_id": JOB_ID}, connected(Scripted(ok(running()), ok(ended))))
    lost = Scripted(ok(running()), httpx.ReadError("reset"), ok(ended))
    with pytest.raises(Conflict, match="9 of 9"):
        cancel_job.run({"job_id": JOB_ID}, connected(lost))


def test_a_cancel_without_effect_is_reported_as_unknown() -> None:
    with pytest.raises(OutcomeUnknown, match="PROCESSING"):
        cancel_job.run({"job_id": JOB_ID}, connected(Scripted(*[ok(running()) for _ in range(7)])))


def test_answers_about_another_job_are_ignored() -> None:
    other = running("CANCELLED") | {"job_id": OTHER_ID}
    script = Scripted(*[answer for _ in range(3) for answer in (ok(running()), ok(other))], ok(running()))
    with pytest.raises(OutcomeUnknown):
        cancel_job.run({"job_id": JOB_ID}, connected(script))
    ended = job(status="COMPLETED")
    script = Scripted(ok(ended), ok({"id": OTHER_ID}), ok(ended), ok({"id": OTHER_ID}))
    with pytest.raises(OutcomeUnknown):
        delete_job.run({"job_id": JOB_ID}, connected(script))


@pytest.mark.parametrize("answer", [httpx.Response(404, text="<html>"), refused(404, 7003, "No route")])
def test_a_wrong_base_url_is_not_reported_as_a_deleted_job(answer: httpx.Response) -> None:
    with pytest.raises(ApiRefusal, match="no such path"):
        delete_job.run({"job_id": JOB_ID}, connected(Scripted(answer)))


@pytest.mark.parametrize(
    ("counters", "outcome", "words"),
    [
        ({"total_messages_discovered": 100, "messages_skipped": 100}, "failed", "skipped"),
        ({"total_messages_discovered": 100, "messages_successful": 3}, "partial", "do not account for"),
        ({"total_messages_discovered": 5, "messages_successful": 3, "messages_skipped": 2}, "succeeded", "skipped"),
        ({"total_messages_discovered": 0}, "succeeded", "no message"),
    ],
)
def test_the_outcome_reflects_skipped_and_missing_messages(counters: dict[str, int], outcome: str, words: str) -> None:
    result = wait_for_job.run({"job_id": JOB_ID}, connected(Scripted(ok(job(status="COMPLETED", **counters)))))
    assert result["outcome"] == outcome
    assert any(words in warning for warning in result["warnings"])


def test_a_wait_without_timeout_stays_short_in_an_outage() -> None:
    clock = FakeClock()
    script = Scripted(*[httpx.Response(503)] * 20)
    with pytest.raises(ServiceUnavailable):
        wait_for_job.run({"job_id": JOB_ID, "timeout_seconds": 0}, connected(script, clock))
    assert clock.monotonic() <= 10


def test_a_stall_is_reported_when_it_is_detected_not_at_the_timeout() -> None:
    clock = FakeClock()
    frozen = running(total_messages_discovered=9, messages_pending=9)
    script = Scripted(*[ok(frozen)] * 40, *[refused(400)])
    script.steps = [lambda request: ok([]) if "messages" in request.url.path else ok(frozen)] * 80
    result = wait_for_job.run({"job_id": JOB_ID, "timeout_seconds": 86_400}, connected(script, clock))
    assert (result["done"], result["stalled"]) == (False, True)
    assert clock.monotonic() < 600


def test_a_stall_that_cannot_be_examined_keeps_the_resume_object() -> None:
    frozen = running(total_messages_discovered=9, messages_pending=9)
    script = Scripted()
    script.steps = [lambda request: refused(400) if "messages" in request.url.path else ok(frozen)] * 80
    result = wait_for_job.run({"job_id": JOB_ID, "timeout_seconds": 700}, connected(script))
    assert result["resume"] is not None
    assert any("could not check whether a message waits for its retry" in warning for warning in result["warnings"])


def test_a_denied_ip_address_is_not_reported_as_a_missing_permission(
    sandbox: RunningSandbox, api: EmailSecurity
) -> None:
    sandbox.state.faults.add("*", "address_denied", times=None)
    with pytest.raises(PermissionDenied, match="address"):
        test_connection.run({}, api)


def test_a_permission_probe_answered_without_a_route_is_inconclusive() -> None:
    verified = ok({"id": "1", "status": "active"})
    script = Scripted(verified, ok([job()]), refused(404, 7003, "No route"))
    assert test_connection.run({}, connected(script))["write"] == "not known"


@pytest.mark.parametrize("place", ["sender", "comment", "idempotency_key"])
def test_a_lone_surrogate_is_refused_before_anything_is_sent(place: str) -> None:
    params: dict[str, Any] = json.loads(json.dumps(MOVE))
    (params["search_params"] if place == "sender" else params)[place] = "a\ud800b"
    with pytest.raises(ParameterError, match=f"/{place}"):
        create_move_job.run(params, connected(Scripted()))


@pytest.mark.parametrize("value", [10**400, float("nan"), float("inf"), {"a": {1, 2}}, object()])
def test_a_value_that_json_cannot_represent_is_refused(value: object) -> None:
    with pytest.raises(ParameterError):
        wait_for_job.run({"job_id": JOB_ID, "timeout_seconds": value}, connected(Scripted()))


def test_a_deeply_nested_document_is_refused_by_render_report(tmp_path: Path) -> None:
    deep: dict[str, Any] = {}
    for _ in range(400):
        deep = {"a": deep}
    with pytest.raises(ParameterError, match="deep"):
        render_report.run({"destination": str(tmp_path / "r.html"), "job": deep})


def test_an_action_ends_by_its_deadline() -> None:
    clock = FakeClock()
    script = Scripted(*[httpx.Response(503)] * 50)
    api = connected(script, clock)
    api.deadline = Deadline(clock, 20)
    with pytest.raises(ServiceUnavailable):
        wait_for_job.run({"job_id": JOB_ID, "timeout_seconds": 3600}, api)
    assert clock.monotonic() <= 20


@pytest.mark.parametrize("closing", exhaustive_unless({"> /dev/full"}, [">&-", "> /dev/full"]))
def test_a_job_is_named_on_stderr_if_the_result_cannot_be_written(
    closing: str, sandbox: RunningSandbox, environment: dict[str, str]
) -> None:
    command = f'exec "{sys.executable}" -m actions.create_move_job {closing}'
    ended = subprocess.run(
        ["/bin/sh", "-c", command],
        input=json.dumps(MOVE),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "CFES_LOG": "off", **environment},
        timeout=60,
        check=False,
    )
    [made] = sandbox.state.truth()["jobs"]
    assert ended.returncode == 7
    assert "Traceback" not in ended.stderr
    assert made["job_id"] in ended.stderr


def test_a_closed_standard_input_is_reported_as_a_parameter_error(environment: dict[str, str]) -> None:
    ended = subprocess.run(
        ["/bin/sh", "-c", f'exec "{sys.executable}" -m actions.list_jobs <&-'],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert json.loads(ended.stdout)["error"]["type"] == "ParameterError"


def test_a_lagging_job_list_makes_no_second_job(sandbox: RunningSandbox, connect: Connect) -> None:
    sandbox.state.faults.add("listBulkJobs", "lag", seconds=10)
    api = connect(sandbox)
    sandbox.state.faults.add("createBulkJob", "drop_after")
    first = create_move_job.run({**MOVE, "idempotency_key": "case-42"}, api)
    again = create_move_job.run({**MOVE, "idempotency_key": "case-42"}, api)
    assert (again["created"], again["job_id"]) == (False, first["job_id"])
    assert len(sandbox.state.truth()["jobs"]) == 1


@pytest.mark.parametrize(
    "unexpected",
    [{"message": {"subject": "no id"}}, {"action_params": {"client_recipient": None}}, {"retry_count": "many"},
     {"message": {"id": "x", "validation": {"spf": 5}, "client_recipients": [None]}}, {"processed_at": 7}],
)  # fmt: skip
def test_an_unexpected_field_in_a_row_does_not_stop_an_export(unexpected: dict[str, Any]) -> None:
    done = job(status="COMPLETED", total_messages_discovered=1, messages_successful=1)
    row = {"message_id": "1", "status": "COMPLETED", **unexpected}
    result = export_job_messages.run({"job_id": JOB_ID}, connected(Scripted(ok(done), ok([row]), ok(done))))
    assert (result["messages"], result["complete"]) == ([row], True)


@pytest.mark.parametrize("key", [{"idempotency_key": "case-42"}, {}])
def test_a_create_interrupted_after_its_post_reports_its_job(
    key: dict[str, str], sandbox: RunningSandbox, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a key it waits for jobs of other workers, without a key it watches its own job: up to a minute."""
    api = connect(sandbox)

    def interrupt(_: float) -> None:
        if sandbox.state.truth()["jobs"]:
            raise KeyboardInterrupt

    with kept_streams() as ledger:
        monkeypatch.setattr(api.clock, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            create_move_job.run({**MOVE, **key, "max_messages": 1000}, api)
        [made] = sandbox.state.truth()["jobs"]
        assert (ledger.changed, ledger.jobs) == (True, [made["job_id"]])
