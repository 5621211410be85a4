"""How a phase's work is spread: elements, how many at once, and what each of them holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from synthclip_hpc.config import RunConfig
from synthclip_hpc.launch.chain import Link, local_workers
from synthclip_hpc.models.start_delay import start_delay_s
from synthclip_hpc.stages.phase import Phase

if TYPE_CHECKING:
    from synthclip_hpc.launch.arrays import Target


@dataclass(frozen=True)
class Shape:
    """The elements of one submission."""

    elements: int
    """0 where the command itself does the work, or nothing is missing."""
    at_once: int
    """Elements that may run side by side: what the throttle allows."""
    lanes: int
    """Shards that an element works on side by side."""
    gpus: int
    """GPUs that an element holds."""
    cores: int
    """Cores that an element holds."""
    devices: int
    """What shares the work of one lane: GPUs, or the nodes of a gang on CPUs."""
    limit_s: float | None
    """Seconds that an attempt may run before it is told to stop; None = as long as it likes."""
    mean_delay_s: float
    """How long an attempt waits on average so that not all read the same weights at once."""
    most_delay_s: float

    @property
    def waves(self) -> int:
        """How many times over the throttle is filled."""
        return -(-self.elements // self.at_once) if self.elements else 0


def device_of(phase: Phase, config: RunConfig, target: Target | None) -> str:
    """Return `GPU` or `CPU`: what the work of a phase is done on.

    An engine of the user's does not say what it needs: jobs that ask Slurm for no GPU have none.
    """
    asks = phase.gpus(config) if target is None else target.resources(phase).num_gpus
    return phase.estimate(config).device if asks else "CPU"


def shape_of(link: Link, config: RunConfig, target: Target | None, num_missing: int) -> Shape:
    """Return how so many missing shards of a phase would be submitted; `target` None = as local processes.

    Raises UserError for a number of local workers that cannot be.
    """
    phase = link.phase
    lanes, gpus = phase.lanes(config), phase.gpus(config)
    cores, nodes, limit_s = phase.threads(config) * lanes, 1, None
    if not num_missing or phase.inline:
        elements = at_once = 0
    elif target is None:
        elements = at_once = min(num_missing, local_workers(config, phase))
    else:
        from synthclip_hpc.launch.arrays import num_elements

        resources = target.resources(phase)
        elements = num_elements(target, phase, num_missing)
        at_once = min(elements, resources.throttle or elements)
        nodes = resources.nodes
        gpus = max(gpus, resources.num_gpus) * nodes
        cores = max(cores, resources.cpus * resources.tasks_per_node) * nodes
        limit_s = float(resources.time_min * 60 - resources.effective_signal_lead_s)
    on_gpus = device_of(phase, config, target) == "GPU"
    is_gang = phase.kind == "gang"
    devices = gpus if is_gang and on_gpus else nodes if is_gang else max(1, phase.gpus(config) // lanes)
    delays = _delays(elements) if phase.gpus(config) else [0.0]
    return Shape(elements, at_once, lanes, gpus, cores, devices, limit_s, sum(delays) / len(delays), max(delays))


def _delays(elements: int) -> list[float]:
    return [start_delay_s(f"0_{element}_0", elements) for element in range(elements)] or [0.0]
