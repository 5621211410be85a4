"""What both language model engines set up before their libraries are imported: no network, threads, device, dtype."""

from __future__ import annotations

import os
import sys

from synthclip_hpc.captioning.models.offline import go_offline
from synthclip_hpc.config import CaptionsConfig
from synthclip_hpc.errors import UserError

DEVICES = ("cuda", "cpu")
DTYPES = ("auto", "float32", "bfloat16", "float16")


def prepare(config: CaptionsConfig) -> None:
    """Set what the libraries read from the environment when they are imported.

    A worker opens files that were found at submission and never goes to the network. OpenMP reads its number of threads
    when torch is imported; in a process that has imported it already, torch is told.
    """
    go_offline()
    # Its threads would be others than `captions.threads`, and it warns at every fork.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["OMP_NUM_THREADS"] = str(config.threads)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(config.threads)


def dtype_name(config: CaptionsConfig) -> str:
    """Return the dtype that `auto` stands for, or the configured one."""
    if config.dtype != "auto":
        return config.dtype
    return "float32" if (config.engine, config.device) == ("transformers", "cpu") else "bfloat16"


def without_bfloat16(config: CaptionsConfig) -> UserError:
    """Return what to tell the user of a GPU older than Ampere (V100, T4), which does not compute in bfloat16."""
    return UserError(
        f"captions.dtype={config.dtype}: the GPU here has no bfloat16; ask for another GPU (compute capability 8.0 or "
        "higher), or give captions.dtype=float16 in a new run"
    )


def quiet_transformers() -> None:
    """Keep transformers' hints and progress bars out of the worker's log; its errors stay."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
