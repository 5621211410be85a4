"""How the `transformers` engine draws tokens: penalties, temperature, nucleus, one uniform number a row and token.

The order and the meaning are vLLM's and the OpenAI API's: a token that the answer (not the prompt) has c times loses
`presence_penalty + c * frequency_penalty` of its logit; logits are divided by the temperature; the fewest likeliest
tokens that together reach `top_p` stay; one of them is drawn by its probability. The paper's caption writer samples so.

The library's own sampling has one generator for the whole batch, so that an answer would depend on its place. Here the
numbers of a row follow from its seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synthclip_hpc.config import CaptionsConfig

if TYPE_CHECKING:
    import torch

CANDIDATES = 512
"""Likeliest tokens looked at first; a row whose nucleus is larger is sorted as a whole, with the same outcome."""


@dataclass(frozen=True)
class Sampling:
    """What shapes the distribution that tokens are drawn from; `temperature` 0 takes the likeliest token."""

    temperature: float = 1.0
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0

    @classmethod
    def of(cls, config: CaptionsConfig) -> Sampling:
        """Take the four values from a configuration."""
        return cls(config.temperature, config.top_p, config.presence_penalty, config.frequency_penalty)


def uniform_numbers(seeds: Sequence[int], count: int) -> np.ndarray:
    """Return float64 numbers in [0, 1), shape (seeds, count): row i follows from the 64 bits of `seeds[i]` alone.

    Philox, because torch's generator of the CPU looks at the lower 32 bits of a seed only: of 30 million answers,
    100,000 pairs would share their numbers.
    """
    rows = [np.random.Philox(key=seed).random_raw(count) for seed in seeds]
    raw = np.array(rows, dtype=np.uint64).reshape(len(seeds), count)
    return (raw >> np.uint64(11)) * 2.0**-53


def draw(probabilities: torch.Tensor, uniform: torch.Tensor, top_p: float, idle: torch.Tensor) -> torch.Tensor:
    """Draw a token a row from the nucleus by inverting its cumulative distribution, likeliest token first.

    `probabilities` float32 (rows, vocabulary), `uniform` float64 (rows,), `idle` bool (rows,): rows whose token nobody
    needs. Returns token ids (rows,). Raises RuntimeError when a row that is needed holds no probabilities.

    Sorting the vocabulary would be nearly all of the time, and a nucleus is small, so the largest few are tried first.
    Whether they suffice follows from the row itself, never from the others.
    """
    few = min(CANDIDATES, probabilities.shape[-1])
    values, order = probabilities.topk(few, dim=-1)
    tokens, certain = _invert(values, order, uniform, top_p)
    open_rows = (~(certain | idle)).nonzero()[:, 0]
    if len(open_rows):
        values, order = probabilities[open_rows].sort(dim=-1, descending=True, stable=True)
        _check_numbers(values)
        tokens[open_rows], _ = _invert(values, order, uniform[open_rows], top_p, whole=True)
    return tokens


def _check_numbers(values: torch.Tensor) -> None:
    if not bool(values.isfinite().all()):
        raise RuntimeError(
            "the language model's output is not a number; with captions.dtype=float16 try bfloat16 or float32 in a "
            "new run"
        )


def _invert(
    values: torch.Tensor, order: torch.Tensor, uniform: torch.Tensor, top_p: float, *, whole: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (token a row, whether it is certain), given each row's largest probabilities in descending order."""
    wide = values.double()
    reached = wide.cumsum(-1)
    last = ((reached - wide) < top_p).sum(-1, keepdim=True).clamp(min=1) - 1
    if top_p < 1 or whole:
        target = uniform[:, None] * reached.gather(-1, last)
        certain = reached[:, -1] >= top_p
    else:
        # Without a nucleus the mass is 1, known without looking at the other tokens.
        target = uniform[:, None]
        certain = reached[:, -1] > uniform
    place = (reached <= target).sum(-1, keepdim=True).minimum(last)
    return order.gather(-1, place)[:, 0], certain


class Sampler:
    """Chooses the tokens of one batch, step after step; also the logits processor that `generate` takes.

    `numbers` is float64 (rows, steps) on the model's device, `stop_ids` the int64 token ids that end an answer.
    """

    def __init__(self, sampling: Sampling, numbers: torch.Tensor, stop_ids: torch.Tensor) -> None:
        import torch

        self.sampling = sampling
        self.numbers = numbers
        self.stop_ids = stop_ids
        self.step = 0
        self.tokens = torch.zeros(numbers.shape, dtype=torch.int64, device=numbers.device)
        self.counts = torch.zeros(numbers.shape, dtype=torch.float32, device=numbers.device)
        self.ended = torch.zeros(len(numbers), dtype=torch.bool, device=numbers.device)

    def choose(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the next token ids (rows,); `logits`, float32 (rows, vocabulary), are overwritten."""
        import torch

        self._penalise(logits)
        if self.sampling.temperature == 0:
            chosen = logits.argmax(-1)
            _check_numbers(logits.gather(1, chosen[:, None])[~self.ended])
        else:
            probabilities = torch.softmax(logits.div_(self.sampling.temperature), -1)
            chosen = draw(probabilities, self.numbers[:, self.step], self.sampling.top_p, self.ended)
        self._remember(chosen)
        return chosen

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores of which `generate`'s argmax is the token chosen here."""
        chosen = self.choose(scores)
        return scores.scatter_(1, chosen[:, None], float("inf"))

    def _penalise(self, logits: torch.Tensor) -> None:
        sampling = self.sampling
        if self.step == 0 or (sampling.presence_penalty == 0 and sampling.frequency_penalty == 0):
            return
        tokens = self.tokens[:, : self.step]
        taken = sampling.presence_penalty + sampling.frequency_penalty * self.counts[:, : self.step]
        # A token that occurs twice is written twice, with the same value.
        logits.scatter_(1, tokens, logits.gather(1, tokens) - taken)

    def _remember(self, chosen: torch.Tensor) -> None:
        import torch

        same = self.tokens[:, : self.step] == chosen[:, None]
        self.counts[:, : self.step] += same
        self.tokens[:, self.step] = chosen
        self.counts[:, self.step] = same.sum(-1) + 1
        self.ended |= torch.isin(chosen, self.stop_ids)
        self.step += 1
