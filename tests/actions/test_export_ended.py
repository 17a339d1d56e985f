"""A signal ends the process of an export to a store, and no object is left in the store."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.exhaustive import exhaustive_unless
from tests.middlebox import WAIT_SECONDS
from tests.object_stores import Answer, Bucket, Door, Request

ROOT = Path(__file__).parents[2]

EXPORT = """
import sys
from actions import export_job_messages
from actions.contract.ending import ended_by_signals
from tests.actions.test_export import Listing, pages_of
from tests.connectors.scripted import JOB_ID, connected
def page(number):
    if number == 3:
        print("here", flush=True)
        sys.stdin.read()
    return pages_of(3500)(number)
params = {"job_id": JOB_ID, "destination": sys.argv[1], "time_budget_seconds": 3600}
with ended_by_signals():
    export_job_messages.run(params, connected(Listing(3500, page), pages_ahead=0))
"""


@pytest.mark.parametrize(
    ("phase", "number"),
    exhaustive_unless(
        {("measures an upload", signal.SIGTERM)},
        [
            ("reads", signal.SIGTERM),
            ("reads", signal.SIGINT),
            ("reads", signal.SIGHUP),
            ("measures an upload", signal.SIGTERM),
            ("measures an upload", signal.SIGINT),
        ],
    ),
)
def test_an_export_with_a_time_limit_leaves_no_object_after_a_signal(
    phase: str, number: signal.Signals, bucket: Bucket, door: Callable[..., Door]
) -> None:
    uploads, released = threading.Event(), threading.Event()

    def hang(request: Request) -> Answer | None:
        if request.method != "PUT" or phase == "reads":
            return None
        uploads.set()
        released.wait(WAIT_SECONDS)
        return Answer(dropped=True)

    opened = door(hang, bucket.endpoint)
    with subprocess.Popen(
        [sys.executable, "-c", EXPORT, bucket.url("rows")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509 -- tests may run under nohup
    ) as process:
        assert process.stdout is not None
        if phase == "reads":
            assert process.stdout.readline() == "here\n"
        else:
            assert uploads.wait(WAIT_SECONDS)
        process.send_signal(number)
        try:
            assert process.wait(WAIT_SECONDS) == (-number if number == signal.SIGINT else 128 + number)
        finally:
            released.set()
    assert any(request.method == "PUT" for request in opened.seen)
    assert bucket.objects() == []
