"""The `transformers` engine: a causal language model on one device, answers sampled row by row from their own seeds.

In float32 an answer does not depend on the other prompts of its batch; in bfloat16 it may, by rounding, so the batch
that the plan fixes is handed over as it is and only cut when the device cannot hold it.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

from synthclip_hpc.captioning.engines.chat import Chat, open_chat
from synthclip_hpc.captioning.engines.engine import Engine, Request
from synthclip_hpc.captioning.engines.opening import known_architectures
from synthclip_hpc.captioning.engines.room import Room, room_of
from synthclip_hpc.captioning.engines.runtime import dtype_name, quiet_transformers
from synthclip_hpc.captioning.engines.sampling import Sampler, Sampling, uniform_numbers
from synthclip_hpc.captioning.models.find import ModelFiles
from synthclip_hpc.config import CaptionsConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.models.device_batch import DeviceBatch
from synthclip_hpc.models.runtime import check_device, prepare


def open_transformers(config: CaptionsConfig, model: ModelFiles) -> Engine:
    """Load a model and its tokenizer onto `captions.device`.

    Raises UserError when a package or the GPU is missing, or when the model does not fit into the GPU's memory.
    """
    prepare(config.threads)
    try:
        import torch
        import transformers
    except ModuleNotFoundError as error:
        raise UserError(
            f"captions.engine=transformers: the package {error.name} is not installed here; "
            "install the extra: pip install 'synthclip-hpc[captions]'"
        ) from error
    check_device("captions", config.device, dtype_name(config), config.dtype)
    quiet_transformers()
    torch.set_num_threads(config.threads)
    dtype = getattr(torch, dtype_name(config))
    try:
        with known_architectures(config, model):
            chat = open_chat(model.path)
            network: Any = transformers.AutoModelForCausalLM.from_pretrained(
                str(model.path), dtype=dtype, local_files_only=True, trust_remote_code=False
            )
        network.to(config.device).eval()
    except torch.OutOfMemoryError as error:
        raise _too_small(config, f"{model.name} in {dtype_name(config)} does not fit", error) from error
    return TransformersEngine(network, chat, config, room=room_of(config, model))


class TransformersEngine:
    """Answers batches with `network.generate`; prompts must fit into `room`."""

    def __init__(self, network: Any, chat: Chat, config: CaptionsConfig, *, room: Room) -> None:
        import torch
        from transformers import GenerationConfig

        self.network = network
        self.chat = chat
        self.config = config
        self.room = room
        self.device_batch = DeviceBatch(
            config.transformers.device_batch_items,
            stage="captions",
            what="prompts",
            key="captions.transformers.device_batch_items",
        )
        self.stop_ids = torch.tensor(chat.stop_ids, dtype=torch.int64, device=network.device)
        # The model's own file may ask for other sampling (top_k, repetition_penalty …), which would come on top.
        network.generation_config = GenerationConfig(
            do_sample=False,
            max_new_tokens=config.max_tokens,
            pad_token_id=chat.pad_id,
            eos_token_id=list(chat.stop_ids) or None,
        )

    def generate(self, batch: Sequence[Request]) -> list[str]:
        """Answer every request, in order. Raises UserError when the device's memory does not even hold one."""
        if not batch:
            return []
        prompts = self.chat.encode([request.prompt for request in batch], self.room)
        seeds = [request.seed for request in batch]
        answers = self.device_batch.run(
            list(zip(prompts, seeds, strict=True)),
            lambda part: self._answer([prompt for prompt, _ in part], [seed for _, seed in part]),
            lambda error: self._too_small(max(map(len, prompts)), error),
        )
        return self.chat.decode(answers)

    def close(self) -> None:
        """Give the model's memory back."""
        import torch

        self.network = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _too_small(self, num_tokens: int, error: Exception) -> UserError:
        told = f"one prompt of up to {num_tokens} tokens does not fit beside {dtype_name(self.config)} weights"
        return _too_small(self.config, told, error)

    def _answer(self, prompts: list[list[int]], seeds: list[int]) -> list[list[int]]:
        """Return the token ids of each answer, stop token and padding after it included."""
        import torch

        device = self.network.device
        longest = max(len(prompt) for prompt in prompts)
        pads = [longest - len(prompt) for prompt in prompts]
        rows = [[self.chat.pad_id] * pad + prompt for pad, prompt in zip(pads, prompts, strict=True)]
        mask = [[0] * pad + [1] * (longest - pad) for pad in pads]
        numbers = torch.from_numpy(uniform_numbers(seeds, self.config.max_tokens)).to(device)
        with torch.inference_mode():
            told = self.network.generate(
                torch.tensor(rows, device=device),
                attention_mask=torch.tensor(mask, device=device),
                logits_processor=[Sampler(Sampling.of(self.config), numbers, self.stop_ids)],
            )
        answers: list[list[int]] = told[:, longest:].tolist()
        return answers


def _too_small(config: CaptionsConfig, what: str, error: Exception) -> UserError:
    return UserError(
        f"captions.device={config.device}: {what} into the device's memory ({str(error).splitlines()[0]}). "
        f"Take a GPU with more memory; or in a new run captions.dtype=bfloat16 (now {config.dtype}), a smaller "
        f"captions.model, or less of captions.max_tokens={config.max_tokens} and "
        f"captions.batch_items={config.batch_items}"
    )
