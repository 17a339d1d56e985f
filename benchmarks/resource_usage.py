"""Run a command, and write its exit status, seconds, processor time (user and system) and peak memory to a JSON file.

`python -S resource_usage.py FILE COMMAND ...`. This must be a small separate process: on Linux the peak memory of a
process includes that of its parent at the start.
"""

import json
import os
import sys
import time


def main() -> None:
    path, *command = sys.argv[1:]
    began = time.perf_counter()
    process = os.posix_spawn(command[0], command, os.environ)
    _, status, used = os.wait4(process, 0)
    measured = {
        "status": os.waitstatus_to_exitcode(status),
        "seconds": time.perf_counter() - began,
        "processor": used.ru_utime + used.ru_stime,
        # Linux counts in KiB.
        "peak_mb": used.ru_maxrss / 1024,
    }
    with open(path, "w") as file:  # noqa: PTH123 -- pathlib takes 20 ms to import
        json.dump(measured, file)


if __name__ == "__main__":
    main()
