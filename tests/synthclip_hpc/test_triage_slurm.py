"""On a real Slurm: a fault of one node and a fault of some shards, at once, are told apart, and both are mended."""

from __future__ import annotations

import json
import os

import pytest

from slurm.onemachine import Lab
from tests.synthclip_hpc.app import REPOSITORY, App

ENGINE = """
import os
from pathlib import Path

HERE = Path(__file__).parent

class Engine:
    def generate(self, batch):
        if os.environ.get("SLURMD_NODENAME") == "n2":
            raise RuntimeError(f"CUDA error 719 at 0x{id(batch):x}")
        for request in batch:
            if request.concept.startswith("poison") and not (HERE / "cured").exists():
                raise ValueError(f"item {request.seed} cannot be tokenised")
        return [f"A {request.concept} in the morning light." for request in batch]

    def close(self):
        pass

def open_engine(config, model):
    return Engine()
"""
# Two poisoned shards, of different elements: one of these may be the element that comes to the bad node.
CONCEPTS = [f"poison {n}" if n in (8, 10) else f"concept {n}" for n in range(80)]
WORDS = (
    "stage=captions",
    "captions.engine=faulty:open_engine",
    "captions.device=cpu",
    "captions.shard_items=2",
    "slurm.partition=main",
    "slurm.elements=4",
    "slurm.gpus_per_node=4",  # all that a node has: one element a node
    "slurm.time_min=20",
)


@pytest.mark.slurm
def test_a_bad_node_and_a_bad_shard_are_told_apart_left_alone_and_the_run_completes(
    slurm_lab: Lab, app: App, tmp_path, monkeypatch
) -> None:
    for name, value in slurm_lab.environment().items():
        monkeypatch.setenv(name, value)
    (tmp_path / "faulty.py").write_text(ENGINE)
    (tmp_path / "bank.txt").write_text("\n".join(CONCEPTS))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), str(tmp_path)]))
    monkeypatch.syspath_prepend(str(tmp_path))
    outcome = app("submit", *WORDS, f"concepts.bank={tmp_path / 'bank.txt'}", "cluster=slurm", "wait=true")
    assert outcome.code == 1, outcome
    found = {group["type"]: group for group in groups(app)}
    node = found["RuntimeError"]
    assert (node["count"], node["nodes"], node["pattern"]) == (4, {"n2": 4}, "CUDA error # at <hex>")
    assert (node["follows"], node["blamed"]) == ("node", ["n2"])
    assert found["ValueError"]["follows"] == "neither"  # tried once
    assert node["command"].startswith(f"python -m synthclip_hpc.resume only=group:{node['number']} exclude=n2 ")

    again = app("resume", f"only=group:{node['number']}", "exclude=n2", "cluster=auto", "wait=true")
    assert f"4 of {len(CONCEPTS) // 2} shards" in again.out
    app("resume", "exclude=n2", "cluster=auto", "wait=true")
    found = {group["type"]: group for group in groups(app)}
    assert found["RuntimeError"]["nodes"] == {"n2": 4}  # nothing went there any more
    poison = found["ValueError"]
    assert (poison["follows"], sorted(poison["open"])) == ("shard", [4, 5])
    story = app("why", f"shard=captions/{poison['open'][0]}").out
    assert "which left alone n2" in story and "cannot be tokenised" in story

    (tmp_path / "cured").touch()
    assert app("resume", "only=failed", "exclude=n2", "cluster=auto", "wait=true").code == 0
    assert app.submissions()[-1].shards() == [4, 5]
    assert app.status()["stages"]["captions"]["state"] == "done"


def groups(app: App) -> list[dict]:
    outcome = app("failures", "json=true")
    assert outcome.code == 0, outcome
    return list(json.loads(outcome.out)["groups"])
