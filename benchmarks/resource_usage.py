"""Run a command and print its exit status, seconds, processor time (user and system) and peak memory as JSON.

A small process of its own, `python -S -m benchmarks.resource_usage COMMAND ...`: Linux counts in a process's peak what
the process that started it had. The command's own output goes to standard error.
"""

import json
import os
import sys
import time


def main() -> None:
    began = time.perf_counter()
    process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
    _, status, used = os.wait4(process, 0)
    measured = {
        "status": os.waitstatus_to_exitcode(status),
        "seconds": time.perf_counter() - began,
        "processor": used.ru_utime + used.ru_stime,
        # Linux counts in KiB.
        "peak_mb": used.ru_maxrss / 1024,
    }
    sys.stdout.write(json.dumps(measured))


if __name__ == "__main__":
    main()
