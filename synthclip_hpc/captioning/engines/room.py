"""How many tokens there are for prompt and answer: asked before there is a job, and again by the engines."""

from __future__ import annotations

from dataclasses import dataclass

from synthclip_hpc.captioning.models.folder import ModelFiles
from synthclip_hpc.config import CaptionsConfig
from synthclip_hpc.errors import UserError

VLLM_CONTEXT_TOKENS = 2048
"""Context that vLLM reserves memory for, if the model has as much: prompts have about 100 tokens, answers about 30."""


@dataclass(frozen=True)
class Room:
    """What an engine has space for, in tokens."""

    context: int
    """Prompt and answer together."""
    answer: int
    """The longest answer."""

    @property
    def prompt(self) -> int:
        """The longest prompt."""
        return self.context - self.answer

    def check(self, prompt: str, num_tokens: int) -> None:
        """Raise UserError for a prompt that does not fit: cut short, it would ask for something else."""
        if num_tokens > self.prompt:
            raise UserError(
                f"captions.prompt: {prompt[:60]!r}… takes {num_tokens} tokens, and there is room for {self.prompt} "
                f"beside an answer of {self.answer} (captions.max_tokens) in the engine's context of {self.context}; "
                "shorten the prompt, or lower captions.max_tokens, in a new run"
            )


def room_of(config: CaptionsConfig, model: ModelFiles) -> Room:
    """Return what the configured engine has space for; `config` is settled (`max_tokens` is not 0)."""
    context, answer = model.max_tokens, config.max_tokens
    if config.engine == "vllm":
        context = min(context, max(VLLM_CONTEXT_TOKENS, VLLM_CONTEXT_TOKENS // 2 + answer))
    return Room(context, answer)
