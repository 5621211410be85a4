"""The `template` engine: no language model, a concept in one of CLIP's 80 zero-shot templates.

This is the paper's NaiveCLIP baseline (appendix, "importance of the LLM"). The templates are those that OpenAI
published with CLIP for ImageNet; each caption draws one by its seed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import resources

from synthclip_hpc.captioning.engine import Answer, Request


def read_templates() -> tuple[str, ...]:
    """Return the 80 templates, each with `{}` where the concept goes."""
    text = (resources.files("synthclip_hpc") / "captioning" / "templates.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.split("\n") if line and not line.startswith("#"))


class TemplateEngine:
    """Fills templates, at `items_per_s` captions a second at most (0 = as fast as it can)."""

    model = "template"

    def __init__(self, items_per_s: float = 0.0) -> None:
        self.templates = read_templates()
        self.items_per_s = items_per_s

    def generate(self, batch: Sequence[Request]) -> list[Answer]:
        """Answer every request; a template never fails, so none is rejected."""
        started = time.monotonic()
        count = len(self.templates)
        answers = []
        for request in batch:
            template = self.templates[request.seed % count]
            answers.append(Answer(template.replace("{}", request.concept), template, 1, None))
        if self.items_per_s:
            time.sleep(max(0.0, len(batch) / self.items_per_s - (time.monotonic() - started)))
        return answers

    def close(self) -> None:
        """Nothing is held."""
