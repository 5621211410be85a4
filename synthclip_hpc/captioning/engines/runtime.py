"""What both language model engines take from the configuration before their libraries are imported."""

from __future__ import annotations

from synthclip_hpc.config import CaptionsConfig


def dtype_name(config: CaptionsConfig) -> str:
    """Return the dtype that `auto` stands for, or the configured one."""
    if config.dtype != "auto":
        return config.dtype
    return "float32" if (config.engine, config.device) == ("transformers", "cpu") else "bfloat16"


def quiet_transformers() -> None:
    """Keep transformers' hints and progress bars out of the worker's log; its errors stay."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
