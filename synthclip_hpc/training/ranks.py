"""This process among the ranks of a training: its device, its groups, and what all of them agree upon."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from synthclip_hpc.training.stop_word import StopEar

# gloo and NCCL tell of a peer that is gone by errors of several classes; these words are in their texts.
_PATIENCE = timedelta(hours=1)
_PEER_WORDS = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "recvvalue", "socket", "store")


class Ranks:
    """The group of all ranks, made when the process starts and ended when it does."""

    def __init__(self, device: str, timeout_s: int, ear: StopEar) -> None:
        """Meet the other ranks. The device is `cuda` (this rank's own GPU of the node) or `cpu`."""
        self.rank, self.count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self._ear = ear
        local_rank = int(os.environ["LOCAL_RANK"])
        self.device = torch.device(device, local_rank if device == "cuda" else None)
        if device == "cuda":
            torch.cuda.set_device(self.device)
        timeout = timedelta(seconds=timeout_s)
        if self.count == 1:
            return
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timeout)
        # A group of its own: on a GPU the agreement must not stand in line behind the gradients.
        self._agreeing = dist.new_group(backend="gloo", timeout=timeout)
        # And one with patience: rank 0 may read a large checkpoint, or save and export, while the others wait.
        self._patient = dist.new_group(backend="gloo", timeout=max(timeout, _PATIENCE))

    def stop_agreed(self) -> bool:
        """Tell whether any rank was told to stop. The same answer on all ranks, which must all ask.

        It waits for the others, not for the device: on GPUs the steps before this one are still being computed.
        """
        if self.count == 1:
            return self._ear.heard()
        told = torch.tensor([int(self._ear.heard())], dtype=torch.int32)
        dist.all_reduce(told, op=dist.ReduceOp.MAX, group=self._agreeing)
        return bool(told.item())

    def told_to_stop(self) -> bool:
        """Tell whether this rank was told to stop."""
        return self._ear.heard()

    def from_first(self, value: Any) -> Any:
        """Return what rank 0 gave as `value`: plain values only."""
        if self.count == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, group=self._patient)
        return values[0]

    def take_from_first(self, tensors: Iterable[torch.Tensor]) -> None:
        """Give tensors rank 0's values, in place: processors of another kind may round the first weights otherwise."""
        if self.count == 1:
            return
        for tensor in tensors:
            dist.broadcast(tensor.detach(), src=0)

    def close(self) -> None:
        """Leave the group, when all is done."""
        if self.count > 1:
            dist.barrier(group=self._patient)
            dist.destroy_process_group()


def is_peer_loss(error: BaseException) -> bool:
    """Tell whether an error says that another rank is gone, which is nothing of this rank's own."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _PEER_WORDS)
