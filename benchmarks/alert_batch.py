"""Accepts or processes one batch of alerts, in a process of its own. Standard input: {"phase", "body", "folder"}."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from core.clock import SystemClock
from platforms.alerts.events import EventFiles
from platforms.alerts.inbox import ALERTS, Inbox
from platforms.alerts.ledger import Ledger
from platforms.alerts.processing import Processor, Stores
from platforms.alerts.rule_loading import load_rules

# The size of a chunk that uvicorn passes on.
CHUNK = 64 * 1024


def accept(inbox: Inbox, body: Path) -> int:
    with body.open("rb") as file, inbox.begin(ALERTS, "gzip") as writer:
        while chunk := file.read(CHUNK):
            writer.write(chunk)
        return writer.finish().received


def processor(inbox: Inbox, folder: Path) -> Processor:
    clock = SystemClock()
    stores = Stores(inbox, Ledger(str(folder / "state"), clock), EventFiles(folder / "events", clock))
    rules = load_rules(folder / "rules.yaml")
    return Processor(stores, rules, lambda match: f"run-{match.alert_id}", clock)


def process(batches: Processor) -> int:
    [done] = batches.process_waiting()
    if not done.done or done.refused:
        raise SystemExit(f"the batch was not processed: {done}")
    return len(done.started)


def main() -> None:
    asked = json.load(sys.stdin)
    folder = Path(asked["folder"])
    inbox = Inbox(folder / "inbox", SystemClock())
    # A service loads its rules once, at its start.
    batches = processor(inbox, folder) if asked["phase"] == "process" else None
    began, used = time.perf_counter(), time.process_time()
    count = accept(inbox, Path(asked["body"])) if batches is None else process(batches)
    found = {"seconds": time.perf_counter() - began, "processor": time.process_time() - used}
    json.dump({"count": count, **found}, sys.stdout)


if __name__ == "__main__":
    main()
