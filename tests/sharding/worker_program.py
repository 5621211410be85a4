"""A worker process that a test kills: does all shards, tells on stdout of every batch that it is about to make."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from sharding.directory import PhaseDirectory
from tests.sharding.workload import do_shard, make_plan

PLAN = make_plan(num_items=150, shard_items=50)


def tell(start: int) -> None:
    """One line for one batch; the pause lets the kill land in the middle of the work."""
    print(start, flush=True)
    time.sleep(0.002)


if __name__ == "__main__":
    for shard in range(PLAN.num_shards):
        do_shard(PhaseDirectory(Path(sys.argv[1])), PLAN, shard, sys.argv[2], tell)
