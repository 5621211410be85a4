"""The `template` engine: no language model, a concept in one of CLIP's 80 zero-shot templates.

This is the paper's NaiveCLIP baseline (appendix B.3). The templates are those that OpenAI published with CLIP for
ImageNet; each caption draws one by its seed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import resources

from synthclip_hpc.captioning.engines.engine import Request
from synthclip_hpc.captioning.prompts import Prompts, TemplatePrompts


def read_templates() -> tuple[str, ...]:
    """Return the 80 templates, each with `{concept}` where the concept goes."""
    text = (resources.files("synthclip_hpc") / "captioning" / "engines" / "templates.txt").read_text(encoding="utf-8")
    return tuple(text.strip().split("\n"))


def template_prompts() -> Prompts:
    """Return the prompts of this engine: number `seed % 80` of the templates."""
    return TemplatePrompts(read_templates())


class TemplateEngine:
    """Answers each prompt with itself, at `items_per_s` captions a second at most (0 = as fast as it can)."""

    def __init__(self, items_per_s: float = 0.0) -> None:
        self.items_per_s = items_per_s

    def generate(self, batch: Sequence[Request]) -> list[str]:
        """Return the prompts: filled templates are the captions."""
        started = time.monotonic()
        answers = [request.prompt for request in batch]
        if self.items_per_s:
            time.sleep(max(0.0, len(batch) / self.items_per_s - (time.monotonic() - started)))
        return answers

    def close(self) -> None:
        """Nothing is held."""
