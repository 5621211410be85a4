"""What a job asks of Slurm, and the checks that keep it from being misread on the way there."""

from __future__ import annotations

import dataclasses
import shlex
import types
import typing
from dataclasses import dataclass
from typing import Any

_MAX_SIGNAL_LEAD_S = 65535  # what sbatch --signal takes at most
_LOWEST = {"gpus_per_node": 0, "throttle": 0, "max_array_size": 0, "signal_lead_s": 0}
_COMMANDS = ("python", "container")


class ProfileError(ValueError):
    """A profile, a resource or a job's name that Slurm must not be given; the message says what to change and where."""


@dataclass(frozen=True)
class Resources:
    """What one job, or each element of an array, asks of Slurm. Values are checked on construction (ProfileError)."""

    partition: str | None = None
    """Partition."""
    account: str | None = None
    """Account to charge."""
    qos: str | None = None
    """Quality of service."""
    constraint: str | None = None
    """Node features, as sbatch takes them."""
    gres: str | None = None
    """Generic resources a node, e.g. `gpu:a100:1`."""
    exclude: str | None = None
    """Nodes to avoid, e.g. `n1,n[7-9]`."""
    nodes: int = 1
    """Nodes for one job."""
    tasks_per_node: int = 1
    """Tasks on each node."""
    cpus: int = 1
    """CPUs for a task."""
    gpus_per_node: int | None = None
    """GPUs on each node (0 = none)."""
    memory: str | None = None
    """Memory a node, e.g. `8G`."""
    time_min: int = 60
    """Time limit in minutes."""
    elements: int = 64
    """At most so many array elements in a submission; each works through its share of the shards."""
    throttle: int = 0
    """At most so many elements at once (0 = no limit)."""
    max_array_size: int = 0
    """The cluster's MaxArraySize (0 = ask the cluster)."""
    python: str | None = None
    """Python to start on the nodes, with arguments if it needs any (default: the one that submits)."""
    setup: tuple[str, ...] = ()
    """Shell lines to run first on the node, e.g. `module load cuda`."""
    srun_args: tuple[str, ...] = ()
    """Further arguments for srun."""
    container: str | None = None
    """Container command put before python, e.g. `apptainer exec --nv image.sif`."""
    signal_lead_s: int = 120
    """Warning before the time limit, in seconds (never more than half the time limit)."""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            object.__setattr__(self, item.name, checked(item.name, getattr(self, item.name)))

    @property
    def num_gpus(self) -> int:
        """GPUs asked for on each node, by number or by gres such as `gpu:4` or `gpu:a100:4(S:0)`."""
        if self.gpus_per_node is not None:
            return self.gpus_per_node
        found = 0
        for entry in (self.gres or "").split(","):
            kind, *rest = entry.partition("(")[0].split(":")
            if kind == "gpu":
                found += int(rest[-1]) if rest and rest[-1].isdigit() else 1
        return found

    @property
    def effective_signal_lead_s(self) -> int:
        """The warning time that the job gets, in seconds."""
        return min(self.signal_lead_s, self.time_min * 30)


def one_line(what: str, text: str) -> str:
    """`text` if it is one printable line. Raises ProfileError, naming `what`, for line breaks and control characters.

    Whatever goes into an sbatch script passes here: a line break there would begin a new directive or command.
    """
    if not text.isprintable():
        bad = next(character for character in text if not character.isprintable())
        raise ProfileError(f"{what} is {text!r}; it must be one printable line, and {bad!r} is not allowed in it")
    return text


def command_words(what: str, text: str) -> list[str]:
    """A command split as a shell would split it, without expanding anything. ProfileError if a quote is left open."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ProfileError(f"{what} is {text!r}, which cannot be split into words: {error}; close the quote") from error


def resource_types() -> dict[str, Any]:
    """The type of each key of `Resources`."""
    return typing.get_type_hints(Resources)


def checked(key: str, value: Any, where: str = "") -> Any:
    """The value in the form that `Resources` keeps, or a ProfileError that names `where`."""
    where = where or key
    kind = resource_types()[key]
    if isinstance(kind, types.UnionType):
        if value is None:
            return None
        kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
    if kind is int:
        return _checked_int(key, value, where)
    if kind is str:
        if not isinstance(value, str):
            raise ProfileError(f"{where} must be text, got {value!r}; put it in quotes")
        one_line(where, value)
        if key in _COMMANDS and value.strip():
            command_words(where, value)
        return value.strip() or None
    if not isinstance(value, (list, tuple)) or not all(isinstance(entry, str) for entry in value):
        raise ProfileError(f'{where} must be a list of texts such as ["a", "b"], got {value!r}')
    return tuple(one_line(where, entry) for entry in value)


def _checked_int(key: str, value: Any, where: str) -> int:
    if type(value) is not int:
        raise ProfileError(f"{where} must be a whole number, got {value!r}")
    lowest = _LOWEST.get(key, 1)
    if value < lowest:
        raise ProfileError(f"{where} is {value}; it must be at least {lowest}")
    if key == "signal_lead_s" and value > _MAX_SIGNAL_LEAD_S:
        raise ProfileError(f"{where} is {value}; Slurm takes at most {_MAX_SIGNAL_LEAD_S} seconds")
    return value
