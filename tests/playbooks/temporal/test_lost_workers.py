"""Workers and servers that are killed in the middle of a run, against the sandbox and an object store."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import zipfile
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from platforms.playbook_session import traits
from playbooks import library
from playbooks.language.format import Playbook
from playbooks.language.loading import load
from sandbox.faults import Fault
from sandbox.server import RunningSandbox
from sandbox.settings import Pace
from tests.conftest import CAMPAIGN, EXAMPLE_ALERT
from tests.object_stores import Bucket
from tests.playbooks.temporal.servers import Fleet, TemporalServer, WorkerProcess, wait_until

PURGE = load(f"""\
playbook: 1
id: purge
title: Move a campaign
key: "{{{{ inputs.alert }}}}"
inputs: {{alert: {{type: string, description: The alert's ID.}}}}
steps:
  - id: create
    action: create-move-job
    with: {{destination: JunkEmail, search_params: {json.dumps(CAMPAIGN)}}}
  - id: wait
    action: wait-for-job
    with: {{job_id: "{{{{ steps.create.job_id }}}}", max_interval_seconds: 1}}
  - id: rows
    action: export-job-messages
    with:
      job_id: "{{{{ steps.create.job_id }}}}"
      evidence: bundle
      destination: "{{{{ run.directory }}}}/evidence.zip"
      overwrite: true
outputs:
  job_id: "{{{{ steps.create.job_id }}}}"
  moved: "{{{{ steps.wait.job.messages_successful }}}}"
  complete: "{{{{ steps.rows.complete }}}}"
  files: "{{{{ steps.rows.files }}}}"
""")

WAITING = load("""\
playbook: 1
id: waiting
title: Wait for an approval
key: "{{ inputs.alert }}"
inputs: {alert: {type: string, description: The alert's ID.}}
steps:
  - {id: jobs, action: list-jobs}
  - {id: ok, pause: approval, within: 3600, otherwise: Nobody approved.}
""")


class Site:
    """A sandbox with a clock that runs, a fleet of worker processes, and one bucket for the evidence."""

    def __init__(self, sandbox: RunningSandbox, fleet: Fleet, environment: dict[str, str], folder: Path) -> None:
        self.sandbox = sandbox
        self.fleet = fleet
        self._environment = environment
        self._folder = folder
        self.workers: dict[int, WorkerProcess] = {}

    def add_workers(self, number: int = 1) -> None:
        added = []
        for _ in range(number):
            log = self._folder / f"worker-{len(self.workers)}.log"
            added.append(WorkerProcess(self.fleet, self._environment, log))
            self.workers[added[-1].process.pid] = added[-1]
        for worker in added:
            worker.ready()

    def run_id(self, alert: str) -> str:
        return f"{self.fleet.settings.task_queue}-{alert}"

    def start(self, alert: str = "alert-1") -> str:
        assert self.start_all([alert]) == [True]
        return self.run_id(alert)

    def start_all(self, alerts: list[str], playbook: Playbook = PURGE) -> list[bool]:
        """Start a run for each alert at the same time. Return whether each one was started."""

        async def start() -> list[bool]:
            return await asyncio.gather(*(self.starting(alert, playbook, {"alert": alert}) for alert in alerts))

        return self.fleet.call(start())

    def starting(self, alert: str, playbook: Playbook, inputs: dict[str, Any]) -> Coroutine[Any, Any, bool]:
        run_id, now = self.run_id(alert), datetime.now(UTC)
        return self.fleet.runs.start(playbook, inputs, run_id=run_id, traits=traits(), now=now)

    def waiting(self) -> list[str]:
        """Return the IDs of the runs that wait for a signal."""
        runs = self.fleet.call(self.fleet.runs.list(limit=1000))
        return [run.run_id for run in runs if run.status == "waiting"]

    def signal_all(self, name: str, value: Any) -> None:
        async def send(run_ids: list[str]) -> None:
            await asyncio.gather(*(self.fleet.runs.signal(run_id, name, value) for run_id in run_ids))

        waiting = self.waiting()
        for first in range(0, len(waiting), 20):
            self.fleet.call(send(waiting[first : first + 20]))

    def active_step(self, run_id: str) -> str | None:
        return self.fleet.call(self.fleet.runs.find(run_id)).at_step

    def calls(self, operation: str) -> int:
        return int(self.truth["calls"].get(operation, 0))

    @property
    def truth(self) -> dict[str, Any]:
        return self.sandbox.state.truth()

    def kill_worker_of(self, run_id: str, step: str) -> None:
        """Kill the worker that runs this step's action, without a signal that it could handle."""
        found = self.fleet.call(self.fleet.handle(run_id).describe()).raw_description.pending_activities
        [pid] = [int(each.last_worker_identity.partition("@")[0]) for each in found if each.activity_id == step]
        self.workers[pid].kill()

    def outcome(self, run_id: str) -> dict[str, Any]:
        return self.fleet.call(self.fleet.runs.outcome(run_id))


@pytest.fixture
def make_site(
    start_sandbox: Callable[..., RunningSandbox],
    make_fleet: Callable[..., Fleet],
    bucket: Bucket,
    tmp_path: Path,
) -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def make(pace: Pace | None = None, **options: Any) -> Site:
        fast = Pace(start_delay=0.1, discover_rate=2000, process_rate=2000, retry_delay=0.1)
        sandbox = start_sandbox(manual_clock=False, permanent_failures=0.0, pace=pace or fast)
        environment = {
            "CLOUDFLARE_API_TOKEN": sandbox.token,
            "CLOUDFLARE_ACCOUNT_ID": sandbox.account_id,
            "CLOUDFLARE_BASE_URL": sandbox.base_url,
            "CFES_LISTING_LAG_SECONDS": "0.5",
        }
        sites.append(Site(sandbox, make_fleet(bucket.url("runs"), **options), environment, tmp_path))
        return sites[-1]

    yield make
    for site in sites:
        codes = {worker.stop() for worker in site.workers.values()}
        assert codes <= {0, -signal.SIGKILL}


def assert_moved_once(site: Site) -> None:
    """Check that there is one job, and that it moved each message once."""
    truth = site.truth
    [job] = truth["jobs"]
    moved = Counter((change["message_id"], change["recipient"]) for change in truth["moved"])
    assert len(moved) == job["messages_successful"] > 30
    assert set(moved.values()) == {1}


# A step, and the call to the API in the middle of which its worker is killed.
LOST = {
    "create": Fault(operation="createBulkJob", kind="delay", seconds=5.0, applied=True),
    "wait": Fault(operation="getBulkJob", kind="delay", seconds=5.0),
    "rows": Fault(operation="listBulkJobMessages", kind="delay", seconds=5.0),
}


@pytest.mark.parametrize(
    "step", ["create", *(pytest.param(step, marks=pytest.mark.exhaustive) for step in LOST if step != "create")]
)
def test_a_run_survives_the_loss_of_its_worker(step: str, make_site: Callable[..., Site], bucket: Bucket) -> None:
    site = make_site()
    site.add_workers(2)
    run_id = site.start()
    if step == "wait":
        wait_until(lambda: site.calls("createBulkJob"))
    site.sandbox.state.faults.enter(LOST[step])
    wait_until(lambda: site.active_step(run_id) == step and site.calls(LOST[step].operation))
    site.kill_worker_of(run_id, step)
    ended = site.outcome(run_id)
    assert (ended["status"], ended["outputs"]["complete"]) == ("completed", True)
    # An interrupted step counts as a possible change, unless it only reads.
    doubts = [name for name, record in ended["state"]["steps"].items() if record["doubt"] is not None]
    assert doubts == ([] if step == "rows" else [step])
    assert_moved_once(site)
    [file] = {record["path"] for record in ended["outputs"]["files"] if record["path"].endswith(".zip")}
    evidence = bucket.get(file.removeprefix(f"s3://{bucket.name}/"))
    assert evidence is not None
    assert "evidence.json" in str(zipfile.ZipFile(io.BytesIO(evidence)).namelist())


@pytest.mark.exhaustive
def test_the_shipped_purge_leaves_its_evidence_in_the_store(make_site: Callable[..., Site], bucket: Bucket) -> None:
    site = make_site()
    site.add_workers(2)
    alert = json.loads(EXAMPLE_ALERT.read_text())
    assert site.fleet.call(site.starting("alert-1", library.find("phish-campaign-purge"), {"alert": alert}))
    ended = site.outcome(site.run_id("alert-1"))
    assert ended["status"] == "completed"
    assert_moved_once(site)
    [folder] = {name.rpartition("/")[0] for name in bucket.objects()}
    assert ended["directory"] == bucket.url(folder)
    assert f"{folder}/evidence.zip" in bucket.objects()


@pytest.mark.exhaustive
def test_a_run_survives_the_loss_of_its_server(make_site: Callable[..., Site], tmp_path: Path) -> None:
    server = TemporalServer(tmp_path, tmp_path / "server.log")
    server.start()
    try:
        site = make_site(server=server)
        site.add_workers(2)
        site.sandbox.state.faults.enter(LOST["create"])
        run_id = site.start()
        wait_until(lambda: site.truth["jobs"])
        server.kill()
        server.start()
        ended = site.outcome(run_id)
    finally:
        server.stop()
    assert (ended["status"], ended["outputs"]["complete"]) == ("completed", True)
    assert_moved_once(site)


@pytest.mark.exhaustive
def test_fifty_starts_of_one_alert_make_one_job(make_site: Callable[..., Site]) -> None:
    site = make_site()
    site.add_workers(2)
    assert sorted(site.start_all(["alert-1"] * 50)) == [False] * 49 + [True]
    assert site.outcome(site.run_id("alert-1"))["status"] == "completed"
    assert_moved_once(site)


MOST_MEGABYTES = 200


@pytest.mark.exhaustive
def test_five_hundred_runs_wait_on_two_workers_in_little_memory(make_site: Callable[..., Site]) -> None:
    site = make_site()
    site.add_workers(2)
    alerts = [f"alert-{number}" for number in range(500)]
    assert all(site.start_all(alerts, playbook=WAITING))
    wait_until(lambda: len(site.waiting()) == len(alerts), seconds=300, every=3.0)
    assert [pid for pid in site.workers if megabytes(pid) >= MOST_MEGABYTES] == []
    site.signal_all("approval", {"by": "ann"})
    ended = [site.outcome(site.run_id(alert)) for alert in alerts]
    assert Counter(each["status"] for each in ended) == {"completed": 500}


def megabytes(pid: int) -> float:
    """Return the resident memory of a process."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024
