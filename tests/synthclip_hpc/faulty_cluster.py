"""A run on a real Slurm in which one node fails whatever it gets, and two shards fail wherever they are tried."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slurm.onemachine import Lab
from tests.synthclip_hpc.app import REPOSITORY, App, Outcome

BAD_NODE = "n2"
ENGINE = f"""
import os
from pathlib import Path

CURED = Path(__file__).parent / "cured"

class Engine:
    def generate(self, batch):
        if os.environ.get("SLURMD_NODENAME") == "{BAD_NODE}" and not (CURED / "node").exists():
            raise RuntimeError(f"CUDA error 719 at 0x{{id(batch):x}}")
        for request in batch:
            if request.concept.startswith("poison") and not (CURED / "shards").exists():
                raise ValueError(f"item {{request.seed}} cannot be tokenised")
        return [f"A {{request.concept}} in the morning light." for request in batch]

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


def submit_faulty(lab: Lab, app: App, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """Submit the run and wait for what it comes to."""
    for name, value in lab.environment().items():
        monkeypatch.setenv(name, value)
    (folder / "faulty.py").write_text(ENGINE)
    (folder / "bank.txt").write_text("\n".join(CONCEPTS))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), str(folder)]))
    monkeypatch.syspath_prepend(str(folder))
    return app("submit", *WORDS, f"concepts.bank={folder / 'bank.txt'}", "cluster=slurm", "wait=true")


def cure(folder: Path, *what: str) -> None:
    """Mend the `node`, the `shards`, or both."""
    for one in what:
        (folder / "cured" / one).mkdir(parents=True)
