"""`python -m tests.chaos --stage captions`: disturb a stage in every way there is, and compare with a calm run."""

from __future__ import annotations

import argparse
import os
import random
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path

from slurm.onemachine import Lab, down, install_advice, missing_programs, up
from tests.chaos.campaign import CampaignFailed, run_calm_on_slurm
from tests.chaos.chain_campaign import run_chain_on_slurm
from tests.chaos.chain_scenario import ChainScenario
from tests.chaos.comparison import differences
from tests.chaos.local_campaign import run_calm, run_locally
from tests.chaos.record import append
from tests.chaos.scenario import Scenario
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.slurm_campaign import run_on_slurm
from tests.chaos.table import table
from tests.chaos.verdict import Verdict, judge_local, judge_slurm


def main(argv: list[str]) -> int:
    """Run the campaigns of all seeds; 0 when every promise was kept, 1 when not, 2 without Slurm's packages."""
    given = _parse(argv)
    missing = missing_programs()
    if missing and given.only != "local":
        print(install_advice(missing), file=sys.stderr)
        return 2
    engines = SCENARIOS[given.stage]
    if given.engine not in (None, *engines):
        print(f"--engine {given.engine}: no scenario; valid for {given.stage}: {', '.join(engines)}", file=sys.stderr)
        return 2
    scenario = engines[given.engine or next(iter(engines))]
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f}] {text}", flush=True)

    work = Path(tempfile.mkdtemp(prefix="chaos-runs-", dir=given.work))
    say(f"runs in {work}")
    scenario, bank = scenario.made_in(work)
    verdicts: list[Verdict] = []
    failures: list[str] = []
    for seed in (int(text) for text in given.seeds.split(",")):
        calm = work / f"calm-{seed}"
        run_calm(scenario, calm, bank, seed)
        for where in (given.only,) if given.only else ("local", "slurm"):
            name = f"{where} {seed}"
            say(f"--- {name}")
            try:
                verdicts.append(_campaign(where, scenario, work, bank, calm, seed, given, say))
                for problem in verdicts[-1].problems:
                    say(f"BREACH {name}: {problem}")
            except CampaignFailed as error:
                failures.append(f"{name}: {error}")
                say(f"FAILED {failures[-1]}")
    text = table(verdicts)
    print(f"\n{text}")
    if given.record:
        append(text, shlex.join([".venv/bin/python", "-m", "tests.chaos", *argv]))
    breaches = failures + [f"{one.name}: {problem}" for one in verdicts for problem in one.problems]
    print("\n".join(["", *breaches]) if breaches else "\nall promises kept")
    return 1 if breaches else 0


def _campaign(
    where: str,
    scenario: Scenario,
    work: Path,
    bank: Path,
    calm: Path,
    seed: int,
    given: argparse.Namespace,
    say: object,
) -> Verdict:
    assert callable(say)
    rng = random.Random(f"{where}/{seed}")
    run = work / f"{where}-{seed}"
    if where == "local":
        workers = min(4, scenario.elements)
        product, injections, watch = run_locally(scenario, run, bank, rng, say, run_seed=seed, workers=workers)
        return judge_local(f"local {seed}", product, injections, watch, calm, scenario)
    lab = _lab(given.dir)
    try:
        shape = []
        # A chain's stages are each compared with their like on this machine, and its own calm run would take as long.
        if scenario.slurm_keys and not isinstance(scenario, ChainScenario):
            run_calm_on_slurm(lab, scenario, work / f"calm-slurm-{seed}", bank, seed)
            shape = differences(calm, work / f"calm-slurm-{seed}", scenario)
            say(f"calm on Slurm: {shape or 'the same as local'}")
        if isinstance(scenario, ChainScenario):
            campaign = run_chain_on_slurm(lab, scenario, run, bank, rng, say, seed)
        else:
            acts = [act for act in scenario.acts if not given.faults or set(act.faults) & set(given.faults.split(","))]
            campaign = run_on_slurm(lab, scenario, run, bank, rng, say, run_seed=seed, acts=acts)
        say(f"sealed after {campaign.seconds:.0f} s")
        verdict = judge_slurm(f"slurm {seed}", campaign, calm, scenario)
        verdict.problems += [f"calm on Slurm: {problem}" for problem in shape]
        return verdict
    finally:
        shutil.copytree(lab.directory / "log", work / f"slurm-{seed}-log", dirs_exist_ok=True)
        if not given.keep:
            down(lab)


def _lab(directory: Path) -> Lab:
    return up(directory, nodes=4, cpus=5, gpus=0, grace_s=8, slurmd_timeout_s=10)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--stage", choices=sorted(SCENARIOS), default="captions")
    parser.add_argument("--engine", help="engine of the stage (default: the scenario's)")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated seeds (default 0,1,2)")
    parser.add_argument("--faults", default="", help="only the acts with one of these faults (comma-separated)")
    parser.add_argument("--only", choices=("local", "slurm"), help="leave the other out")
    parser.add_argument("--record", action="store_true", help="append the table to tests/benchmarks/RESULTS.md")
    parser.add_argument("--keep", action="store_true", help="leave the cluster running")
    parser.add_argument("--work", type=Path, help="where the runs are kept (default: a new temporary folder)")
    parser.add_argument(
        "--dir", type=Path, default=Path(f"/tmp/sl-chaos-{os.geteuid()}"), help="directory of the one-machine cluster"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
