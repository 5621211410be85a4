"""Planning at the paper's scale: `submit stage=captions dry-run=true` for 500,000 concepts x 60 = 30,000 shards."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.bank import write_bank
from tests.benchmarks.fakes import install, path_with
from tests.benchmarks.measure import Result, command, environment, memory_result, sample_process, time_result

TIMES = 5
FLOOR_S = 3.0
FLOOR_BYTES = 400e6
NUM_CONCEPTS = 500_000
PER_CONCEPT = 60
NUM_SHARDS = NUM_CONCEPTS * PER_CONCEPT // 1000


def measure(folder: Path) -> list[Result]:
    bank = write_bank(folder / "bank.txt", NUM_CONCEPTS)
    slurm = install(folder / "fake", "sbatch", "squeue", "sacct", "scontrol", "srun")
    places = {
        "local": (["cluster=local"], environment()),
        "Slurm": (["cluster=slurm", "slurm.profile=a100-preemptible"], environment(PATH=path_with(slurm))),
    }
    results = []
    for name, (words, env) in places.items():
        plan = command(
            "submit",
            "stage=captions",
            "dry-run=true",
            f"concepts.bank={bank}",
            f"captions.per_concept={PER_CONCEPT}",
            f"run={folder / 'run'}",
            *words,
        )
        samples = sample_process(plan, folder, env, TIMES)
        _check(name, samples[0].output)
        what = f"submit dry-run, {NUM_SHARDS:,} shards, {name}"
        results += [time_result(what, samples, FLOOR_S), memory_result(f"{what}: memory", samples, FLOOR_BYTES)]
    if slurm.calls("sbatch"):
        raise RuntimeError("a dry run has called sbatch")
    return results


def _check(name: str, output: str) -> None:
    wanted = [f"{NUM_SHARDS:,}", "#SBATCH"] if name == "Slurm" else [f"{NUM_SHARDS:,}"]
    for words in wanted:
        if words not in output:
            raise RuntimeError(f"the plan for {name} does not say {words!r}:\n{output}")
