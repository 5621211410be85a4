"""What libraries say when they cannot open a model, told as what a user can do about it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from synthclip_hpc.captioning.models.folder import ModelFiles
from synthclip_hpc.config import CaptionsConfig
from synthclip_hpc.errors import UserError

_UNKNOWN = ("does not recognize this architecture", "are not supported for now", "Unrecognized configuration class")
_OWN_CODE = ("custom code", "trust_remote_code")
_NO_MEMORY = (
    "No available memory for the cache blocks",
    "KV cache is needed",
    "memory utilization",  # "Free memory on device … is less than desired GPU memory utilization"
    "out of memory",
)
_NOT_SPLIT = ("divisible by tensor parallel size", "larger than the number of available GPUs")


@contextlib.contextmanager
def known_architectures(config: CaptionsConfig, model: ModelFiles) -> Iterator[None]:
    """Raise UserError in place of a library's error about a model whose architecture it does not have.

    Whether a model needs code of its own can only be told by the library: many that bring such code do not.
    """
    try:
        yield
    except UserError:
        raise
    except (ValueError, RuntimeError) as error:
        words = str(error)
        if any(one in words for one in _OWN_CODE):
            raise UserError(
                f"captions.model={model.name}: {config.engine} has no such architecture, and code that comes with a "
                f"model ({model.path}: auto_map in its JSON files) is never run; take another model, or a version of "
                f"{config.engine} that has it"
            ) from error
        if any(one in words for one in _UNKNOWN):
            raise UserError(
                f"captions.model={model.name}: the {config.engine} installed here has no such architecture "
                f"({words.strip().splitlines()[0]}); install a newer one, or take another model"
            ) from error
        raise


@contextlib.contextmanager
def enough_gpus(config: CaptionsConfig, model: ModelFiles) -> Iterator[None]:
    """Raise UserError in place of vLLM's error when the GPUs have too little memory for the model, or are too few."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # ValueError, RuntimeError, torch's own, by vLLM's version and by what was too small
        words = str(error).strip()
        told = words.splitlines()[0] if words else type(error).__name__
        if any(one in words for one in _NOT_SPLIT):
            raise UserError(
                f"captions.vllm.tensor_parallel={config.vllm.tensor_parallel}: {model.name} cannot be spread over so "
                f"many GPUs here ({told}); give another number, or ask for more GPUs (slurm.gpus_per_node)"
            ) from error
        if any(one in words for one in _NO_MEMORY):
            raise UserError(_too_little_memory(config, model, told)) from error
        raise


def _too_little_memory(config: CaptionsConfig, model: ModelFiles, told: str) -> str:
    if config.device == "cpu":
        return (
            f"captions.model={model.name}: it does not fit into this machine's memory, or its cache of "
            f"captions.vllm.cpu_cache_gib={config.vllm.cpu_cache_gib} is too small ({told}). Ask for more memory "
            "(slurm.memory), or in a new run take another captions.vllm.cpu_cache_gib or a smaller captions.model"
        )
    return (
        f"captions.model={model.name}: it does not fit into the GPU's memory beside its cache ({told}). Change "
        f"captions.vllm.gpu_memory={config.vllm.gpu_memory} (higher if vLLM wants more, lower if others use the GPU), "
        f"spread it over more GPUs (captions.vllm.tensor_parallel={config.vllm.tensor_parallel}), take a GPU with more "
        f"memory, or in a new run another captions.dtype (now {config.dtype}) or a smaller captions.model"
    )
