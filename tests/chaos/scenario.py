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
class Scenario:
    """A stage under chaos. Further stages and engines are further instances in `SCENARIOS`."""

    stage: str
    phases: tuple[str, ...]
    """The phases of the stage, in order; the faults hit whichever is at work."""
    compared: tuple[tuple[str, str], ...]
    """(stage, phase) whose data and seals must equal those of the calm run."""
    concepts: int
    per_concept: int
    shard_items: int
    batch_items: int
    elements: int
    id_column: str
    acts: tuple[Act, ...]
    breaks: tuple[str, ...] = ()
    """What parts two acts: Slurm's scancel, a second submission while the first is alive, the product's own cancel."""
    keys: tuple[str, ...] = ()
    """Further identity keys: engine, model."""
    speed_key: str | None = None
    """Execution key that limits the items a second of one worker; None for work that is slow by itself."""
    timeout_s: float = 900
    """A disturbed run must be finished within."""
    prelude: str | None = None
    """Stage that is run first, undisturbed: what the stage builds on."""
    target: int | None = None
    """Items of the last phase, where these are not all that come in."""

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


_TEMPLATE = Scenario(
    stage="captions",
    phases=("write",),
    compared=(("concepts", "read"), ("captions", "write")),
    concepts=2000,
    per_concept=5,
    shard_items=250,
    batch_items=25,
    elements=8,
    id_column="caption_id",
    acts=(
        Act(("slurm.partition=low",), ("sigkill-worker", "sigkill-slurmstepd", "requeue", "preempt"), 55),
        Act(("slurm.partition=low-grace",), ("sigkill-worker", "preempt-grace", "node-dies"), 75),
        Act(
            ("slurm.partition=main", f"slurm.time_min={SHORT_LIMIT_MIN}", "slurm.signal_lead_s=10"),
            ("sigkill-worker", "time-limit"),
            90,
        ),
        Act(("slurm.partition=low",), ("node-lost", "requeue"), 75),
    ),
    breaks=("scancel", "overlap", "cancel"),
    speed_key="captions.template.items_per_s",
)
_TRANSFORMERS = replace(
    _TEMPLATE,
    concepts=24,
    per_concept=4,
    shard_items=12,
    batch_items=4,
    elements=2,
    acts=(
        Act(("slurm.partition=low",), ("sigkill-worker", "requeue", "preempt"), 0, (8.0, 20.0)),
        Act(("slurm.partition=low",), ("sigkill-between-shards", "requeue"), 0, (8.0, 20.0)),
    ),
    breaks=("cancel",),
    keys=("captions.engine=transformers", "captions.model=smollm2", "captions.device=cpu", "captions.threads=1"),
    speed_key=None,
)
_VLLM = replace(
    _TRANSFORMERS,
    keys=(
        "captions.engine=vllm",
        "captions.model=smollm2",
        "captions.device=cpu",
        "captions.threads=1",
        "captions.vllm.eager=true",
    ),
)
_BALANCE_PHASES = ("match", "unique", "count", "score", "select", "cut", "coverage")
_BALANCE = replace(
    _TEMPLATE,
    stage="balance",
    phases=_BALANCE_PHASES,
    compared=(("concepts", "read"), ("captions", "write"), *(("balance", phase) for phase in _BALANCE_PHASES)),
    per_concept=2,
    shard_items=100,
    batch_items=100,
    acts=(
        Act(("slurm.partition=low",), ("sigkill-worker", "sigkill-slurmstepd", "requeue", "preempt"), 60),
        Act(("slurm.partition=low-grace",), ("sigkill-worker", "preempt-grace", "node-dies"), 60),
        Act(("slurm.partition=low",), ("node-lost", "requeue"), 60),
    ),
    keys=("balance.match_items=100", "balance.shard_items=100", "balance.target=2000"),
    speed_key="balance.items_per_s",
    prelude="captions",
    target=2000,
)
SCENARIOS = {
    "captions": {"template": _TEMPLATE, "transformers": _TRANSFORMERS, "vllm": _VLLM},
    "balance": {"own": _BALANCE},
}
"""Stage -> engine -> scenario; the first engine is what `--engine` leaves out."""


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
