"""Results are cut to a size that a model can read, and progress only rises."""

from __future__ import annotations

import asyncio
import json

from core.progress import Progress
from platforms.mcp.progress import RisingProgress
from platforms.mcp.results import ToolResult, fitted


def test_the_largest_parts_are_cut_and_named() -> None:
    document = {"rows": list(range(20_000)), "note": "x" * 9000, "job": {"id": "a", "log": ["line"] * 100}, "count": 3}
    result = fitted(ToolResult(document), 10_000)
    assert len(json.dumps(result.document)) <= 10_000
    assert result.document["rows"] == list(range(len(result.document["rows"])))
    assert result.document["count"] == 3
    assert f"/rows has the first {len(result.document['rows']):,} of 20,000" in result.notes[0]
    assert len(document["rows"]) == 20_000  # type: ignore[arg-type]


def test_a_small_result_is_left_alone() -> None:
    result = ToolResult({"rows": [1, 2, 3]})
    assert fitted(result) is result


def test_a_result_of_many_fields_is_left_out() -> None:
    result = fitted(ToolResult({str(number): number for number in range(10_000)}), 1000)
    assert (result.document, "left out" in result.notes[0]) == ({}, True)


def test_progress_that_does_not_rise_is_not_sent() -> None:
    sent: list[float] = []

    async def send(progress: float, total: float | None, message: str | None) -> None:
        assert total is None or total >= progress
        assert message is None or "\x1b" not in message
        sent.append(progress)

    async def scenario() -> None:
        progress = RisingProgress(send)
        for done, total in [(0, None), (5, 3), (5, 10), (2, 10), (9, 10)]:
            progress.offer(Progress("wait-for-job", done, total, "messages", "note \x1b[31m"))
            await progress.send_newest()

    asyncio.run(scenario())
    assert sent == [0, 5, 9]
