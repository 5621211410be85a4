"""The mean of the gradients over all ranks, taken bucket by bucket while the backward pass still goes on.

Buckets are laid out once, from the order of the parameters alone. torch's DistributedDataParallel lays them out anew
after the first step, by the order in which gradients came; with three ranks or more the place of a number in its bucket
decides in which order the ranks' numbers are added, so that a resumed training would differ from one that went on, in
the last bit of its first step. Here nothing but the weights and the data decides it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn

_BUCKET_BYTES = 16 << 20
"""Large enough for a network's full speed, small enough to begin early."""


@dataclass
class _Bucket:
    memory: Tensor
    """The gradients of its parameters, one behind the other."""
    parameters: list[nn.Parameter] = field(default_factory=list)
    awaited: int = 0
    """Gradients that have not come yet in this backward pass."""
    work: dist.Work | None = None


class Gradients:
    """Owns the gradients of some parameters: each `grad` is a view of a bucket, and stays."""

    def __init__(self, parameters: Sequence[nn.Parameter], count: int, bucket_bytes: int = _BUCKET_BYTES) -> None:
        """`parameters` in the same order on all of `count` ranks, on their device."""
        self._count = count
        self._held = False
        self._next = 0
        # The last layers' gradients come first.
        self.buckets = [_filled(group) for group in _grouped(list(reversed(parameters)), bucket_bytes)]
        if count > 1:
            for bucket in self.buckets:
                for parameter in bucket.parameters:
                    parameter.register_post_accumulate_grad_hook(lambda _, of=bucket: self._came(of))

    def begin(self) -> None:
        """Set all gradients to zero; before a step."""
        self._next = 0
        for bucket in self.buckets:
            bucket.memory.zero_()
            bucket.awaited, bucket.work = len(bucket.parameters), None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Only add up: this backward pass is not the step's last."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def finish(self) -> None:
        """Wait for the mean over the ranks of all gradients; after the step's last backward pass."""
        if self._count == 1:
            return
        while self._next < len(self.buckets):  # with a parameter that had no part in the loss
            self._send()
        for bucket in self.buckets:
            assert bucket.work is not None
            bucket.work.wait()
            bucket.memory.div_(self._count)

    def norm(self) -> Tensor:
        """Return the Euclidean norm of all gradients, on the device."""
        return nn.utils.get_total_norm([bucket.memory for bucket in self.buckets])

    def scale(self, factor: Tensor) -> None:
        """Multiply all gradients, in place."""
        for bucket in self.buckets:
            bucket.memory.mul_(factor)

    def _came(self, bucket: _Bucket) -> None:
        if self._held:
            return
        bucket.awaited -= 1
        # In the order of the buckets, whatever comes first: all ranks must exchange the same one at the same time.
        while self._next < len(self.buckets) and self.buckets[self._next].awaited == 0:
            self._send()

    def _send(self) -> None:
        bucket = self.buckets[self._next]
        bucket.work = dist.all_reduce(bucket.memory, async_op=True)
        self._next += 1


def _grouped(parameters: list[nn.Parameter], bucket_bytes: int) -> Iterator[list[nn.Parameter]]:
    group: list[nn.Parameter] = []
    for parameter in parameters:
        group.append(parameter)
        if sum(one.numel() * one.element_size() for one in group) >= bucket_bytes:
            yield group
            group = []
    if group:
        yield group


def _filled(parameters: list[nn.Parameter]) -> _Bucket:
    """Make a bucket, and each parameter's gradient a part of it in the parameter's own memory layout."""
    first = parameters[0]
    memory = torch.zeros(sum(one.numel() for one in parameters), dtype=first.dtype, device=first.device)
    offset = 0
    for parameter in parameters:
        part = memory[offset : offset + parameter.numel()]
        parameter.grad = part.as_strided(parameter.size(), parameter.stride())
        offset += parameter.numel()
    return _Bucket(memory, parameters)
