"""How many devices an attempt has, and how many attempts a submission may have at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from slurm.queue import QueueRow
from synthclip_hpc.errors import UserError
from synthclip_hpc.stages.phase import Phase
from synthclip_hpc.submissions import Submission

_QUEUED = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED")


@dataclass
class Devices:
    """Of one phase, by submission; a submission's configuration is read once."""

    phase: Phase
    gpus: dict[str, int] = field(default_factory=dict)
    """GPUs of an attempt, over all its nodes."""
    cores: dict[str, int] = field(default_factory=dict)
    _throttle: dict[str, int] = field(default_factory=dict)
    _shards: dict[str, frozenset[int]] = field(default_factory=dict)

    def know(self, submissions: Iterable[Submission]) -> None:
        """Take in the submissions that were not known before."""
        for one in submissions:
            if one.name not in self.gpus:
                try:
                    config = one.config
                except UserError:  # of another version; whoever submits says so
                    self.gpus[one.name], self.cores[one.name] = 0, 1
                    continue
                asked = one.record.get("asked", {})
                nodes = int(asked.get("nodes") or config.slurm.nodes or 1) if one.cluster == "slurm" else 1
                # An engine of the user's does not say what it needs: jobs that asked for no GPU have none.
                has_gpus = one.cluster != "slurm" or asked.get("num_gpus") != 0
                self.gpus[one.name] = nodes * self.phase.gpus(config) if has_gpus else 0
                self.cores[one.name] = nodes * self.phase.threads(config) * self.phase.lanes(config)
                self._throttle[one.name] = int(asked.get("throttle") or config.slurm.throttle or 0)

    def shards(self, alive: Iterable[Submission]) -> set[int]:
        """Return the shards that these submissions have to do, done or not."""
        found: set[int] = set()
        for one in alive:
            if one.name not in self._shards:
                self._shards[one.name] = frozenset(one.shards())
            found |= self._shards[one.name]
        return found

    @property
    def kind(self) -> str:
        """`GPU` where any attempt has one, else `CPU`."""
        return "GPU" if any(self.gpus.values()) else "CPU"

    def of_attempts(self) -> dict[str, int]:
        """Return how many devices of that kind an attempt of each submission has."""
        return self.gpus if self.kind == "GPU" else self.cores

    def at_once(self, alive: Sequence[Submission], rows: Sequence[QueueRow], running: int, shards_left: int) -> int:
        """Return how many attempts would work at once if none had to wait; no fewer than run now."""
        found = 0
        for one in alive:
            mine = [row for row in rows if row.name == one.job_names[0]] if one.job_names else []
            elements = sum(row.state in _QUEUED for row in mine) if mine else one.num_elements
            throttle = self._throttle.get(one.name, 0)
            found += min(elements, throttle) if throttle else elements
        return max(running, min(found, shards_left))
