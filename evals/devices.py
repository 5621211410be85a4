"""Torch's devices: found by name, and how one tells that its memory is full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evals.errors import EvalError

if TYPE_CHECKING:
    import torch

_VALID = "valid are auto, cpu, cuda and cuda:NUMBER"


def find_device(text: str) -> torch.device:
    """Return the device of a name; `auto` is the first GPU, or the CPU without one. Raises EvalError for one not here.

    A GPU is only counted, not used: one that does not answer is the machine's fault, and shows when work begins.
    """
    import torch

    if text == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(text)
        if device.type not in ("cpu", "cuda"):
            torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise EvalError(f"device={text}: not to be had here ({str(error).splitlines()[0]}); {_VALID}") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EvalError(f"device={text}: torch sees {torch.cuda.device_count()} GPUs here; give cpu or another number")
    return device


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory is full, of a GPU or of the machine."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)
