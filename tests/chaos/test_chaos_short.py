"""The chaos harness in short: the same promises on a few hundred items, in every test run."""

from __future__ import annotations

import random
import tarfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from slurm.onemachine import Lab
from tests.chaos.images import wrong_images
from tests.chaos.local_campaign import run_calm, run_locally
from tests.chaos.scenario import Act, short, write_bank
from tests.chaos.scenarios import GLYPHS, SCENARIOS
from tests.chaos.slurm_campaign import run_on_slurm
from tests.chaos.verdict import judge_local, judge_slurm

SCENARIO = short(SCENARIOS["captions"]["template"], concepts=480, shard_items=40, batch_items=8, elements=4)
RENDER = replace(
    GLYPHS,
    per_concept=2,
    shard_items=20,
    batch_items=5,
    elements=4,
    target=320,
    task_tars=4,
    late_kills=(("merge", "index"),),
    late_s=0.2,
    redrawn=320,
    keys=("render.size=64",),
)
ACT = Act(("slurm.partition=low",), ("sigkill-worker", "requeue", "preempt"), planned_s=22, pause_s=(0.5, 2.0))


@pytest.mark.slurm
def test_a_run_on_slurm_survives_a_killed_worker_a_requeue_and_a_preemption(slurm_lab: Lab, tmp_path: Path) -> None:
    bank = write_bank(tmp_path / "bank.txt", SCENARIO.concepts)
    run_calm(SCENARIO, tmp_path / "calm", bank)
    campaign = run_on_slurm(slurm_lab, SCENARIO, tmp_path / "run", bank, random.Random(0), print, acts=[ACT])
    verdict = judge_slurm("short", campaign, tmp_path / "calm", SCENARIO)
    assert verdict.problems == []
    assert {injection.fault: len(injection.attempts) >= 1 for injection in verdict.injections} == {
        "sigkill-worker": True,
        "requeue": True,
        "preempt": True,
    }
    assert verdict.status["requeues"] == 1
    assert verdict.status["preemptions"] >= 1
    assert verdict.status["failures"] == 1


def test_a_local_run_survives_killed_workers_and_a_killed_supervisor(tmp_path: Path) -> None:
    bank = write_bank(tmp_path / "bank.txt", SCENARIO.concepts)
    run_calm(SCENARIO, tmp_path / "calm", bank)
    product, injections, watch = run_locally(
        replace(SCENARIO, local_pause_s=(0.3, 0.8)),
        tmp_path / "run",
        bank,
        random.Random(0),
        print,
        workers=2,
        planned_s=3,
        worker_kills=2,
        supervisor_kills=1,
    )
    verdict = judge_local("short", product, injections, watch, tmp_path / "calm", SCENARIO)
    assert verdict.problems == []
    assert sorted(injection.fault for injection in injections) == [
        "local-sigkill-supervisor",
        "local-sigkill-worker",
        "local-sigkill-worker",
    ]
    assert verdict.status["unknown"] >= 3


@pytest.mark.slurm
def test_images_and_their_data_set_survive_a_killed_worker_a_requeue_and_a_preemption(
    slurm_lab: Lab, tmp_path: Path
) -> None:
    for module in ("cv2", "resvg_py"):
        pytest.importorskip(module, reason="needs the extra glyphs")
    scenario, bank = RENDER.made_in(tmp_path)
    run_calm(scenario, tmp_path / "calm", bank)
    act = replace(ACT, planned_s=16)
    campaign = run_on_slurm(slurm_lab, scenario, tmp_path / "run", bank, random.Random(0), print, acts=[act])
    verdict = judge_slurm("short", campaign, tmp_path / "calm", scenario)
    assert verdict.problems == []
    assert {injection.fault: len(injection.attempts) >= 1 for injection in verdict.injections} == {
        "sigkill-worker": True,
        "requeue": True,
        "preempt": True,
        "sigkill-late": True,
    }
    # That nothing was found says something only if what is wrong would have been.
    first = tmp_path / "run" / "render" / "draw" / "data" / "000" / "00000.tar"
    _exchange_images(first, "000000003.jpg", "000000011.jpg")
    assert wrong_images(tmp_path / "run", scenario) == [
        "000000003 is not what its caption and seed draw",
        "000000011 is not what its caption and seed draw",
    ]


def _exchange_images(path: Path, one: str, other: str) -> None:
    instead = {one: other, other: one}
    with tarfile.open(path) as old:
        content = {member.name: old.extractfile(member).read() for member in old}  # type: ignore[union-attr]
    path.unlink()
    with tarfile.open(path, "w") as new:
        for name in content:
            data = content[instead.get(name, name)]
            member = tarfile.TarInfo(name)
            member.size = len(data)
            new.addfile(member, BytesIO(data))
