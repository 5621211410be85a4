"""A copy of the training state in the CPU's memory, taken at once, so that training goes on while it is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_PLAIN = (bool, int, float, str, bytes, type(None))


class Staging:
    """Copies states; the memory of the last copy is used again, so the next one overwrites it.

    Buffers are compact: a view of a large tensor costs its own size. They keep the strides of dense tensors, as the
    memory format of optimiser states may decide how later sums are rounded.
    """

    def __init__(self) -> None:
        self._buffers: dict[tuple[Any, ...], Tensor] = {}

    def copy(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return `state` with every tensor on the CPU and nothing shared with the original.

        Mappings become dicts. Copies from GPUs go to pinned memory, all at the same time, and are waited for once.
        Raises TypeError for a value that a checkpoint cannot hold: tensors, numbers, texts, bytes, None, and mappings,
        lists and tuples of them are what is read back without running code.
        """
        import torch

        previous, self._buffers = self._buffers, {}
        devices: set[torch.device] = set()
        with torch.no_grad():
            copied = {key: self._copy(value, (key,), previous, devices) for key, value in state.items()}
        for device in devices:
            torch.cuda.synchronize(device)
        return copied

    def _copy(self, value: Any, place: tuple[Any, ...], previous: dict[tuple[Any, ...], Tensor], devices: set) -> Any:
        import torch

        if isinstance(value, torch.Tensor):
            return self._copy_tensor(value.detach(), place, previous, devices)
        if isinstance(value, Mapping):
            return {key: self._copy(inner, (*place, key), previous, devices) for key, inner in value.items()}
        if type(value) in (list, tuple):
            return type(value)(
                self._copy(inner, (*place, number), previous, devices) for number, inner in enumerate(value)
            )
        # Exactly these types: a subclass, such as a NumPy float, is pickled as code.
        if type(value) in _PLAIN:
            return value
        raise TypeError(
            f"state[{']['.join(map(repr, place))}] is a {type(value).__module__}.{type(value).__qualname__}, "
            "which a checkpoint cannot hold; turn it into a tensor or a plain value"
        )

    def _copy_tensor(
        self, tensor: Tensor, place: tuple[Any, ...], previous: dict[tuple[Any, ...], Tensor], devices: set
    ) -> Tensor:
        import torch

        on_gpu = tensor.device.type == "cuda"
        buffer = previous.get(place)
        if buffer is None or not _fits(buffer, tensor):
            buffer = torch.empty_like(tensor, device="cpu", pin_memory=on_gpu)
        buffer.copy_(tensor, non_blocking=on_gpu)
        if on_gpu:
            devices.add(tensor.device)
        self._buffers[place] = buffer
        return buffer


def _fits(buffer: Tensor, tensor: Tensor) -> bool:
    same = buffer.dtype == tensor.dtype and buffer.shape == tensor.shape and buffer.stride() == tensor.stride()
    return same and buffer.is_pinned() == (tensor.device.type == "cuda")
