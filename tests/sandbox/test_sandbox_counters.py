"""The counters of a job add up at every instant."""

from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from sandbox.account import open_account
from sandbox.contract.requests import SearchParams
from sandbox.job_life import JobEndedError, JobRunningError
from sandbox.jobs import JobOrder, job_view
from sandbox.settings import Pace, Settings

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.floats(0, 3)),
        st.tuples(st.just("create"), st.sampled_from(["MOVE", "RELEASE"])),
        st.tuples(st.just("cancel"), st.integers(0, 3)),
        st.tuples(st.just("delete"), st.integers(0, 3)),
        st.tuples(st.just("throttle"), st.integers(0, 59)),
    ),
    max_size=40,
)


@examples(max_examples=20, deadline=None, derandomize=True, database=None)
@given(steps=STEPS, permanent=st.floats(0, 0.5), transient=st.floats(0, 0.5), lanes_busy=st.floats(5, 200))
def test_the_counters_add_up_to_discovered_at_every_instant(
    steps: list[tuple[str, Any]], permanent: float, transient: float, lanes_busy: float
) -> None:
    account = open_account(
        Settings(
            messages=150,
            manual_clock=True,
            permanent_failures=permanent,
            transient_failures=transient,
            pace=Pace(start_delay=0.5, discover_rate=40, process_rate=lanes_busy, retry_delay=0.5, max_retries=2),
        )
    ).account
    mailboxes = sorted({box for message in account.tenant.messages for box in message.recipients})
    for step, value in [("create", "MOVE"), *steps, ("advance", 300.0)]:
        jobs = list(account.jobs.all.values())
        with account.present() as now:
            if step == "create":
                account.jobs.create(_order(value), now, "test", doomed_after=20 if len(jobs) == 2 else None)
            elif step == "throttle":
                account.delivery.mailboxes[mailboxes[value % len(mailboxes)]] = "throttled"
            elif step in ("cancel", "delete") and value < len(jobs):
                with suppress(JobEndedError, JobRunningError):
                    account.jobs.cancel(jobs[value], now) if step == "cancel" else account.jobs.delete(jobs[value])
        if step == "advance":
            account.advance(value)
        _check(account.jobs.all.values(), account.delivery.done)
    assert all(job.ended and job.pending == 0 for job in account.jobs.all.values())


def _order(action: Any) -> JobOrder:
    params = SearchParams(detections_only=False)
    return JobOrder(
        action=action,
        destination="JunkEmail" if action == "MOVE" else None,
        expected_disposition=None,
        comment=None,
        criteria=params.criteria(),
        search_params=params.view(),
    )


def _check(jobs: Any, done: list[Any]) -> None:
    for job in jobs:
        view = job_view(job, 0)
        parts = [view[f"messages_{name}"] for name in ("pending", "successful", "failed", "skipped", "cancelled")]
        assert view["total_messages_discovered"] == sum(parts) == len(job.rows)
        assert min(parts) >= 0
        statuses = [row.status for row in job.rows]
        assert view["messages_successful"] == statuses.count("COMPLETED")
        # A message in flight when its job is cancelled may still be moved; its row is CANCELLED.
        moved = sum(change.job_id == job.job_id for change in done)
        assert view["messages_successful"] <= moved <= view["messages_successful"] + view["messages_cancelled"]
        assert view["messages_pending"] == statuses.count("PENDING") + statuses.count("PROCESSING")
        assert not (job.ended and view["messages_pending"])
