"""Rendering under chaos, with the merge behind it: what it builds on, and the keys of either renderer."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from tests.chaos.product import ROOT
from tests.chaos.scenario import Part, Scenario

EMOJI = Path("emoji")
"""A bank that ships with the package."""


@dataclass(frozen=True)
class RenderScenario(Scenario):
    """Stages `render` and `merge`. The shards are those of the balanced set; the target must be whole shards."""

    task_tars: int = 10
    """Tars in one task of the verification."""
    pipeline: bool = False
    """Whether a tiny diffusion pipeline is made for it."""

    @property
    def parts(self) -> tuple[Part, ...]:
        tars = self.final_items // self.shard_items
        # While a batch is drawn, the one before it is encoded.
        draw = Part("render", ("draw",), tars, self.final_items, self.shard_items, self.batch_items, batches_open=2)
        tasks = -(-tars // self.task_tars)
        merge = Part("merge", ("verify", "index"), tasks + 1, tars, self.task_tars, self.task_tars, keeps_parts=False)
        return draw, merge

    def made_in(self, folder: Path) -> tuple[Scenario, Path]:
        if not self.pipeline:
            return self, EMOJI
        model = folder / "tiny-stable-diffusion"
        # A process of its own: torch stays out of the harness until images are drawn again.
        done = subprocess.run(
            [sys.executable, "-m", "tests.engines.tiny_stable_diffusion", str(model)],
            cwd=ROOT,
            timeout=300,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"no pipeline could be made:\n{done.stderr}")
        return replace(self, keys=(*self.keys, f"render.diffusion.model={model}")), EMOJI

    def identity(self, bank: Path, seed: int, stage: str | None = None) -> list[str]:
        return [
            f"stage={stage or self.stage}",
            f"seed={seed}",
            f"concepts.bank={bank}",
            f"captions.per_concept={self.per_concept}",
            "captions.shard_items=5000",
            "captions.batch_items=500",
            f"balance.target={self.target}",
            f"balance.shard_items={self.shard_items}",
            f"render.batch_items={self.batch_items}",
            f"merge.task_shards={self.task_tars}",
            *self.keys,
        ]
