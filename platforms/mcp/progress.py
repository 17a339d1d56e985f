"""Progress of a call, sent to the client: it only rises, and not too often."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from core.progress import Progress
from core.text import visible

# Between two notifications, in seconds.
INTERVAL = 0.25

LONGEST_MESSAGE = 200

# Sends the progress, the total if it is known, and a message.
Send = Callable[[float, float | None, str | None], Awaitable[None]]


class RisingProgress:
    """Sends the newest progress of one call. The protocol wants each value above the one before."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._newest: Progress | None = None
        self._changed = asyncio.Event()
        self._sent = -1

    def offer(self, progress: Progress) -> None:
        """Take a progress, in the thread of the event loop. One that does not rise is not sent."""
        self._newest = progress
        self._changed.set()

    async def run(self) -> None:
        """Send what is offered, until it is cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if await self.send_newest():
                await asyncio.sleep(INTERVAL)

    async def send_newest(self) -> bool:
        """Send the newest progress if it rises. Return whether it was sent."""
        newest = self._newest
        if newest is None or newest.done <= self._sent:
            return False
        self._sent = newest.done
        total = None if newest.total is None or newest.total < newest.done else float(newest.total)
        await self._send(float(newest.done), total, visible(newest.note)[:LONGEST_MESSAGE] or None)
        return True
