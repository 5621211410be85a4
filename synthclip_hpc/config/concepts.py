"""The concept bank."""

# ruff: noqa: UP045
# Optional[X]: see slurm.py.

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from synthclip_hpc.config.roles import identity

# Banks that ship with the package: names that are no paths.
BUILT_IN_BANKS = ("wordnet", "emoji", "emoji-demo")


@dataclass(frozen=True)
class ConceptsConfig:
    """Which concepts captions are written for."""

    bank: str = identity("wordnet")
    """Concept bank: `wordnet` (the numbers 0 to 99 and 86,554 names), `emoji` (446 nouns), `emoji-demo` (100 of them),
    or a path: text (a concept a line; `#` starts no comment), JSON list such as MetaCLIP's metadata.json, or TSV (first
    column); also packed (.gz, .zst)."""
    subset: Optional[str] = identity(None)
    """Part of the bank, before `limit` and `sample`: `captions=FILE` (the concepts that its captions name: the paper's
    C_CC3M) or `random=K` (C_rand)."""
    limit: int = identity(0)
    """Keep the first so many concepts of the bank (0 = all)."""
    sample: int = identity(0)
    """Keep so many concepts of the bank, drawn with the run's seed (0 = all). Not together with `limit`."""
    exclude: Optional[str] = identity(None)
    """File of concepts to leave out, in any form a bank may have: a safety list, say. Whole concepts are compared,
    whatever their case and what they hold that does not show. They keep their place and count as rejects. With
    templates and in float32 no other caption changes; in bfloat16 those of the same batch may, by rounding."""
