"""The `transformers` engine: a causal language model on one device, answers sampled row by row from their own seeds.

In float32 an answer does not depend on the other prompts of its batch; in bfloat16 it may, by rounding, so the batch
that the plan fixes is handed over as it is and only cut when the device cannot hold it.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import Any

from synthclip_hpc.captioning.engines.chat import Chat, open_chat
from synthclip_hpc.captioning.engines.engine import Engine, Request
from synthclip_hpc.captioning.engines.opening import known_architectures
from synthclip_hpc.captioning.engines.room import Room, room_of
from synthclip_hpc.captioning.engines.runtime import dtype_name, prepare, quiet_transformers, without_bfloat16
from synthclip_hpc.captioning.engines.sampling import Sampler, Sampling, uniform_numbers
from synthclip_hpc.captioning.models.find import ModelFiles
from synthclip_hpc.config import CaptionsConfig
from synthclip_hpc.errors import UserError


def open_transformers(config: CaptionsConfig, model: ModelFiles) -> Engine:
    """Load a model and its tokenizer onto `captions.device`.

    Raises UserError when a package or the GPU is missing, or when the model does not fit into the GPU's memory.
    """
    prepare(config)
    try:
        import torch
        import transformers
    except ModuleNotFoundError as error:
        raise UserError(
            f"captions.engine=transformers: the package {error.name} is not installed here; "
            "install the extra: pip install 'synthclip-hpc[captions]'"
        ) from error
    _check_device(config)
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


def _check_device(config: CaptionsConfig) -> None:
    import torch

    if config.device != "cuda":
        return
    if not torch.cuda.is_available():
        raise UserError(
            f"captions.device=cuda: torch {torch.__version__} sees no GPU here; ask for one (slurm.gres=gpu:1), "
            "install a torch built for CUDA, or give captions.device=cpu in a new run"
        )
    if dtype_name(config) == "bfloat16" and torch.cuda.get_device_capability() < (8, 0):
        raise without_bfloat16(config)


class TransformersEngine:
    """Answers batches with `network.generate`; prompts must fit into `room`."""

    def __init__(self, network: Any, chat: Chat, config: CaptionsConfig, *, room: Room) -> None:
        import torch
        from transformers import GenerationConfig

        self.network = network
        self.chat = chat
        self.config = config
        self.room = room
        self.device_items = config.transformers.device_batch_items
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
        answers: list[list[int]] = []
        while len(answers) < len(batch):
            first = len(answers)
            after = min(len(batch), first + (self.device_items or len(batch)))
            part = self._answer_or_shrink(prompts[first:after], seeds[first:after])
            answers.extend(part)
        return self.chat.decode(answers)

    def close(self) -> None:
        """Give the model's memory back."""
        import torch

        self.network = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _answer_or_shrink(self, prompts: list[list[int]], seeds: list[int]) -> list[list[int]]:
        """Answer the prompts, or none of them, with `device_items` halved, when the device's memory is too small."""
        import torch

        try:
            return self._answer(prompts, seeds)
        except torch.OutOfMemoryError as error:
            if len(prompts) == 1:
                told = f"one prompt of {len(prompts[0])} tokens does not fit beside {dtype_name(self.config)} weights"
                raise _too_small(self.config, told, error) from error
        # Out of the except block: until here the error's traceback held the tensors that did not fit.
        self.device_items = len(prompts) // 2
        gc.collect()
        torch.cuda.empty_cache()
        print(
            f"captions: {len(prompts)} prompts do not fit into the device's memory; going on with {self.device_items} "
            f"(in a new run captions.transformers.device_batch_items={self.device_items} starts with that)",
            file=sys.stderr,
            flush=True,
        )
        return []

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
