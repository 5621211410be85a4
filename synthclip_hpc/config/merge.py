"""How rendered shards become one data set."""

# ruff: noqa: UP045
# Optional[X]: see slurm.py.

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from synthclip_hpc.config.roles import identity


@dataclass(frozen=True)
class MergeConfig:
    """How rendered shards become one data set."""

    sources: Optional[str] = identity(None)
    """Further folders of WebDataset tars to put behind the run's own images, with a comma between them and each with a
    cap on its samples where wanted: `DIR` or `DIR:100000`."""
    even: bool = identity(False)
    """Write all samples again into tars of `balance.shard_items` each, also where images were rejected."""
    task_shards: int = identity(100)
    """Tars that one task verifies and indexes."""
