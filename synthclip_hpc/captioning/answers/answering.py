"""From a batch of items to captions: ask, clean up, check, and ask again for those that were rejected.

An answer depends on its own item, and for some engines on its batch: which ones are asked again follows from the batch
alone, and each try has a seed of its own, so that who asks, and how often an attempt was killed, changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sharding.ids import derive
from synthclip_hpc.captioning.answers.checks import reject_reason
from synthclip_hpc.captioning.answers.cleaning import clean, pick
from synthclip_hpc.captioning.engines.engine import Engine, Request
from synthclip_hpc.captioning.prompts import Prompts, fill


class Item(NamedTuple):
    """One caption to write."""

    concept: str
    seed: int
    """64 bits that every random choice for this caption follows from."""


class Answer(NamedTuple):
    """What became of an item; exactly one of `caption` and `reject_reason` is None."""

    caption: str | None
    prompt: str
    """The template that was filled, `{concept}` still in it: the same for all tries."""
    num_tries: int
    reject_reason: str | None
    """Why the last try was rejected."""


@dataclass(frozen=True)
class Rules:
    """What a caption must be like, and how often one is asked for."""

    max_words: int
    """Longest caption, in words (0 = any)."""
    require_concept: bool
    max_tries: int
    """At least 1."""


def answer_batch(engine: Engine, prompts: Prompts, rules: Rules | None, batch: Sequence[Item]) -> list[Answer]:
    """Answer all items, in order: one `generate` call for all of them, then one for the rejects of each further try.

    With `rules=None` whatever the engine says is the caption, at the first try. Raises what the engine raises, and
    RuntimeError when it returns another number of answers than it was asked for.
    """
    templates = [prompts.draw(item.seed) for item in batch]
    if rules is None:
        texts = _ask(engine, batch, templates, 1)
        return [Answer(text, template, 1, None) for text, template in zip(texts, templates, strict=True)]

    answers: dict[int, Answer] = {}
    waiting = list(range(len(batch)))
    for num_tries in range(1, rules.max_tries + 1):
        asked = [batch[place] for place in waiting]
        texts = _ask(engine, asked, [templates[place] for place in waiting], num_tries)
        for place, item, text in zip(waiting, asked, texts, strict=True):
            caption, reason = judge(prompts, rules, item, num_tries, text)
            answers[place] = Answer(None if reason else caption, templates[place], num_tries, reason)
        waiting = [place for place in waiting if answers[place].reject_reason]
        if not waiting:
            break
    return [answers[place] for place in range(len(batch))]


def answer_seed(item: Item, num_try: int) -> int:
    """Return the 64-bit seed of an item's answer at this try (from 1)."""
    return derive(item.seed, num_try, "answer")


def judge(prompts: Prompts, rules: Rules, item: Item, num_try: int, text: str) -> tuple[str, str | None]:
    """Return what the clean-up leaves of an item's answer at this try (from 1), and why it is rejected, if it is."""
    if prompts.num_captions > 1:
        text = pick(text, derive(item.seed, num_try, "pick"))
    caption = clean(text)
    return caption, reject_reason(
        caption, item.concept, max_words=rules.max_words, require_concept=rules.require_concept
    )


def _ask(engine: Engine, items: Sequence[Item], templates: Sequence[str], num_try: int) -> list[str]:
    texts = engine.generate(
        [
            Request(item.concept, fill(template, item.concept), answer_seed(item, num_try))
            for item, template in zip(items, templates, strict=True)
        ]
    )
    if len(texts) != len(items):
        raise RuntimeError(f"the caption engine was asked for {len(items)} answers and gave {len(texts)}")
    return texts
