"""What is run and compared: one stage with its inputs, sizes and the keys that slow it down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"


@dataclass(frozen=True)
class Scenario:
    """A stage under chaos. Further stages are further instances in `SCENARIOS`."""

    stage: str
    phase: str
    """The phase that the faults hit."""
    compared: tuple[tuple[str, str], ...]
    """(stage, phase) whose data and seals must equal those of the calm run."""
    concepts: int
    per_concept: int
    shard_items: int
    batch_items: int
    elements: int
    speed_key: str
    """Execution key that limits the items a second of one worker."""
    id_column: str
    engine: str = "template"

    @property
    def num_items(self) -> int:
        return self.concepts * self.per_concept

    @property
    def num_shards(self) -> int:
        return -(-self.num_items // self.shard_items)

    def identity(self, bank: Path, seed: int) -> list[str]:
        """The arguments of `submit` that say what is made."""
        return [
            f"stage={self.stage}",
            f"seed={seed}",
            f"concepts.bank={bank}",
            f"captions.engine={self.engine}",
            f"captions.per_concept={self.per_concept}",
            f"captions.shard_items={self.shard_items}",
            f"captions.batch_items={self.batch_items}",
        ]

    def speed(self, items_per_s: float) -> str:
        """The argument that slows each worker down."""
        return f"{self.speed_key}={items_per_s:.3g}"


SCENARIOS = {
    "captions": Scenario(
        stage="captions",
        phase="write",
        compared=(("concepts", "read"), ("captions", "write")),
        concepts=2000,
        per_concept=5,
        shard_items=250,
        batch_items=25,
        elements=8,
        speed_key="captions.template.items_per_s",
        id_column="caption_id",
    ),
}


def short(scenario: Scenario, concepts: int, shard_items: int, batch_items: int, elements: int) -> Scenario:
    """The same scenario, small enough for a test."""
    return replace(
        scenario,
        concepts=concepts,
        per_concept=1,
        shard_items=shard_items,
        batch_items=batch_items,
        elements=elements,
    )


def write_bank(path: Path, count: int) -> Path:
    """Write a bank of `count` different made-up nouns."""
    syllables = [consonant + vowel for consonant in _CONSONANTS for vowel in _VOWELS]
    base = len(syllables)
    words = (syllables[n % base] + syllables[n // base % base] + syllables[n // base**2 % base] for n in range(count))
    path.write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    return path
