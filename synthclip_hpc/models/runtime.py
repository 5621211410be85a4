"""What is set up before a model's libraries are imported, whatever the model: no network, threads, device."""

from __future__ import annotations

import os
import sys

from synthclip_hpc.errors import UserError
from synthclip_hpc.models.offline import go_offline

DEVICES = ("cuda", "cpu")
DTYPES = ("auto", "float32", "bfloat16", "float16")


def prepare(threads: int) -> None:
    """Set what the libraries read from the environment when they are imported.

    A worker opens files that were found at submission and never goes to the network. OpenMP reads its number of threads
    when torch is imported; in a process that has imported it already, torch is told.
    """
    go_offline()
    # Its threads would be others than the configured ones, and it warns at every fork.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)


def check_device(stage: str, device: str, dtype: str, asked: str) -> None:
    """Raise UserError when torch does not see the GPU that `stage` asks for, or it cannot compute in `dtype`.

    `asked` is what the configuration says of the dtype: `auto`, or the same.
    """
    import torch

    if device != "cuda":
        return
    if not torch.cuda.is_available():
        raise UserError(
            f"{stage}.device=cuda: torch {torch.__version__} sees no GPU here; ask for one (slurm.gres=gpu:1), "
            f"install a torch built for CUDA, or give {stage}.device=cpu in a new run"
        )
    if dtype == "bfloat16" and torch.cuda.get_device_capability() < (8, 0):
        raise without_bfloat16(stage, asked)


def without_bfloat16(stage: str, asked: str) -> UserError:
    """Return what to tell the user of a GPU older than Ampere (V100, T4), which does not compute in bfloat16."""
    return UserError(
        f"{stage}.dtype={asked}: the GPU here has no bfloat16; ask for another GPU (compute capability 8.0 or "
        f"higher), or give {stage}.dtype=float16 in a new run"
    )
