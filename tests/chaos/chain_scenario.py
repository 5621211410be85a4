"""All stages in one submission under chaos: the laptop preset from the concepts to the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.chaos.scenario import Part, Scenario

_BALANCE = ("match", "unique", "count", "score", "select", "cut", "coverage")


@dataclass(frozen=True)
class Strike:
    """Faults that hit one phase while it is at work, at random moments and in random order."""

    stage: str
    phase: str
    faults: tuple[str, ...]
    """What is drawn from."""
    count: int = 1
    """How many of them happen."""
    pause_s: tuple[float, float] = (0.0, 0.0)
    """Shortest and longest pause before each."""


@dataclass(frozen=True)
class ChainScenario(Scenario):
    """`stage=all preset=…`. The sizes are the preset's; each stage is struck in its turn."""

    preset: str = ""
    strikes: tuple[Strike, ...] = ()
    """In the order of the pipeline."""

    @property
    def parts(self) -> tuple[Part, ...]:
        return (
            Part("captions", ("write",), 6, 24_000, 4_000, 500),
            Part("balance", _BALANCE, 12, 15_000, 24_000, 24_000, keeps_parts=False),
            # While a batch is drawn, the one before it is encoded.
            Part("render", ("draw",), 6, 15_000, 2_500, 50, batches_open=2),
            Part("merge", ("verify", "index"), 2, 6, 6, 6, keeps_parts=False),
            Part("train", ("fit",), 1, 14, 14, 14, keeps_parts=False, other_files=60),
            Part("eval", ("sets", "models", "cells"), 5, 4, 4, 4, keeps_parts=False, other_files=120),
            Part("report", ("page",), 1, 1, 1, 1, keeps_parts=False, is_compared=False, other_files=120),
        )

    def made_in(self, folder: Path) -> tuple[Scenario, Path]:
        return self, Path("emoji-demo")

    def identity(self, bank: Path, seed: int, stage: str | None = None) -> list[str]:
        return [f"stage={stage or self.stage}", f"preset={self.preset}", f"seed={seed}", *self.keys]

    @property
    def slurm_keys(self) -> tuple[str, ...]:
        # The demo trains in one process, whatever cluster it is on; and a worker is as slow as it is on a laptop.
        return ("slurm.memory=4G", "slurm.elements=2", *self.local_keys)

    @property
    def local_keys(self) -> tuple[str, ...]:
        # Slow enough to be struck at work.
        return ("captions.template.items_per_s=500", "render.items_per_s=300", "balance.items_per_s=3000")
