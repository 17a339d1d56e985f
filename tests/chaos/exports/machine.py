"""What an export runs on: a way to the sandbox, a disk, and a process that can be killed at each of its steps.

What a killed process leaves is what was on the disk at that moment: a copy of it is made then, and the next call works
there. The killed one still unwinds, as no real one does, but where nobody looks any more.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import httpx

from tests.chaos.exports.schedule import Mishap, Step
from tests.chaos.wire import DROPPED
from tests.chaos.workers import Killed
from tests.chaos.world import tls_settings
from tests.clock import FakeClock

# What changes files. Each is a moment between two others at which a process may end.
_FILE_STEPS = ("fsync", "ftruncate", "link", "mkdir", "pwrite", "rename", "replace", "unlink", "write")


class Machine:
    """here: the directory in which the next call works. calm: nothing befalls a process any more.

    died, full: how often. litters: a file could not be removed.
    """

    def __init__(self, root: Path, mishaps: tuple[Mishap, ...]) -> None:
        self.here = root / "0"
        self.here.mkdir()
        self.died = self.full = 0
        self.calm = self.litters = False
        self._root = root
        self._mishaps = {(mishap.of, mishap.at): mishap.what for mishap in mishaps}
        self._counts: dict[Step, int] = {"request": 0, "file": 0}
        self._thread: threading.Thread | None = None

    @contextmanager
    def process(self) -> Iterator[None]:
        """One call as a process of its own."""
        with ExitStack() as stack:
            for name in _FILE_STEPS:
                stack.enter_context(mock.patch.object(os, name, self._watched(name)))
            self._thread = threading.current_thread()
            try:
                yield
            finally:
                self._thread = None

    @contextmanager
    def step(self, of: Step) -> Iterator[None]:
        """A moment at which something may happen to the process. Raises: Killed, OSError."""
        if threading.current_thread() is not self._thread:
            yield
            return
        what = None if self.calm else self._mishaps.get((of, self._counts[of]))
        self._counts[of] += 1
        if what == "killed before":
            self._die()
        if what == "disk full":
            self.full += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield
        if what == "killed after":
            self._die()

    def _die(self) -> None:
        self._thread = None
        self.died += 1
        left = self._root / str(self.died)
        shutil.copytree(self.here, left, symlinks=True)
        self.here = left
        raise Killed

    def _watched(self, name: str) -> Callable[..., Any]:
        call = getattr(os, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            full = self.full
            try:
                with self.step("file"):
                    return call(*arguments, **named)
            finally:
                self.litters |= name == "unlink" and self.full > full

        return watched


class Road(httpx.BaseTransport):
    """The way to the sandbox, on which time passes. attempts: how many requests went out."""

    def __init__(self, machine: Machine, clock: FakeClock, chance: Callable[[float, float], float]) -> None:
        self.attempts = 0
        self._machine = machine
        self._clock = clock
        self._chance = chance
        self._lock = threading.Lock()
        self._inner = httpx.HTTPTransport(verify=tls_settings())

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.attempts += 1
            self._clock.advance(self._chance(0.001, 0.2))
        with self._machine.step("request"):
            return self._answer(request)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        try:
            return self._inner.handle_request(request)
        except httpx.TransportError:
            # A dropped connection, told as one of those that a client may see of it.
            raise DROPPED[self.attempts % len(DROPPED)]("dropped", request=request) from None

    def close(self) -> None:
        """A process has ended: the next one brings its own connections."""
        self._inner.close()
        self._inner = httpx.HTTPTransport(verify=tls_settings())
