"""What is run and compared: one stage with its inputs, sizes and the keys that slow it down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
SHORT_LIMIT_MIN = 1


@dataclass(frozen=True)
class Act:
    """One submission of the run and what happens to it."""

    keys: tuple[str, ...]
    """Execution keys of the submission."""
    faults: tuple[str, ...]
    planned_s: float
    """About how long the act takes: sets the workers' speed, so that work is left for the acts that follow."""
    pause_s: tuple[float, float] = (3.0, 8.0)
    """Shortest and longest pause before a fault."""


@dataclass(frozen=True)
class Part:
    """One of the stages that are disturbed, with what its status and its journals are held against."""

    stage: str
    phases: tuple[str, ...]
    num_shards: int
    """Shards of all phases."""
    num_items: int
    """Items of its phase, where it has one alone."""
    shard_items: int
    batch_items: int
    """Items that are kept together; the whole of a shard where no phase keeps parts of one."""
    batches_open: int = 1
    """Batches in the making at once: what a kill costs."""
    keeps_parts: bool = True
    """Whether an attempt goes on from what an earlier one left of a shard."""
    other_files: int = 0
    """Files that the stage may have beside those of shards, attempts and submissions."""
    is_compared: bool = True
    """Whether its data must equal the calm run's."""


@dataclass(frozen=True)
class Scenario:
    """A stage, or several in a row, under chaos. Further stages and engines are further instances in `SCENARIOS`."""

    stage: str
    """As `submit` is given it: several with commas between them."""
    phases: tuple[str, ...]
    """The phases of the first stage, in order; the faults hit whichever is at work."""
    compared: tuple[tuple[str, str], ...]
    """(stage, phase) whose data and seals must equal those of the calm run."""
    concepts: int
    per_concept: int
    shard_items: int
    batch_items: int
    elements: int
    id_column: str
    acts: tuple[Act, ...]
    begun: str = "start"
    """The event that a worker has journalled before a fault hits it: `progress` where opening takes long."""
    breaks: tuple[str, ...] = ()
    """What parts two acts: Slurm's scancel, a second submission while the first is alive, the product's own cancel."""
    keys: tuple[str, ...] = ()
    """Further identity keys: engine, model."""
    speed_key: str | None = None
    """Execution key that limits the items a second of one worker; None for work that is slow by itself."""
    timeout_s: float = 900
    """A disturbed run must be finished within."""
    prelude: str | None = None
    """Stages that are run first, undisturbed: what the stage builds on."""
    target: int | None = None
    """Items of the last phase, where these are not all that come in."""
    late_kills: tuple[tuple[str, str], ...] = ()
    """(stage, phase) of which a worker is killed when it comes to them: too soon over for a fault at any moment."""
    late_s: float = 0.3
    """How long such a worker goes on at most after it was seen."""
    folders: tuple[str, ...] = ()
    """Folders of the run that must equal the calm run's too, file by file."""
    redrawn: int = 0
    """Images that are drawn again and compared."""
    local_pause_s: tuple[float, float] = (1.0, 3.0)
    """Shortest and longest pause before a kill on this machine."""

    @property
    def num_items(self) -> int:
        return self.concepts * self.per_concept

    @property
    def final_items(self) -> int:
        """Items of the last phase."""
        return self.target or self.num_items

    @property
    def num_shards(self) -> int:
        """Shards of all phases: of a stage with one, and of `balance` with its seven."""
        parts = -(-self.num_items // self.shard_items)
        return parts if len(self.phases) == 1 else 3 * parts + 3 + -(-self.final_items // self.shard_items)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The stages, in order."""
        shards, items = self.num_shards, self.num_items
        return (Part(self.stage, self.phases, shards, items, self.shard_items, self.batch_items),)

    @property
    def local_keys(self) -> tuple[str, ...]:
        """Execution keys of every submission on this machine."""
        return ()

    @property
    def slurm_keys(self) -> tuple[str, ...]:
        """Execution keys of every submission on Slurm."""
        return ()

    @property
    def last(self) -> tuple[str, str]:
        """Stage and phase with whose seal all is done."""
        return self.parts[-1].stage, self.parts[-1].phases[-1]

    def made_in(self, folder: Path) -> tuple[Scenario, Path]:
        """Make what the runs read; return the scenario that reads it, and the bank."""
        return self, write_bank(folder / "bank.txt", self.concepts)

    def identity(self, bank: Path, seed: int, stage: str | None = None) -> list[str]:
        """The arguments of `submit` that say what is made."""
        return [
            f"stage={stage or self.stage}",
            f"seed={seed}",
            f"concepts.bank={bank}",
            f"captions.per_concept={self.per_concept}",
            f"captions.shard_items={self.shard_items}",
            f"captions.batch_items={self.batch_items}",
            *self.keys,
        ]

    def speed(self, items_per_s: float) -> list[str]:
        """The arguments that slow each worker down."""
        return [] if self.speed_key is None else [f"{self.speed_key}={items_per_s:.3g}"]


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
