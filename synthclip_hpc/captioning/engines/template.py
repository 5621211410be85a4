"""The `template` engine: no language model, a concept in a template that the caption's seed draws.

With CLIP's 80 zero-shot templates, those that OpenAI published for ImageNet, it is the paper's NaiveCLIP baseline
(appendix B.3). The wording `emoji` is short and for laptops.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import resources

from synthclip_hpc.captioning.engines.emoji_wording import read_emoji_templates, with_choices
from synthclip_hpc.captioning.engines.engine import Request
from synthclip_hpc.captioning.prompts import Prompts, TemplatePrompts


def read_templates() -> tuple[str, ...]:
    """Return the 80 templates, each with `{concept}` where the concept goes."""
    text = (resources.files("synthclip_hpc") / "captioning" / "engines" / "templates.txt").read_text(encoding="utf-8")
    return tuple(text.strip().split("\n"))


def template_prompts(wording: str = "clip") -> Prompts:
    """Return the prompts of this engine: number `seed % n` of the n templates of `captions.template.wording`."""
    return TemplatePrompts(read_emoji_templates() if wording == "emoji" else read_templates())


class TemplateEngine:
    """Answers each prompt with itself, at `items_per_s` captions a second at most (0 = as fast as it can)."""

    def __init__(self, items_per_s: float = 0.0) -> None:
        self.items_per_s = items_per_s

    def generate(self, batch: Sequence[Request]) -> list[str]:
        """Return the prompts, colours and second concepts filled in where there are any: they are the captions."""
        started = time.monotonic()
        answers = [with_choices(request) for request in batch]
        if self.items_per_s:
            time.sleep(max(0.0, len(batch) / self.items_per_s - (time.monotonic() - started)))
        return answers

    def close(self) -> None:
        """Nothing is held."""
