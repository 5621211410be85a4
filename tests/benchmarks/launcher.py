"""Run one command and print, as JSON, how long it took and the most memory it held: a process as small as possible.

Linux counts what the starting process held at the moment of the start among the memory of the started one. Started
from a benchmark that has pyarrow loaded, the figure would be the benchmark's own.
"""

import json
import os
import sys
import time


def main(report: str, command: list[str]) -> int:
    started = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.monotonic() - started
    with open(report, "w", encoding="utf-8") as file:
        json.dump({"seconds": seconds, "peak_bytes": usage.ru_maxrss * 1024}, file)
    return os.waitstatus_to_exitcode(status)


sys.exit(main(sys.argv[1], sys.argv[2:]))
