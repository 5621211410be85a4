"""Training under chaos: one job of two nodes with two ranks each, on a data set of glyphs that is made once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.chaos.render_scenario import EMOJI
from tests.chaos.scenario import Part, Scenario

_OTHER_FILES = 30
"""Files beside shards and attempts: the exported folder, checkpoints, curves, and metrics of each round."""


@dataclass(frozen=True)
class TrainScenario(Scenario):
    """Stage `train`. What is repeated after a fault is counted in steps, as the metrics of the rounds tell."""

    epochs: int = 0
    batch_size: int = 0
    save_steps: int = 0
    """Steps between checkpoints."""
    in_flight_steps: int = 0
    """Steps that a kill may cost beside those: done while the newest checkpoint was being written."""
    ranks: int = 0
    """Over all nodes, wherever it runs: other numbers round otherwise."""

    @property
    def num_steps(self) -> int:
        """Steps of the whole training."""
        return self.epochs * (self.final_items // self.batch_size)

    @property
    def parts(self) -> tuple[Part, ...]:
        return (
            Part(
                "train",
                ("fit",),
                1,
                self.epochs,
                self.epochs,
                self.epochs,
                keeps_parts=False,
                other_files=_OTHER_FILES,
            ),
        )

    def made_in(self, folder: Path) -> tuple[Scenario, Path]:
        return self, EMOJI

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
            f"train.epochs={self.epochs}",
            f"train.batch_size={self.batch_size}",
            *self.keys,
        ]

    @property
    def local_keys(self) -> tuple[str, ...]:
        return (f"train.processes_per_node={self.ranks}", *self._saving)

    @property
    def slurm_keys(self) -> tuple[str, ...]:
        return ("slurm.nodes=2", f"train.processes_per_node={self.ranks // 2}", "slurm.memory=4G", *self._saving)

    @property
    def _saving(self) -> tuple[str, ...]:
        return (
            "train.checkpoint_min=0",
            f"train.checkpoint_steps={self.save_steps}",
            "train.loader_workers=1",
            "train.start_timeout_s=120",
        )
