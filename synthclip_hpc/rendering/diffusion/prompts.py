"""What a pipeline is told of the captions: prompts cleaned, counted, and encoded where the pipeline takes that."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_ENCODED = ("StableDiffusionPipeline", "StableDiffusionXLPipeline", "LatentConsistencyModelPipeline")
"""Pipelines whose `encode_prompt` gives what their call takes; the others get the prompts as text."""
_TO_SPACE = str.maketrans("\t\r\n", "   ", '"')
_EMBEDDINGS = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
"""What `encode_prompt` returns, in its order; the first two alone where there is no pooled embedding."""


def clean_prompt(caption: str) -> str:
    """Return a caption as the paper's released code hands it to Stable Diffusion (ImageGen/batched_txt2img.py).

    Stripped at both ends; double quotes left out; tabs, carriage returns and newlines a space each. The caption in the
    data set stays as it was written.
    """
    return caption.strip().translate(_TO_SPACE)


@dataclass(frozen=True)
class Unconditional:
    """What stands in for a prompt in the unconditional pass: one row of each embedding, encoded once."""

    rows: dict[str, Any]

    def of(self, num_prompts: int) -> dict[str, Any]:
        """Return the embeddings for so many prompts, without copying them."""
        return {name: row.expand(num_prompts, *row.shape[1:]) for name, row in self.rows.items()}


class Prompter:
    """Makes the arguments of a pipeline's call that say what to draw.

    `encodes` tells whether the pipeline is of a kind known to take embeddings, and latents of the plain shape.
    """

    def __init__(self, pipeline: Any, *, guided: bool) -> None:
        """`guided`: whether there is an unconditional pass, for which the empty prompt is encoded here, once."""
        self._pipeline = pipeline
        self.encodes = type(pipeline).__name__ in _ENCODED
        self._limits = _limits(pipeline)
        self._unconditional = Unconditional({})
        if self.encodes and guided and "negative_prompt_embeds" in inspect.signature(pipeline.__call__).parameters:
            encoded = self._encode([""], guided=True)
            self._unconditional = Unconditional({name: row for name, row in encoded.items() if "negative" in name})

    def arguments(self, prompts: Sequence[str]) -> dict[str, Any]:
        """Return the prompts as the pipeline takes them: embeddings, or the texts."""
        if not self.encodes:
            return {"prompt": list(prompts)}
        encoded = self._encode(list(prompts), guided=False)
        wanted = {name: rows for name, rows in encoded.items() if "negative" not in name and rows is not None}
        return wanted | self._unconditional.of(len(prompts))

    def cut_tokens(self, prompts: Sequence[str]) -> list[int]:
        """Return how many of each prompt's tokens no text encoder sees; 0 when all are seen."""
        if not self._limits:
            return [0] * len(prompts)
        over = [
            [max(0, len(ids) - limit) for ids in tokenizer(list(prompts), truncation=False, verbose=False).input_ids]
            for tokenizer, limit in self._limits
        ]
        return [min(each) for each in zip(*over, strict=True)]

    def _encode(self, prompts: list[str], *, guided: bool) -> dict[str, Any]:
        found = self._pipeline.encode_prompt(
            prompt=prompts,
            device=self._pipeline.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=guided,
        )
        return dict(zip(_EMBEDDINGS, found, strict=False))


def _limits(pipeline: Any) -> list[tuple[Any, int]]:
    """Return each tokenizer with the number of tokens after which its encoder is told no more."""
    given = inspect.signature(pipeline.__call__).parameters.get("max_sequence_length")
    most = given.default if given is not None and isinstance(given.default, int) else None
    found = []
    for name in ("tokenizer", "tokenizer_2", "tokenizer_3"):
        tokenizer = getattr(pipeline, name, None)
        if tokenizer is not None:
            limit = tokenizer.model_max_length
            found.append((tokenizer, limit if most is None else min(limit, most)))
    return found
