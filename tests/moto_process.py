"""Serve moto's S3 on a free loopback port until standard input closes.

It runs in an environment that has moto but not this repository.
"""

from __future__ import annotations

import sys

from moto.moto_server.threaded_moto_server import ThreadedMotoServer

if __name__ == "__main__":
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    print(*server.get_host_and_port(), flush=True)  # noqa: T201 -- for the process that started it
    sys.stdin.read()
    server.stop()
