import random
import subprocess
import sys
from pathlib import Path

import pytest

from sharding.check import verify
from sharding.directory import PhaseDirectory
from sharding.seal import write_seal
from tests.sharding.worker_program import PLAN
from tests.sharding.workload import BATCH_ITEMS, INPUTS_HASH, expected_bytes

ROOT = Path(__file__).parents[2]
NUM_BATCHES = sum(-(-(PLAN.shard(i).stop - PLAN.shard(i).start) // BATCH_ITEMS) for i in range(PLAN.num_shards))


def live(directory: PhaseDirectory, attempt: str, kill_after_lines: int | None) -> tuple[int, int]:
    """(exit code, batches made) of one real worker process, killed once it has told of so many batches."""
    command = [sys.executable, "-m", "tests.sharding.worker_program", str(directory.path), attempt]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        num_lines = 0
        for num_lines, _ in enumerate(process.stdout, start=1):
            if num_lines == kill_after_lines:
                process.kill()
        return process.wait(), num_lines


@pytest.mark.parametrize("seed", [0, 1])
def test_real_processes_under_sigkill_end_in_the_same_bytes(tmp_path: Path, seed: int) -> None:
    right = expected_bytes(PhaseDirectory(tmp_path / "calm"), PLAN)
    directory, choose = PhaseDirectory(tmp_path / "killed"), random.Random(seed)
    lives = [live(directory, f"1_0_{life}", choose.randrange(1, 9)) for life in range(4)]
    num_kills = sum(code == -9 for code, _ in lives)
    assert num_kills >= 2
    assert all(code in (0, -9) for code, _ in lives)
    code, last_made = live(directory, "1_0_9", None)
    assert code == 0
    assert NUM_BATCHES <= last_made + sum(made for _, made in lives) <= NUM_BATCHES + num_kills
    assert [directory.data_path(shard, ".parquet").read_bytes() for shard in range(PLAN.num_shards)] == right
    assert verify(directory, PLAN) == []
    assert write_seal(directory, PLAN, INPUTS_HASH) == write_seal(PhaseDirectory(tmp_path / "calm"), PLAN, INPUTS_HASH)
