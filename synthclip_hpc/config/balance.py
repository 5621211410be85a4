"""Which captions make the balanced set."""

# ruff: noqa: UP045
# Optional[X]: see slurm.py.

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from synthclip_hpc.config.roles import execution, identity

BALANCE_MODES = ("balanced", "random", "none")
MATCH_CASES = ("exact", "first-word", "fold")
"""`exact`: the rule as it stands. `first-word`: a caption also matches what it would match if the first character of
its first word were in lower case (its first word is the first that is neither empty nor a mark; captions begin with a
capital letter, and most entries do not). `fold`: caption and entry are casefolded before the rule is applied; entries
that differ only in case match together. In all three an entry counts once a caption."""


@dataclass(frozen=True)
class BalanceConfig:
    """Which captions make the balanced set, and in which order."""

    target: Optional[int] = identity(None)
    """Captions to keep: exactly so many."""
    t: Optional[float] = identity(None)
    """In place of `target`: MetaCLIP's threshold, captions of a concept from which on they are thinned out."""
    mode: str = identity("balanced")
    """`balanced` over concepts, `random` (the paper's ablation), or `none` (all captions that name a concept)."""
    source: Optional[str] = identity(None)
    """Captions from elsewhere in place of the run's own: Parquet, TSV, text (.gz, .zst), a WebDataset's tars, a
    folder of them, or a list with braces."""
    case: str = identity("exact")
    """How concepts are found in captions: `exact` (MetaCLIP's rule), `first-word` (a capital at its start is no
    matter), or `fold` (upper and lower case are the same)."""
    shard_items: int = identity(1000)
    """Captions in one shard of the set, which is one shard of images later."""
    match_items: int = identity(500_000)
    """Captions in one task of the work in between."""
    keep_unmatched: bool = identity(False)
    """Keep captions that name no concept too: all of them, before any other; with `target` they must leave room for
    others, with mode `random` they are drawn like all."""
    allow_short: bool = identity(False)
    """Go on when there are fewer usable captions than `target`."""
    items_per_s: float = execution(0.0)
    """Slow a task down to so many captions a second and worker, for trials and drills (0 = full speed)."""
