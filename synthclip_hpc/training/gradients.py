"""The mean of the gradients over all ranks, taken bucket by bucket while the backward pass still goes on.

Buckets are laid out once, from the order of the parameters alone. torch's DistributedDataParallel lays them out anew
after the first step, by the order in which gradients came; with three ranks or more the place of a number in its bucket
decides in which order the ranks' numbers are added, so that a resumed training would differ from one that went on, in
the last bit of its first step. Here nothing but the weights and the data decides it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn

_BUCKET_BYTES = 16 << 20
"""Large enough for a network's full speed, small enough to begin early."""


@dataclass
class _Bucket:
    memory: Tensor
    """The gradients of its parameters, one behind the other."""
    slots: list[tuple[nn.Parameter, Tensor]]
    """Each parameter and its part of the memory, in the parameter's own layout."""
    awaited: int = 0
    """Gradients that have not come yet in this backward pass."""
    work: dist.Work | None = None


class Gradients:
    """The gradients of some parameters. With several ranks each `grad` becomes a part of a bucket when it has come."""

    def __init__(self, parameters: Sequence[nn.Parameter], count: int, bucket_bytes: int = _BUCKET_BYTES) -> None:
        """`parameters` in the same order on all of `count` ranks, on their device."""
        self._parameters = list(parameters)
        self._count = count
        self._held = False
        self._next = 0
        # The last layers' gradients come first.
        groups = _grouped(self._parameters[::-1], bucket_bytes) if count > 1 else ()
        self.buckets = [_bucket(group) for group in groups]
        for bucket in self.buckets:
            for parameter, slot in bucket.slots:
                parameter.register_post_accumulate_grad_hook(partial(self._came, bucket, slot))

    def begin(self) -> None:
        """Forget all gradients; before a step."""
        self._next = 0
        for parameter in self._parameters:
            parameter.grad = None
        for bucket in self.buckets:
            bucket.awaited, bucket.work = len(bucket.slots), None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Only add up: this backward pass is not the step's last."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def finish(self) -> None:
        """Wait for the mean over the ranks of all gradients; after the step's last backward pass.

        A parameter without any part in the loss has a gradient of zero.
        """
        for parameter in self._parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
                for bucket in self.buckets:
                    for own, slot in bucket.slots:
                        if own is parameter:
                            self._came(bucket, slot, parameter)
        for bucket in self.buckets:
            assert bucket.work is not None
            bucket.work.wait()
            bucket.memory.div_(self._count)

    def norm(self) -> Tensor:
        """Return the Euclidean norm of all gradients, on the device."""
        return nn.utils.get_total_norm(self._memories())

    def scale(self, factor: Tensor) -> None:
        """Multiply all gradients, in place."""
        for memory in self._memories():
            memory.mul_(factor)

    def _memories(self) -> list[Tensor]:
        return [one.memory for one in self.buckets] or [one.grad for one in self._parameters if one.grad is not None]

    def _came(self, bucket: _Bucket, slot: Tensor, parameter: nn.Parameter) -> None:
        """Take a gradient that is complete on this rank; send its bucket when all of it is."""
        if self._held:
            return
        assert parameter.grad is not None
        slot.copy_(parameter.grad)
        parameter.grad = slot
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


def _bucket(parameters: list[nn.Parameter]) -> _Bucket:
    first = parameters[0]
    memory = torch.zeros(sum(one.numel() for one in parameters), dtype=first.dtype, device=first.device)
    parts = memory.split([one.numel() for one in parameters])
    slots = [
        part.as_strided(one.size(), one.stride(), part.storage_offset())
        for one, part in zip(parameters, parts, strict=True)
    ]
    return _Bucket(memory, list(zip(parameters, slots, strict=True)))
